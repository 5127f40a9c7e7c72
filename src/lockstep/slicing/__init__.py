"""One scope of both sides, cut out as a small program that shows the same difference."""
