"""What the children of a check run: a Keras side that answers questions, and weights that are loaded and run."""
