"""TensorFlow: TF1-style graphs and Keras models as subjects, single operations, and what it keeps private."""
