"""Whose difference it is, and whether noise explains it, on runs whose movements are made up."""

import numpy as np
import pytest

from lockstep.align import Alignment
from lockstep.judging import Judge, Traces
from lockstep.tolerance import FixedTolerance
from lockstep.trace import Trace

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


def verdict(*, recorded=None, candidate=None, loud=1e-2):
    """Judges outputs that were moved from what the reference's graph gives here, by the runtime and by the code."""
    judge = Judge(FixedTolerance(), (), {"x": np.ones(2, np.float32)}, lambda _: None, lambda: "one against another")
    traces = Traces(trace(**recorded or {}), trace(**candidate or {}), trace())
    alignment = Alignment(pairs=(), missing=(), extra=())
    return next(f for f in judge.results(traces, alignment, Moving(loud)) if "output" in f.phrase)


def test_what_runtimes_make_of_one_graph_may_move_each_output_as_far_as_any():
    assert verdict(recorded={"quiet": 1e-3}).verdict == "equivalent"  # 4 x 1e-2 of it, which is what `loud` may move
    assert verdict(recorded={"quiet": 0.5}).verdict == "diverged"


def test_what_the_code_makes_of_it_has_the_budget_of_its_own_output():
    assert verdict(candidate={"quiet": 5e-6}).verdict == "equivalent"
    assert verdict(candidate={"quiet": 1e-3}).verdict == "diverged"


@pytest.mark.parametrize(("moved", "expected"), [(5e-4, "equivalent"), (1e-2, "undecided")])
def test_where_rounding_hides_an_answer_a_thousandth_of_the_code_is_one(moved, expected):
    found = verdict(candidate={"loud": moved}, loud=0.5)
    assert found.verdict == expected
    assert ("hides any answer" in found.phrase) == (expected == "undecided")
