"""The transformer rewritten in Keras 3."""

import keras
import numpy as np
from keras import ops

WORDS, SIZE, HEADS, LENGTH = 30, 16, 2, 6


def build(faults):
    """Make the rewrite."""
    return Transformer(faults)


def normal():
    return keras.initializers.RandomNormal(stddev=0.2)


class Attention(keras.layers.Layer):
    """Causal self-attention."""

    def __init__(self, faults, name):
        super().__init__(name=name)
        self.faults = faults
        self.query, self.key, self.value, self.out = (
            keras.layers.Dense(SIZE, kernel_initializer=normal(), name=n) for n in ("query", "key", "value", "output")
        )
        self.drop = keras.layers.Dropout(0.2 if "dropout_rate" in faults else 0.1)

    def call(self, net, training=False):
        query, key, value = self.heads(self.query(net)), self.heads(self.key(net)), self.heads(self.value(net))
        scores = ops.matmul(query, ops.transpose(key, [0, 1, 3, 2]))
        if "score_scale" not in self.faults:
            scores = scores * (1.0 / np.sqrt(SIZE // HEADS))
        future = np.triu(np.full([LENGTH, LENGTH], -1e9, np.float32), 0 if "mask_inclusive" in self.faults else 1)
        weights = ops.softmax(scores if "no_mask" in self.faults else scores + future)
        mixed = ops.matmul(self.drop(weights, training=training), value)
        return self.out(ops.reshape(ops.transpose(mixed, [0, 2, 1, 3]), [-1, LENGTH, SIZE]))

    def heads(self, net):
        if "interleaved_heads" in self.faults:
            return ops.transpose(ops.reshape(net, [-1, LENGTH, SIZE // HEADS, HEADS]), [0, 3, 1, 2])
        return ops.transpose(ops.reshape(net, [-1, LENGTH, HEADS, SIZE // HEADS]), [0, 2, 1, 3])


class Transformer(keras.Model):
    """Keras layers in the order of the TF1 code."""

    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.words = keras.layers.Embedding(WORDS, SIZE, embeddings_initializer=normal(), name="words")
        place_start = keras.initializers.RandomUniform(-0.05, 0.05) if "place_start" in faults else normal()
        self.places = keras.layers.Embedding(LENGTH, SIZE, embeddings_initializer=place_start, name="places")
        # Keras's default epsilon is 0.001.
        first = 1e-3 if "keras_epsilon" in faults else 1e-6
        last = 1e-5 if "small_epsilon" in faults else 1e-6
        self.attention_norm = keras.layers.LayerNormalization(epsilon=first, name="attention_norm")
        self.feed_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="feed_norm")
        self.last_norm = keras.layers.LayerNormalization(epsilon=last, name="last_norm")
        self.attention = Attention(faults, name="attention")
        self.wide = keras.layers.Dense(24, kernel_initializer=normal(), name="wide")
        self.narrow = keras.layers.Dense(SIZE, use_bias=False, kernel_initializer=normal(), name="narrow")

    def build(self, shapes):
        del shapes
        self.words.build(None)
        self.places.build(None)

    def call(self, inputs, training=None):
        faults = self.faults
        net = self.words(inputs["words"])
        if "embedding_scale" not in faults:
            net = net * np.sqrt(SIZE)
        net = net + self.places(ops.arange(LENGTH))
        net = net + self.attention(self.attention_norm(net), training=bool(training))
        fed = self.wide(self.feed_norm(net))
        fed = self.narrow(ops.silu(fed) if "silu" in faults else ops.gelu(fed, approximate="gelu_form" in faults))
        if "post_norm" in faults:
            net = self.feed_norm(net) + fed
        else:
            net = fed if "no_residual" in faults else net + fed
        summarised = net if "early_summary" in faults else self.last_norm(net)
        net = self.last_norm(net)
        table = self.words.embeddings
        return {"logits": ops.matmul(net, ops.transpose(table)), "summary": ops.mean(summarised, axis=1)}
