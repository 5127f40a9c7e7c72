"""Models are called as they want to be called, whatever the inputs are given as: a dict of arrays by their names."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.common.errors import InputError, SubjectError
from lockstep.frameworks.tensorflow import calling

v1 = tf.compat.v1
ONE = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)}
TWO = {"a": ONE["x"], "b": ONE["x"][:, ::-1].copy()}


def of_one(inputs, training):
    return v1.layers.dense(inputs["x"], 2, name="d")


def of_two(inputs, training):
    return v1.layers.dense(inputs["a"] - 2 * inputs["b"], 2, name="d")


def dense():
    return keras.layers.Dense(2, name="d")


class Model(keras.Model):
    def __init__(self):
        super().__init__(name="m")
        self.d = dense()


class OfOne(Model):
    def call(self, x, mask=None):
        return self.d(x)


class OfADict(Model):
    def call(self, inputs, training=False):
        return self.d(inputs["a"] - 2 * inputs["b"])


class OfKeywords(Model):
    def call(self, b, a, training=None):
        return self.d(a - 2 * b)


class OfPositions(Model):
    def call(self, first, second):
        return self.d(first - 2 * second)


class OfAList(Model):
    def call(self, inputs):
        return self.d(inputs[0] - 2 * inputs[1])


class OfATuple(Model):
    def call(self, inputs):
        first, second = inputs
        return self.d(first - 2 * second)


def sequential():
    return keras.Sequential([dense()], name="m")


def sequential_with_its_input():
    return keras.Sequential([keras.Input((3,)), dense()], name="m")


def functional_of_one():
    given = keras.Input((3,), name="another")
    return keras.Model(given, dense()(given), name="m")


def functional_of_a_list():
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    return keras.Model([b, a], dense()(a - 2 * b), name="m")


def functional_of_a_dict():
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    return keras.Model({"b": b, "a": a}, dense()(a - 2 * b), name="m")


def checked(reference, candidate, inputs):
    rename = (
        [("^d/", "m/d/")] if candidate not in (functional_of_one, functional_of_a_list, functional_of_a_dict) else []
    )
    return lockstep.verify(lockstep.tf1_graph(reference), lockstep.keras(candidate), inputs, rename=rename)


@pytest.mark.parametrize("candidate", [OfOne, sequential, sequential_with_its_input, functional_of_one])
def test_a_model_of_one_tensor_is_called_with_it(candidate):
    report = checked(of_one, candidate, ONE)
    assert report.verdict == "equivalent", report


@pytest.mark.parametrize(
    "candidate",
    [OfADict, OfKeywords, OfPositions, OfAList, OfATuple, functional_of_a_list, functional_of_a_dict],
)
def test_a_model_of_two_tensors_is_called_as_it_wants(candidate):
    report = checked(of_two, candidate, TWO)
    assert report.verdict == "equivalent", report


def test_what_fails_in_every_form_is_told_for_the_one_that_came_furthest():
    class Broken(Model):
        def call(self, x):
            hidden = self.d(x)
            return tf.matmul(hidden, hidden)

    with pytest.raises(SubjectError, match="failed while running") as caught:
        checked(of_one, Broken, ONE)
    told = "It was called with one tensor. Other forms fail too: with a dict of tensors by their names: KeyError: -1."
    assert caught.value.also == told
    assert isinstance(caught.value.__cause__, tf.errors.InvalidArgumentError)


def test_inputs_that_do_not_fit_are_told_with_names_shapes_and_dtypes():
    model = functional_of_a_list()
    told = (
        r"inputs are b \(None, 3\) float32, a \(None, 3\) float32; the inputs given are p \(4, 3\) float32, q \(4, 2\)"
    )
    with pytest.raises(InputError, match=told):
        calling.forms(model, {"p": tf.zeros((4, 3)), "q": tf.zeros((4, 2))})
    with pytest.raises(InputError, match="Several of them fit: give them under the model's names"):
        calling.forms(model, {"p": tf.zeros((4, 3)), "q": tf.zeros((4, 3))})
    with pytest.raises(
        InputError, match=r"the candidate: the model's call takes b, a; the inputs given are x\. Give inputs of these"
    ):
        checked(of_one, OfKeywords, ONE)


def test_inputs_of_other_names_are_matched_by_their_shapes_where_that_is_one_to_one():
    wide, narrow = keras.Input((5,), name="wide"), keras.Input((2,), name="narrow")
    model = keras.Model([wide, narrow], keras.layers.Concatenate()([wide, narrow]))
    inputs = {"p": tf.zeros((4, 2)), "q": tf.zeros((4, 5))}
    (form,) = calling.forms(model, inputs)
    assert form.told == "a list of tensors (q, p)"
    assert form.call(model, inputs, {}).shape == (4, 7)


def test_what_only_the_other_side_is_given_is_said_with_the_way_to_say_it():
    given = functional_of_one().input
    with pytest.raises(InputError, match=r'given is named by labels = \["mask", "y"\]'):
        calling.forms(functional_of_one(), {given.name: tf.zeros((4, 3)), "mask": tf.ones((4,)), "y": tf.ones((4,))})
