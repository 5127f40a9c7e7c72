"""Edits of a program, and the runs that decide which of them is a repair."""

import dataclasses
import math

import numpy as np
import pytest

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import edit, search, together, wiring
from lockstep.causes.repairs.counterfactual import Agreement, Counterfactual
from lockstep.causes.repairs.shaking import shaken
from lockstep.common.errors import FaultWarning
from lockstep.localise.findings import Localisation
from lockstep.program import Place, ProgramBuilder, Spec


class NumpyKernels:
    """Runs the two operations that are used here."""

    def run(self, operation, inputs):
        return [{"Mul": np.multiply, "AddV2": np.add}[operation.type](*inputs)]

    def run_double(self, operation, inputs, *, halves=False):
        return self.run(operation, [np.asarray(value, np.float64) for value in inputs])

    def numpy(self, value):
        return np.asarray(value)


def linear(factor):
    """factor * x + 1, as a program."""
    made, spec, scalar = ProgramBuilder(), Spec("float32", (3,)), Spec("float32", ())
    x = made.source("input", "x", np.array([1, 2, 3], np.float32), spec)
    constants = [made.constant(np.asarray(value, np.float32), scalar) for value in (factor, 1)]
    place = Place("linear", "", "")
    (scaled,) = made.operation("Mul", {}, [x, constants[0]], [(spec, None)], place)
    (moved,) = made.operation("AddV2", {}, [scaled, constants[1]], [(spec, None)], place)
    made.program.outputs["y"] = moved
    return made.program


def runs(reference, candidate):
    ours, theirs = linear(reference), linear(candidate)
    return Counterfactual(ours, theirs, [(theirs.outputs["y"], ours.outputs["y"])], {}, NumpyKernels()), theirs


@pytest.mark.parametrize(
    ("value", "agreement"), [(2.0, Agreement.EXACT), (2.001, Agreement.NONE), (math.nan, Agreement.NONE)]
)
def test_an_edit_repairs_or_it_does_not(value, agreement):
    both, theirs = runs(2.0, 3.0)
    assert both.outcome().outputs is Agreement.NONE
    tried = edit.with_constants(theirs, [(theirs.operations[0], 1)], value, Cause(""))
    assert both.outcome(tried).outputs is agreement
    assert both.outcome().outputs is Agreement.NONE, "a trial leaves nothing behind"


def test_an_edit_that_does_not_fit_repairs_nothing():
    both, theirs = runs(2.0, 3.0)
    tensor = theirs.operations[0].outputs[0]
    wrong = edit.changed(theirs, tensor, np.zeros(0), lambda given: np.zeros((2, 7)), Cause(""))
    assert both.outcome(wrong).outputs is Agreement.NONE


def test_what_would_be_read_before_it_is_computed_is_not_exchanged():
    _, theirs = runs(2.0, 3.0)
    first, second = (operation.outputs[0] for operation in theirs.operations)
    assert edit.exchanged(theirs, first, second, Cause("")) is None


def test_two_edits_with_constants_of_their_own_stay_apart():
    both, theirs = runs(2.0, 3.0)
    factor = edit.with_constants(theirs, [(theirs.operations[0], 1)], 2.0, Cause(""))
    offset = edit.with_constants(theirs, [(theirs.operations[1], 1)], 1.0, Cause(""))
    together = edit.both(factor, offset)
    assert len(together.sources) == 2
    assert both.outcome(together).outputs is Agreement.EXACT
    assert dataclasses.replace(together, sources={}).operations


def test_what_agrees_at_one_set_of_values_alone_is_no_repair():
    """2 x + 1 is 3 at x = 1; so is a constant 3, and 3 x."""
    ours, theirs = linear(2.0), linear(3.0)
    ends = [(theirs.outputs["y"], ours.outputs["y"])]
    known = {tensor: tensor for tensor, source in theirs.sources.items() if source.kind == "input"}
    values = np.array([1.25, 2.5, 3.75], np.float32)
    for program in (ours, theirs):
        (x,) = known
        program.sources[x] = dataclasses.replace(program.sources[x], value=values)

    def both(moved=None):
        return Counterfactual(ours, theirs, ends, known, NumpyKernels(), moved)

    constant = edit.changed_all(theirs.operations[1:], lambda given: 2.0 * values + 1.0, Cause(""))
    factor = edit.with_constants(theirs, [(theirs.operations[0], 1)], 2.0, Cause(""))
    assert both().outcome(constant).outputs is Agreement.EXACT
    assert not together.holds_again([constant], lambda: both(shaken), frozenset())
    assert together.holds_again([factor], lambda: both(shaken), frozenset())


def test_edits_are_made_one_after_the_other_and_their_constants_stay_apart():
    both, theirs = runs(2.0, 3.0)
    factor = edit.with_constants(theirs, [(theirs.operations[0], 1)], 5.0, Cause(""))
    offset = edit.with_constants(theirs, [(theirs.operations[1], 1)], 7.0, Cause(""))
    settled = both.settled(factor).settled(offset)
    assert settled.value(theirs.outputs["y"]).tolist() == [12.0, 17.0, 22.0]
    assert both.value(theirs.outputs["y"]).tolist() == [4.0, 7.0, 10.0]


def test_a_mask_that_is_turned_over_twice_is_itself():
    for mask in (np.array([True, False]), np.array([0.0, 1.0], np.float32), np.array([1, 0])):
        turned = wiring.turned_over(wiring.turned_over(mask))
        assert turned.dtype == mask.dtype
        assert np.array_equal(turned, mask)


def test_a_bug_in_a_proposal_is_told_as_a_fault_and_takes_nothing_else(monkeypatch):
    both, theirs = runs(2.0, 3.0)
    del both
    ours = linear(2.0)
    found = Localisation(blames=[object()], ends=[(theirs.outputs["y"], ours.outputs["y"])])

    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(search, "Region", broken)
    with pytest.warns(FaultWarning, match="ZeroDivisionError: a bug"):
        assert search.sought(found, ours, theirs, NumpyKernels()) is None
