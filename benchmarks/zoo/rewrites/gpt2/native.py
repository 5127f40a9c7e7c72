"""The block rewritten in Keras 3, with a kernel that keeps GPT-2's shape."""

import keras
from keras import ops

LENGTH, SIZE, HEADS = 5, 12, 3


def build(faults):
    """Make the rewrite."""
    return Model(faults)


class Norm(keras.layers.Layer):
    def __init__(self, epsilon, first=False, **kwargs):
        super().__init__(**kwargs)
        self.epsilon, self.first = epsilon, first

    def build(self, *shapes):
        del shapes
        self.g = self.add_weight(shape=(SIZE,), initializer="ones", name="g")
        self.b = self.add_weight(shape=(SIZE,), initializer="zeros", name="b")

    def call(self, x):
        axes = (1, 2) if self.first else -1
        mean, variance = ops.moments(x, axes=axes, keepdims=True)
        return (x - mean) / ops.sqrt(variance + self.epsilon) * self.g + self.b


class Conv1D(keras.layers.Layer):
    def __init__(self, nx, nf, **kwargs):
        super().__init__(**kwargs)
        self.nf = nf
        self.nx = nx

    def build(self, *shapes):
        del shapes
        start = keras.initializers.RandomNormal(stddev=0.2)
        self.w = self.add_weight(shape=(1, self.nx, self.nf), initializer=start, name="w")
        self.b = self.add_weight(shape=(self.nf,), initializer="zeros", name="b")

    def call(self, x):
        return ops.matmul(x, self.w[0]) + self.b


class Attention(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        self.c_attn = Conv1D(SIZE, 3 * SIZE, name="c_attn")
        self.c_proj = Conv1D(SIZE, SIZE, name="c_proj")

    def heads(self, x):
        if "heads_last" in self.faults:
            return ops.transpose(ops.reshape(x, (-1, LENGTH, SIZE // HEADS, HEADS)), (0, 3, 1, 2))
        return ops.transpose(ops.reshape(x, (-1, LENGTH, HEADS, SIZE // HEADS)), (0, 2, 1, 3))

    def call(self, x):
        pieces = ops.split(self.c_attn(x), 3, axis=-1)
        query, key, value = map(self.heads, (pieces[0], pieces[2], pieces[1]) if "key_value" in self.faults else pieces)
        scores = ops.einsum("bhqd,bhkd->bhqk", query, key)
        if "no_scale" not in self.faults:
            scores = scores / (SIZE if "scale_of_all" in self.faults else SIZE // HEADS) ** 0.5
        shown = ops.tril(ops.ones((LENGTH, LENGTH), dtype="bool"))
        weights = ops.softmax(ops.where(shown, scores, -1e10))
        mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        if "merge_untransposed" in self.faults:
            mixed = ops.matmul(weights, value)
        return self.c_proj(ops.reshape(mixed, (-1, LENGTH, SIZE)))


class Feed(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        self.c_fc = Conv1D(SIZE, 2 * SIZE, name="c_fc")
        self.c_proj = Conv1D(2 * SIZE, SIZE, name="c_proj")

    def call(self, x):
        return self.c_proj(ops.gelu(self.c_fc(x), approximate="erf" not in self.faults))


class Block(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        epsilon = 1e-3 if "epsilon" in faults else 1e-5
        self.ln_1, self.ln_2 = (Norm(epsilon, name=name, first="norm_of_all" in faults) for name in ("ln_1", "ln_2"))
        self.attn = Attention(faults, name="attn")
        self.mlp = Feed(faults, name="mlp")

    def call(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.h = [Block(faults, name=f"h{layer}") for layer in range(1)]
        self.ln_f = Norm(1e-5, name="ln_f")

    def call(self, inputs, training=None):
        x = inputs["x"]
        for block in self.h:
            x = block(x)
        return self.ln_f(x)
