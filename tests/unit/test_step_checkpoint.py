"""What both sides start from, and what is told of a checkpoint that does not fit."""

from pathlib import Path

import numpy as np
import pytest

from lockstep.check.steps import checkpoint as step
from lockstep.common.errors import InputError
from lockstep.compare.align import TransformRule, align
from lockstep.files.checkpoints import Checkpoint
from lockstep.ground.restoring import Held
from lockstep.traces.trace import Trace, VariableRecord, unique_keys

W, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3, dtype=np.float32)


def records(**named):
    return tuple(VariableRecord(name, name, array.shape, array.dtype.name, True) for name, array in named.items())


def planned(held, reference, candidate=None, rules=(), **options):
    read = []

    def value(name):
        read.append(name)
        return held[name]

    entries = {name: Held(array.shape, array.dtype.name) for name, array in held.items()}
    trace = Trace(reference, {record.key: np.full(record.shape, 7, record.dtype) for record in reference}, {})
    alignment = align(reference, reference if candidate is None else candidate, (), rules)
    return step.plan(Checkpoint(Path("model.ckpt"), entries, value), trace, alignment, **options), alignment, read


def test_both_sides_get_the_values_the_candidate_its_own_way():
    rules = [TransformRule.of(("w", "transpose(1,0)"))]
    plan, _, _ = planned({"w": W, "b": B}, records(w=W, b=B), records(w=W.T, b=B), rules)
    assert plan.runs
    np.testing.assert_array_equal(plan.reference.values["w"], W)
    np.testing.assert_array_equal(plan.candidate.values["w"], W.T)
    assert set(plan.candidate.values) == {"w", "b"}
    assert plan.findings[0].phrase == "2 variables from model.ckpt; nothing unused"


def test_another_shape_or_dtype_is_a_clash_and_nothing_is_read():
    plan, alignment, read = planned({"w": W, "b": B.astype(np.float16)}, records(w=W.T, b=B))
    (finding,) = plan.findings
    assert (plan.runs, read, str(finding.verdict)) == (False, [], "undecided")
    assert finding.details == (
        "~ w: (3, 2) float32 in the reference, (2, 3) float32 in the checkpoint",
        "~ b: (3,) float32 in the reference, (3,) float16 in the checkpoint",
    )
    with pytest.raises(InputError, match="2 variables of another shape or dtype in the checkpoint: w, b"):
        step.refuse_gaps(None, plan.findings, alignment)


def test_what_is_missing_is_told_with_the_nearest_unused_entry():
    plan, _, _ = planned({"net/dense/kernel": W, "b": B}, records(**{"net/dense_1/kernel": W, "b": B}))
    assert not plan.runs
    assert plan.findings[0].details == (
        "- net/dense_1/kernel: the checkpoint has none; unused is 'net/dense/kernel'",)  # fmt: skip
    assert plan.findings[0].figures["checkpoint_missing"] == ["net/dense_1/kernel"]


def test_several_variables_of_one_name_are_told_for_what_they_are():
    twins = tuple(VariableRecord("w", key, W.shape, "float32", True) for key in unique_keys(["w", "w"]))
    plan, _, _ = planned({"w": W}, twins)
    assert "several variables of the reference bear the name w" in plan.findings[0].details[0]


def test_what_may_be_missing_keeps_the_references_initial_value_on_both_sides():
    plan, _, _ = planned({"w": W}, records(w=W, b=B), allow_missing=("^b$",))
    assert plan.runs
    for setting in (plan.reference, plan.candidate):
        np.testing.assert_array_equal(setting.values["b"], np.full(3, 7, np.float32))


def test_a_models_own_variable_that_nobody_uses_is_named():
    plan, _, _ = planned({"w": W, "w/Adam": W, "head/bias": B}, records(w=W))
    assert plan.findings[0].phrase == "1 variable from model.ckpt; unused: 1 variable, 1 optimizer slot (head/bias)"


def test_a_place_that_nothing_is_for_and_a_value_without_a_place_are_refused_for_a_conversion():
    plan, alignment, _ = planned({"w": W}, records(w=W), records(w=W, extra=B))
    assert [str(finding.verdict) for finding in plan.findings] == ["not asked for", "undecided"]
    with pytest.raises(InputError, match="nothing is for the candidate's extra"):
        step.refuse_gaps(plan, plan.findings, alignment)
    plan, alignment, _ = planned({"w": W, "b": B}, records(w=W, b=B), records(w=W))
    with pytest.raises(InputError, match="the candidate has no place for b"):
        step.refuse_gaps(plan, plan.findings, alignment)
