"""The bug zoo: small TF1 models, right migrations of them, and the same migrations with one or two mistakes planted."""
