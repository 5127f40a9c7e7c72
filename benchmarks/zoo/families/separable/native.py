"""The mobile network rewritten in Keras 3."""

import keras
from benchmarks.zoo.keras_layers import FusedBatchNormalization
from keras import ops


def build(faults):
    """Make the rewrite."""
    return Separable(faults)


class Normalized(keras.layers.Layer):
    """Any convolution without bias, then batch normalisation without gamma, then ReLU6."""

    def __init__(self, conv, faults=frozenset(), name=None):
        super().__init__(name=name)
        self.conv = conv
        self.norm = FusedBatchNormalization(
            momentum=0.9 if "momentum" in faults else 0.95,
            epsilon=1.5e-3 if "epsilon" in faults else 1e-3,
            scale=False,
            updates="no_updates" not in faults,
            name="norm",
        )
        self.activation = ops.relu if "relu" in faults else ops.silu if "silu" in faults else ops.relu6

    def call(self, inputs, training=False):
        return self.activation(self.norm(self.conv(inputs), training=training))


def convolution(filters, size, **options):
    return keras.layers.Conv2D(filters, size, padding="same", use_bias=False, name="conv", **options)


def depthwise(**options):
    # Xavier counts a depthwise kernel's inputs and outputs as those of any other kernel, and so does Keras.
    return keras.layers.DepthwiseConv2D(3, use_bias=False, name="conv", **{"padding": "same", **options})


class Separable(keras.Model):
    """Keras layers in the order of the TF1 code."""

    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.stem = Normalized(convolution(8, 3, strides=2), name="stem")
        rate = 2 if "dilation" in faults else 1
        self.depthwise_1 = Normalized(depthwise(dilation_rate=rate), faults & {"silu"}, name="depthwise_1")
        self.pointwise_1 = Normalized(convolution(12, 1), faults & {"epsilon", "no_updates"}, name="pointwise_1")
        self.pad = keras.layers.ZeroPadding2D(1) if "padding" in faults else None
        padding = {"padding": "valid"} if "padding" in faults else {}
        self.depthwise_2 = Normalized(depthwise(strides=2, **padding), faults & {"momentum"}, name="depthwise_2")
        self.pointwise_2 = Normalized(convolution(16, 1), name="pointwise_2")
        start = "glorot_normal" if "initializer" in faults else "glorot_uniform"
        self.reduce = keras.layers.Conv2D(4, 1, activation="relu", kernel_initializer=start, name="reduce")
        self.expand = keras.layers.Conv2D(16, 1, name="expand")
        self.joint = keras.layers.SeparableConv2D(
            16, 3, depth_multiplier=2, padding="same", use_bias="no_bias" not in faults, name="joint"
        )
        flat = "global_max" if "max_pool" in faults else "global_average"
        self.pool = {
            "global_max": keras.layers.GlobalMaxPooling2D,
            "global_average": keras.layers.GlobalAveragePooling2D,
        }[flat]()
        self.logits = keras.layers.Dense(6, name="logits")

    def call(self, inputs, training=None):
        training = bool(training)
        net = inputs["image"] / 255.0 if "image_range" in self.faults else (inputs["image"] - 127.5) / 127.5
        for layer in (self.stem, self.depthwise_1, self.pointwise_1):
            net = layer(net, training=training)
        if self.pad is not None:
            net = self.pad(net)
        net = self.pointwise_2(self.depthwise_2(net, training=training), training=training)
        net = self.excited(net)
        net = ops.relu6(self.joint(net) * (90.0 if "amplifier" in self.faults else 100.0))
        logits = self.logits(self.pool(net))
        return {"logits": logits, "scores": ops.log_softmax(logits)}

    def excited(self, net):
        gate = self.expand(self.reduce(ops.mean(net, axis=[1, 2], keepdims=True)))
        if "sigmoid" in self.faults:
            return net * ops.sigmoid(gate)
        shift = 0.5 if "gate_shift" in self.faults else 3.0
        return net * (ops.relu6(gate + shift) * (1.0 / 6.0))
