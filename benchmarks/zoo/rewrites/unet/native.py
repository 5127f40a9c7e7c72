"""The U-Net rewritten in Keras 3."""

import keras
from keras import ops


def build(faults):
    """Make the rewrite."""
    return Model(faults)


class GroupNorm(keras.layers.Layer):
    def __init__(self, groups, epsilon, biased=True, **kwargs):
        super().__init__(**kwargs)
        self.groups, self.epsilon, self.biased = groups, epsilon, biased

    def build(self, *shapes):
        del shapes
        self.gamma = self.add_weight(shape=(8,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(8,), initializer="zeros", name="beta")

    def call(self, x):
        n, h, w, c = x.shape
        grouped = ops.reshape(x, (n, h * w, self.groups, c // self.groups))
        mean = ops.mean(grouped, axis=(1, 3), keepdims=True)
        square = ops.mean(ops.square(grouped - mean), axis=(1, 3), keepdims=True)
        if not self.biased:
            count = h * w * c // self.groups
            square = square * (count / (count - 1))
        grouped = (grouped - mean) * ops.rsqrt(square + self.epsilon)
        return ops.reshape(grouped, x.shape) * self.gamma + self.beta


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        groups = 2 if "groups" in faults else 8 if "instance" in faults else 1 if "one_group" in faults else 4
        self.convolutions = {
            name: keras.layers.Conv2D(8, 3, padding="same", name=name) for name in ("down", "low", "merge")
        }
        self.norms = {
            name: GroupNorm(
                groups, 1e-3 if "epsilon" in faults else 1e-5, "unbiased" not in faults, name=f"{name}_norm"
            )
            for name in ("down", "low", "merge")
        }
        self.classes = keras.layers.Conv2D(2, 1, name="classes")

    def mish(self, x):
        if "mish" in self.faults:
            return x * ops.tanh(ops.softplus(2.0 * x) / 2.0)
        if "softplus_sigmoid" in self.faults:
            return x * ops.sigmoid(ops.softplus(x))
        return x * ops.tanh(ops.log(1.0 + ops.exp(x)))

    def call(self, inputs, training=None):
        faults = self.faults
        down = self.mish(self.norms["down"](self.convolutions["down"](inputs["x"])))
        low = ops.average_pool(down, 2, 2) if "average" in faults else ops.max_pool(down, 2, 2)
        low = self.norms["low"](self.convolutions["low"](low))
        low = ops.leaky_relu(low, 0.2 if "slope" in faults else 0.1)
        up = ops.repeat(ops.repeat(low, 2, axis=1), 2, axis=2)
        both = ops.concatenate([down, up] if "skip_order" in faults else [up, down], axis=-1)
        return self.classes(self.mish(self.norms["merge"](self.convolutions["merge"](both))))
