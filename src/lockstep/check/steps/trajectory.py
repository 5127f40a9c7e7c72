"""Step `trajectory`: training steps on both sides, each from the reference's state, and free running."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.compare.tolerance import UPDATE_RTOL, update_tolerance
from lockstep.ground.training import GLOBAL_STEP, TrainingStep, drift
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict, overall

STEPS = 20
"""How many steps are trained where there are a loss and optimizers, unless the configuration says otherwise."""
OTHER_VALUES = "the optimizer gives other values from equal variables, gradients and history"
"""The cause of an update that is wrong by itself."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Drift:
    """How far apart states are after each step, as `recorder.training.drift` measures it.

    Attributes:
        candidate: The candidate, free running, from the reference.
        own: The reference from itself, started with every number moved by one unit in the last place.
        losses: The training losses of both sides at each step, `(reference's, candidate's)`.
    """

    candidate: Sequence[float]
    own: Sequence[float]
    losses: Sequence[tuple[float, float]]


def update(step: TrainingStep, state: Arrays, candidate: Arrays, names: Mapping[str, str]) -> Finding:
    """Judges what the candidate's optimizer makes of the reference's state and gradients.

    Args:
        step: The reference's training step.
        state: The reference's variables before its update.
        candidate: What the candidate's optimizer left, under the reference's keys.
        names: The reference's key -> the candidate's.
    """
    culprits = []
    for key in candidate:
        mine = np.asarray(step.update.variables[key], np.float64)
        difference = np.abs(mine - candidate[key])
        if np.any(~(difference <= update_tolerance(state[key], step.update.variables[key]))):
            size = float(np.max(np.abs(mine - state[key]))) or 1.0
            error = float(np.max(difference)) / size
            culprits.append(Culprit(key, names[key], "update", OTHER_VALUES, error, UPDATE_RTOL))
    culprits.extend(_only_in_the_reference(step, state, candidate, names))
    if culprits:
        details = tuple(f"{culprit.reference}: {culprit.cause}" for culprit in culprits)
        phrase = f"{len(culprits)} of {len(candidate)} updated variables differ"
        # They have one cause, which the step of the optimizer looks for: the worst stands for all.
        worst = max(culprits, key=lambda culprit: culprit.error or 0.0)
        others = f" (as in {len(culprits) - 1} others)" if len(culprits) > 1 else ""
        blamed = dataclasses.replace(worst, cause=f"{worst.cause}{others}")
        return Finding(Verdict.DIVERGED, phrase, details, {}, (blamed,))
    late = [key for key in _beside(step, state, candidate) if key in names]
    if late:
        phrase = f"the reference's training step changes {late[0]} after its gradients, which no single run shows"
        return Finding(Verdict.UNDECIDED, phrase, (phrase,))
    return Finding(Verdict.EQUIVALENT, "")


def _only_in_the_reference(
    step: TrainingStep, state: Arrays, candidate: Arrays, names: Mapping[str, str]
) -> list[Culprit]:
    """Returns the trained variables that the reference's own training step changes though its loss does not."""
    cause = "the reference's training step changes it, though the training loss does not depend on it"
    return [
        Culprit(key, names[key], "update", cause)
        for key in _beside(step, state, candidate)
        if key in step.run.unconnected and key in names
    ]


def _beside(step: TrainingStep, state: Arrays, candidate: Arrays) -> list[str]:
    """Returns the keys of the variables that a step changed besides those that have gradients."""
    after = step.update.variables
    return [
        key
        for key in after
        if key not in candidate
        and key != GLOBAL_STEP  # the steps are counted by whoever makes them
        and np.asarray(after[key]).dtype.kind in "fiub"
        and np.any(
            ~(np.abs(np.asarray(after[key], np.float64) - state[key]) <= update_tolerance(state[key], after[key]))
        )
    ]


def forced(findings: Sequence[Sequence[Finding]], count: int) -> list[Finding]:
    """Puts the findings of teacher forced steps together: the first step that is not equivalent is told.

    Args:
        findings: For each step that was made: about its gradients, its state and its update.
        count: How many steps there should have been.
    """
    for number, found in enumerate(findings, 1):
        verdict = overall([finding.verdict for finding in found])
        if verdict is Verdict.EQUIVALENT:
            continue
        label = f"step {number}"
        return [
            dataclasses.replace(
                finding,
                phrase=f"{label}: {finding.phrase}",
                details=tuple(f"{label}: {line}" for line in finding.details),
                figures={"first_step_that_differs": number},
                culprits=tuple(dataclasses.replace(c, cause=f"at {label}, {c.cause}") for c in finding.culprits),
            )
            for finding in found
            if finding.verdict is verdict
        ]
    explained = sum(any(key.endswith("_explained_by_noise") for f in found for key in f.figures) for found in findings)
    figures: dict[str, object] = {"steps": count}
    phrase = f"{count} steps, each from the reference's state, agree"
    if explained:
        figures["steps_explained_by_noise"] = explained
        phrase += f" ({explained} within rounding)"
    return [Finding(Verdict.EQUIVALENT, phrase, (), figures)]


def free(found: Drift) -> Finding:
    """Tells how far free running goes apart; it is no verdict, as chaos alone carries right models apart."""
    figures: dict[str, object] = {
        "drift": list(found.candidate),
        "own_drift": list(found.own),
        "reference_losses": [mine for mine, _ in found.losses],
        "candidate_losses": [theirs for _, theirs in found.losses],
    }
    phrase = f"free running {found.candidate[-1]:.2g} apart"
    if found.own:
        phrase += f", the reference from itself {found.own[-1]:.2g} (one unit in the last place)"
    return Finding(Verdict.EQUIVALENT, phrase, (), figures)


def drifts(
    reference: Sequence[TrainingStep],
    candidate: Sequence[TrainingStep],
    own: Sequence[float],
    carried: Callable[[Arrays], Arrays],
) -> Drift:
    """Measures the drift of free running, step by step.

    Args:
        reference: The reference's steps.
        candidate: The candidate's, from the same start on its own.
        own: The reference's drift from itself.
        carried: Turns values of the reference into the candidate's.
    """
    return Drift(
        [drift(carried(a.values), b.values) for a, b in zip(reference, candidate, strict=True)],
        own,
        [(float(a.run.training_loss), float(b.run.training_loss)) for a, b in zip(reference, candidate, strict=True)],
    )
