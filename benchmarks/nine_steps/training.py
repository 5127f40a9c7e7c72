"""The loss and the optimizers that every model of the run is trained with; copied beside each of them."""

import tensorflow.compat.v1 as tf


def loss(outputs, batch):
    """Mean square of each floating output's distance from one half, summed over the outputs."""
    del batch
    return tf.add_n([tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - 0.5)) for y in _leaves(outputs)])


def legacy_optimizer():
    """Adam, as TensorFlow 1 has it."""
    return tf.train.AdamOptimizer(0.001)


def migrated_optimizer():
    """The same in Keras, whose epsilon is another one by default."""
    import keras

    return keras.optimizers.Adam(0.001, epsilon=1e-8)


def _leaves(outputs):
    if isinstance(outputs, dict):
        return [leaf for key in sorted(outputs) for leaf in _leaves(outputs[key])]
    if isinstance(outputs, (list, tuple)):
        return [leaf for output in outputs for leaf in _leaves(output)]
    return [outputs] if outputs.dtype.is_floating else []
