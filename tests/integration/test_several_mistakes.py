"""Mistakes next to each other in a native rewrite, which spells out what the original does in one operation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1

v1 = tf.compat.v1
INPUTS = {"image": np.random.default_rng(4).random((4, 12, 12, 3), dtype=np.float32)}


@pytest.fixture(autouse=True)
def tf1_code():
    tf1.enable()
    yield
    tf1.disable()


def original(inputs, training):
    net = v1.layers.conv2d(inputs["image"], 8, 3, padding="same", activation=tf.nn.relu, name="conv")
    net = v1.layers.batch_normalization(net, training=training, epsilon=1e-3, name="norm")
    return {"logits": v1.layers.dense(tf.reduce_mean(net, [1, 2]), 5, name="head")}


def rewrite(activation="relu", epsilon=1e-3, momentum=0.99):
    def build():
        x = keras.Input([12, 12, 3], name="image")
        net = keras.layers.Conv2D(8, 3, padding="same", activation=activation, name="conv")(x)
        net = keras.layers.BatchNormalization(epsilon=epsilon, momentum=momentum, name="norm")(net)
        net = keras.layers.GlobalAveragePooling2D(name="pool")(net)
        return keras.Model({"image": x}, {"logits": keras.layers.Dense(5, name="head")(net)})

    return lockstep.keras(build)


def culprits(**mistakes):
    report = lockstep.verify(lockstep.tf1_graph(original), rewrite(**mistakes), INPUTS)
    assert report.verdict == "diverged"
    return {(str(culprit.reference), culprit.pitfall) for culprit in report.culprits}


VARIANCE = ("norm/moving_variance", "unbiased-variance")  # TF1's fused batch norm keeps n / (n - 1) times Keras's


@pytest.mark.parametrize(
    ("mistakes", "expected"),
    [
        ({}, set()),
        ({"activation": "elu"}, {("conv/Relu", "wrong-activation")}),
        ({"activation": None}, {("conv/Relu", "missing-activation")}),
        (
            {"activation": "elu", "epsilon": 1e-5, "momentum": 0.9},
            {
                ("conv/Relu", "wrong-activation"),
                ("norm/FusedBatchNormV3", "epsilon"),
                ("norm/moving_mean", "momentum"),  # of both averages: one argument, which is told once
            },
        ),
    ],
)
def test_each_has_its_place_and_its_cause(mistakes, expected):
    assert culprits(**mistakes) == {*expected, VARIANCE}
