"""Whose difference it is, and whether noise explains it, on runs whose movements are made up."""

import dataclasses

import numpy as np
import pytest

from lockstep.check.judging import Judge, Traces
from lockstep.check.proof.whole import EndInDouble, Whole
from lockstep.check.steps.forced import Located
from lockstep.compare.align import Alignment
from lockstep.compare.tolerance import FixedTolerance
from lockstep.localise.findings import Localisation
from lockstep.results.model import Culprit
from lockstep.traces.trace import Trace, VariableRecord

HERE = {"loud": np.linspace(-1, 1, 9), "quiet": np.linspace(1, 2, 9)}


def trace(**outputs):
    moved = {path: value + np.float32(outputs.get(path, 0.0)) for path, value in HERE.items()}
    return Trace(variables=(), before={}, outputs={path: value.astype(np.float32) for path, value in moved.items()})


class Moving:
    """A reference of which rounding moves one output further than the other."""

    def __init__(self, loud):
        self.loud = loud

    def run_changed(self, values, inputs, *, threads, objective=None):
        return trace(loud=self.loud, quiet=2e-6)

    def run_on_other_kernels(self, values, inputs, *, objective=None):
        return trace()


RECORD = VariableRecord("w", "w", (2,), "float32", True, False)


class Told:
    """What forced lockstep and float64 are made to say."""

    def __init__(self, *, culprits=(), complete=True, same=None, moved=0.1):
        limits = [] if complete else ["not followed"]
        self.located = Located(Localisation(limits=limits), tuple(culprits))
        rounding = (moved / 2, moved / 2)
        ends = {("output", name): EndInDouble(0.0 if same else 1.0, 0.5, rounding, 1.0) for name in HERE}
        self.whole = None if same is None else Whole(ends)

    def explain(self, base):
        return self.located

    def in_double(self, base):
        return self.whole


def judged(told, *, which="quiet", moved=1e-3, start=0.0, loud=1e-2):
    """Judges one output that the code moves by `moved`, from a variable that differs by `start`."""
    judge = Judge(FixedTolerance(), (), {"x": np.ones(2, np.float32)}, lambda _: None, lambda: "one against another")
    before = {"w": np.ones(2, np.float32)}
    reference = dataclasses.replace(trace(), before=before)
    candidate = dataclasses.replace(trace(**{which: moved}), before={"w": before["w"] + np.float32(start)})
    alignment = Alignment(pairs=((RECORD, RECORD),), missing=(), extra=())
    found = judge.results(Traces(reference, candidate), alignment, Moving(loud), told)
    return next(f for f in found if "output" in f.phrase)


def test_an_operation_to_blame_decides():
    assert judged(Told(culprits=[Culprit("a", "b", "operation", "wrong")])).verdict == "diverged"


def test_operations_that_are_right_do_not_excuse_a_difference_of_any_size():
    found = judged(Told())
    assert found.verdict == "undecided"
    assert "no operation is wrong by itself" in found.phrase
    assert judged(Told(complete=False)).verdict == "diverged"


def test_what_started_from_other_values_proves_nothing():
    found = judged(Told(same=True), start=1e-7)
    assert found.verdict == "undecided"
    assert "1 of 1 variables start from other values (w)" in found.phrase


def test_one_function_in_float64_is_equivalent_and_another_is_not():
    assert judged(Told(same=True)).verdict == "equivalent"
    # Unless the results are further apart than rounding moved these very programs.
    assert judged(Told(same=True, moved=1e-4)).verdict == "undecided"
    assert judged(Told(same=True, moved=1e-4, complete=False)).verdict == "diverged"
    assert judged(Told(same=False)).verdict == "undecided"
    assert judged(Told(complete=False, same=False)).verdict == "diverged"
    # What rounding may do would hide it; float64 sees it.
    found = judged(Told(same=False), which="loud")
    assert found.verdict == "undecided"
    assert "in float64 the two compute different things" in found.phrase


@pytest.mark.parametrize("other", [np.zeros((9, 1), np.float32), np.linspace(1, 2, 9)])
def test_another_shape_or_dtype_is_no_rounding(other):
    judge = Judge(FixedTolerance(), (), {"x": np.ones(2, np.float32)}, lambda _: None, lambda: "one against another")
    candidate = dataclasses.replace(trace(), outputs={**trace().outputs, "quiet": other})
    alignment = Alignment(pairs=(), missing=(), extra=())
    results = judge.results(Traces(trace(), candidate), alignment, Moving(1.0), Told(same=True))
    found = next(finding for finding in results if "output" in finding.phrase)
    assert found.verdict == "diverged"
    assert [culprit.kind for culprit in found.culprits] == ["output"]


def verdict(*, recorded=None, candidate=None, loud=1e-2):
    """Judges outputs that were moved from what the reference's graph gives here, by the runtime and by the code."""
    judge = Judge(FixedTolerance(), (), {"x": np.ones(2, np.float32)}, lambda _: None, lambda: "one against another")
    traces = Traces(trace(**recorded or {}), trace(**candidate or {}), trace())
    alignment = Alignment(pairs=(), missing=(), extra=())
    return next(f for f in judge.results(traces, alignment, Moving(loud)) if "output" in f.phrase)


def test_what_runtimes_make_of_one_graph_may_move_each_output_as_far_as_any():
    assert verdict(recorded={"quiet": 1e-3}).verdict == "equivalent"  # 4 x 1e-2 of it, which is what `loud` may move
    found = verdict(recorded={"quiet": 0.5})
    assert found.verdict == "undecided"  # no fault of the code, which is the reference's bit for bit
    assert "the runtimes differ by more than rounding explains" in found.phrase


def test_what_the_code_makes_of_it_has_the_budget_of_its_own_output():
    assert verdict(candidate={"quiet": 5e-6}).verdict == "equivalent"
    assert verdict(candidate={"quiet": 1e-3}).verdict == "diverged"


@pytest.mark.parametrize(("moved", "expected"), [(5e-4, "equivalent"), (1e-2, "undecided")])
def test_where_rounding_hides_an_answer_a_thousandth_of_the_code_is_one(moved, expected):
    found = verdict(candidate={"loud": moved}, loud=0.5)
    assert found.verdict == expected
    assert ("hides any answer" in found.phrase) == (expected == "undecided")
