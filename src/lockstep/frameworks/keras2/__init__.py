"""Keras 2 models of this process, by tf_keras or another Keras 2 that is installed beside TensorFlow."""
