"""How far rounding alone moves a subject."""

import dataclasses

import numpy as np
import pytest

from lockstep.check.steps import shares
from lockstep.common.arrays import largest_magnitude, numpy_dtype
from lockstep.common.errors import InputError
from lockstep.compare import sensitivity
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import Objective
from lockstep.traces.trace import Trace, VariableRecord


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_jitter_moves_every_number_by_one_unit_in_the_last_place_and_leaves_zeros(dtype):
    array = np.array([1.0, -1.0, 3.5, 0.0, -0.0, np.inf, np.nan, np.finfo(dtype).max, np.finfo(dtype).tiny], dtype)
    moved = sensitivity.jittered(array, "x")
    assert moved.dtype == array.dtype
    np.testing.assert_array_equal(moved[3:7], array[3:7])
    others = [0, 1, 2, 8]
    near = (np.nextafter(array[others], dtype(np.inf)), np.nextafter(array[others], dtype(-np.inf)))
    assert all(m in pair for m, pair in zip(moved[others], zip(*near, strict=True), strict=True))
    assert np.isfinite(moved[7])


def test_jitter_goes_both_ways_and_depends_on_the_name():
    array = np.ones(1000, np.float32)
    moved = sensitivity.jittered(array, "a")
    assert 400 < np.count_nonzero(moved > 1) < 600
    assert not np.array_equal(moved, sensitivity.jittered(array, "b"))


def test_scalars_keep_their_shape():
    moved = sensitivity.jittered(np.array(2.0, np.float32), "x")
    assert moved.shape == ()
    assert moved != 2.0


def test_integers_stay():
    array = np.arange(5)
    assert sensitivity.jittered(array, "x") is array


class Amplifier:
    """A subject whose only output is its weight minus 1, times a factor."""

    def __init__(self, factor):
        self.factor = factor

    def run_changed(self, values, inputs, *, threads):
        record = VariableRecord("w", "w", (100,), "float32", True)
        difference = (values["w"].astype(np.float64) - 1) * self.factor
        return Trace(variables=(record,), before=values, outputs={"": difference}, after={"w": values["w"]})

    def run_on_other_kernels(self, values, inputs):
        return self.run_changed(values, inputs, threads=0)


def test_the_movement_is_that_of_the_subject():
    values = {"w": np.ones(100, np.float32)}
    for factor in (1.0, 1e6):
        subject = Amplifier(factor)
        base = subject.run_changed(values, {}, threads=0)
        noise = sensitivity.measure(subject, base, np.ones(1, np.float32), lambda _: None)
        assert noise.outputs[""] == pytest.approx(2.0**-23 * factor)
        assert noise.state["w"] == pytest.approx(2.0**-23)
        assert noise.runs == sensitivity.JITTERS + 2


class Narrow(Amplifier):
    """Its output is a bfloat16, as in mixed precision."""

    def run_changed(self, values, inputs, *, threads):
        run = super().run_changed(values, inputs, threads=threads)
        return dataclasses.replace(run, outputs={"": run.outputs[""].astype(numpy_dtype("bfloat16"))})


def test_the_movement_of_narrow_floats_is_measured():
    values = {"w": np.ones(100, np.float32)}
    subject = Narrow(1.0)
    base = subject.run_changed(values, {}, threads=0)
    noise = sensitivity.measure(subject, base, np.ones(1, np.float32), lambda _: None)
    assert noise.outputs[""] == pytest.approx(2.0**-23)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "float8_e5m2"])
def test_the_largest_magnitude_is_that_of_the_finite_numbers(dtype):
    array = np.array([1.0, -3.0, np.nan, 2.0, -np.inf]).astype(numpy_dtype(dtype))
    assert largest_magnitude(array) == 3.0
    assert largest_magnitude(array[:2]) == 3.0
    assert largest_magnitude(array[2:3]) == largest_magnitude(array[:0]) == 0.0
    assert largest_magnitude(np.array([7])) == 0.0


class Differentiated(Amplifier):
    """Its gradient is its weight, times a factor."""

    def run_changed(self, values, inputs, *, threads, objective=None):
        gradients = {} if objective is None else {"w": values["w"] * np.float32(self.factor)}
        loss = None if objective is None else values["w"].astype(np.float64).sum()
        plain = super().run_changed(values, inputs, threads=threads)
        return dataclasses.replace(plain, gradients=gradients, training_loss=loss)

    def run_on_other_kernels(self, values, inputs, *, objective=None):
        return self.run_changed(values, inputs, threads=0, objective=objective)


def test_the_movement_of_gradients_is_measured_where_they_are_taken():
    values = {"w": np.ones(100, np.float32)}
    subject, objective = Differentiated(8.0), Objective()
    base = subject.run_changed(values, {}, threads=0, objective=objective)
    noise = sensitivity.measure(
        subject, base, np.ones(1, np.float32), lambda _: None, objective=objective, other_kernels=False
    )
    assert noise.gradients["w"] == pytest.approx(8.0 * 2.0**-23)
    assert 0 < noise.gradients[sensitivity.TRAINING_LOSS] < 1e-4
    assert noise.runs == sensitivity.JITTERS + 1
    # A differentiated run's outputs and state may be asked about without its gradients.
    assert sensitivity.measure(subject, base, np.ones(1, np.float32), lambda _: None).gradients == {}


def test_a_run_that_cannot_be_made_is_told_and_the_others_count():
    class Confined(Amplifier):
        def run_on_other_kernels(self, values, inputs):
            raise InputError("it calls Python.")

    values = {"w": np.ones(100, np.float32)}
    subject = Confined(10.0)
    base = subject.run_changed(values, {}, threads=0)
    noise = sensitivity.measure(subject, base, np.ones(1, np.float32), lambda _: None)
    assert noise.runs == sensitivity.JITTERS + 1
    assert noise.outputs[""] == pytest.approx(2.0**-23 * 10)
    assert noise.failed == (
        "the reference could not be run on other kernels, so its noise budget may be too small: it calls Python.",
    )


def finding(verdict, error, bit_equal=False):
    figures = {"largest_output_error": error, "output_bit_equal": bit_equal}
    return Finding(Verdict(verdict), f"1 output differs by {error}", ("a line",), figures)


EQUAL, WRONG = "equivalent", "diverged"


@pytest.mark.parametrize(
    ("code", "runtime", "budgeted_code", "budgeted_runtime", "hides", "known", "expected"),
    [
        # What the code computes is proved: however chaotic the model is, nothing is hidden.
        (EQUAL, WRONG, EQUAL, EQUAL, {"": 0.5}, shares.Known(True), EQUAL),
        (WRONG, WRONG, WRONG, EQUAL, {"": 0.5}, shares.Known(True), EQUAL),
        (EQUAL, WRONG, EQUAL, WRONG, {}, shares.Known(True), "undecided"),
        # It is not known.
        (WRONG, WRONG, EQUAL, EQUAL, {}, shares.Known(None), EQUAL),
        (WRONG, WRONG, EQUAL, WRONG, {}, shares.Known(None), WRONG),
        (WRONG, WRONG, EQUAL, EQUAL, {"": 0.5}, shares.Known(None), "undecided"),
        (WRONG, EQUAL, WRONG, EQUAL, {}, shares.Known(None), WRONG),
        (WRONG, EQUAL, WRONG, EQUAL, {"": 0.5}, shares.Known(None), WRONG),
        # No operation is wrong by itself: that may not make a pass of any size.
        (WRONG, EQUAL, WRONG, EQUAL, {}, shares.Known(None, operations_right=True), "undecided"),
        (WRONG, EQUAL, WRONG, EQUAL, {}, shares.Known(False, operations_right=True), "undecided"),
        (WRONG, EQUAL, EQUAL, EQUAL, {"": 0.5}, shares.Known(None, operations_right=True), "undecided"),
        # It is known to be another function: rounding hides it, or does not.
        (WRONG, EQUAL, EQUAL, EQUAL, {}, shares.Known(False), "undecided"),
        (WRONG, EQUAL, WRONG, EQUAL, {}, shares.Known(False), WRONG),
    ],
)
def test_each_row_of_the_table(code, runtime, budgeted_code, budgeted_runtime, hides, known, expected):
    fixed = shares.Differences(finding(WRONG, 0.1), finding(code, 0.0, code == EQUAL), finding(runtime, 0.1))
    budgeted = shares.Differences(finding(WRONG, 0.1), finding(budgeted_code, 0.0), finding(budgeted_runtime, 0.1))
    assert shares.judged(fixed, budgeted, hides, "output", known).verdict == expected


def test_the_shares_are_told_in_one_sentence():
    differences = shares.Differences(finding(WRONG, 1e-5), finding(EQUAL, 0.0, True), finding(WRONG, 1e-5))
    told = shares.told(differences, "output", "TensorFlow 1.15.5 against 2.21.0")
    assert told.phrase.endswith("1e-05 is TensorFlow 1.15.5 against 2.21.0, 0 (bit for bit) is your code")
    assert told.figures["output_error_of_code"] == 0.0
