"""The decoder rewritten in Keras 3."""

import keras
import tensorflow as tf
from keras import ops


def build(faults):
    """Make the rewrite."""
    return Decoder(faults)


def bilinear(net, size, corners=False, centres=False):
    """Resize as TF1 does; Keras's own resizing always centres its pixels."""
    return tf.raw_ops.ResizeBilinear(images=net, size=[size, size], align_corners=corners, half_pixel_centers=centres)


class Decoder(keras.Model):
    """Keras layers in the order of the TF1 code."""

    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.project = keras.layers.Dense(72, name="project")
        self.unflat = keras.layers.Reshape((3, 3, 8) if "flatten_order" in faults else (8, 3, 3))
        self.channels_last = None if "flatten_order" in faults else keras.layers.Permute((2, 3, 1))
        start = "he_uniform" if "initializer" in faults else "glorot_uniform"
        self.up_1 = keras.layers.Conv2DTranspose(8, 4, 2, "same", use_bias=False, kernel_initializer=start, name="up_1")
        self.norm = keras.layers.BatchNormalization(
            momentum=0.9 if "momentum" in faults else 0.8, epsilon=1e-5 if "epsilon" in faults else 2e-5, name="norm"
        )
        activation = None if "no_activation" in faults else "elu" if "elu" in faults else "softplus"
        self.up_2 = keras.layers.Conv2DTranspose(6, 3, padding="same", activation=activation, name="up_2")
        self.colours = keras.layers.Conv2D(3, 3, padding="same", activation="tanh", name="colours")
        self.resize = keras.layers.Resizing(13, 13) if "half_pixel" in faults else None

    def call(self, inputs, training=None):
        faults = self.faults
        net = self.unflat(self.project(inputs["code"]))
        net = net if self.channels_last is None else self.channels_last(net)
        net = ops.relu(self.norm(self.up_1(net), training=bool(training)))
        net = bilinear(net, 9, corners="align_corners" not in faults)
        net = self.up_2(net)
        if "half_pixel" in faults:
            net = self.resize(net)
        else:
            net = bilinear(net, 13, corners="larger_corners" in faults)
        if "rough_average" in faults:
            rough = bilinear(net, 5)
        else:
            rough = tf.raw_ops.ResizeNearestNeighbor(images=net, size=[5, 5])
        image = self.colours(net)
        if "variance" in faults:
            return {"image": image, "rough": rough, "spread": ops.var(image, axis=[1, 2])}
        return {"image": image, "rough": rough, "spread": ops.std(image, axis=[1, 2])}
