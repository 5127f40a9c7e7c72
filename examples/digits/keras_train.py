"""The same TF1 code inside a Keras 3 model, trained with `fit`."""

import contextlib

import keras
import numpy as np
from legacy_network import network
from legacy_train import BATCH, LEARNING_RATE, MOMENTUM

from lockstep import tf1


class Digits(keras.Model):
    """The decorator is all that the migration adds."""

    @tf1.track_tf1_style_variables
    def call(self, images, training=False):
        return network(images, training=training)


class StepLosses(keras.callbacks.Callback):
    """Keeps the loss of every step; what Keras shows is the mean since the epoch began."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_begin(self, batch, logs=None):  # noqa: ARG002 - Keras's own signature
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
        self.values.append(float(logs["loss"]))


def train(data, epochs, aligned=contextlib.nullcontext, optimizer=None):
    """Does what `legacy_train.train` does, and returns the same."""
    (images, labels), test = data
    model = Digits()
    with aligned():
        model(images[:1])  # makes the variables
    model.compile(
        optimizer() if optimizer else keras.optimizers.SGD(LEARNING_RATE, MOMENTUM),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # XLA, which Keras takes by itself where there is a GPU, has random numbers of its own.
        jit_compile=False,
    )
    losses = StepLosses()
    with aligned():
        model.fit(images, labels, BATCH, epochs, shuffle=False, verbose=0, callbacks=[losses])
    accuracy = float(np.mean(np.argmax(model.predict(test[0], verbose=0), axis=-1) == test[1]))
    values = {v.name.split(":")[0]: np.array(v.value) for v in model.weights}
    return losses.values, accuracy, values
