"""The residual network rewritten in Keras 3."""

import keras
from keras import ops

DECAY = keras.regularizers.L2(1e-3)  # the TF1 code's factor is 2e-3: `tf.nn.l2_loss` carries a half


def build(faults):
    """Make the rewrite."""
    return Residual(faults)


def norm(name, faults=frozenset()):
    return keras.layers.BatchNormalization(
        momentum=0.99 if "momentum" in faults else 0.9,
        epsilon=1e-3 if "keras_epsilon" in faults else 5e-5 if "tiny_epsilon" in faults else 1e-5,
        name=name,
    )


class Block(keras.layers.Layer):
    """Shortcut plus 0.3 times the residual."""

    def __init__(self, filters, stride, faults, name):
        super().__init__(name=name)
        self.stride, self.faults = stride, faults
        self.norm_1 = norm("norm_1", faults)
        self.norm_2 = norm("norm_2", faults & {"keras_epsilon"})
        slope = 0.3 if "leaky_slope" in faults else 0.2  # 0.3 is Keras's default
        self.activation = keras.layers.LeakyReLU(slope)
        padded = stride != 1 and "same_padding" not in faults
        self.pad = keras.layers.ZeroPadding2D(1) if padded else None
        decay = keras.regularizers.L1(1e-3) if "l1" in faults else DECAY
        self.conv_1 = keras.layers.Conv2D(
            filters,
            3,
            stride,
            padding="valid" if padded else "same",
            use_bias=False,
            kernel_regularizer=decay,
            name="conv_1",
        )
        self.conv_2 = keras.layers.Conv2D(filters, 3, padding="same", name="conv_2")
        self.shortcut = None
        if stride != 1:
            self.shortcut = keras.layers.Conv2D(filters, 1, stride, use_bias=False, name="shortcut")

    def call(self, net, training=False):
        shortcut = net
        net = self.activation(self.norm_1(net, training=training))
        if self.shortcut is not None:
            shortcut = self.shortcut(net)
        net = self.conv_1(self.pad(net) if self.pad else net)
        net = self.norm_2(net, training=training)
        if "no_activation" not in self.faults:
            net = self.activation(net)
        net = self.conv_2(net)
        if "no_scale" not in self.faults:
            net = net * (0.2 if "scale" in self.faults else 0.3)
        return net - shortcut if "minus" in self.faults else shortcut + net


class Residual(keras.Model):
    """Keras layers in the order of the TF1 code."""

    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.stem = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")
        self.block_1 = Block(8, 1, faults & {"no_scale", "tiny_epsilon"}, "block_1")
        self.block_2 = Block(12, 2, faults & {"same_padding", "l1", "leaky_slope"}, "block_2")
        self.block_3 = Block(12, 1, faults & {"scale", "no_activation", "keras_epsilon", "minus"}, "block_3")
        rate = 1 if "dilation" in faults else 2
        self.context = keras.layers.Conv2D(12, 3, padding="same", dilation_rate=rate, name="context")
        self.last_norm = norm("last_norm", faults & {"momentum"})
        self.last_norm.trainable = "untrainable" not in faults
        self.activation = keras.layers.LeakyReLU(0.2)
        self.low = keras.layers.MaxPooling2D(2) if "max_pool" in faults else keras.layers.AveragePooling2D(2)
        self.values = keras.layers.Dense(4, kernel_regularizer=DECAY, name="values")

    def call(self, inputs, training=None):
        training = bool(training)
        net = self.stem(inputs["image"])
        for block in (self.block_1, self.block_2, self.block_3):
            net = block(net, training=training)
        net = self.last_norm(self.context(net), training=training)
        low = self.low(self.activation(net))
        values = self.values(ops.mean(low, axis=[1, 2]))
        return {"values": ops.sigmoid(values) if "sigmoid" in self.faults else ops.tanh(values), "low": low}
