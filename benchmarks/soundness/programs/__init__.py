"""TF1 programs, each the reference and, through the shim, the candidate."""
