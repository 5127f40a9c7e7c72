"""All nine steps, for every example and every family of the zoo, with the reference in TensorFlow 1.15."""
