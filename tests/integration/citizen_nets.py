"""TF1-style networks in Keras layers, importable by the tests and by the fresh processes that they start."""

import keras
import tensorflow as tf
import tf_slim as slim

from lockstep import tf1

tf1.enable()
v1 = tf.compat.v1
FEATURES = 6


def l2(scale):
    return lambda weights: scale * tf.nn.l2_loss(weights)


def layers_net(x, training):
    with v1.variable_scope("net"):
        h = v1.layers.dense(x, 8, activation=tf.nn.relu, kernel_regularizer=l2(0.01), name="hidden")
        h = v1.layers.batch_normalization(h, training=training, momentum=0.9)
        h = v1.layers.dropout(h, 0.1, training=training)
        return v1.layers.dense(h, 1, name="out")


def slim_net(x, training):
    norm = {"is_training": training, "decay": 0.9, "scale": True}
    with slim.arg_scope([slim.fully_connected], weights_regularizer=slim.l2_regularizer(0.01)):
        h = slim.fully_connected(x, 8, normalizer_fn=slim.batch_norm, normalizer_params=norm, scope="hidden")
    h = slim.dropout(h, 0.9, is_training=training)
    return slim.fully_connected(h, 1, activation_fn=None, scope="out")


def variable_net(x, training):
    with v1.variable_scope("net"):
        w = v1.get_variable("w", [FEATURES, 8], regularizer=l2(0.01))
        mean = v1.get_variable("mean", [8], initializer=v1.zeros_initializer(), trainable=False)
        h = tf.matmul(x, w)
        if training:
            mean.assign(0.9 * mean + 0.1 * tf.cast(tf.reduce_mean(h, 0), mean.dtype))
        return tf.matmul(tf.nn.relu(h), v1.get_variable("v", [8, 1]))


def auxiliary_net(x, training):
    """With a head, and so with variables, that only training has."""
    with v1.variable_scope("net"):
        h = v1.layers.dense(x, 8, activation=tf.nn.relu, name="hidden", kernel_regularizer=l2(0.01))
        main = v1.layers.dense(h, 1, name="out")
        return main + v1.layers.dense(h, 1, name="auxiliary") if training else main


def twin_net(x, training, swapped=False):
    """Two branches whose variables have equal shapes, made in one order or the other."""
    del training
    names = ["left", "right"]
    made = {n: v1.layers.dense(x, 1, name=n) for n in (reversed(names) if swapped else names)}
    return made["left"] - 2 * made["right"]


def swapped_twin_net(x, training):
    return twin_net(x, training, swapped=True)


def embedding_net(x, training):
    del training
    table = v1.get_variable("table", [10, 4])
    return v1.layers.dense(tf.reduce_mean(tf.nn.embedding_lookup(table, x), 1), 1)


def conv_net(x, training):
    """A small mobile net: separable convolutions, batch norm everywhere, an auxiliary head in training."""
    norm = {"is_training": training, "decay": 0.9}
    with slim.arg_scope(
        [slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm,
        weights_regularizer=slim.l2_regularizer(1e-4),
    ):  # fmt: skip
        h = slim.conv2d(x, 8, [3, 3], stride=2, scope="stem")
        for block in range(2):
            h = slim.separable_conv2d(h, None, [3, 3], 1, scope=f"block{block}_depthwise")
            h = slim.conv2d(h, 8, [1, 1], scope=f"block{block}_pointwise")
        pooled = tf.reduce_mean(h, [1, 2])
        logits = slim.fully_connected(pooled, 3, activation_fn=None, scope="logits")
        if training:
            logits += 0.3 * slim.fully_connected(pooled, 3, activation_fn=None, scope="auxiliary")
        return logits


NETS = {name: function for name, function in globals().items() if name.endswith("_net")}
KINDS = ["layers_net", "slim_net", "variable_net"]


@keras.saving.register_keras_serializable("citizen")
class Net(keras.layers.Layer):
    """A Keras layer around one of the networks, with a native weight beside."""

    def __init__(self, kind="layers_net", native=False, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.native = native

    def build(self, input_shape):
        del input_shape
        if self.native:
            self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

    @tf1.track_tf1_style_variables
    def call(self, x, training=False):
        outputs = NETS[self.kind](x, training)
        return outputs * self.gain if self.native else outputs

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "native": self.native}


@keras.saving.register_keras_serializable("citizen")
class NetModel(keras.Model):
    """A subclassed model whose own `call` is TF1-style."""

    def __init__(self, kind="layers_net", **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    @tf1.track_tf1_style_variables
    def call(self, x, training=False):
        return NETS[self.kind](x, training)

    def get_config(self):
        return {"kind": self.kind, "name": self.name}


@keras.saving.register_keras_serializable("citizen")
class Outer(keras.Model):
    """A subclassed model that holds a decorated layer."""

    def __init__(self, kind="layers_net", **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.inner = Net(kind)

    def call(self, x, training=False):
        return self.inner(x, training=training)

    def get_config(self):
        return {"kind": self.kind, "name": self.name}


@keras.saving.register_keras_serializable("citizen")
class Holder(keras.layers.Layer):
    """A layer that makes native Keras layers by name."""

    def __init__(self, names=("a", "b"), **kwargs):
        super().__init__(**kwargs)
        self.names = tuple(names)

    @tf1.track_tf1_style_variables
    def call(self, x):
        made = {n: tf1.get_or_create_layer(f"scope/{n}", lambda: keras.layers.Dense(1)) for n in self.names}
        scale = v1.get_variable("scale", [], initializer=v1.ones_initializer())
        return (made["a"](x) - 2 * made["b"](x)) * scale

    def get_config(self):
        return {**super().get_config(), "names": list(self.names)}


def functional(kind="layers_net", shape=(FEATURES,), **kwargs):
    inputs = keras.Input(shape)
    return keras.Model(inputs, Net(kind, **kwargs)(inputs))


MODELS = {
    "functional": functional,
    "sequential": lambda kind: keras.Sequential([Net(kind)]),
    "subclassed": NetModel,
    "holding": Outer,
}
