"""The discriminator rewritten in Keras 3."""

import keras
from keras import ops


def build(faults):
    """Make the rewrite."""
    return Model(faults)


class Spectral(keras.layers.Layer):
    def __init__(self, faults, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.faults = faults

    def build(self, *shapes):
        del shapes
        start = keras.initializers.RandomNormal(stddev=1.0)
        self.u = self.add_weight(shape=(1, self.filters), initializer=start, trainable=False, name="u")

    def normalized(self, x):
        if "epsilon_in_norm" in self.faults:
            return x / ops.sqrt(ops.sum(x * x) + 0.1)
        return x / ops.sqrt(ops.maximum(ops.sum(x * x), 1e-12))

    def call(self, w):
        rows = ops.reshape(w, (-1, w.shape[-1]))
        v = self.normalized(ops.matmul(self.u, ops.transpose(rows)))
        product = ops.matmul(v, rows)
        if "old_u" in self.faults:
            return w / ops.sum(product * self.u)
        return w / ops.sum(product * self.normalized(product))


class Conv(keras.layers.Layer):
    def __init__(self, faults, before, filters, **kwargs):
        super().__init__(**kwargs)
        self.before = before
        self.filters = filters
        self.faults = faults
        self.spectral = Spectral(faults, filters, name="spectral")

    def build(self, *shapes):
        del shapes
        start = keras.initializers.RandomNormal(stddev=0.1)
        self.w = self.add_weight(shape=(4, 4, self.before, self.filters), initializer=start, name="w")
        self.b = self.add_weight(shape=(self.filters,), initializer="zeros", name="b")

    def call(self, x):
        w = self.w if "no_spectral" in self.faults else self.spectral(self.w)
        return ops.conv(x, w, 2, "valid" if "valid" in self.faults else "same") + self.b


class Norm(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults

    def build(self, *shapes):
        del shapes
        self.scale = self.add_weight(shape=(8,), initializer="ones", name="scale")
        self.offset = self.add_weight(shape=(8,), initializer="zeros", name="offset")

    def call(self, x):
        axes = (1, 2, 3) if "layer_norm" in self.faults else (0, 1, 2) if "batch_norm" in self.faults else (1, 2)
        mean, variance = ops.moments(x, axes, keepdims=True)
        return (x - mean) / ops.sqrt(variance + 1e-5) * self.scale + self.offset


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.conv_0, self.conv_1 = Conv(faults, 3, 6, name="conv_0"), Conv(faults, 6, 8, name="conv_1")
        self.norm_1 = Norm(faults, name="norm_1")
        self.dense = keras.layers.Dense(1, name="score")

    def score(self, x):
        slope = 0.3 if "keras_slope" in self.faults else 0.2
        x = ops.leaky_relu(self.conv_0(x), slope)
        x = ops.leaky_relu(self.norm_1(self.conv_1(x)), slope)
        pooled = ops.mean(x, axis=(1, 2)) if "mean_pooled" in self.faults else ops.sum(x, axis=(1, 2))
        return self.dense(pooled)

    def call(self, inputs, training=None):
        real, fake = self.score(inputs["real"]), self.score(inputs["fake"])
        if "labels_exchanged" in self.faults:
            loss = ops.mean(ops.relu(1.0 + real)) + ops.mean(ops.relu(1.0 - fake))
        elif "softplus_loss" in self.faults:
            loss = ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))
        else:
            loss = ops.mean(ops.relu(1.0 - real)) + ops.mean(ops.relu(1.0 + fake))
        return {"real": real, "loss": loss}
