"""The guide's network behind the shim, put together anew so that mistakes can be planted."""

import pathlib

import keras
import tensorflow.compat.v1 as tf
import tf_slim as slim
from benchmarks.zoo.catalogue import module

from lockstep import tf1

# What distinguishes one block from another is data that both sides share; what is done with it is written anew.
tables = module(pathlib.Path(__file__).parents[4] / "examples/inception_resnet_v2/legacy_model.py")


def build(faults):
    """Make the migration."""
    return InceptionResnetV2(faults)


class InceptionResnetV2(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def forward(inputs, training, faults):
    norm = {
        "decay": 0.999 if "momentum" in faults else 0.9997,
        "epsilon": 0.002 if "epsilon" in faults else 0.001,
        "scale": "no_gamma" not in faults,
        "is_training": training,
    }
    decay = slim.l2_regularizer(0.00005 if "weight_decay" in faults else 0.00004)
    normalized = slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm)
    regularized = slim.arg_scope(
        [slim.conv2d, slim.fully_connected], weights_regularizer=decay, biases_regularizer=decay
    )
    with regularized, normalized, tf.variable_scope("InceptionResnetV2"):
        return network(inputs["image"], training, faults)


def network(net, training, faults):
    points = {}
    for layer in tables.STEM:
        net = points[layer.scope] = apply(layer, net)
    net = points["Mixed_5b"] = mixed(net, tables.MIXED_5B, "Mixed_5b", max_pool="max_pool" in faults)
    scale = 0.1 if "block35_scale" in faults else 0.17
    for number in range(1, 11):
        net = residual(net, tables.BLOCK35, scale, f"Repeat/block35_{number}")
    net = points["Mixed_6a"] = mixed(net, tables.MIXED_6A, "Mixed_6a")
    for number in range(1, 21):
        scale = 0.11 if "block17_7_scale" in faults and number == 7 else 0.10
        net = residual(net, tables.BLOCK17, scale, f"Repeat_1/block17_{number}")
    before_auxiliary = points["PreAuxLogits"] = net
    net = points["Mixed_7a"] = mixed(net, tables.MIXED_7A, "Mixed_7a")
    for number in range(1, 10):
        swapped = "concat_order" in faults and number == 4
        net = residual(net, tables.BLOCK8, 0.20, f"Repeat_2/block8_{number}", swapped=swapped)
    net = residual(net, tables.BLOCK8, 1.0, "Block8", activated="last_activation" in faults)
    net = points["Conv2d_7b_1x1"] = slim.conv2d(net, 1536, 1, scope="Conv2d_7b_1x1")
    points["AuxLogits"] = auxiliary(before_auxiliary)
    with tf.variable_scope("Logits"):
        net = slim.avg_pool2d(net, spatial(net), padding="VALID", scope="AvgPool_1a_8x8")
        points["global_pool"] = net
        net = slim.flatten(net)
        keep = 0.2 if "keep_prob" in faults else 0.8
        net = points["PreLogitsFlatten"] = slim.dropout(net, keep, is_training=training, scope="Dropout")
        logits = points["Logits"] = slim.fully_connected(net, 1000, activation_fn=None, scope="Logits")
    points["Predictions"] = tf.nn.softmax(logits, name="Predictions")
    return logits, points


def spatial(net):
    return net.shape.as_list()[1:3]


def apply(layer, net, max_pool=False):
    if isinstance(layer, tables.MaxPool):
        return slim.max_pool2d(net, 3, stride=2, padding="VALID", scope=layer.scope)
    if isinstance(layer, tables.AvgPool):
        pool = slim.max_pool2d if max_pool else slim.avg_pool2d
        return pool(net, 3, stride=1, padding="SAME", scope=layer.scope)
    return slim.conv2d(net, layer.depth, layer.kernel, stride=layer.stride, padding=layer.padding, scope=layer.scope)


def joined(net, branches, swapped=False, max_pool=False):
    outputs = []
    for index, branch in enumerate(branches):
        with tf.variable_scope(f"Branch_{index}"):
            output = net
            for layer in branch:
                output = apply(layer, output, max_pool)
            outputs.append(output)
    return tf.concat(outputs[::-1] if swapped else outputs, axis=3)


def mixed(net, branches, scope, max_pool=False):
    with tf.variable_scope(scope):
        return joined(net, branches, max_pool=max_pool)


def residual(net, branches, scale, scope, activated=True, swapped=False):
    with tf.variable_scope(scope):
        output = joined(net, branches, swapped)
        output = slim.conv2d(output, net.shape[3], 1, normalizer_fn=None, activation_fn=None, scope="Conv2d_1x1")
        net = net + output * scale
        return tf.nn.relu(net) if activated else net


def auxiliary(net):
    with tf.variable_scope("AuxLogits"):
        net = slim.avg_pool2d(net, 5, stride=3, padding="VALID", scope="Conv2d_1a_3x3")
        net = slim.conv2d(net, 128, 1, scope="Conv2d_1b_1x1")
        net = slim.conv2d(net, 768, spatial(net), padding="VALID", scope="Conv2d_2a_5x5")
        return slim.fully_connected(slim.flatten(net), 1000, activation_fn=None, scope="Logits")
