"""Step `gradients` on traces made by hand."""

import dataclasses

import numpy as np
import pytest

from lockstep.check.steps import gradients
from lockstep.compare.align import TransformRule, align
from lockstep.compare.tolerance import FixedTolerance
from lockstep.compare.transforms import Transform
from lockstep.results.model import Verdict
from lockstep.subjects import TRAINING_LOSS
from lockstep.traces.trace import Trace, VariableRecord

GENERATOR = np.random.default_rng(1)
KERNEL = GENERATOR.normal(size=(6, 4)).astype(np.float32)
BIAS = (1e-9 * GENERATOR.normal(size=4)).astype(np.float32)


def trace(found, *, loss=2.0, trainable=True, unconnected=(), outputs=None):
    keys = [*found, *unconnected]
    return Trace(
        variables=tuple(VariableRecord(key, key, (4,), "float32", trainable) for key in keys),
        before={},
        outputs=outputs or {},
        training_loss=np.float32(loss),
        gradients={key: np.asarray(value, np.float32) for key, value in found.items()},
        unconnected=tuple(unconnected),
    )


def compare(reference, candidate, budgets=None):
    alignment = align(reference.variables, candidate.variables)
    return gradients.compare(reference, candidate, alignment, FixedTolerance(), budgets)


def test_equal_gradients_are_equivalent_to_the_bit():
    finding = compare(trace({"w": KERNEL}), trace({"w": KERNEL}))
    assert finding.verdict is Verdict.EQUIVALENT
    assert finding.figures["gradient_bit_equal"] is True


def test_a_gradient_that_is_rounding_may_be_off_by_more_than_itself_and_no_more_than_the_floor():
    reference = trace({"w": KERNEL, "b": BIAS})
    assert compare(reference, trace({"w": KERNEL, "b": -3 * BIAS})).verdict is Verdict.EQUIVALENT
    beyond = np.full(4, 2 * gradients.MODEL_FLOOR * np.abs(KERNEL).max(), np.float32)
    finding = compare(reference, trace({"w": KERNEL, "b": beyond}))
    assert finding.verdict is Verdict.DIVERGED
    assert [c.reference for c in finding.culprits] == ["b"]


def test_a_budget_explains_what_is_within_it():
    reference, candidate = trace({"w": KERNEL}), trace({"w": KERNEL + np.float32(1e-3)})
    assert compare(reference, candidate).verdict is Verdict.DIVERGED
    assert compare(reference, candidate, {"w": 2e-3}).verdict is Verdict.EQUIVALENT
    assert compare(reference, candidate, {"w": 5e-4}).verdict is Verdict.DIVERGED


def test_a_gradient_on_one_side_only_is_a_culprit_unless_the_other_is_zero():
    whole, without = trace({"w": KERNEL, "b": KERNEL[0]}), trace({"w": KERNEL}, unconnected=("b",))
    lost = compare(whole, without)
    assert (lost.verdict, lost.culprits[0].error) == (Verdict.DIVERGED, 1.0)
    assert "a stop_gradient too many" in lost.culprits[0].cause
    added = compare(without, whole)
    assert added.culprits[0].error == pytest.approx(np.abs(KERNEL[0]).max() / np.abs(KERNEL).max())
    assert "a stop_gradient is lost" in added.culprits[0].cause
    assert gradients.beyond_doubt(added)
    zeros = trace({"w": KERNEL, "b": np.zeros(4)})
    assert compare(zeros, without).verdict is compare(without, zeros).verdict is Verdict.EQUIVALENT
    assert compare(without, without).verdict is Verdict.EQUIVALENT


def test_a_gradient_that_is_zero_on_one_side_is_told():
    found = compare(trace({"w": KERNEL, "b": KERNEL[0]}), trace({"w": KERNEL, "b": np.zeros(4)}))
    assert found.culprits[0].cause == "its gradient is zero in the candidate alone: a stop_gradient too many"


def test_what_is_not_finite_on_both_sides_proves_nothing_and_on_one_side_diverges():
    broken = KERNEL.copy()
    broken[0, 0] = np.nan
    assert compare(trace({"w": broken}), trace({"w": broken})).verdict is Verdict.UNDECIDED
    assert compare(trace({"w": KERNEL}), trace({"w": broken})).verdict is Verdict.DIVERGED
    assert not gradients.finite(trace({"w": broken}))


def test_nothing_in_common_is_undecided_and_no_gradients_are_not_asked_for():
    frozen = trace({"w": KERNEL}, trainable=False)
    assert compare(frozen, frozen).verdict is Verdict.UNDECIDED
    assert compare(trace({"w": KERNEL}), Trace((), {}, {})).verdict is Verdict.NOT_ASKED


def test_another_loss_alone_is_a_culprit():
    finding = compare(trace({"w": KERNEL}), trace({"w": KERNEL}, loss=3.0))
    assert [(c.kind, c.reference) for c in finding.culprits] == [("loss", TRAINING_LOSS)]


@pytest.mark.parametrize(
    ("factor", "cause"),
    [
        (1 / 16, "one over the size of the batch (16): the reference sums the loss, the candidate averages it"),
        (48.0, "the size of the elements of output y (48)"),
        (0.37, "0.37 times the reference's: the loss is scaled or reduced in another way"),
    ],
)
def test_a_factor_that_all_gradients_have_in_common_is_one_culprit(factor, cause):
    outputs = {"y": np.zeros((16, 3), np.float32)}
    found = {"w": KERNEL, "b": KERNEL[0]}
    reference = trace(found, outputs=outputs)
    candidate = trace({key: factor * value for key, value in found.items()}, loss=2.0 * factor, outputs=outputs)
    alignment = align(reference.variables, candidate.variables)
    told = gradients.with_cause_of_all(compare(reference, candidate), reference, candidate, alignment)
    assert [c.kind for c in told.culprits] == ["loss"]
    assert cause in told.culprits[0].cause
    mixed = trace({"w": factor * KERNEL, "b": KERNEL[0]}, outputs=outputs)
    untold = compare(reference, mixed)
    assert gradients.with_cause_of_all(untold, reference, mixed, alignment) == untold


def test_a_transformed_variable_has_a_transformed_gradient():
    rules = [TransformRule("w", Transform.parse("transpose(1, 0)"))]

    def side(gradient):
        found = trace({"w": gradient})
        return dataclasses.replace(found, variables=(VariableRecord("w", "w", gradient.shape, "float32", True),))

    reference, right, wrong = side(KERNEL), side(np.ascontiguousarray(KERNEL.T)), side(2 * KERNEL.T)
    alignment = align(reference.variables, right.variables, (), rules)
    assert list(alignment.transforms) == ["w"]
    assert gradients.compare(reference, right, alignment, FixedTolerance()).verdict is Verdict.EQUIVALENT
    found = gradients.compare(reference, wrong, alignment, FixedTolerance())
    assert [(c.reference, c.candidate) for c in found.culprits] == [("w", "w")]
    assert found.culprits[0].cause == "its gradient is 2 times the reference's"


def test_a_budget_hides_an_answer_only_beside_the_models_gradients():
    base = trace({"w": KERNEL, "b": BIAS})
    budgets = {"w": 1e-9, "b": 1e-8, TRAINING_LOSS: 0.0}
    assert gradients.hidden(budgets, base) == {}
    assert list(gradients.hidden({**budgets, "w": 10.0}, base)) == ["w"]
