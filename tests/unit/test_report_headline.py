"""The first sentence of a report: the verdict and the reason."""

import dataclasses

import pytest

from lockstep.common.errors import UndecidedError
from lockstep.report.headline import headline
from lockstep.results.model import Culprit, Report, StepReport, Verdict

STEPS = (
    StepReport("variables-match", Verdict.EQUIVALENT, "3 = 3"),
    StepReport("inference-fixed", Verdict.DIVERGED, "1 of 2 outputs differ"),
    StepReport("checkpoint", Verdict.NOT_ASKED, "no checkpoint was given"),
)
REPORT = Report(Verdict.DIVERGED, STEPS, (), {}, 1.0)
FACTOR = Culprit("a/mul", "b/Mul", "operation", "the constant factor is 0.11", fix="use 0.1")


def test_what_diverged_is_told_by_its_first_culprit():
    one = dataclasses.replace(REPORT, culprits=(FACTOR,))
    told = "diverged: the candidate does not compute what the reference computes: operation b/Mul: the constant factor"
    assert headline(one) == f"{told} is 0.11; fix: use 0.1"
    three = dataclasses.replace(REPORT, culprits=(FACTOR, Culprit("c", None, "variable", "gone"), FACTOR))
    assert headline(three) == f"{told} is 0.11; fix: use 0.1, and 2 other culprits"


def test_without_a_culprit_by_the_first_step_of_that_verdict():
    assert headline(REPORT).endswith("computes: inference-fixed: 1 of 2 outputs differ")


def test_what_is_equivalent_is_told_by_how_much_was_asked():
    steps = (STEPS[0], dataclasses.replace(STEPS[1], verdict=Verdict.EQUIVALENT), STEPS[2])
    both = dataclasses.replace(REPORT, verdict=Verdict.EQUIVALENT, steps=steps)
    assert headline(both) == (
        "equivalent: the candidate computes what the reference computes, in all 2 steps that were asked for"
    )
    one = dataclasses.replace(both, steps=steps[:1])
    assert headline(one).endswith("in the one step that was asked for")


def test_nothing_compared_is_told_as_that():
    nothing = dataclasses.replace(REPORT, verdict=Verdict.UNDECIDED, steps=STEPS[2:])
    assert headline(nothing).endswith("nothing was compared")


def test_it_is_one_line_whatever_names_and_reasons_hold():
    odd = dataclasses.replace(FACTOR, candidate="a\nverdict  equivalent", cause="one\n  two")
    assert "\n" not in headline(dataclasses.replace(REPORT, culprits=(odd,)))


def test_the_error_tells_what_the_report_tells():
    undecided = dataclasses.replace(REPORT, verdict=Verdict.UNDECIDED, steps=STEPS[:1])
    with pytest.raises(UndecidedError) as caught:
        undecided.raise_if_diverged()
    assert str(caught.value) == str(undecided)
    assert caught.value.report is undecided
    dataclasses.replace(undecided, verdict=Verdict.EQUIVALENT).raise_if_diverged()
