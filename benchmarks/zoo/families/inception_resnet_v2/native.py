"""The guide's network rewritten in Keras 3: layers nested and named as the scopes were."""

import pathlib

import keras
from benchmarks.zoo.catalogue import module
from benchmarks.zoo.keras_layers import FusedBatchNormalization
from keras import ops

# What distinguishes one block from another is data that both sides share; what is done with it is written anew.
tables = module(pathlib.Path(__file__).parents[4] / "examples/inception_resnet_v2/legacy_model.py")
DECAY = keras.regularizers.L2(0.00002)  # `slim.l2_regularizer(0.00004)` carries a half


def build(faults):
    """Make the rewrite."""
    return InceptionResnetV2(faults)


class Normalized(keras.layers.Layer):
    """A convolution without bias, batch normalisation, ReLU."""

    def __init__(self, depth, size, stride=1, padding="SAME", faults=frozenset(), name=None):
        super().__init__(name=name)
        self.conv = keras.layers.Conv2D(
            depth, size, stride, padding.lower(), use_bias=False, kernel_regularizer=DECAY, name="conv"
        )
        self.norm = FusedBatchNormalization(
            momentum=0.99 if "momentum" in faults else 0.9997,
            epsilon=0.002 if "epsilon" in faults else 0.001,
            name="norm",
        )

    def call(self, net, training=False):
        return ops.relu(self.norm(self.conv(net), training=training))


def made(layer, faults):
    if isinstance(layer, tables.MaxPool):
        return keras.layers.MaxPooling2D(3, 2, name=layer.scope)
    if isinstance(layer, tables.AvgPool):
        pool = keras.layers.MaxPooling2D if "max_pool" in faults else keras.layers.AveragePooling2D
        return pool(3, 1, "same", name=layer.scope)
    return Normalized(layer.depth, layer.kernel, layer.stride, layer.padding, faults, name=layer.scope)


def applied(layer, net, training):
    return layer(net, training=training) if isinstance(layer, Normalized) else layer(net)


class Branch(keras.layers.Layer):
    """Layers one after the other."""

    def __init__(self, layers, faults, name):
        super().__init__(name=name)
        self.stages = [made(layer, faults) for layer in layers]

    def call(self, net, training=False):
        for layer in self.stages:
            net = applied(layer, net, training)
        return net


class Mixed(keras.layers.Layer):
    """Branches, joined along the channels."""

    def __init__(self, branches, name, faults=frozenset()):
        super().__init__(name=name)
        self.branches = [Branch(layers, faults, f"Branch_{index}") for index, layers in enumerate(branches)]

    def call(self, net, training=False):
        return ops.concatenate([branch(net, training=training) for branch in self.branches], axis=-1)


class Block(Mixed):
    """activation(net + scale * projection(branches(net)))."""

    def __init__(self, branches, depth, scale, name, faults=frozenset(), activated=True):
        super().__init__(branches, name, faults)
        bias_decay = None if "no_bias_decay" in faults else DECAY
        self.projection = keras.layers.Conv2D(
            depth, 1, kernel_regularizer=DECAY, bias_regularizer=bias_decay, name="Conv2d_1x1"
        )
        self.factor, self.activated = scale, activated

    def call(self, net, training=False):
        net = net + self.projection(super().call(net, training=training)) * self.factor
        return ops.relu(net) if self.activated else net


class Repeat(keras.layers.Layer):
    """Blocks one after the other."""

    def __init__(self, blocks, name):
        super().__init__(name=name)
        self.blocks = blocks

    def call(self, net, training=False):
        for block in self.blocks:
            net = block(net, training=training)
        return net


class Auxiliary(keras.layers.Layer):
    """The classifier in the middle."""

    def __init__(self):
        super().__init__(name="AuxLogits")
        self.pool = keras.layers.AveragePooling2D(5, 3)
        self.first = Normalized(128, 1, name="Conv2d_1b_1x1")
        self.second = Normalized(768, 5, padding="VALID", name="Conv2d_2a_5x5")
        self.flat = keras.layers.Flatten()
        self.logits = classifier()

    def call(self, net, training=False):
        return self.logits(self.flat(self.second(self.first(self.pool(net), training=training), training=training)))


class Head(keras.layers.Layer):
    """The classifier at the end."""

    def __init__(self, faults):
        super().__init__(name="Logits")
        self.drop = keras.layers.Dropout(0.8 if "keep_prob" in faults else 0.2)
        self.flat = keras.layers.Flatten()
        self.logits = classifier()

    def call(self, net, training=False):
        pooled = ops.mean(net, axis=[1, 2], keepdims=True)
        dropped = self.drop(self.flat(pooled), training=training)
        logits = self.logits(dropped)
        return {"global_pool": pooled, "PreLogitsFlatten": dropped, "Logits": logits}


def classifier():
    return keras.layers.Dense(1000, kernel_regularizer=DECAY, bias_regularizer=DECAY, name="Logits")


class InceptionResnetV2(keras.Model):
    """The whole network."""

    def __init__(self, faults):
        super().__init__(name="InceptionResnetV2")
        self.stem = [made(layer, faults & {"momentum"}) for layer in tables.STEM]
        self.mixed_5b = Mixed(tables.MIXED_5B, "Mixed_5b", faults & {"max_pool"})
        # Every block is made alike, but for the one in which something is to be wrong.
        self.repeat = Repeat([Block(tables.BLOCK35, 320, 0.17, f"block35_{n}") for n in range(1, 11)], "Repeat")
        self.mixed_6a = Mixed(tables.MIXED_6A, "Mixed_6a")
        seventh = 0.11 if "block17_7_scale" in faults else 0.10
        self.repeat_1 = Repeat(
            [
                Block(tables.BLOCK17, 1088, seventh if n == 7 else 0.10, f"block17_{n}", block_faults(faults, n))
                for n in range(1, 21)
            ],
            "Repeat_1",
        )
        self.mixed_7a = Mixed(tables.MIXED_7A, "Mixed_7a")
        self.repeat_2 = Repeat([Block(tables.BLOCK8, 2080, 0.20, f"block8_{n}") for n in range(1, 10)], "Repeat_2")
        self.block8 = Block(tables.BLOCK8, 2080, 1.0, "Block8", activated="last_activation" in faults)
        self.conv_7b = Normalized(1536, 1, name="Conv2d_7b_1x1")
        self.auxiliary = Auxiliary()
        self.head = Head(faults)

    def call(self, inputs, training=None):
        training = bool(training)
        net, points = inputs["image"], {}
        for layer in self.stem:
            net = points[layer.name] = applied(layer, net, training)
        net = points["Mixed_5b"] = self.mixed_5b(net, training=training)
        net = self.repeat(net, training=training)
        net = points["Mixed_6a"] = self.mixed_6a(net, training=training)
        net = points["PreAuxLogits"] = self.repeat_1(net, training=training)
        points["AuxLogits"] = self.auxiliary(net, training=training)
        net = points["Mixed_7a"] = self.mixed_7a(net, training=training)
        net = self.block8(self.repeat_2(net, training=training), training=training)
        net = points["Conv2d_7b_1x1"] = self.conv_7b(net, training=training)
        points.update(self.head(net, training=training))
        points["Predictions"] = ops.softmax(points["Logits"])
        return points["Logits"], points


def block_faults(faults, number):
    return faults & {"epsilon", "no_bias_decay"} if number == 7 else frozenset()
