"""Small nets of tf_slim and what they compute, in a graph; runs on TensorFlow 1.15 with Python 3.7 and on today's.

`recorded_slim_cases.json` beside it is what it prints under TensorFlow 1.15.5 and tf_slim 1.1.0, untouched:

    python tests/integration/slim_cases.py > tests/integration/recorded_slim_cases.json
"""

import json
import os
import zlib

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim as slim
from tf_slim.layers import normalization

CHANNELS_LAST_4D = (2, 6, 6, 3)
HEAD = 6  # how many values of a tensor are kept beside its sum


def batch_norm(**options):
    return lambda x: slim.batch_norm(x, **options)


def image(net):
    return CHANNELS_LAST_4D, net


def rank_2(net):
    return (4, 5), net


def regularized_branches(x):
    """Run most of what the published nets use: argument scopes, repeat, stack, norms, pools, dropout at inference."""
    batch_norm_params = {"decay": 0.9, "scale": True}
    with slim.arg_scope([slim.conv2d, slim.fully_connected], weights_regularizer=slim.l2_regularizer(0.1)):
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=batch_norm_params):
            net = slim.conv2d(x, 4, 3, scope="stem")
            net = slim.repeat(net, 2, slim.conv2d, 4, [3, 1], scope="repeated")
            with tf.variable_scope("branches"):
                left = slim.conv2d(net, 2, 1)
                right = slim.max_pool2d(slim.conv2d(net, 2, 1), 3, stride=1, padding="SAME")
            net = tf.concat([left, right], 3)
        net = slim.stack(net, slim.conv2d, [(3, 3), (2, 1)], scope="stacked")
        net = slim.flatten(slim.avg_pool2d(net, 2))
        net = slim.dropout(net, 0.5, is_training=False)
        net = slim.fully_connected(net, 3, activation_fn=None, biases_regularizer=slim.l1_regularizer(0.2))
    return slim.softmax(net)


def losses(x):
    logits = slim.fully_connected(slim.flatten(x), 3, activation_fn=None)
    slim.losses.softmax_cross_entropy(logits, tf.constant([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    slim.losses.mean_squared_error(logits, tf.ones_like(logits), weights=0.5)
    return slim.losses.get_total_loss(add_regularization_losses=False)


def model_variables(x):
    scale = slim.model_variable("scale", [3], initializer=tf.ones_initializer(), regularizer=slim.l2_regularizer(1.0))
    offset = slim.variable("offset", initializer=tf.constant([1.0, 2.0, 3.0]))
    return x * scale + offset


def collected(x):
    """Ask for the end points by name, and for the kernels of two layers in one collection of the caller's own."""
    with slim.arg_scope([slim.conv2d], outputs_collections="ends", variables_collections=["kernels"]):
        net = slim.conv2d(slim.conv2d(x, 2, 3, scope="first"), 3, 1, scope="second")
    ends = slim.utils.convert_collection_to_dict("ends", clear_collection=True)
    return net + ends["first"][..., :1] * float(len(tf.get_collection("kernels")))


def normalized_conv(x):
    return slim.conv2d(x, 4, 3, normalizer_fn=slim.batch_norm, scope="c")


def inference(x):
    with slim.arg_scope([slim.batch_norm], is_training=False):
        return normalized_conv(x)


def reused(x):
    first = slim.conv2d(x, 3, 1, scope="shared")
    return slim.conv2d(first, 3, 1, scope="shared", reuse=True)


CASES = {
    "arg_scopes_and_the_usual_layers": image(regularized_branches),
    "avg_pool2d": image(lambda x: slim.avg_pool2d(x, 3, stride=2, padding="SAME")),
    "batch_norm": image(batch_norm(decay=0.9)),
    "batch_norm_not_fused": image(batch_norm(decay=0.9, scale=True, fused=False)),
    "batch_norm_in_place": image(batch_norm(decay=0.9, scale=True, updates_collections=None)),
    "batch_norm_in_place_not_fused": image(batch_norm(decay=0.9, updates_collections=None, fused=False)),
    "batch_norm_own_collection": image(batch_norm(decay=0.9, updates_collections="own")),
    "batch_norm_rank_2": rank_2(batch_norm(decay=0.9, scale=True)),
    "batch_norm_rank_2_not_fused": rank_2(batch_norm(decay=0.9, scale=True, fused=False)),
    "batch_norm_uncentred": image(batch_norm(decay=0.9, center=False, scale=True)),
    "batch_norm_weighted": image(batch_norm(decay=0.9, batch_weights=np.float32([1.0, 3.0]))),
    "batch_norm_zero_debias": image(batch_norm(decay=0.9, zero_debias_moving_mean=True)),
    "batch_norm_inference": image(inference),
    "bias_add": image(slim.bias_add),
    "conv1d": ((2, 7, 3), lambda x: slim.conv1d(x, 4, 3)),
    "conv2d": image(lambda x: slim.conv2d(x, 4, [3, 2], stride=2)),
    "conv2d_dilated": image(lambda x: slim.conv2d(x, 4, 3, rate=2, padding="VALID")),
    "conv2d_in_plane": image(lambda x: slim.conv2d_in_plane(x, 3)),
    "conv2d_normalized": image(normalized_conv),
    "conv2d_transpose": image(lambda x: slim.conv2d_transpose(x, 4, 3, stride=2)),
    "conv3d": ((2, 4, 4, 4, 2), lambda x: slim.conv3d(x, 3, 2)),
    "conv3d_transpose": ((1, 3, 3, 3, 2), lambda x: slim.conv3d_transpose(x, 3, 2, stride=2)),
    "collections": image(collected),
    "fully_connected": image(lambda x: slim.fully_connected(x, 4)),
    "fully_connected_normalized": rank_2(lambda x: slim.fully_connected(x, 4, normalizer_fn=slim.batch_norm)),
    "gdn": image(lambda x: slim.gdn(x, gamma_init=0.2, name="divided")),
    "group_norm": ((2, 4, 4, 4), lambda x: normalization.group_norm(x, groups=2)),
    "instance_norm": image(normalization.instance_norm),
    "layer_norm": image(slim.layer_norm),
    "losses": image(losses),
    "max_pool2d": image(lambda x: slim.max_pool2d(x, 3)),
    "max_pool3d": ((2, 4, 4, 4, 2), lambda x: slim.max_pool3d(x, 2)),
    "model_variables": image(model_variables),
    "reuse": image(reused),
    "separable_conv2d": image(lambda x: slim.separable_conv2d(x, 4, 3, 2)),
    "separable_conv2d_depthwise_only": image(
        lambda x: slim.separable_conv2d(x, None, 3, 2, normalizer_fn=slim.batch_norm)
    ),
    "unit_norm": image(lambda x: slim.unit_norm(x, 3)),
}


def input_of(case):
    """Return the input of a case: float32, the same everywhere."""
    shape, _ = CASES[case]
    return np.random.RandomState(zlib.crc32(case.encode())).uniform(-1.0, 1.0, shape).astype("float32")


def starting_value(name, shape):
    """Return the value that a variable gets before the run: away from 0 and 1, where mistakes hide."""
    return np.random.RandomState(zlib.crc32(name.encode())).uniform(0.5, 1.5, shape).astype("float32")


def figures(array):
    """Return what is kept of an array: shape, sum of magnitudes in double precision, and its first values."""
    flat = np.asarray(array, "float64").ravel()
    head = [float(f"{value:.9g}") for value in flat[:HEAD]]  # nine digits tell all float32 values apart
    return {"shape": list(np.shape(array)), "magnitude": float(f"{np.abs(flat).sum():.9g}"), "head": head}


def run_in_graph(case):
    """Run a case in a graph of its own: outputs, gradients of sum(output ** 2), then one update of the averages."""
    with tf.Graph().as_default(), tf.Session() as session:
        output = CASES[case][1](tf.constant(input_of(case)))
        variables = tf.global_variables()
        trainable = tf.trainable_variables()
        # Some nets pass no gradient at all to a variable; zero then says what None says.
        gradients = tf.gradients(tf.reduce_sum(output * output), trainable, unconnected_gradients="zero")
        penalties = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS) + tf.get_collection("own")
        session.run(tf.global_variables_initializer())
        session.run([v.assign(starting_value(v.op.name, v.shape.as_list())) for v in variables])
        # One run, so that what updates in place does so once; the values of all else are those from before.
        output, gradients, penalties, _ = session.run([output, gradients, penalties, updates])
        return {
            "output": figures(output),
            "variables": [v.op.name for v in variables],
            "gradients": {v.op.name: figures(g) for v, g in zip(trainable, gradients)},  # noqa: B905
            "penalty": float(np.sum(np.float64(penalties))),
            "after": {v.op.name: figures(session.run(v)) for v in variables},
        }


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf.logging.set_verbosity(tf.logging.ERROR)
    print(json.dumps({case: run_in_graph(case) for case in sorted(CASES)}, sort_keys=True, indent=None))
