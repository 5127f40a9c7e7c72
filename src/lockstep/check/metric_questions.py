"""What is asked of streaming metrics: those of both sides are given the reference's outputs, batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lockstep.check import metric_courses
from lockstep.check.steps import metrics
from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError, SubjectError
from lockstep.compare.outputs import OutputPaths
from lockstep.compare.tolerance import FixedTolerance
from lockstep.ground.streaming import Batch, Course, Seen
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import Subject
from lockstep.subjects.built import on_side
from lockstep.subjects.streaming import Roles, Streamed

Metrics = Callable[..., Any]
NO_METRICS = "no metrics were given"
NO_LABELS = "no labels were given for compiled metrics"
_KEYS = ("reference", "candidate", "labels", "predictions", "weights")


@dataclass(frozen=True)
class MetricWishes:
    """What the caller of `verify` gave.

    Attributes:
        functions: The reference's and the candidate's function; None: what its program states itself.
        roles: What was said of outputs and inputs.
    """

    functions: tuple[Metrics | None, Metrics | None] = (None, None)
    roles: Roles = field(default_factory=Roles)

    @classmethod
    def of(cls, given: Mapping[str, Any] | tuple[Metrics | None, Metrics | None] | None) -> MetricWishes:
        """Returns what a pair of functions, or a table of them and of names, comes to.

        Raises:
            InputError: It is neither.
        """
        form = (
            "metrics must be a pair of functions, the reference's and the candidate's, or a dict with reference, "
            "candidate, labels, predictions, weights"
        )
        if given is None:
            return cls()
        if isinstance(given, Mapping):
            if unknown := [key for key in given if key not in _KEYS]:
                raise InputError(f"{form}; {unknown[0]!r} is none of these.")
            functions = given.get("reference"), given.get("candidate")
            names = [given.get(key) for key in ("predictions", "labels", "weights")]
            if not all(name is None or isinstance(name, str) for name in names):
                raise InputError(f"{form}; the last three are names.")
            return cls(_checked(functions, form), Roles(*names))
        return cls(_checked(given, form))


def _checked(functions: Any, form: str) -> tuple[Metrics | None, Metrics | None]:
    if not isinstance(functions, tuple) or len(functions) != 2:
        raise InputError(f"{form}.")
    if not all(one is None or callable(one) for one in functions):
        raise InputError(f"{form}; each function makes metrics, or computes them of (outputs, batch).")
    return functions


@dataclass(frozen=True)
class MetricQuestions:
    """Asks both sides.

    Attributes:
        subjects: Side -> subject, which was built.
        wishes: What was said.
        inputs: What both sides were given.
        outputs: Path -> what the reference returned in inference mode.
        paths: Under which paths of its own the candidate returns them.
        tolerance: What judges.
        say: Told what is being done.
    """

    subjects: Mapping[str, Subject]
    wishes: MetricWishes
    inputs: Arrays
    outputs: Mapping[str, np.ndarray]
    paths: OutputPaths
    tolerance: FixedTolerance
    say: Callable[[str], None]

    def answer(self) -> list[Finding]:
        """Returns what both sides' metrics report."""
        stated = [side for side, one in zip(self.subjects, self.wishes.functions, strict=True) if one is not None]
        stated += [side for side, subject in self.subjects.items() if subject.offers.metrics and side not in stated]
        if not stated and not all(subject.offers.own_metrics for subject in self.subjects.values()):
            return [Finding(Verdict.NOT_ASKED, NO_METRICS)]
        try:
            return self._answer(stated)
        except (InputError, SubjectError) as error:
            if stated:
                raise
            # Nobody asked for what a program states itself: it does not end a check of the model.
            return [Finding(Verdict.NOT_ASKED, f"not compared: {str(error).splitlines()[0]}")]

    def _answer(self, stated: list[str]) -> list[Finding]:
        inputs = dict(self.inputs) if isinstance(self.inputs, Mapping) else {"": self.inputs}
        self._refuse_unknown_names(inputs)
        roles = metric_courses.roles(self.outputs, inputs, self.wishes.roles, self._known_labels())
        if not stated and roles.labels is None:
            return [Finding(Verdict.NOT_ASKED, NO_LABELS)]
        sides = self._sides(roles)
        if without := [side for side, one in sides.items() if one is None]:
            return [self._without(without, stated)]
        try:
            courses = metric_courses.courses(self.outputs, inputs, roles)
        except metric_courses.UncutError as error:
            return [Finding(Verdict.UNDECIDED, str(error), (str(error),))]
        self.say("metrics of both sides, on the reference's outputs")
        theirs = self._run("candidate", sides, courses)
        ours = None if theirs is None else self._run("reference", sides, courses)
        if ours is None or theirs is None:
            return [self._without(["candidate" if theirs is None else "reference"], stated)]

        def rerun(others: Any) -> list[Seen]:
            return self._run("candidate", sides, list(others)) or []

        asked = metrics.Asked(courses, roles, self.tolerance, stated=bool(stated), rerun=rerun)
        return metrics.judge(ours, theirs, asked)

    def _known_labels(self) -> str | None:
        known = [subject.offers.labels for subject in self.subjects.values()]
        return next((labels[0] for labels in known if len(labels) == 1), None)

    def _refuse_unknown_names(self, inputs: Mapping[str, np.ndarray]) -> None:
        said = self.wishes.roles
        for key, name, known in (
            ("labels", said.labels, inputs),
            ("weights", said.weights, inputs),
            ("predictions", said.predictions, self.outputs),
        ):
            if name is not None and name not in known:
                what = "output" if key == "predictions" else "input"
                there = ", ".join(known)
                raise InputError(f"metrics: {key} names {name!r}, and there is no such {what}; there are {there}.")

    def _sides(self, roles: Roles) -> dict[str, Streamed | None]:
        """Returns side -> its metrics; the candidate's own roles bear its own names."""
        back = {ours: theirs for theirs, ours in self.paths.names.items()}
        predictions = None if roles.predictions is None else back.get(roles.predictions, roles.predictions)
        of = {"reference": roles, "candidate": Roles(predictions, roles.labels, roles.weights)}
        makers = dict(zip(self.subjects, self.wishes.functions, strict=True))

        def streamed(side: str) -> Streamed | None:
            return on_side(side, lambda: self.subjects[side].streaming(makers[side], of[side]))

        return {side: streamed(side) for side in self.subjects}

    def _run(self, side: str, sides: Mapping[str, Streamed | None], courses: list[Course]) -> list[Seen] | None:
        streamed = sides[side]
        assert streamed is not None
        if side == "candidate":
            back = {ours: theirs for theirs, ours in self.paths.names.items()}

            def own(batch: Batch) -> Batch:
                return Batch({back.get(path, path): value for path, value in batch.outputs.items()}, batch.inputs)

            courses = [Course(course.name, [own(batch) for batch in course.batches]) for course in courses]
        return on_side(side, lambda: streamed(courses))

    def _without(self, without: list[str], stated: list[str]) -> Finding:
        if not stated:
            return Finding(Verdict.NOT_ASKED, NO_METRICS)
        other = stated[0] if stated[0] not in without else next(side for side in self.subjects if side not in without)
        missing = next((side for side in without if side != other), without[0])
        phrase = f"the {other}'s metrics were given, and the {missing} has none: name them, [metrics] {missing}"
        return Finding(Verdict.UNDECIDED, phrase, (phrase,))
