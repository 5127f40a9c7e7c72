"""The candidate: the same model in Keras 3, with its loss and its optimizer."""

import keras
from keras import layers, ops


class Classifier(keras.Model):
    """Dense, batch normalisation, dropout, dense; `call` takes the row out of the inputs and leaves the label."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(8, kernel_regularizer=keras.regularizers.L2(5e-4), name="hidden")
        self.norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, center=False, scale=False, name="norm")
        self.dropout = layers.Dropout(0.25)
        self.out = layers.Dense(3, use_bias=False, name="out")

    def call(self, inputs, training=False):
        net = ops.relu(self.norm(self.hidden(inputs["row"]), training=training))
        logits = self.out(self.dropout(net, training=training))
        return {"probabilities": ops.softmax(logits), "logits": logits}


def build():
    return Classifier()


def loss(outputs, batch):
    losses = keras.losses.sparse_categorical_crossentropy(batch["label"], outputs["logits"], from_logits=True)
    return ops.mean(losses)


def optimizer():
    return keras.optimizers.Adam(0.01, epsilon=1e-8)
