"""What the scopes become, one after the other: Keras 3 layers on Keras 3 alone."""

import keras

# `tf.nn.l2_loss` carries a half that `keras.regularizers.L2` does not.
DECAY = keras.regularizers.L2(1e-3 / 2)


class Stem(keras.layers.Layer):
    """Was `stem`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv2D(8, 3, padding="same", kernel_regularizer=DECAY, name="convolution")
        # What `tf.layers.batch_normalization` has by default, Keras has too: momentum 0.99, epsilon 0.001.
        self.normalization = keras.layers.BatchNormalization(name="normalization")
        self.pool = keras.layers.MaxPooling2D(2, 2)

    def call(self, image, training=False):
        return self.pool(keras.ops.relu(self.normalization(self.convolution(image), training=training)))


class Body(keras.layers.Layer):
    """Was `body`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten = keras.layers.Flatten()
        self.hidden = keras.layers.Dense(16, "relu", kernel_regularizer=DECAY, name="hidden")
        self.dropout = keras.layers.Dropout(0.3)

    def call(self, net, training=False):
        return self.dropout(self.hidden(self.flatten(net)), training=training)


class Head(keras.layers.Layer):
    """Was `head`; `build` makes what `get_variable` made, in the same order."""

    def build(self, shape):
        """Make the weights."""
        self.kernel = self.add_weight(
            shape=(shape[-1], 5), initializer="glorot_uniform", regularizer=DECAY, name="kernel"
        )
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, net):
        return self.scale * keras.ops.matmul(net, self.kernel)
