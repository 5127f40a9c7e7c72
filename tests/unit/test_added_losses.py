"""Losses that belong to no variable: which they are, and when a difference is rounding's."""

import numpy as np
import pytest

from lockstep.check.steps import added_losses, numbers
from lockstep.compare.align import align
from lockstep.results.model import Verdict
from lockstep.traces.trace import LossRecord, Trace, VariableRecord

VARIABLES = tuple(VariableRecord(name, name, (2,), "float32", True) for name in ("a", "b"))
VALUE = np.ones(2, np.float32)


def trace(*losses, **outputs):
    records = tuple(LossRecord(variable, np.float32(value)) for variable, value in losses)
    total = np.float32(sum(value for _, value in losses)) if losses else None
    returned = {path: np.float32(value) for path, value in outputs.items()}
    return Trace(VARIABLES, {"a": VALUE, "b": VALUE}, returned, records, total)


def judged(reference, candidate, movement=None, here=None):
    alignment = align(reference.variables, candidate.variables)
    both = added_losses.split(reference, candidate, alignment, ())
    base = reference if here is None else here
    added = added_losses.judge(reference, candidate, both, base, lambda: movement, 4.0)
    return numbers.losses(reference, candidate, alignment, (), both), added


def verdicts(*args, **more):
    return tuple(finding.verdict for finding in judged(*args, **more))


EQUAL, OTHER, NONE = Verdict.EQUIVALENT, Verdict.DIVERGED, Verdict.NOT_ASKED


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ([("a", 1)], [("a", 1)], (EQUAL, NONE)),
        ([(None, 1)], [(None, 1)], (NONE, EQUAL)),
        ([("a", 1), (None, 2)], [("a", 1), (None, 2)], (EQUAL, EQUAL)),
        # One side tells the variable of what the other collected by hand.
        ([("a", 1), ("a", 2)], [("a", 1), (None, 2)], (EQUAL, NONE)),
        ([("a", 1), (None, 2)], [("a", 1), ("a", 2)], (EQUAL, NONE)),
        # One side collects the sum.
        ([("a", 1), ("b", 2)], [(None, 3)], (NONE, EQUAL)),
        ([("a", 1), ("b", 2), (None, 4)], [(None, 7)], (NONE, EQUAL)),
        # Something is lost, added, or other.
        ([("a", 1), (None, 2)], [("a", 1)], (EQUAL, OTHER)),
        ([("a", 1)], [("a", 1), (None, 2)], (EQUAL, OTHER)),
        ([("a", 1), (None, 2)], [("a", 1), (None, 2.1)], (EQUAL, OTHER)),
        ([("a", 1), (None, 2)], [(None, 2)], (OTHER, EQUAL)),
        ([("a", 1), ("a", 2)], [("a", 1), (None, 2.1)], (OTHER, OTHER)),
    ],
)
def test_each_loss_is_compared_once(reference, candidate, expected):
    assert verdicts(trace(*reference), trace(*candidate)) == expected


@pytest.mark.parametrize(
    ("candidate", "movement", "here", "expected"),
    [
        (1.001, None, None, OTHER),  # nobody can tell how far rounding moves it
        (1.001, 0.0005, None, EQUAL),
        (1.001, 0.0001, None, OTHER),
        (1.3, 0.1, None, OTHER),  # a budget that hides any answer excuses nothing
        (1.001, 0.0005, 1.0005, EQUAL),
        (1.001, 0.0005, 1.1, OTHER),  # the runtimes differ by more than rounding
    ],
)
def test_rounding_excuses_what_rounding_makes_and_no_more(candidate, movement, here, expected):
    other = None if here is None else trace((None, here))
    assert verdicts(trace((None, 1)), trace((None, candidate)), movement=movement, here=other)[1] is expected


def test_rounding_never_excuses_a_lost_loss():
    assert verdicts(trace((None, 1e-9)), trace(), movement=1.0)[1] is OTHER


def test_a_loss_that_is_an_output_too_is_compared_there():
    reference, candidate = trace((None, 0.5), loss=0.5), trace(loss=0.5)
    assert verdicts(reference, candidate) == (NONE, EQUAL)
    assert verdicts(reference, trace((None, 0.25), loss=0.5))[1] is OTHER
    assert verdicts(trace((None, 0.5)), candidate)[1] is OTHER
    assert "it returns the loss as output loss" in judged(trace((None, 0.5)), candidate)[1].culprits[0].cause
