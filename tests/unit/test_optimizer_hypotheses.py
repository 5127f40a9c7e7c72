"""Explanations of optimizers: what they say is what reproduces the reference, and nothing else is said."""

import numpy as np
import pytest

from lockstep.causes.optimizer_hypotheses import Course, explain
from lockstep.compare.tolerance import update_tolerance
from lockstep.ground.trials import UPDATES, cut, probes, trial
from lockstep.optimizers import Description, replay

SHAPES = {"w": ((5, 4), np.dtype("float32")), "b": ((4,), np.dtype("float32"))}
GIVEN = trial(SHAPES)
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}


def run(kind, arguments, rates=0.01, before=None):
    """What an optimizer with this rule does, in float32."""
    rates = [rates] * UPDATES if isinstance(rates, float) else rates
    starts, after = [GIVEN.variables], []
    for number in range(UPDATES):
        given = before or starts
        done = replay(kind, arguments, rates[: number + 1], given[: number + 1], GIVEN.gradients[: number + 1])
        after.append({key: value.astype(np.float32) for key, value in done.variables[-1].items()})
        starts.append(after[-1])
    return rates, starts[:UPDATES], after


def explained(reference, candidate, *, told=True, rates=(0.01, 0.01)):
    (kind, mine), (other, theirs) = reference, candidate
    mine_rates, before, after = run(kind, mine, rates[0])
    theirs_rates, _, theirs_after = run(other, theirs, rates[1], before)
    descriptions = [Description("v1", "Reference", kind, mine) if told else None,
                    Description("keras", "Candidate", other, theirs)]  # fmt: skip
    courses = [Course(descriptions[0], mine_rates if told else [], after),
               Course(descriptions[1], theirs_rates, theirs_after)]  # fmt: skip
    return explain(*courses, before, GIVEN.gradients)


@pytest.mark.parametrize("told", [True, False], ids=["described", "out of sight"])
@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("adam", ADAM, {"epsilon": 1e-7}),
        ("adam", ADAM, {"epsilon_place": "corrected"}),
        ("adam", ADAM, {"beta_2": 0.99}),
        ("momentum", {"momentum": 0.9, "nesterov": True}, {"nesterov": False}),
        ("momentum", {"momentum": 0.9, "nesterov": False}, {"momentum": 0.99}),
        ("adagrad", {"initial_accumulator": 0.1, "epsilon": 0.0}, {"initial_accumulator": 1.0}),
        ("sgd", {"clip": "global norm", "clip_at": 0.3}, {"clip": "norm"}),
        ("sgd", {"weight_decay": 0.3, "decay_without_rate": True}, {"decay_without_rate": False}),
    ],
)
def test_one_wrong_argument_is_named(kind, right, wrong, told):
    found = explained((kind, right), (kind, {**right, **wrong}), told=told)
    assert found is not None
    assert found.changes == {name: right.get(name) for name in wrong} or (
        # Without a description the place is any that gives the same numbers: "outside" is what Adam has by default.
        list(found.changes) == list(wrong) == ["epsilon_place"]
    )


def test_other_learning_rates_are_named():
    rates = [0.1, 0.05, 0.02, 0.01, 0.005]
    found = explained(("sgd", {}), ("sgd", {}), rates=(rates, [0.1, 0.1, 0.05, 0.02, 0.01]))
    assert found.changes == {"rates": tuple(rates)}
    assert "the learning rate must be 0.05 (the candidate has 0.1) at update 2" in found.cause


def test_nothing_is_said_where_nothing_reproduces_the_reference():
    assert explained(("adam", {**ADAM, "beta_1": 0.123}), ("adam", ADAM), told=False) is None


def test_nothing_is_said_where_the_candidates_rule_does_not_reproduce_the_candidate():
    rates, before, after = run("adam", ADAM)
    moved = [{key: value + np.float32(0.5) for key, value in one.items()} for one in after]
    description = Description("keras", "Adam", "adam", ADAM)
    assert (
        explain(Course(description, rates, after), Course(description, rates, moved), before, GIVEN.gradients) is None
    )
    unknown = Course(Description("keras", "Lion", ""), rates, moved)
    assert explain(Course(description, rates, after), unknown, before, GIVEN.gradients) is None


def test_trials_show_small_and_large_gradients():
    magnitudes = [np.abs(np.concatenate([g.ravel() for g in one.values()])) for one in GIVEN.gradients]
    assert magnitudes[0].min() < 1e-5
    assert magnitudes[1].max() > 10
    assert all(np.all(one > 0) for one in magnitudes)
    assert len({one.tobytes() for one in magnitudes}) == UPDATES


def test_a_large_variable_is_cut_and_keeps_its_rank():
    assert cut(()) == ()
    assert len(cut((1000, 1000, 7))) == 3
    assert np.prod(cut((1000, 1000, 7))) <= 4096


def test_learning_rates_are_asked_at_the_turning_points_and_beside_them():
    assert {1233, 1234, 1235, 0, 5, 999_999} <= set(probes([1234]))


def test_the_tolerance_of_an_update_follows_what_it_added():
    before = np.array([1.0, 1.0, 1e-6], np.float32)
    after = np.array([1.5, 1.0, 2e-6], np.float32)
    allowed = update_tolerance(before, after)
    assert 5e-5 < allowed[0] < 6e-5
    assert allowed[1] < 3e-6
    assert allowed[2] < 1e-6
