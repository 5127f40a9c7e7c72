"""Regularization losses variable by variable: which difference is the regularizer's, and which norm it is."""

import numpy as np
import pytest

from lockstep.check.steps import numbers
from lockstep.compare.align import align
from lockstep.results.model import Culprit, Verdict, gathered
from lockstep.traces.trace import LossRecord, Trace, VariableRecord

VALUE = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)
CONSTANT = np.full((3, 4), 0.25, np.float32)


def trace(regularizer, value=VALUE):
    loss = np.float32(regularizer(value))
    variable = VariableRecord("dense/kernel", "dense/kernel", value.shape, "float32", True)
    return Trace((variable,), {"dense/kernel": value}, {}, (LossRecord("dense/kernel", loss),), loss)


def l1(strength):
    return lambda value: strength * np.abs(value).sum()


def l2(strength):
    return lambda value: strength * (value**2).sum()


def judged(reference, candidate):
    return numbers.losses(reference, candidate, align(reference.variables, candidate.variables, ()), ())


@pytest.mark.parametrize(
    ("ours", "theirs", "pitfall", "fix"),
    [
        (l2(0.001), l1(0.001), "regularizer-kind", "use L2"),
        (l1(0.02), l2(0.005), "regularizer-kind", "use L1"),
        (l2(0.001), l2(0.002), "l2-half", "multiply its strength by 0.5"),
        (l2(0.001), l2(0.003), "constant-factor", "multiply its strength by 0.333333"),
    ],
)
def test_a_loss_that_differs_is_put_down_to_its_norm_or_its_strength(ours, theirs, pitfall, fix):
    finding = judged(trace(ours), trace(theirs))
    assert finding.verdict is Verdict.DIVERGED
    assert [(c.kind, c.reference, c.pitfall, c.fix) for c in finding.culprits] == [
        ("regularizer", "dense/kernel", pitfall, fix)
    ]


def test_where_all_values_are_one_no_cause_is_told_and_another_filling_tells_it():
    told = judged(trace(l2(0.001)), trace(l1(0.001))).culprits
    untold = judged(trace(l2(0.001), CONSTANT), trace(l1(0.001), CONSTANT)).culprits
    assert [c.pitfall for c in untold] == [""]
    assert untold[0].ratio > told[0].ratio
    for order in ((*told, *untold), (*untold, *told)):
        (one,) = gathered(order)
        assert (one.pitfall, one.error) == ("regularizer-kind", untold[0].error)


def test_what_one_line_gets_wrong_in_one_way_is_one_culprit_and_another_line_another():
    def at(operation, line, pitfall="wrong-axis", consequences=0):
        return Culprit(operation, operation, "operation", "", source=line, pitfall=pitfall, consequences=consequences)

    told = gathered(
        [at("max", "a.py:3"), at("sum", "a.py:3", consequences=4), at("max", "a.py:4"), at("x", "a.py:3", "")]
    )
    assert [(c.reference, c.consequences) for c in told] == [("sum", 4), ("max", 0), ("x", 0)]
    without_a_line = [at("max", None), at("sum", None)]
    assert list(gathered(without_a_line)) == without_a_line


def test_the_regularizer_is_not_blamed_for_other_values():
    finding = judged(trace(l2(0.001)), trace(l2(0.001), VALUE * 2))
    assert finding.verdict is Verdict.DIVERGED
    assert finding.culprits == ()


def test_of_two_that_know_a_cause_the_worst_is_kept():
    small, large = (
        Culprit("a", "a", "operation", name, ratio, 1.0, pitfall="offset")
        for name, ratio in (("small", 2.0), ("large", 9.0))
    )
    assert [c.cause for c in gathered((small, large))] == [c.cause for c in gathered((large, small))] == ["large"]
