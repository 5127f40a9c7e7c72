"""BERT rewritten in Keras 3."""

import keras
from keras import ops

BATCH, LENGTH, SIZE, HEADS, WORDS = 2, 5, 8, 2, 11


def build(faults):
    """Make the rewrite."""
    return Model(faults)


class Attention(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        self.query, self.key, self.value, self.out = (
            keras.layers.Dense(SIZE, name=name) for name in ("query", "key", "value", "output")
        )

    def heads(self, x):
        return ops.transpose(ops.reshape(x, (-1, LENGTH, HEADS, SIZE // HEADS)), (0, 2, 1, 3))

    def call(self, x, mask):
        query, key, value = (self.heads(layer(x)) for layer in (self.query, self.key, self.value))
        if "query_key" in self.faults:
            query, key = key, query
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / (SIZE // HEADS) ** 0.5
        mask = mask[:, None, :, None] if "mask_axis" in self.faults else mask[:, None, None, :]
        if "mask_inverted" in self.faults:
            mask = 1.0 - mask
        scores = scores + (1.0 - mask) * -10000.0
        weights = ops.softmax(scores, axis=-2 if "softmax_axis" in self.faults else -1)
        mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, (-1, LENGTH, SIZE)))


class Block(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        epsilon = 1e-3 if "keras_epsilon" in faults else 1e-12
        self.attention = Attention(faults, name="attention")
        self.attention_norm = keras.layers.LayerNormalization(epsilon=epsilon, name="attention_norm")
        self.output_norm = keras.layers.LayerNormalization(epsilon=epsilon, name="output_norm")
        self.wide = keras.layers.Dense(12, name="wide")
        self.narrow = keras.layers.Dense(SIZE, name="narrow")

    def call(self, x, mask):
        x = self.attention_norm(x + self.attention(x, mask))
        wide = self.wide(x)
        wide = ops.silu(wide) if "silu" in self.faults else ops.gelu(wide, approximate="erf" not in self.faults)
        return self.output_norm(x + self.narrow(wide))


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        start = keras.initializers.RandomNormal(stddev=0.2)
        self.words = keras.layers.Embedding(WORDS, SIZE, embeddings_initializer=start, name="words")
        self.blocks = [Block(faults, name=f"layer_{layer}") for layer in range(2)]
        self.pooler = keras.layers.Dense(SIZE, activation="tanh", name="pooler")

    def build(self, shapes):
        del shapes
        self.words.build(None)

    def call(self, inputs, training=None):
        faults = self.faults
        x = self.words(inputs["words"])
        mask = ops.cast(inputs["mask"], "float32")
        for block in self.blocks:
            x = block(x, mask)
        logits = ops.matmul(x, ops.transpose(self.words.embeddings))
        labels = ops.one_hot(inputs["labels"], WORDS)
        if "smoothed" in faults:
            labels = labels * 0.9 + 0.1 / WORDS
        each = -ops.sum(labels * ops.log_softmax(logits), axis=-1)
        weights = inputs["weights"]
        if "mean_of_all" in faults:
            loss = ops.mean(weights * each)
        elif "sum" in faults:
            loss = ops.sum(weights * each)
        else:
            loss = ops.sum(weights * each) / (ops.sum(weights) + 1e-5)
        return {"pooled": self.pooler(x[:, 1 if "last_place" in faults else 0]), "loss": loss}
