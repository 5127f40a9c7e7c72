"""Which output of the candidate is which of the reference, where both return them in other structures.

Everything behind the check knows an output by its path in what the reference returns (`0`, `1/logits`). What a
candidate returns under another path is seen under the reference's: by the user's rules, or by shapes where these leave
no choice.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from lockstep.common import patterns
from lockstep.common.arrays import Arrays
from lockstep.compare.align import Rename, checked_ignore, rename
from lockstep.program import Program
from lockstep.subjects import (
    NOTHING_MORE,
    NOTHING_WANTED,
    Ask,
    Followed,
    Instance,
    Mode,
    Objective,
    Offers,
    Recording,
    Setting,
    Stirred,
    Subject,
    Wanted,
    Ways,
)
from lockstep.subjects.streaming import Roles, Streamed
from lockstep.traces.trace import ForwardDraw, Trace, VariableRecord

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class OutputRules:
    """What the user says of outputs.

    Attributes:
        rename: `(pattern, replacement)` pairs, from the reference's paths to the candidate's.
        ignore: Regular expressions: an output in whose path one is found is not compared, on either side.
    """

    rename: tuple[Rename, ...] = ()
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what is no regular expression."""
        checked_ignore(self.ignore)
        for pattern, replacement in self.rename:
            patterns.check(pattern, replacement, what=f"outputs: rename holds [{pattern!r}, {replacement!r}]")

    def heeded(self, outputs: Mapping[str, _Value]) -> dict[str, _Value]:
        """Returns the outputs that are compared."""
        return {
            path: value
            for path, value in outputs.items()
            if not any(patterns.search(pattern, path) for pattern in self.ignore)
        }


@dataclass(frozen=True)
class OutputPaths:
    """Candidate's path -> the reference's; what is in neither place keeps its own.

    Attributes:
        names: The paths that have a partner.
        ignored: Paths of the candidate that are left out.
        note: What is to be told of it; empty where the user said it all.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    note: str = ""

    def seen(self, values: Mapping[str, _Value]) -> dict[str, _Value]:
        """Returns values by the reference's paths."""
        return {self.names.get(path, path): value for path, value in values.items() if path not in self.ignored}

    @property
    def changes_nothing(self) -> bool:
        """Whether the paths are the reference's already."""
        return not self.ignored and all(path == name for path, name in self.names.items())


def matched(
    reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], rules: OutputRules
) -> OutputPaths:
    """Finds out which output is which: by the rules, by equal paths, then by shape and dtype where each occurs once.

    Values are never looked at: a pairing by values would hide outputs that are exchanged.

    >>> two = {"0": np.zeros((2, 3)), "1": np.zeros(2)}
    >>> dict(matched(two, {"logits": two["0"], "loss": two["1"]}, OutputRules()).names)
    {'logits': '0', 'loss': '1'}
    """
    ours, theirs = rules.heeded(reference), rules.heeded(candidate)
    ignored = frozenset(candidate.keys() - theirs.keys())
    names = {wanted: path for path in ours if (wanted := rename(path, rules.rename)) in theirs}
    left = [path for path in ours if path not in names.values()], [path for path in theirs if path not in names]
    alike: dict[object, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, (paths, values) in enumerate(zip(left, (ours, theirs), strict=True)):
        for path in paths:
            alike[np.shape(values[path]), np.asarray(values[path]).dtype.name][side].append(path)
    clear = len(left[0]) == len(left[1]) and all(len(a) == len(b) == 1 for a, b in alike.values())
    found = {b: a for (a,), (b,) in alike.values()} if clear else {}
    told = ", ".join(f"{theirs or 'the only output'} is {ours or 'the only output'}" for theirs, ours in found.items())
    return OutputPaths({**names, **found}, ignored, f"outputs by their shapes: {told}" if found else "")


def by_paths(subject: Subject, paths: OutputPaths) -> Subject:
    """Returns a subject whose outputs are seen under the reference's paths."""
    return _RenamedSubject(subject, paths)


def again(instance: Instance, trace: Trace, paths: OutputPaths, *, here: bool) -> tuple[Instance, Trace]:
    """Returns an instance that has been run, and what it did, with outputs under the reference's paths."""
    return _RenamedInstance(instance, paths, here=here), dataclasses.replace(trace, outputs=paths.seen(trace.outputs))


class _RenamedSubject(Subject):
    """See `by_paths`."""

    def __init__(self, subject: Subject, paths: OutputPaths) -> None:
        self._subject, self._paths = subject, paths
        self.label = subject.label

    @property
    def offers(self) -> Offers:
        """What it can do."""
        return self._subject.offers

    def environment(self) -> Mapping[str, str]:
        return self._subject.environment()

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> Instance:
        built = self._subject.build(mode, inputs, wanted)
        return _RenamedInstance(built, self._paths, here=self._subject.offers.rules)

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> Instance | None:
        built = self._subject.build_again(mode, inputs, wanted)
        return None if built is None else _RenamedInstance(built, self._paths, here=self._subject.offers.rules)

    def make_optimizer(
        self, make: Callable[[], Any] | None, shapes: Mapping[str, Any], names: Mapping[str, str]
    ) -> Any | None:
        return self._subject.make_optimizer(make, shapes, names)

    def streaming(self, make: Callable[..., Any] | None, roles: Roles) -> Streamed | None:
        return self._subject.streaming(make, roles)

    @property
    def recording(self) -> Recording | None:
        return self._subject.recording

    def elsewhere(self, variables: Mapping[str, str]) -> Subject | None:
        there = self._subject.elsewhere(variables)
        return None if there is None else _RenamedSubject(there, self._paths)

    def passes(self) -> tuple[str, ...]:
        return self._subject.passes()

    def ways(self) -> Ways | None:
        return self._subject.ways()

    def end(self) -> None:
        self._subject.end()


class _RenamedInstance(Instance):
    """An instance whose outputs have other paths; `here`: whether gradients of them can be weighted by these too."""

    def __init__(self, behind: Instance, paths: OutputPaths, *, here: bool) -> None:
        self.behind, self._paths, self._here = behind, paths, here

    @property
    def free(self) -> bool:
        return self.behind.free

    @property
    def unordered(self) -> tuple[str, ...]:
        return self.behind.unordered

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        return self.behind.variables

    @property
    def followed(self) -> Followed | None:
        return None if self.behind.followed is None else self

    @property
    def stirred(self) -> Stirred | None:
        return self.behind.stirred

    def program(
        self,
        values: Mapping[str, np.ndarray],
        draws: Sequence[ForwardDraw] | None = None,
        *,
        inputs: Arrays | None = None,
        objective: Objective | None = None,
    ) -> Program:
        """Follows the instance behind."""
        assert self.behind.followed is not None
        program = self.behind.followed.program(values, draws, inputs=inputs, objective=objective)
        return dataclasses.replace(program, outputs=self._paths.seen(program.outputs))

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        objective = ask.objective
        if objective is not None and objective.loss is None:
            # What weighs an output hangs on its path: where it cannot be told, there are no gradients to compare.
            named = dataclasses.replace(objective, paths=self._paths) if self._here else None
            ask = dataclasses.replace(ask, objective=named)
        trace = self.behind.run(setting, ask)
        return dataclasses.replace(trace, outputs=self._paths.seen(trace.outputs))

    def close(self) -> None:
        self.behind.close()
