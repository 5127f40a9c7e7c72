"""One package for each framework; everything above reaches them through `runtimes`, and none is imported before."""
