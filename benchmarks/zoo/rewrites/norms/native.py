"""The norms rewritten in Keras 3."""

import keras
from keras import ops


def build(faults):
    """Make the rewrite."""
    return Model(faults)


class Scaled(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def build(self, *shapes):
        del shapes
        self.gain = self.add_weight(shape=(8,), initializer="ones", name="gain")
        self.offset = self.add_weight(shape=(8,), initializer="zeros", name="offset")

    def call(self, x):
        return x * self.gain + self.offset


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.first, self.fourth = keras.layers.Dense(8, name="first"), keras.layers.Dense(8, name="fourth")
        self.second, self.third = (keras.layers.Dense(8, "relu", name=name) for name in ("second", "third"))
        self.last = keras.layers.Dense(3, name="last")
        self.layer, self.rms, self.group = (Scaled(name=name) for name in ("layer", "rms", "group"))

    def call(self, inputs, training=None):
        faults = self.faults
        x = self.first(inputs["x"])
        if "layer_as_rms" in faults:
            x = x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6)
        else:
            mean, variance = ops.moments(x, (1, 2) if "layer_axes" in faults else (2,), keepdims=True)
            x = (x - mean) / ops.sqrt(variance + 1e-6)
        x = self.second(self.layer(x))
        if "rms_as_layer" in faults:
            mean, variance = ops.moments(x, (2,), keepdims=True)
            x = (x - mean) / ops.sqrt(variance + 1e-6)
        else:
            square = ops.sum(x * x, -1, keepdims=True) if "rms_sum" in faults else ops.mean(x * x, -1, keepdims=True)
            x = x / ops.sqrt(square + 1e-6)
        x = self.third(self.rms(x))
        groups = 4 if "more_groups" in faults else 2
        pieces = ops.reshape(x, (2, 6, groups, 8 // groups))
        mean, variance = ops.moments(pieces, (3,) if "group_axis" in faults else (1, 3), keepdims=True)
        x = ops.reshape((pieces - mean) * ops.rsqrt(variance + 1e-3), (2, 6, 8))
        x = self.fourth(self.group(x))
        x = x / ops.sqrt(ops.sum(ops.square(x), 1 if "length_axis" in faults else 2, keepdims=True))
        return self.last(x)
