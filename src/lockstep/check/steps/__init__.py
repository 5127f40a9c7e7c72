"""The guide's steps, one module each; each takes traces and gives findings."""
