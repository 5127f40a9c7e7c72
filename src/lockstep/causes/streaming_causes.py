"""Why a streaming metric reports something else: each guess is tried on what both sides reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.causes.streaming_oracle import Data, known
from lockstep.common.errors import SubjectError
from lockstep.ground.streaming import Batch, Course, Seen
from lockstep.subjects.streaming import Roles, joined

_ORACLE_ATOL = 2e-5
"""How far float32 metrics are from float64 ones: `tf.metrics.auc` adds 1e-6 to each count."""


@dataclass(frozen=True)
class Cause:
    """What is wrong, and what to write instead."""

    text: str
    fix: str = ""


@dataclass(frozen=True)
class Case:
    """One metric that differs.

    Attributes:
        names: The metric's name on either side.
        courses: All courses, by name.
        reference: Course -> what the reference reported.
        candidate: The same of the candidate.
        rerun: Has the candidate go through other courses.
        roles: Which output and inputs the metrics are about.
        same: Tells whether two values are equal but for rounding.
    """

    names: tuple[str, str]
    courses: Mapping[str, Course]
    reference: Mapping[str, Seen]
    candidate: Mapping[str, Seen]
    rerun: Callable[[Sequence[Course]], list[Seen]]
    roles: Roles
    same: Callable[[object, object], bool]

    def after(self, side: str, course: str) -> list[np.ndarray]:
        """Returns a side's values after each batch."""
        seen, name = self._of(side)
        return [values[name] for values in seen[course].after]

    def alone(self, side: str, course: str) -> list[np.ndarray]:
        """Returns a side's values of each batch alone."""
        seen, name = self._of(side)
        return [values[name] for values in seen[course].alone]

    def _of(self, side: str) -> tuple[Mapping[str, Seen], str]:
        return (self.reference, self.names[0]) if side == "reference" else (self.candidate, self.names[1])

    def agree(self, ours: Sequence[object], theirs: Sequence[object]) -> bool:
        """Tells whether values are the same place by place."""
        return len(ours) == len(theirs) and all(self.same(a, b) for a, b in zip(ours, theirs, strict=True))

    def tried(self, course: str, change: Callable[[Batch], Batch]) -> bool:
        """Tells whether the candidate reports what the reference does once its batches are changed."""
        given = self.courses[course]
        try:
            seen = self.rerun([Course(given.name, [change(batch) for batch in given.batches])])
        except SubjectError:  # what was made up, a label that no class has, is no input that it has to take
            return False
        return self.agree(self.after("reference", course), [values[self.names[1]] for values in seen[0].after])


UNWEIGHTED = "all {} one"
GIVEN, GENERIC, EDGES = "given", "generic", "edges"


def explain(case: Case) -> Cause | None:
    """Returns the first guess that holds; None where none does."""
    return next(_guesses(case), None)


def _guesses(case: Case) -> Iterator[Cause]:
    yield from _not_reset(case)
    yield from _accumulated(case)
    yield from _weights(case)
    yield from _at_the_threshold(case)
    yield from _given_otherwise(case)
    ours, theirs = (_called(case, side) for side in ("reference", "candidate"))
    if ours and theirs and not set(ours) & set(theirs):
        yield Cause(f"the reference reports {ours[0]}, and the candidate {theirs[0]}", f"report {ours[0]}")
    yield from _scaled(case)
    if ours and not theirs:
        yield Cause(f"the reference reports {ours[0]}, and the candidate something else", f"report {ours[0]}")


def _accumulated(case: Case) -> Iterator[Cause]:
    """Each batch alone is right, and several together are not."""
    if not case.agree(case.alone("reference", GENERIC), case.alone("candidate", GENERIC)):
        return
    ours, theirs = case.after("reference", GENERIC), case.after("candidate", GENERIC)
    singles = [np.asarray(value, np.float64) for value in case.alone("candidate", GENERIC)]
    means = [np.mean(singles[: count + 1], axis=0) for count in range(len(singles))]
    sums = [np.sum(singles[: count + 1], axis=0) for count in range(len(singles))]
    rest = "weighs each batch by its size (or by its weights)"
    if case.agree(means, theirs) and not case.agree(means, ours):
        yield Cause(
            f"the candidate reports the mean of the batches' values, and the reference {rest}; they differ as soon as "
            "batches are not of one size, as the last one is",
            "add up the sum and the number of examples over all batches, and divide once",
        )
    if case.agree(means, ours) and not case.agree(means, theirs):
        yield Cause(
            f"the reference reports the mean of the batches' values, and the candidate {rest}",
            "report the mean of the batches' values to get the reference's numbers; the candidate's are the usual ones",
        )
    if case.agree(singles, theirs):
        yield Cause(
            "the candidate reports the last batch alone: nothing is kept from one batch to the next",
            "reset the metric before the first batch only, and keep its sums",
        )
    if case.agree(sums, theirs):
        yield Cause("the candidate adds up the batches' values", "divide the sum by the number of examples")


def _not_reset(case: Case) -> Iterator[Cause]:
    """The first batch alone, after a reset, gives something else than it gave at the very start."""
    ours, theirs = ([case.after(side, GIVEN)[0], case.alone(side, GIVEN)[0]] for side in ("reference", "candidate"))
    for side, other, values in (("candidate", ours, theirs), ("reference", theirs, ours)):
        if case.same(other[0], other[1]) and not case.same(values[0], values[1]):
            yield Cause(
                f"after a reset the {side} still holds something of the batches before",
                "set every variable of the metric back to its first value when it is reset",
            )


def _weights(case: Case) -> Iterator[Cause]:
    for name in case.courses[GENERIC].batches[0].inputs:
        course = UNWEIGHTED.format(name)
        if course not in case.courses:
            continue
        weighted, plain = case.after("reference", GENERIC), case.after("reference", course)
        found, without = case.after("candidate", GENERIC), case.after("candidate", course)
        if not case.agree(weighted, plain) and case.agree(plain, found):
            yield Cause(
                f"the candidate ignores the sample weights {name}",
                f"give {name} to the metric, as sample_weight, where the reference has weights",
            )
        if case.agree(weighted, plain) and not case.agree(found, without) and case.agree(without, weighted):
            yield Cause(f"the candidate weighs examples by {name}, and the reference does not", "leave the weights out")


def _at_the_threshold(case: Case) -> Iterator[Cause]:
    """They differ only where a prediction is exactly a threshold."""
    if EDGES not in case.courses or not all(
        case.agree(case.after("reference", course), case.after("candidate", course)) for course in (GIVEN, GENERIC)
    ):
        return
    for direction, ours, theirs in ((-np.inf, ">", ">="), (np.inf, ">=", ">")):

        def moved(batch: Batch, direction: float = direction) -> Batch:
            return _with_predictions(case, batch, lambda values: np.nextafter(values, values.dtype.type(direction)))

        if case.tried(EDGES, moved):
            yield Cause(
                f"a prediction that is exactly the threshold counts as positive on one side only: the reference takes "
                f"prediction {ours} threshold, the candidate prediction {theirs} threshold",
                f"compare with {ours}",
            )


def _with_predictions(case: Case, batch: Batch, change: Callable[[np.ndarray], np.ndarray]) -> Batch:
    path = case.roles.predictions
    assert path is not None
    return Batch({**batch.outputs, path: change(batch.outputs[path])}, batch.inputs)


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), values.dtype)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-values)), values.dtype)


def _logits(values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(np.log(values) - np.log1p(-values), values.dtype)


def _given_otherwise(case: Case) -> Iterator[Cause]:
    """The candidate is right once it is given something else."""
    path, labels = case.roles.predictions, case.roles.labels
    first = case.courses[GENERIC].batches[0]
    if path is not None and first.outputs[path].dtype.kind == "f":
        for how, change in (("sigmoid", _sigmoid), ("softmax", _softmax), ("logits", _logits), ("log", np.log)):
            if how in ("softmax", "log") and first.outputs[path].ndim < 2:
                continue
            with np.errstate(all="ignore"):
                right = case.tried(GENERIC, lambda batch, change=change: _with_predictions(case, batch, change))  # type: ignore[misc]
            if right and how in ("sigmoid", "softmax"):
                yield Cause(
                    "the candidate takes logits for probabilities: it reports what the reference does once it is "
                    f"given their {how}",
                    f"put {how} in front of the metric, or say from_logits=True",
                )
            elif right:
                yield Cause(
                    "the candidate takes probabilities for logits: it reports what the reference does once it is given "
                    "logits",
                    "say from_logits=False, or take the sigmoid or softmax in front of the metric out",
                )
    if labels is not None and first.inputs[labels].dtype.kind in "iu":
        for offset in (-1, 1):

            def shifted(batch: Batch, offset: int = offset) -> Batch:
                given = batch.inputs[labels]
                return Batch(batch.outputs, {**batch.inputs, labels: (given + offset).astype(given.dtype)})

            lowest = min(int(batch.inputs[labels].min()) for batch in case.courses[GENERIC].batches)
            if lowest + offset >= 0 and case.tried(GENERIC, shifted):
                yield Cause(
                    f"the candidate's labels are counted from another number: it reports what the reference does once "
                    f"labels are moved by {offset:+d}",
                    "take the background class (or its absence) into account on both sides",
                )


def _called(case: Case, side: str) -> list[str]:
    """Returns which well-known metrics a side reports, as far as its values tell."""
    labels, path = case.roles.labels, case.roles.predictions
    if labels is None or path is None:
        return []
    seen = [case.courses[course].batches for course in (GIVEN, GENERIC)]
    data = [_data(case, batches[: count + 1], labels, path) for batches in seen for count in range(len(batches))]
    values = [value for course in (GIVEN, GENERIC) for value in case.after(side, course)]
    if any(one is None for one in data) or any(np.size(value) != 1 for value in values):
        return []
    found = [one for one in data if one is not None]
    known_values = [
        (one, float(np.ravel(value)[0]))
        for one, value in zip(found, values, strict=True)
        if len(np.unique(one.labels)) > 1  # of one class alone rates are quotients of nothing
    ]
    plain = [(replace(one, weights=np.ones(len(one.weights))), value) for one, value in known_values]
    ways = [("", known_values)] if case.roles.weights is None else [("", known_values), (", without weights", plain)]
    return [
        metric.told + how
        for how, given in ways
        for metric in known(found[-1])
        if given and all(abs(metric.value(one) - value) <= _ORACLE_ATOL for one, value in given)
    ]


def _data(case: Case, batches: Sequence[Batch], labels: str, path: str) -> Data | None:
    whole = joined(batches)
    predictions, given = whole.outputs[path], whole.inputs[labels]
    if predictions.dtype.kind not in "biuf" or given.dtype.kind not in "biuf" or not predictions.ndim:
        return None
    name = case.roles.weights
    weights = np.ones(len(predictions)) if name is None else whole.inputs[name].reshape(len(predictions), -1)[:, 0]
    return Data(given.astype(np.float64), predictions.astype(np.float64), weights.astype(np.float64))


def _scaled(case: Case) -> Iterator[Cause]:
    """One side is a multiple of the other."""
    ours, theirs = (
        np.asarray([np.asarray(value, np.float64).ravel() for value in case.after(side, GENERIC)])
        for side in ("reference", "candidate")
    )
    if ours.shape != theirs.shape or not np.all(ours) or not np.all(np.isfinite(theirs)):
        return
    ratio = theirs / ours
    if np.all(np.abs(ratio - ratio.flat[0]) <= 1e-4 * np.abs(ratio.flat[0])) and abs(ratio.flat[0] - 1.0) > 1e-4:
        yield Cause(f"the candidate's value is {ratio.flat[0]:.6g} times the reference's after every batch")
        return
    rows = np.cumsum([len(next(iter(batch.outputs.values()))) for batch in case.courses[GENERIC].batches])
    for what, factors in (("divides by", 1.0 / rows), ("does not divide by", rows.astype(float))):
        if np.all(np.abs(ratio / factors[:, None] - 1.0) <= 1e-4):
            yield Cause(f"the candidate {what} the number of examples, and the reference does the opposite")
