"""Pairs of programs that compute the same, written otherwise."""
