"""TensorFlow's fused batch normalization takes no epsilon below 1.001e-5: a port that writes 1e-5 is right."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import lockstep

torch = pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")

IMAGE = {"image": np.random.default_rng(3).normal(size=(4, 5, 5, 3)).astype(np.float32)}


def forward(inputs, training):
    h = tf.layers.conv2d(inputs["image"], 6, 3, padding="same", use_bias=False, name="conv")
    return tf.nn.relu(tf.layers.batch_normalization(h, epsilon=1e-5, momentum=0.9, training=training, name="norm"))


def port(epsilon):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 6, 3, padding=1, bias=False)
            self.norm = torch.nn.BatchNorm2d(6, eps=epsilon, momentum=0.1)

        def forward(self, image):
            return torch.relu(self.norm(self.conv(image.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1)

    return Net


def inference(epsilon):
    report = lockstep.verify(
        lockstep.tf1_graph(forward), lockstep.torch(port(epsilon)), IMAGE, steps=("variables-match", "inference-fixed")
    )
    return report, next(step for step in report.steps if step.name == "inference-fixed")


def test_the_epsilon_that_tensorflow_takes_for_1e_5_is_told_and_no_difference():
    report, step = inference(1e-5)
    assert report.verdict == "equivalent", report
    assert "in 1 batch normalization epsilon is 1e-05 on one side and 1.001e-05 on the other" in step.summary


@pytest.mark.parametrize("epsilon", [1.01e-5, 0.99e-5, 1e-6])
def test_another_epsilon_is_a_difference_still(epsilon):
    report, step = inference(epsilon)
    assert (str(step.verdict), [c.pitfall for c in report.culprits]) == ("diverged", ["epsilon"]), report
