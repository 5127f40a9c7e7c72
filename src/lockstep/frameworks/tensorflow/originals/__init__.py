"""Models that are files, as graphs whose weights are variables."""
