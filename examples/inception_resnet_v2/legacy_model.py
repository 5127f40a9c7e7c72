"""Inception-ResNet-v2 as TF1 code: variable scopes, argument scopes and TF-Slim.

The network of Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning" (arXiv:1602.07261), under the variable names of the published checkpoints. It plays the part of the
code somebody still owns: the same file runs on TensorFlow 1.15 with Python 3.7, in a graph and a Session, and on
today's TensorFlow behind `lockstep.tf1`.

The tables hold what distinguishes one block from another; the functions below them hold what the blocks share.
Their order is part of the model: initializers and dropout draw their random numbers in program order.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow.compat.v1 as tf
import tf_slim as slim

CHANNELS = 3  # the axis of a batch of images: (batch, height, width, channels)


class Conv(NamedTuple):
    """A convolution; normalisation and activation come from the argument scope."""

    scope: str
    depth: int
    kernel: int | tuple
    stride: int = 1
    padding: str = "SAME"

    def __call__(self, net):
        return slim.conv2d(net, self.depth, self.kernel, stride=self.stride, padding=self.padding, scope=self.scope)


class MaxPool(NamedTuple):
    """A maximum over 3 x 3 windows that halves height and width."""

    scope: str

    def __call__(self, net):
        return slim.max_pool2d(net, 3, stride=2, padding="VALID", scope=self.scope)


class AvgPool(NamedTuple):
    """A mean over 3 x 3 windows that keeps height and width."""

    scope: str

    def __call__(self, net):
        return slim.avg_pool2d(net, 3, stride=1, padding="SAME", scope=self.scope)


def halving(scope, depth):
    """Return the 3 x 3 convolution with which a branch of a reduction block ends."""
    return Conv(scope, depth, 3, stride=2, padding="VALID")


# 299 x 299 x 3 to 35 x 35 x 192, one layer after the other; each of them is an end point.
STEM = (
    Conv("Conv2d_1a_3x3", 32, 3, stride=2, padding="VALID"),
    Conv("Conv2d_2a_3x3", 32, 3, padding="VALID"),
    Conv("Conv2d_2b_3x3", 64, 3),
    MaxPool("MaxPool_3a_3x3"),
    Conv("Conv2d_3b_1x1", 80, 1, padding="VALID"),
    Conv("Conv2d_4a_3x3", 192, 3, padding="VALID"),
    MaxPool("MaxPool_5a_3x3"),
)

# Every other block is a tuple of branches, each branch a tuple of layers; the branches' outputs are concatenated.
MIXED_5B = (  # to 35 x 35 x 320
    (Conv("Conv2d_1x1", 96, 1),),
    (Conv("Conv2d_0a_1x1", 48, 1), Conv("Conv2d_0b_5x5", 64, 5)),
    (Conv("Conv2d_0a_1x1", 64, 1), Conv("Conv2d_0b_3x3", 96, 3), Conv("Conv2d_0c_3x3", 96, 3)),
    (AvgPool("AvgPool_0a_3x3"), Conv("Conv2d_0b_1x1", 64, 1)),
)
BLOCK35 = (
    (Conv("Conv2d_1x1", 32, 1),),
    (Conv("Conv2d_0a_1x1", 32, 1), Conv("Conv2d_0b_3x3", 32, 3)),
    (Conv("Conv2d_0a_1x1", 32, 1), Conv("Conv2d_0b_3x3", 48, 3), Conv("Conv2d_0c_3x3", 64, 3)),
)
MIXED_6A = (  # to 17 x 17 x 1088
    (halving("Conv2d_1a_3x3", 384),),
    (Conv("Conv2d_0a_1x1", 256, 1), Conv("Conv2d_0b_3x3", 256, 3), halving("Conv2d_1a_3x3", 384)),
    (MaxPool("MaxPool_1a_3x3"),),
)
BLOCK17 = (
    (Conv("Conv2d_1x1", 192, 1),),
    (Conv("Conv2d_0a_1x1", 128, 1), Conv("Conv2d_0b_1x7", 160, (1, 7)), Conv("Conv2d_0c_7x1", 192, (7, 1))),
)
MIXED_7A = (  # to 8 x 8 x 2080
    (Conv("Conv2d_0a_1x1", 256, 1), halving("Conv2d_1a_3x3", 384)),
    (Conv("Conv2d_0a_1x1", 256, 1), halving("Conv2d_1a_3x3", 288)),
    (Conv("Conv2d_0a_1x1", 256, 1), Conv("Conv2d_0b_3x3", 288, 3), halving("Conv2d_1a_3x3", 320)),
    (MaxPool("MaxPool_1a_3x3"),),
)
BLOCK8 = (
    (Conv("Conv2d_1x1", 192, 1),),
    (Conv("Conv2d_0a_1x1", 192, 1), Conv("Conv2d_0b_1x3", 224, (1, 3)), Conv("Conv2d_0c_3x1", 256, (3, 1))),
)


def concatenated(net, branches):
    """Run every branch on `net` under `Branch_0`, `Branch_1`, ... and join what they give along the channels."""
    outputs = []
    for index, layers in enumerate(branches):
        with tf.variable_scope(f"Branch_{index}"):
            output = net
            for layer in layers:
                output = layer(output)
            outputs.append(output)
    return tf.concat(outputs, axis=CHANNELS)


def mixed(net, branches, scope):
    """Replace `net` by the joined outputs of the branches."""
    with tf.variable_scope(scope):
        return concatenated(net, branches)


def residual(net, branches, scale, activation_fn, scope):
    """Return activation(net + scale * projection(branches(net))); the projection alone has biases, no batch norm."""
    with tf.variable_scope(scope):
        joined = concatenated(net, branches)
        depth = net.get_shape().as_list()[CHANNELS]
        projected = slim.conv2d(joined, depth, 1, normalizer_fn=None, activation_fn=None, scope="Conv2d_1x1")
        net = net + projected * scale
        return activation_fn(net) if activation_fn else net


# `slim.repeat` names the scopes after these functions: Repeat/block35_1, Repeat/block35_2, ...
def block35(net, scale=1.0, activation_fn=tf.nn.relu, scope="Block35"):
    """Apply the residual block of the 35 x 35 grid."""
    return residual(net, BLOCK35, scale, activation_fn, scope)


def block17(net, scale=1.0, activation_fn=tf.nn.relu, scope="Block17"):
    """Apply the residual block of the 17 x 17 grid."""
    return residual(net, BLOCK17, scale, activation_fn, scope)


def block8(net, scale=1.0, activation_fn=tf.nn.relu, scope="Block8"):
    """Apply the residual block of the 8 x 8 grid."""
    return residual(net, BLOCK8, scale, activation_fn, scope)


def features(net, activation_fn, end_points):
    """Map images (batch, 299, 299, 3) to features (batch, 8, 8, 1536), noting the stages in `end_points`."""
    for layer in STEM:
        net = end_points[layer.scope] = layer(net)
    net = end_points["Mixed_5b"] = mixed(net, MIXED_5B, "Mixed_5b")
    net = slim.repeat(net, 10, block35, scale=0.17, activation_fn=activation_fn)
    net = end_points["Mixed_6a"] = mixed(net, MIXED_6A, "Mixed_6a")
    net = slim.repeat(net, 20, block17, scale=0.10, activation_fn=activation_fn)
    end_points["PreAuxLogits"] = net
    net = end_points["Mixed_7a"] = mixed(net, MIXED_7A, "Mixed_7a")
    net = slim.repeat(net, 9, block8, scale=0.20, activation_fn=activation_fn)
    net = block8(net, activation_fn=None)
    net = end_points["Conv2d_7b_1x1"] = slim.conv2d(net, 1536, 1, scope="Conv2d_7b_1x1")
    return net


def spatial(net):
    """Return the static height and width of a batch of feature maps."""
    return net.get_shape().as_list()[1:CHANNELS]


def auxiliary_logits(net, num_classes):
    """Classify from the 17 x 17 grid, as a second loss for training: (batch, num_classes)."""
    with tf.variable_scope("AuxLogits"):
        # The published names call this 5 x 5 pooling a convolution; checkpoints and taps depend on the names.
        net = slim.avg_pool2d(net, 5, stride=3, padding="VALID", scope="Conv2d_1a_3x3")
        net = slim.conv2d(net, 128, 1, scope="Conv2d_1b_1x1")
        net = slim.conv2d(net, 768, spatial(net), padding="VALID", scope="Conv2d_2a_5x5")
        return slim.fully_connected(slim.flatten(net), num_classes, activation_fn=None, scope="Logits")


def final_logits(net, num_classes, dropout_keep_prob, end_points):
    """Classify from the last features: global mean, dropout, one linear layer: (batch, num_classes)."""
    with tf.variable_scope("Logits"):
        net = slim.avg_pool2d(net, spatial(net), padding="VALID", scope="AvgPool_1a_8x8")
        end_points["global_pool"] = net
        net = slim.flatten(net)
        net = slim.dropout(net, dropout_keep_prob, scope="Dropout")
        end_points["PreLogitsFlatten"] = net
        return slim.fully_connected(net, num_classes, activation_fn=None, scope="Logits")


def inception_resnet_v2(  # noqa: PLR0917 (the published signature)
    inputs,
    num_classes=1001,
    is_training=True,
    dropout_keep_prob=0.8,
    reuse=None,
    scope="InceptionResnetV2",
    create_aux_logits=True,
    activation_fn=tf.nn.relu,
):
    """Build the whole network; call it inside `inception_resnet_v2_arg_scope`.

    Args:
        inputs: images, (batch, 299, 299, 3) float32.
        num_classes: how many classes the logits have.
        is_training: whether batch norm uses the batch's statistics and dropout drops.
        dropout_keep_prob: the share of features that dropout keeps.
        reuse: whether the variables exist already, as in `tf.variable_scope`.
        scope: the variable scope of everything.
        create_aux_logits: whether to build the auxiliary classifier.
        activation_fn: the activation behind each residual sum.

    Returns:
        The logits, (batch, num_classes), and a dict of intermediate tensors by name.
    """
    end_points = {}
    mode = slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training)
    with tf.variable_scope(scope, "InceptionResnetV2", [inputs], reuse=reuse), mode:
        net = features(inputs, activation_fn, end_points)
        if create_aux_logits:
            end_points["AuxLogits"] = auxiliary_logits(end_points["PreAuxLogits"], num_classes)
        logits = final_logits(net, num_classes, dropout_keep_prob, end_points)
        end_points["Logits"] = logits
        end_points["Predictions"] = tf.nn.softmax(logits, name="Predictions")
    return logits, end_points


def inception_resnet_v2_arg_scope(
    weight_decay=0.00004,
    batch_norm_decay=0.9997,
    batch_norm_epsilon=0.001,
    activation_fn=tf.nn.relu,
    batch_norm_updates_collections=tf.GraphKeys.UPDATE_OPS,
    batch_norm_scale=False,
):
    """Return the argument scope that gives the layers their regularizers, batch norm and activation.

    Args:
        weight_decay: the factor of the L2 loss on weights and biases.
        batch_norm_decay: how much of the moving averages survives a step.
        batch_norm_epsilon: what batch norm adds to the variance.
        activation_fn: the activation behind every normalised convolution.
        batch_norm_updates_collections: where the updates of the moving averages go; None updates them in place.
        batch_norm_scale: whether batch norm has a gamma.
    """
    batch_norm = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
        "fused": None,  # slim's own choice: fused for rank 4
        "scale": batch_norm_scale,
    }
    l2 = slim.l2_regularizer(weight_decay)
    regularized = slim.arg_scope([slim.conv2d, slim.fully_connected], weights_regularizer=l2, biases_regularizer=l2)
    normalized = slim.arg_scope(
        [slim.conv2d], activation_fn=activation_fn, normalizer_fn=slim.batch_norm, normalizer_params=batch_norm
    )
    with regularized, normalized as scope:
        return scope


def forward(inputs, training):
    """Run the guide's configuration: gamma in every batch norm and 1000 classes.

    Args:
        inputs: a dict with the images under `image`, (batch, 299, 299, 3) float32.
        training: whether to run in training mode.
    """
    with slim.arg_scope(inception_resnet_v2_arg_scope(batch_norm_scale=True)):
        return inception_resnet_v2(inputs["image"], num_classes=1000, is_training=training)
