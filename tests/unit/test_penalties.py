"""Penalties of one side alone: the sums that are trained on decide, and nothing is lost on the way there."""

import dataclasses

import pytest

from lockstep.check.proof.trials import labelled
from lockstep.check.steps import penalties
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict

EXTRA = Culprit(None, "dense/kernel", "regularizer", "only the candidate regularizes it", pitfall="extra-regularizer")
LOST = Culprit("w", "kernel", "regularizer", "the candidate has no regularization loss for it")
ACTIVATION = Culprit("relu", "elu", "operation", "elu in the candidate, relu in the reference")


def found(ours, theirs, culprit=EXTRA):
    figures = {"reference_losses": ours, "candidate_losses": theirs}
    return Finding(Verdict.DIVERGED, f"loss 0 against 1 ({ours} against {theirs} losses)", (), figures, (culprit,))


AGREE = [Finding(Verdict.EQUIVALENT, "2 gradients differ by 1e-09 at most")]


@pytest.mark.parametrize("finding", [found(0, 2), found(2, 0, LOST)])
def test_what_one_side_alone_keeps_is_no_difference_where_the_sums_agree(finding):
    told = penalties.settled(penalties.deferred(finding), AGREE, [])
    assert (told.verdict, told.culprits) == (Verdict.NOT_ASKED, ())
    assert "in its training loss" in told.phrase


@pytest.mark.parametrize(
    "gradients",
    [
        [],
        [Finding(Verdict.NOT_ASKED, "gradients were not asked for")],
        [Finding(Verdict.DIVERGED, "the training loss differs")],
        [Finding(Verdict.UNDECIDED, "rounding hides it")],
        [*AGREE, Finding(Verdict.DIVERGED, "1 gradient differs")],
    ],
)
def test_it_is_told_as_it_was_found_unless_the_sums_agree(gradients):
    finding = found(0, 2)
    assert penalties.settled(penalties.deferred(finding), gradients, []) == finding


@pytest.mark.parametrize(("theirs", "kept"), [(1.5, True), (1.25, False)])
def test_it_is_to_blame_if_it_is_what_the_sums_differ_by(theirs, kept):
    known = {"reference_training_loss": 1.0, "candidate_training_loss": theirs, penalties.KEPT: -0.5}
    gradients = [Finding(Verdict.DIVERGED, "the training loss differs", (), known)]
    told = penalties.settled(penalties.deferred(found(0, 2)), gradients, [])
    assert (told == found(0, 2)) is kept
    assert (told.verdict is Verdict.NOT_ASKED) is not kept


def test_what_would_not_be_seen_in_the_sum_is_undecided():
    gradients = [dataclasses.replace(AGREE[0], figures={penalties.UNSEEN: ["dense/bias"]})]
    told = penalties.settled(penalties.deferred(found(0, 2)), gradients, [])
    assert told.verdict is Verdict.UNDECIDED
    assert "cannot be seen of dense/bias" in told.phrase


def test_beside_another_mistake_it_is_judged_later():
    told = penalties.settled(penalties.deferred(found(0, 2)), [Finding(Verdict.DIVERGED, "")], [ACTIVATION])
    assert (told.verdict, told.culprits) == (Verdict.NOT_ASKED, ())
    assert "judged anew" in told.phrase


@pytest.mark.parametrize(
    "finding",
    [
        found(2, 2),
        found(1, 2),
        dataclasses.replace(found(0, 2), verdict=Verdict.EQUIVALENT, culprits=()),
        dataclasses.replace(found(0, 2), culprits=(EXTRA, ACTIVATION)),
    ],
)
def test_what_both_sides_keep_is_judged_by_itself(finding):
    assert penalties.deferred(finding) == finding
    assert penalties.settled(finding, AGREE, []) == finding


def test_which_run_it_was_is_remembered():
    told = labelled(penalties.deferred(found(0, 2)), "distinct values")
    back = penalties.settled(told, [], [])
    assert back.phrase.startswith("distinct values: loss 0 against 1")
