"""The inception network rewritten in Keras 3."""

import keras
from benchmarks.zoo.keras_layers import FusedBatchNormalization
from keras import ops

DECAY = keras.regularizers.L2(5e-4)  # `slim.l2_regularizer(1e-3)` carries a half


def build(faults):
    """Make the rewrite."""
    return Convolutional(faults)


class Normalized(keras.layers.Layer):
    """A convolution without bias, batch normalisation, ReLU: what `slim.conv2d` is under the argument scope."""

    def __init__(self, filters, size, faults=frozenset(), name=None, **options):
        super().__init__(name=name)
        self.faults = faults
        regularizer = None if "no_regularizer" in faults else DECAY
        self.conv = keras.layers.Conv2D(
            filters, size, use_bias=False, kernel_regularizer=regularizer, name="conv", **{"padding": "same", **options}
        )
        self.norm = FusedBatchNormalization(
            momentum=0.99 if "momentum" in faults else 0.9,
            epsilon=0.002 if "epsilon" in faults else 0.001,
            unbiased="biased_variance" not in faults,
            updates="no_updates" not in faults,
            name="norm",
        )

    def call(self, inputs, training=False):
        net = self.conv(inputs)
        if "activation_first" in self.faults:
            return self.norm(ops.relu(net), training=training)
        net = self.norm(net, training=training)
        return net if "no_activation" in self.faults else ops.relu(net)


class Convolutional(keras.Model):
    """Keras layers in the order of the TF1 code."""

    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        second = faults - {"no_activation", "activation_first"}
        self.pad = keras.layers.ZeroPadding2D(1) if "padding" in faults else None
        valid = {"padding": "valid"} if "padding" in faults else {}
        self.conv_1 = Normalized(8, 3, strides=2, name="conv_1", **valid)
        self.conv_2 = Normalized(12, 3, second, name="conv_2")
        self.pool = keras.layers.MaxPooling2D(3, 2, padding="same")
        self.first = Normalized(8, 1, name="first")
        self.second_reduce = Normalized(6, 1, faults & {"no_activation"}, name="second_reduce")
        dilation = 2 if "dilation" in faults else 1
        self.second = Normalized(8, 3, faults & {"activation_first"}, name="second", dilation_rate=dilation)
        pool = keras.layers.MaxPooling2D if "max_pool" in faults else keras.layers.AveragePooling2D
        self.third_pool = pool(3, 1, padding="same")
        self.third = Normalized(4, 1, name="third")
        self.flatten = keras.layers.Permute((3, 1, 2)) if "flatten_order" in faults else None
        self.flat = keras.layers.Flatten()
        self.drop = keras.layers.Dropout(0.1 if "dropout_rate" in faults else 0.2)
        start = "glorot_normal" if "initializer" in faults else "glorot_uniform"
        self.logits = keras.layers.Dense(10, kernel_initializer=start, kernel_regularizer=DECAY, name="logits")

    def call(self, inputs, training=None):
        training = bool(training)
        net = inputs["image"] * 2.0 - 1.0
        if self.pad is not None:
            net = self.pad(net)
        net = self.conv_2(self.conv_1(net, training=training), training=training)
        net = self.mixed(self.pool(net), training)
        if self.flatten is not None:
            net = self.flatten(net)
        logits = self.logits(self.drop(self.flat(net), training=training))
        return {"logits": logits, "classes": ops.softmax(logits)}

    def mixed(self, net, training):
        first = self.first(net, training=training)
        second = self.second_reduce(net, training=training)
        second = self.second(second, training=training)
        third = self.third_pool(net)
        third = self.third(net if "wrong_input" in self.faults else third, training=training)
        branches = [second, first, third] if "concat_order" in self.faults else [first, second, third]
        return ops.concatenate(branches, axis=-1)
