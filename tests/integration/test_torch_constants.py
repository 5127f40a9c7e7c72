"""Buffers that only hold what a module's code makes are no variables of the port; those that are trained on are."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

torch = pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")

from torch import nn

import lockstep

ROWS = {"x": np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)}


def causal(inputs, training):
    mask = tf.linalg.band_part(tf.ones([6, 6]), -1, 0)
    return {"y": tf.layers.dense(tf.matmul(inputs["x"], mask), 3, name="out")}


class Causal(nn.Module):
    """Keeps its mask as a buffer, as GPT's ports do; `upwards`: the other half of it."""

    def __init__(self, upwards=False, averages=False):
        super().__init__()
        ones = torch.ones(6, 6)
        self.register_buffer("mask", ones.triu() if upwards else ones.tril())
        self.register_buffer("seen", torch.zeros(6, 6))
        self.averages = averages
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        if self.training and self.averages:
            self.seen.add_(self.mask)
        return {"y": self.out(x @ self.mask)}


def checked(**options):
    candidate = lockstep.torch(lambda: Causal(**options))
    return lockstep.verify(lockstep.tf1_graph(causal), candidate, ROWS, steps=("variables-match", "inference-fixed"))


def test_a_mask_that_is_a_buffer_stays_as_it_is_made():
    report = checked()
    assert report.verdict == "equivalent", report.steps
    assert "2 constants of one side alone left as they are" in report.steps[1].summary


def test_a_wrong_mask_is_no_constant_to_be_left_out_of_the_comparison():
    report = checked(upwards=True)
    assert report.verdict == "diverged"
    assert [culprit.kind for culprit in report.culprits] == ["operation"]


def test_a_buffer_that_training_changes_is_a_variable_that_the_reference_lacks():
    report = checked(averages=True)
    assert [(c.kind, c.candidate) for c in report.culprits] == [("variable", "seen")]
