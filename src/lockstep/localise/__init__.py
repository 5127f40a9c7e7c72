"""Forced lockstep: from two programs to the operations that are to blame."""
