"""How inputs are given, and which output is which: as the configuration says, or where there is no other choice."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import lockstep
from lockstep.common.errors import InputError
from lockstep.compare.outputs import OutputRules, matched

v1 = tf.compat.v1
X = {"a": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), "b": np.linspace(1, 2, 12, dtype=np.float32)[:, None]}
X["b"] = X["b"].reshape(4, 3)


def of_two(inputs, training):
    return v1.layers.dense(inputs["a"] - 2 * inputs["b"], 2, name="d")


class Model(keras.Model):
    def __init__(self):
        super().__init__(name="m")
        self.d = keras.layers.Dense(2, name="d")


class Exchanged(Model):
    def call(self, b, a):
        return self.d(b - 2 * a)


class Named(Model):
    def call(self, minuend, subtrahend, scale=1.0):
        return self.d(minuend - 2 * subtrahend) * scale


class WithALater(Model):
    def call(self, first, factor=None, second=None):
        return self.d(first - 2 * second)


RENAME = [("^d/", "m/d/")]


def check(reference, candidate, **options):
    options = {"rename": RENAME, **options}
    return lockstep.verify(lockstep.tf1_graph(reference), candidate, X, **options)


@pytest.mark.parametrize(
    ("build", "inputs_as"),
    [
        (Exchanged, {"a": "0", "b": "1"}),
        (Exchanged, {"a": "b", "b": "a"}),
        (Named, {"a": "minuend", "b": "subtrahend"}),
        (WithALater, {"a": "0", "b": "second"}),
    ],
)
def test_inputs_are_given_as_is_said(build, inputs_as):
    report = check(of_two, lockstep.keras(build, inputs_as=inputs_as))
    assert report.verdict == "equivalent"


def test_what_is_said_counts_though_it_is_wrong():
    assert check(of_two, lockstep.keras(Named, inputs_as={"a": "1", "b": "0"})).verdict == "diverged"


@pytest.mark.parametrize(
    ("inputs_as", "told"),
    [
        ({"a": "minuend"}, "as is said of a and not of b"),
        ({"a": "0", "b": "2"}, "positions begin with 0"),
        ({"a": "0", "b": "0"}, "two inputs the same place"),
        ({"a": "0", "b": "second"}, "as names second, and the model's call takes minuend, subtrahend, scale"),
    ],
)
def test_what_cannot_be_meant_is_told(inputs_as, told):
    with pytest.raises(InputError, match=told):
        check(of_two, lockstep.keras(Named, inputs_as=inputs_as))


def two_outputs(inputs, training):
    y = v1.layers.dense(inputs["a"] + inputs["b"], 2, name="d")
    return tf.nn.softmax(y), tf.reduce_sum(y)


class OfADict(Model):
    def call(self, inputs):
        y = self.d(inputs["a"] + inputs["b"])
        return {"total": ops.sum(y), "probabilities": ops.softmax(y)}


def step(report, name):
    return next(step for step in report.steps if step.name == name)


def test_a_tuple_and_a_dict_are_matched_by_shapes_and_gradients_too():
    report = check(two_outputs, lockstep.keras(OfADict))
    assert report.verdict == "equivalent"
    assert "probabilities is 0, total is 1" in step(report, "inference-fixed").summary
    assert step(report, "gradients").verdict == "equivalent"


class OfADictAndWrong(Model):
    def call(self, inputs):
        y = self.d(inputs["a"] + inputs["b"])
        return {"total": ops.sum(y), "probabilities": ops.softmax(y * 1.5)}


def test_a_mistake_in_an_output_of_another_name_is_localised():
    report = check(two_outputs, lockstep.keras(OfADictAndWrong))
    assert report.verdict == "diverged"
    assert "1.5" in report.culprits[0].cause


def alike_outputs(inputs, training):
    y = v1.layers.dense(inputs["a"] + inputs["b"], 2, name="d")
    return tf.tanh(y), tf.sigmoid(y)


class AlikeInADict(Model):
    def call(self, inputs):
        y = self.d(inputs["a"] + inputs["b"])
        return {"s": ops.sigmoid(y), "t": ops.tanh(y)}


def test_outputs_of_one_shape_are_not_guessed_and_rules_tell_them():
    report = check(alike_outputs, lockstep.keras(AlikeInADict))
    assert report.verdict == "undecided"
    rules = OutputRules(rename=(("^0$", "t"), ("^1$", "s")))
    report = check(alike_outputs, lockstep.keras(AlikeInADict), outputs=rules)
    assert report.verdict == "equivalent"
    wrong = OutputRules(rename=(("^0$", "s"), ("^1$", "t")))
    assert check(alike_outputs, lockstep.keras(AlikeInADict), outputs=wrong).verdict == "diverged"


class WithMore(Model):
    def call(self, inputs):
        y = self.d(inputs["a"] + inputs["b"])
        return {"y": y, "hidden": y * 2}


@pytest.mark.parametrize("ignore", [("^hidden$",), ()])
def test_an_output_that_is_ignored_is_not_compared(ignore):
    def forward(inputs, training):
        return {"y": v1.layers.dense(inputs["a"] + inputs["b"], 2, name="d")}

    report = check(forward, lockstep.keras(WithMore), outputs=OutputRules(ignore=ignore))
    assert report.verdict == ("equivalent" if ignore else "undecided")


def test_what_the_reference_alone_returns_can_be_ignored():
    def forward(inputs, training):
        y = v1.layers.dense(inputs["a"] + inputs["b"], 2, name="d")
        return {"y": y, "hidden": y * 2, "summary": tf.reduce_sum(y)}

    report = check(forward, lockstep.keras(WithMore), outputs=OutputRules(ignore=("^summary$",)))
    assert report.verdict == "equivalent"


def test_shapes_that_occur_twice_match_nothing():
    ours = {"0": np.zeros(2), "1": np.zeros(2)}
    assert matched(ours, {"x": np.zeros(2), "y": np.zeros(2)}, OutputRules()).names == {}


def test_all_outputs_ignored_is_no_pass():
    report = check(of_two, lockstep.keras(Named, inputs_as={"a": "0", "b": "1"}), outputs=OutputRules(ignore=("",)))
    assert report.verdict == "undecided"
