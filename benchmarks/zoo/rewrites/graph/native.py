"""The graph network rewritten in Keras 3."""

import keras
from keras import ops

NODES = 6


def build(faults):
    """Make the rewrite."""
    return Model(faults)


class Spread(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults

    def build(self, *shapes):
        del shapes
        self.bias = self.add_weight(shape=(8,), initializer="zeros", name="bias")

    def call(self, x, shared):
        product = ops.matmul(shared, x) + self.bias
        return ops.selu(product) if "selu" in self.faults else ops.elu(product)


class Attention(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        self.left, self.right = keras.layers.Dense(1, name="left"), keras.layers.Dense(1, name="right")

    def call(self, x, adjacency):
        left, right = self.left(x), self.right(x)
        scores = right + ops.transpose(left) if "left_right" in self.faults else left + ops.transpose(right)
        scores = ops.leaky_relu(scores, 0.3 if "slope" in self.faults else 0.2)
        if "unmasked" not in self.faults:
            scores = ops.where(adjacency > 0, scores, -1e9)
        weights = ops.softmax(scores, axis=0 if "softmax_axis" in self.faults else -1)
        return ops.matmul(weights, x)


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.projects = [keras.layers.Dense(8, use_bias=False, name=f"project_{layer}") for layer in range(2)]
        self.spreads = [Spread(faults, name=f"spread_{layer}") for layer in range(2)]
        self.attention = Attention(faults, name="attention")
        self.classes = keras.layers.Dense(3, name="classes")

    def call(self, inputs, training=None):
        faults = self.faults
        adjacency = inputs["adjacency"]
        if "no_loops" not in faults:
            adjacency = adjacency + ops.eye(NODES)
        degree = ops.sum(adjacency, axis=0 if "degree_axis" in faults else 1)
        if "row" in faults:
            shared = adjacency / degree[:, None]
        else:
            shared = adjacency / (ops.sqrt(degree)[:, None] * ops.sqrt(degree)[None, :])
        if "transposed" in faults:
            shared = ops.transpose(shared)
        x = inputs["x"]
        for project, spread in zip(self.projects, self.spreads, strict=True):
            x = spread(project(x), shared)
        return {"classes": self.classes(self.attention(x, adjacency))}
