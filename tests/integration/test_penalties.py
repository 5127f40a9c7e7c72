"""Weight decay that TF1 code adds to its loss by hand, and a rewrite by regularizers: the sums are what is compared."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import lockstep

v1 = tf.compat.v1
X = {"x": np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6) ** 3, "y": np.linspace(0, 1, 4, dtype=np.float32)}
STEPS = ("variables-match", "inference-fixed", "training-random", "gradients")


def forward(inputs, training):
    hidden = v1.layers.dense(inputs["x"], 5, v1.nn.relu, name="hidden")
    return v1.layers.dense(hidden, 1, name="out")[:, 0]


def loss(outputs, batch):
    decay = v1.add_n([v1.nn.l2_loss(v) for v in v1.trainable_variables()])
    return v1.reduce_mean((outputs - batch["y"]) ** 2) + 0.01 * decay


def plain_loss(outputs, batch):
    return v1.reduce_mean((outputs - batch["y"]) ** 2)


class Net(keras.Model):
    """The same network, whose layers keep their weight decay."""

    def __init__(self, decay=0.005, of_biases=True, activation="relu"):
        super().__init__(name="net")
        kept = keras.regularizers.L2(decay) if decay else None
        options = {"kernel_regularizer": kept, "bias_regularizer": kept if of_biases else None}
        self.hidden = keras.layers.Dense(5, activation, name="hidden", **options)
        self.out = keras.layers.Dense(1, name="out", **options)

    def call(self, inputs):
        return self.out(self.hidden(inputs["x"]))[:, 0]


def without_decay(outputs, batch):
    return ops.mean((outputs - batch["y"]) ** 2)


def check(build, losses=(loss, without_decay), steps=STEPS):
    return lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(build), X, loss=losses, steps=steps)


def test_decay_by_hand_and_decay_by_regularizers_are_one():
    report = check(Net)
    assert report.verdict == "equivalent", report
    assert not report.culprits
    told = next(step for step in report.steps if step.name == "inference-fixed")
    assert "the other side has it in its training loss" in told.summary


@pytest.mark.parametrize("build", [lambda: Net(decay=0.01), lambda: Net(of_biases=False)])
def test_decay_of_another_size_or_of_fewer_variables_is_told(build):
    report = check(build)
    assert report.verdict == "diverged"
    assert any("weight decay" in culprit.cause for culprit in report.culprits)


def test_decay_that_one_side_alone_has_is_told_in_the_step_that_found_it():
    report = check(Net, losses=(plain_loss, without_decay))
    verdicts = {step.name: step.verdict for step in report.steps}
    assert verdicts["inference-fixed"] == verdicts["gradients"] == "diverged"
    assert {culprit.pitfall for culprit in report.culprits} == {"extra-regularizer"}


def test_decay_by_hand_that_is_lost_is_one_mistake():
    report = check(lambda: Net(decay=0))
    assert report.verdict == "diverged"
    (culprit,) = report.culprits
    assert culprit.pitfall == "missing-regularizer"
    assert "a weight decay of 0.01 x sum(w^2) / 2 for hidden/kernel" in culprit.cause.replace("hidden/bias, ", "")


def test_where_gradients_are_not_compared_it_is_told_as_before():
    report = check(Net, steps=("variables-match", "inference-fixed"))
    assert report.verdict == "diverged"
    assert {culprit.pitfall for culprit in report.culprits} == {"extra-regularizer"}


def test_another_mistake_is_told_alone():
    report = check(lambda: Net(activation="elu"))
    assert report.verdict == "diverged"
    assert [culprit.kind for culprit in report.culprits] == ["operation"]
