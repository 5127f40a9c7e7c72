"""The candidate: the same network in Keras 3, with its loss and its optimizer."""

import keras
from keras import layers, ops


class Network(keras.Model):
    """Two dense layers with dropout between them; the label is an input that the model leaves alone."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(16, activation="relu", name="hidden")
        self.dropout = layers.Dropout(0.5)
        self.out = layers.Dense(3, use_bias=False, name="out")

    def call(self, inputs, training=False):
        return {"logits": self.out(self.dropout(self.hidden(inputs["x"]), training=training))}


def build():
    return Network()


def loss(outputs, batch):
    losses = keras.losses.sparse_categorical_crossentropy(batch["y"], outputs["logits"], from_logits=True)
    return ops.mean(losses)


def optimizer():
    return keras.optimizers.SGD(0.02)
