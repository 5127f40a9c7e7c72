"""Unchanged code whose operations few models have: strings that come in, variables that inference updates too."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1
from lockstep.check.proof.reach import changed

v1 = tf.compat.v1
ROWS = np.random.default_rng(7).uniform(-1.0, 1.0, (3, 4)).astype(np.float32)


def check(forward, inputs, candidate=None):
    class Migrated(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return (candidate or forward)(inputs, bool(training))

    return lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(Migrated), inputs)


@pytest.mark.parametrize("given", ["dict", "array"])
def test_strings_go_into_a_functional_model(given):
    def forward(inputs, training):
        words = inputs["words"] if given == "dict" else inputs
        return tf.gather(v1.get_variable("table", [8, 3]), tf.strings.to_hash_bucket_fast(words, 8))

    words = np.array([["a", "b b"], ["c", ""]])
    report = check(forward, {"words": words} if given == "dict" else words)
    assert report.verdict == "equivalent", report
    assert "functional model: 1 output bit-equal" in report.steps[4].summary


def scattering(name, updates=lambda x: 0.1 * x, value=0.5):
    def forward(inputs, training):
        state = v1.get_variable("state", [6, 4], initializer=v1.constant_initializer(value), trainable=False)
        if training:
            update = getattr(v1, name)(state, [4, 0, 2], updates(inputs["x"]))
            if not tf.executing_eagerly():
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        return inputs["x"] * v1.get_variable("w", [4])

    return forward


@pytest.mark.parametrize("name", ["scatter_add", "scatter_sub", "scatter_update", "scatter_min", "scatter_max"])
def test_rows_of_a_variable_that_are_updated_are_followed(name):
    report = check(scattering(name), {"x": ROWS})
    assert report.verdict == "equivalent", report


def test_one_number_for_all_rows_is_followed():
    report = check(scattering("scatter_add", lambda _: 0.25), {"x": ROWS})
    assert report.verdict == "equivalent", report


def test_single_elements_that_are_updated_are_followed():
    def forward(inputs, training):
        state = v1.get_variable("state", [3, 4], initializer=v1.zeros_initializer(), trainable=False)
        if training:
            update = v1.scatter_nd_add(state, [[0, 1], [2, 3], [0, 0]], inputs["x"][:, 0])
            if not tf.executing_eagerly():
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        return inputs["x"] * v1.get_variable("w", [4])

    report = check(forward, {"x": ROWS})
    assert report.verdict == "equivalent", report


def test_another_update_of_rows_is_the_culprit():
    report = check(scattering("scatter_add"), {"x": ROWS}, scattering("scatter_add", lambda x: 0.2 * x))
    assert report.verdict == "diverged"
    assert "0.1" in f"{report.culprits[0].cause} {report.culprits[0].fix}", report.culprits


def test_an_assignment_in_every_call_is_no_value_of_its_own():
    def forward(inputs, training):
        state = v1.get_variable("state", [4], initializer=v1.ones_initializer(), trainable=False)
        with tf.control_dependencies([v1.assign(state, 0.5 * state + tf.reduce_sum(inputs["x"], 0))]):
            return inputs["x"] * v1.get_variable("w", [4]) * state.read_value()

    report = check(forward, {"x": ROWS})
    assert report.verdict == "equivalent", report
    assert "initial values bit-equal" in report.steps[3].summary


def test_a_whole_number_among_the_variables_does_not_hide_that_the_others_move_the_output():
    def forward(inputs, training):
        step = v1.get_variable("step", [], tf.int64, initializer=v1.zeros_initializer(), trainable=False)
        return inputs["x"] * v1.get_variable("w", [4]) + tf.cast(step, tf.float32)

    report = check(forward, {"x": ROWS})
    assert report.verdict == "equivalent", report


SPECTRA = {
    "a spectrum": lambda x, w: tf.abs(v1.spectral.rfft(x * w)),
    "complex numbers": lambda x, w: tf.abs(tf.complex(x, w) * tf.complex(w, x)),
    "quantized numbers": lambda x, w: x * tf.quantization.fake_quant_with_min_max_args(w, -1.0, 1.0),
}


@pytest.mark.parametrize("function", SPECTRA.values(), ids=SPECTRA)
def test_an_operation_without_a_float64_kernel_hides_no_variable_behind_it(function):
    def forward(inputs, training):
        return function(inputs["x"], v1.get_variable("w", [4]))

    report = check(forward, {"x": ROWS})
    assert report.verdict == "equivalent", report


def stopped(x, w):
    return tf.stop_gradient(x * w)


def test_no_gradient_on_either_side_is_no_question():
    def forward(inputs, training):
        x, w = inputs["x"], v1.get_variable("w", [4])
        # The graph's conditional has a gradient, which is zero; eagerly the branch that reads the variable never ran.
        return tf.cond(tf.reduce_sum(x) > 1e6, lambda: x * w, lambda: 2.0 * x) if training else x * w

    report = check(forward, {"x": ROWS})
    assert report.verdict == "equivalent", report
    gradients = next(step for step in report.steps if step.name == "gradients")
    assert gradients.summary == "the training loss depends on no trainable variable, on either side"


def test_a_gradient_that_one_side_alone_has_is_told_though_it_is_the_only_one():
    report = check(
        lambda inputs, training: inputs["x"] * v1.get_variable("w", [4]),
        {"x": ROWS},
        lambda inputs, training: stopped(inputs["x"], v1.get_variable("w", [4])),
    )
    assert report.verdict == "diverged"
    assert [culprit.kind for culprit in report.culprits] == ["gradient"]


@pytest.mark.parametrize(
    ("reduction", "verdict"), [("NONE", "equivalent"), ("SUM", "equivalent"), ("MEAN", "diverged")]
)
def test_a_loss_that_is_not_reduced_counts_with_its_sum(reduction, verdict):
    def reduced(reduction):
        def forward(inputs, training):
            y = inputs["x"] * v1.get_variable("w", [4])
            v1.losses.huber_loss(tf.zeros_like(y), y, reduction=getattr(v1.losses.Reduction, reduction))
            v1.losses.mean_squared_error(tf.zeros_like(y), y)
            return y

        return forward

    report = check(reduced("NONE"), {"x": ROWS}, reduced(reduction))
    assert report.verdict == verdict, report


def test_a_loss_that_is_not_reduced_and_returned_too_is_one_loss():
    def forward(inputs, training):
        y = inputs["x"] * v1.get_variable("w", [4])
        return y, v1.losses.huber_loss(tf.zeros_like(y), y, reduction=v1.losses.Reduction.NONE)

    report = check(forward, {"x": ROWS})
    assert report.verdict == "equivalent", report


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_a_variable_is_changed_by_half_its_size_complex_ones_too(dtype):
    value = np.full(6, 3.0, dtype)
    moved = changed(value, "w")
    assert moved.dtype == dtype
    assert 0.0 < np.max(np.abs(moved - value)) <= 1.5
