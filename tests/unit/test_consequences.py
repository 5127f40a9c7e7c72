"""What one mistake causes elsewhere is not told again: not by an optimizer's updates, not by another run."""

import dataclasses

from lockstep.check.steps import consequences, trajectory
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict, untold

SLOPE = Culprit(
    "head/LeakyRelu",
    "layer/LeakyRelu",
    "operation",
    "alpha: 0.2 against 0.3",
    source="migrated.py:21",
    reference_source="layers.py:17",
    pitfall="leaky-slope",
    operations=(("LeakyRelu",), ("LeakyRelu",)),
)
OTHER_LAYER = dataclasses.replace(SLOPE, reference="head_1/LeakyRelu", candidate="layer_1/LeakyRelu", cause="slope 0.3")
OPTIMIZER = Culprit("AdamOptimizer", "Adam: epsilon", "optimizer", "Adam(epsilon=1e-08) is needed")
UPDATE = Culprit("w", "w", "update", f"at step 1, {trajectory.OTHER_VALUES} (as in 1 others)")


def test_a_line_that_two_runs_blame_in_two_layers_is_told_once():
    assert untold([OTHER_LAYER], [SLOPE]) == []


def test_a_line_with_the_same_fix_is_told_once_whatever_lies_around_it_in_the_reference():
    """In training mode a dropout lies beside it."""
    one = dataclasses.replace(SLOPE, fix="alpha=0.2")
    trained = dataclasses.replace(OTHER_LAYER, fix="alpha=0.2", operations=(("Mul", "LeakyRelu"), ("LeakyRelu",)))
    assert untold([trained], [one]) == []
    assert untold([dataclasses.replace(trained, fix="alpha=0.1")], [one]) != []


def test_the_same_place_is_handed_on_for_its_worst_figures():
    again = dataclasses.replace(SLOPE, error=1.0)
    assert untold([again], [SLOPE]) == [again]


def test_a_training_step_that_shows_a_wrong_gradient_again_is_no_second_cause():
    gradient = Culprit("w", "w", "gradient", "it is twice the reference's", 1.0, 0.1)
    again = dataclasses.replace(gradient, cause=f"at step 1, {gradient.cause}", error=2.0)
    assert untold([again], [gradient]) == []
    other = dataclasses.replace(again, cause="at step 1, it is half the reference's")
    assert untold([other], [gradient]) == [other]


def test_what_one_run_tells_apart_stays_apart():
    assert untold([SLOPE, OTHER_LAYER], []) == [SLOPE, OTHER_LAYER]


def test_another_line_another_operation_or_an_unknown_cause_is_another_mistake():
    others = [
        dataclasses.replace(OTHER_LAYER, source="migrated.py:22"),
        dataclasses.replace(OTHER_LAYER, reference_source="layers.py:18"),
        dataclasses.replace(OTHER_LAYER, operations=(("LeakyRelu",), ("Relu",))),
        dataclasses.replace(OTHER_LAYER, pitfall="constant"),
    ]
    assert untold(others, [SLOPE]) == others
    unknown = dataclasses.replace(SLOPE, pitfall=""), dataclasses.replace(OTHER_LAYER, pitfall="")
    assert untold([unknown[1]], [unknown[0]]) == [unknown[1]]


def test_the_updates_of_a_wrong_optimizer_are_its_consequence():
    finding = Finding(Verdict.DIVERGED, "step 1: 2 of 2 updated variables differ", (), {}, (UPDATE,))
    (told,) = consequences.of_an_optimizer([finding], [OPTIMIZER])
    assert (told.verdict, told.culprits) == (Verdict.DIVERGED, ())
    assert told.phrase == "step 1: 2 of 2 updated variables differ; this follows from the optimizer"


def test_updates_stay_to_blame_where_no_optimizer_is_or_for_another_reason():
    finding = Finding(Verdict.DIVERGED, "1 of 2 differ", (), {}, (UPDATE,))
    assert consequences.of_an_optimizer([finding], [SLOPE]) == [finding]
    beside = dataclasses.replace(UPDATE, cause="the reference's training step changes it")
    other = dataclasses.replace(finding, culprits=(beside,))
    assert consequences.of_an_optimizer([other], [OPTIMIZER]) == [other]
