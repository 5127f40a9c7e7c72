"""Step `metrics`: what both sides' streaming metrics report after each batch, and after a reset."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.causes.streaming_causes import EDGES, GENERIC, GIVEN, Case, explain
from lockstep.check.metric_courses import NOTHING, one_sided
from lockstep.compare.tolerance import FixedTolerance
from lockstep.ground.streaming import Batch, Course, Seen
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.subjects.streaming import Roles

_UNIT = 2.0**-24
_JUDGED = (GIVEN, GENERIC, EDGES, NOTHING)
_ON = {
    GIVEN: "on the model's own outputs",
    GENERIC: "on outputs and labels that tell metrics apart",
    EDGES: "where a prediction is exactly a threshold",
    NOTHING: "where nothing is positive",
}


@dataclass(frozen=True)
class Asked:
    """What both sides were asked.

    Attributes:
        courses: The courses.
        roles: Which output and inputs the metrics are about.
        tolerance: What judges.
        stated: Whether the user named the functions: then each metric has to have a partner.
        rerun: Has the candidate go through other courses.
    """

    courses: Sequence[Course]
    roles: Roles
    tolerance: FixedTolerance
    stated: bool
    rerun: Callable[[Sequence[Course]], list[Seen]]


@dataclass(frozen=True)
class _Place:
    """Where two values were compared: the course, which batch, whether it was alone after a reset."""

    course: str
    number: int
    alone: bool
    values: tuple[np.ndarray, np.ndarray]

    def told(self, batches: int) -> str:
        when = f"after batch {self.number} of {batches}"
        when = f"of batch {self.number} alone, after a reset" if self.alone else when
        return f"{_shown(self.values[0])} against {_shown(self.values[1])} {when}, {_ON[self.course]}"


def judge(reference: Sequence[Seen], candidate: Sequence[Seen], asked: Asked) -> list[Finding]:
    """Judges each metric that both sides have.

    Two values are equal within the tolerance, and within what adding up so many float32 numbers may lose; NaN equals
    NaN. Binary labels of one class make areas and rates quotients of nothing, for which each library has another
    finite value: these are told and not judged, but a NaN on one side alone is.
    """
    names = [list(seen[0].after[0]) for seen in (reference, candidate)]
    pairs, left = paired(*names)
    if not pairs:
        phrase = f"no metric has a partner: the reference has {_listed(names[0])}, the candidate {_listed(names[1])}"
        return [Finding(Verdict.UNDECIDED, phrase, (phrase,))]
    found = [_metric(pair, reference, candidate, asked) for pair in pairs]
    found += [_partnerless(side, missing, stated=asked.stated) for side, missing in left.items() if missing]
    return found


def paired(reference: Sequence[str], candidate: Sequence[str]) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """Pairs metrics: by equal names, by the end of a name (`probabilities_accuracy`), then one that is left each.

    >>> paired(["accuracy", "auc"], ["auc_1", "accuracy"])
    ([('accuracy', 'accuracy'), ('auc', 'auc_1')], {'reference': [], 'candidate': []})
    """
    pairs = [(name, name) for name in reference if name in candidate]
    ours, theirs = ([name for name in names if (name, name) not in pairs] for names in (reference, candidate))
    for name in list(ours):
        alike = [other for other in theirs if other.endswith(f"_{name}") or name.endswith(f"_{other}")]
        if len(alike) == 1:
            pairs.append((name, alike[0]))
            ours.remove(name)
            theirs.remove(alike[0])
    if len(ours) == len(theirs) == 1:
        pairs.append((ours.pop(), theirs.pop()))
    return pairs, {"reference": ours, "candidate": theirs}


def _partnerless(side: str, names: Sequence[str], *, stated: bool) -> Finding:
    phrase = f"only the {side} has {_listed(names)}"
    return Finding(Verdict.UNDECIDED if stated else Verdict.NOT_ASKED, phrase, (phrase,) if stated else ())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _metric(pair: tuple[str, str], reference: Sequence[Seen], candidate: Sequence[Seen], asked: Asked) -> Finding:
    ours, theirs = ({c.name: s for c, s in zip(asked.courses, seen, strict=True)} for seen in (reference, candidate))
    courses = {course.name: course for course in asked.courses}
    scale = max(_magnitude(values[pair[0]]) for seen in reference for values in (*seen.after, *seen.alone))
    same = _equal(asked, scale)
    different: list[_Place] = []
    excused: list[_Place] = []
    compared = 0
    for name in (name for name in _JUDGED if name in courses):
        batches = courses[name].batches
        for alone in (False, True):
            mine, other = ((s[name].alone if alone else s[name].after) for s in (ours, theirs))
            for number, (a, b) in enumerate(zip(mine, other, strict=True), 1):
                place = _Place(name, number, alone, (np.asarray(a[pair[0]]), np.asarray(b[pair[1]])))
                compared += 1
                if not same(*place.values):
                    of = batches[number - 1 : number] if alone else batches[:number]
                    (excused if _is_of_nothing(place, of, asked.roles) else different).append(place)
    called = pair[0] if pair[0] == pair[1] else f"{pair[0]} ({pair[1]})"
    last = ours[GIVEN].after[-1][pair[0]]
    figures: dict[str, object] = {
        f"{pair[0]}_values_compared": compared,
        f"{pair[0]}_values_that_differ": len(different),
        f"{pair[0]}_reference": [_plain(values[pair[0]]) for values in ours[GIVEN].after],
        f"{pair[0]}_candidate": [_plain(values[pair[1]]) for values in theirs[GIVEN].after],
    }
    if not different:
        sizes = "+".join(str(_size(batch)) for batch in courses[GIVEN].batches)
        phrase = f"{called} {_shown(last)} after batches of {sizes}, equal at {compared - len(excused)} places"
        figures[f"{pair[0]}_not_judged"] = len(excused)
        if excused and not _has_both_classes(courses, asked.roles):
            phrase = f"{called} differs, and all labels are of one class, where it is a quotient of nothing"
            return Finding(Verdict.UNDECIDED, phrase, (f"{phrase}; give labels of both classes",), figures)
        phrase += "" if not excused else f" ({len(excused)} more with labels of one class only are not judged)"
        return Finding(Verdict.EQUIVALENT, phrase, (), figures)
    case = Case(pair, courses, ours, theirs, asked.rerun, _about(pair, courses, asked.roles), same)
    cause = explain(case)
    first = different[0]
    phrase = f"{called} differs: {first.told(len(courses[first.course].batches))}"
    text = cause.text if cause else f"why {called} differs is not known; the states and values are in the report"
    states = _states(pair, ours[first.course], theirs[first.course], first, same)
    error = max((_error(place.values) for place in different), default=None)
    culprit = Culprit(pair[0], pair[1], "metric", text, error, None, fix=cause.fix if cause else "")
    return Finding(Verdict.DIVERGED, phrase, (phrase, *states, text), figures, (culprit,))


def _about(pair: tuple[str, str], courses: Mapping[str, Course], roles: Roles) -> Roles:
    """Returns what a metric is about: Keras names one of a model with several outputs behind its output."""
    paths = [path for path in courses[GIVEN].batches[0].outputs if any(name.startswith(f"{path}_") for name in pair)]
    return dataclasses.replace(roles, predictions=paths[0]) if roles.predictions is None and paths else roles


def _states(
    pair: tuple[str, str], ours: Seen, theirs: Seen, place: _Place, same: Callable[[object, object], bool]
) -> tuple[str, ...]:
    """Tells which states of the same name differ, where both sides have them."""
    if place.alone or place.number > min(len(ours.states), len(theirs.states)):
        return ()

    def of(name: str, seen: Seen) -> dict[str, np.ndarray]:
        held = seen.states[place.number - 1].items()
        return {key.partition(": ")[2]: value for key, value in held if key.startswith(f"{name}: ")}

    sides = of(pair[0], ours), of(pair[1], theirs)
    return tuple(
        f"its state {state} is {_shown(sides[0][state])} against {_shown(sides[1][state])}"
        for state in sides[0]
        if state in sides[1] and not same(sides[0][state], sides[1][state])
    )


def _is_of_nothing(place: _Place, batches: Sequence[Batch], roles: Roles) -> bool:
    """Tells whether two finite values differ where labels are of one class alone."""
    return all(np.all(np.isfinite(value)) for value in place.values) and one_sided(batches, roles.labels)


def _magnitude(value: np.ndarray) -> float:
    finite = np.abs(np.asarray(value, np.float64))
    return float(np.max(finite[np.isfinite(finite)], initial=0.0))


def _has_both_classes(courses: Mapping[str, Course], roles: Roles) -> bool:
    """Tells whether something was compared where labels are of two classes."""
    return any(not one_sided(courses[name].batches, roles.labels) for name in (GIVEN, GENERIC))


def _equal(asked: Asked, scale: float) -> Callable[[object, object], bool]:
    elements = sum(np.size(next(iter(batch.outputs.values()))) for batch in asked.courses[0].batches)
    rtol, atol = asked.tolerance.at(np.dtype(np.float32), scale)
    added = 4.0 * _UNIT * float(np.sqrt(max(elements, 1)))

    def equal(reference: object, candidate: object) -> bool:
        ours, theirs = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
        if ours.size == theirs.size == 1:
            ours, theirs = ours.reshape(()), theirs.reshape(())  # a list of one threshold gives one value
        if ours.shape != theirs.shape:
            return False
        return bool(np.allclose(theirs, ours, rtol=rtol + added, atol=atol, equal_nan=True))

    return equal


def _error(values: tuple[np.ndarray, np.ndarray]) -> float:
    if values[0].shape != values[1].shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        error = np.abs(np.asarray(values[0], np.float64) - np.asarray(values[1], np.float64))
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))


def _size(batch: Batch) -> int:
    return next((len(value) for value in batch.outputs.values() if np.ndim(value)), 1)


def _plain(value: np.ndarray) -> object:
    return np.asarray(value, np.float64).tolist()


def _shown(value: np.ndarray) -> str:
    if np.size(value) != 1:
        return np.array2string(np.asarray(value), threshold=6, precision=6)
    return f"{float(np.asarray(value).reshape(())):.6g}"
