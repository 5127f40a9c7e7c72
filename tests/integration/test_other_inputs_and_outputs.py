"""Inputs and outputs that are no plain arrays of numbers: strings, ragged and sparse tensors, nested structures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.common.arrays import checked_inputs
from lockstep.common.errors import InputError
from lockstep.ground.structure import flatten

v1 = tf.compat.v1
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
TEXT = np.array(["1,2,3,4", "5,-6,7,8"])


def compared(original, migrated, inputs):
    """Checks what a function makes of a dense layer's outputs and the inputs, on both sides."""

    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="model")
            self.d = keras.layers.Dense(3, name="d")

        def call(self, given, training=None):
            return migrated(self.d, given)

    def forward(given, training):
        return original(lambda x: v1.layers.dense(x, 3, name="d"), given)

    return lockstep.verify(
        lockstep.tf1_graph(forward),
        lockstep.keras(Model),
        inputs,
        rename=[("^d/", "model/d/")],
        steps=("variables-match", "inference-fixed"),
    )


def seen(report):
    """What the step said that it saw."""
    return next(step.summary for step in report.steps if step.name == "inference-fixed")


def numbers(given):
    return tf.strings.to_number(tf.strings.split(given["text"], ",").to_tensor(shape=[2, 4]))


@pytest.mark.parametrize("dtype", ["U", "S", "O"])
def test_strings_go_in_and_out(dtype):
    def upper(dense, given):
        return {"y": dense(numbers(given)), "text": tf.strings.upper(given["text"])}

    def longer(dense, given):
        return {"y": dense(numbers(given)), "text": tf.strings.join([given["text"], "!"])}

    inputs = {"text": TEXT.astype(dtype)}
    right = compared(upper, upper, inputs)
    assert right.verdict == "equivalent"
    assert "all inputs are text, of which no second, generic one is made" in seen(right)
    if dtype == "S":
        report = compared(upper, longer, inputs)
        assert report.verdict == "diverged"
        (culprit,) = report.culprits
        assert "StringJoin in the candidate, StringUpper in the reference" in culprit.cause


def test_text_that_is_cut_otherwise_is_placed():
    def unsigned(dense, given):
        return dense(numbers({"text": tf.strings.regex_replace(given["text"], "-", "")}))

    report = compared(lambda dense, given: dense(numbers(given)), unsigned, {"text": TEXT})
    assert report.verdict == "diverged"
    assert "StaticRegexReplace" in report.culprits[0].cause


def ragged(lengths=(1, 3), factor=1.0):
    def made(dense, given):
        y = dense(given["x"])
        return {"y": y, "r": tf.RaggedTensor.from_row_lengths(factor * tf.reshape(y, [-1])[:4], list(lengths))}

    return made


def test_ragged_outputs_are_compared_by_what_they_are_made_of():
    assert compared(ragged(), ragged(), {"x": X}).verdict == "equivalent"
    for wrong in (ragged(factor=1.5), ragged(lengths=(2, 2))):
        report = compared(ragged(), wrong, {"x": X})
        assert report.verdict == "diverged", report
        assert "1 of 3 outputs differ" in seen(report)


def sparse(factor=1.0, empty=0.0):
    def made(dense, given):
        y = dense(given["x"])
        return {"y": y, "s": tf.sparse.from_dense(tf.where(given["x"] > empty, factor * given["x"], 0.0))}

    return made


def test_sparse_outputs_are_compared_by_what_they_are_made_of():
    assert compared(sparse(), sparse(), {"x": X}).verdict == "equivalent"
    assert compared(sparse(), sparse(factor=2.0), {"x": X}).verdict == "diverged"
    assert compared(sparse(), sparse(empty=0.5), {"x": X}).verdict == "diverged"


def test_nested_outputs_and_sequences_with_lengths():
    def masked(dense, given):
        mask = tf.sequence_mask(given["lengths"], 4, dtype=tf.float32)
        return {"y": (dense(given["x"] * mask), [mask])}

    def shifted(dense, given):
        mask = tf.sequence_mask(given["lengths"] - 1, 4, dtype=tf.float32)
        return {"y": (dense(given["x"] * mask), [mask])}

    inputs = {"x": X, "lengths": np.array([2, 4], np.int32)}
    assert compared(masked, masked, inputs).verdict == "equivalent"
    assert compared(masked, shifted, inputs).verdict == "diverged"


def test_the_parts_of_what_is_nested_have_paths():
    deep = tf.ragged.constant([[[1.0], []], [[2.0, 3.0]]])
    found = dict(flatten({"r": deep, "s": tf.sparse.from_dense([[0.0, 4.0]])}))
    assert list(found) == ["r/row_splits_0", "r/row_splits_1", "r/values", "s/indices", "s/values", "s/dense_shape"]
    assert found["r/values"].numpy().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": X, "b": X}, "is a dict of a, b; inputs are arrays by name. Give each of its entries as an input"),
        ([[1.0, 2.0], [3.0]], r"has rows of different lengths \(a list\).*from_row_lengths"),
        (np.array([np.ones(2), np.ones(3)], object), r"has rows of different lengths \(a ndarray\)"),
        (tf.ragged.constant([[1.0], [2.0, 3.0]]), r"has rows of different lengths \(a RaggedTensor\)"),
        (tf.sparse.from_dense(X), "input 'x' is "),
        (np.array([object()]), "is not an array of numbers or strings"),
    ],
)
def test_an_input_that_is_no_array_is_refused_with_what_to_do(value, told):
    with pytest.raises(InputError, match=told):
        checked_inputs({"x": value})
