"""The candidate: the same network in Keras 3, with the training step that it is trained by."""

import keras
import tensorflow as tf


def build():
    """The model; the labels are not among its inputs."""
    x = keras.Input((5,), name="x")
    hidden = keras.layers.Dense(16, kernel_regularizer=keras.regularizers.L2(5e-4), name="hidden")(x)
    hidden = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name="norm")(hidden)
    hidden = keras.layers.Dropout(0.25)(keras.layers.Activation("relu")(hidden))
    return keras.Model(x, {"logits": keras.layers.Dense(3, name="out")(hidden)})


def make_train_step(model):
    """Returns the training step: what the script's loop calls with each batch."""
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def train_step(batch):
        with tf.GradientTape() as tape:
            outputs = model(batch["x"], training=True)
            loss = cross_entropy(batch["y"], outputs["logits"]) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return train_step
