"""A variable of the candidate that holds several of the reference's, seen as its parts, each a variable by itself.

Keras's GRU keeps in one kernel what TF1's keeps in two. Cut into `gru/kernel[0]` and `gru/kernel[1]`, each part has a
partner, and rename and transform rules speak of it as of any other variable; nobody else knows of the whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.common import patterns
from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.ground.structure import same_bits
from lockstep.program import Program
from lockstep.subjects import (
    INITIAL,
    NOTHING_MORE,
    NOTHING_WANTED,
    Ask,
    Convention,
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

_FORM = "(pattern, axis, sizes), as in ('^gru/kernel$', 1, [16, 8])"


@dataclass(frozen=True)
class PartRule:
    """Says how variables of the candidate are cut.

    Attributes:
        pattern: What is looked for in the candidate's names; the first rule that is found applies.
        axis: Along which axis; negative ones count from the last.
        sizes: The parts' sizes along it; they add up to the variable's.
    """

    pattern: str
    axis: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, given: PartRule | Sequence[Any]) -> PartRule:
        """Returns a rule as it is, or the one that pattern, axis and sizes are.

        Raises:
            InputError: They are none.

        >>> PartRule.of(["^gru/kernel$", 1, [16, 8]]).sizes
        (16, 8)
        """
        if isinstance(given, PartRule):
            return given
        if isinstance(given, str) or len(given) != 3:
            raise InputError(f"parts rule {shown(given)} is none; it is {_FORM}.")
        pattern, axis, sizes = given
        if not isinstance(pattern, str) or type(axis) is not int or not isinstance(sizes, list | tuple):
            raise InputError(f"parts rule {shown(given)} is none; it is {_FORM}.")
        if len(sizes) < 2 or any(type(size) is not int or size < 1 for size in sizes):
            raise InputError(f"parts rule {shown(given)} needs two or more sizes, each a positive integer.")
        patterns.check(pattern, what=f"parts rule {shown(list(given))} has a pattern")
        return cls(pattern, axis, tuple(sizes))


def in_parts(subject: Subject, rules: Sequence[PartRule]) -> Subject:
    """Returns a subject whose variables are cut by these rules; the subject itself where there are none.

    Raises:
        InputError: It runs in a process of its own.
    """
    if rules and not subject.offers.rules:
        raise InputError(
            "parts rules go with a candidate that runs in this process; take python, requirements and interpreter out "
            "of its table."
        )
    return _CutSubject(subject, tuple(rules)) if rules else subject


def cut_again(instance: Instance, trace: Trace, rules: Sequence[PartRule]) -> tuple[Instance, Trace]:
    """Returns an instance that has been run, and what it did, cut by rules that were found since."""
    cut = _CutInstance(instance, tuple(rules))
    return cut, cut.cut(trace)


def whole(instance: Instance, values: Mapping[str, np.ndarray]) -> tuple[Instance, dict[str, np.ndarray]]:
    """Returns the instance behind one whose variables are cut, and values of the parts as its own; as they are else."""
    return (instance.behind, instance.joined(values)) if isinstance(instance, _CutInstance) else (instance, {**values})


def cut_by(rules: Sequence[PartRule], variables: Sequence[VariableRecord]) -> tuple[VariableRecord, ...]:
    """Returns an inventory with what the rules cut in parts.

    Raises:
        InputError: A rule does not fit the variable that it is found in.
    """
    ruled = [(record, _rule(rules, record.name)) for record in variables]
    return tuple(part for record, rule in ruled for part in (records_of(record, rule) if rule else (record,)))


def records_of(record: VariableRecord, rule: PartRule) -> tuple[VariableRecord, ...]:
    """Returns the parts of a variable.

    Raises:
        InputError: The rule does not fit it.
    """
    return tuple(_checked(record, rule).records())


@dataclass(frozen=True)
class _Cut:
    """One variable and the places at which it is cut."""

    record: VariableRecord
    axis: int
    sizes: tuple[int, ...]

    def names(self) -> list[str]:
        return [f"{self.record.key}[{place}]" for place in range(len(self.sizes))]

    def records(self) -> Iterator[VariableRecord]:
        for place, size in enumerate(self.sizes):
            shape = (*self.record.shape[: self.axis], size, *self.record.shape[self.axis + 1 :])
            yield self.record._replace(name=f"{self.record.name}[{place}]", key=self.names()[place], shape=shape)

    def parts(self, value: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.names(), np.split(value, np.cumsum(self.sizes)[:-1], self.axis), strict=True))


class _CutSubject(Subject):
    """See `in_parts`."""

    def __init__(self, subject: Subject, rules: tuple[PartRule, ...]) -> None:
        self._subject, self._rules = subject, rules
        self.label = subject.label

    @property
    def offers(self) -> Offers:
        """What it can do."""
        return self._subject.offers

    def environment(self) -> Mapping[str, str]:
        return self._subject.environment()

    def settings(self) -> Mapping[str, str]:
        return self._subject.settings()

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> Instance:
        return _CutInstance(self._subject.build(mode, inputs, wanted), self._rules)

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> Instance | None:
        again = self._subject.build_again(mode, inputs, wanted)
        return None if again is None else _CutInstance(again, self._rules)

    def make_optimizer(
        self, make: Callable[[], Any] | None, shapes: Mapping[str, Any], names: Mapping[str, str]
    ) -> Any | None:
        return self._subject.make_optimizer(make, shapes, names)

    def streaming(self, make: Callable[..., Any] | None, roles: Roles) -> Streamed | None:
        return self._subject.streaming(make, roles)

    def code(self) -> Mapping[str, str]:
        return self._subject.code()

    @property
    def recording(self) -> Recording | None:
        return self._subject.recording

    def elsewhere(self, variables: Mapping[str, str]) -> Subject | None:
        # Its own process knows nothing of parts.
        there = self._subject.elsewhere(variables)
        return None if there is None else _CutSubject(there, self._rules)

    def passes(self) -> tuple[str, ...]:
        return self._subject.passes()

    def ways(self) -> Ways | None:
        return self._subject.ways()

    def end(self) -> None:
        self._subject.end()


class _CutInstance(Instance):
    """An instance whose variables are cut; what it is given is joined, and what it returns is cut."""

    def __init__(self, behind: Instance, rules: tuple[PartRule, ...]) -> None:
        self.behind, self._rules = behind, rules
        self._before: Mapping[str, np.ndarray] = {}

    @property
    def free(self) -> bool:
        return self.behind.free

    @property
    def unordered(self) -> tuple[str, ...]:
        return self.behind.unordered

    @property
    def conventions(self) -> Mapping[str, Convention]:
        return self.behind.conventions

    @property
    def constants(self) -> frozenset[str]:
        return self.behind.constants

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        return cut_by(self._rules, self.behind.variables)

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
        """Follows the instance behind: the whole variables are its program's sources."""
        assert self.behind.followed is not None
        return self.behind.followed.program(self.joined(values), draws, inputs=inputs, objective=objective)

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        if setting.values and not self.behind.variables:
            self.behind.run(INITIAL, Ask(draws=()))  # what is to be cut is known once there are variables
        joined = dataclasses.replace(setting, values=self.joined(setting.values)) if setting.values else setting
        return self.cut(self.behind.run(joined, ask))

    def joined(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns values of the whole variables; a part that is not given stays as it was in the last run."""
        joined = dict(values)
        for cut in self._cuts(self.behind.variables).values():
            given = {name: joined.pop(name) for name in cut.names() if name in joined}
            if given:
                before = cut.parts(self._before[cut.record.key]) if len(given) < len(cut.sizes) else {}
                joined[cut.record.key] = np.concatenate([{**before, **given}[name] for name in cut.names()], cut.axis)
        return joined

    def close(self) -> None:
        self.behind.close()

    def cut(self, trace: Trace) -> Trace:
        """Returns what the instance behind did, in parts."""
        self._before = trace.before
        cuts = self._cuts(trace.variables)

        def parts(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            found: dict[str, np.ndarray] = {}
            for key in values:
                found.update(cuts[key].parts(values[key]) if key in cuts else {key: values[key]})
            return found

        before, after = parts(trace.before), parts(trace.after)
        return dataclasses.replace(
            trace,
            variables=cut_by(self._rules, trace.variables),
            before=before,
            after={key: value for key, value in after.items() if not same_bits(value, before[key])},
            gradients=parts(trace.gradients),
            cut=tuple(name for one in cuts.values() for name in one.names()),
            overwritten=tuple(
                name for key in trace.overwritten for name in (cuts[key].names() if key in cuts else (key,))
            ),
            unconnected=tuple(
                name for key in trace.unconnected for name in (cuts[key].names() if key in cuts else (key,))
            ),
            # A penalty of the whole cannot be shared out: it counts in the sum alone.
            losses=tuple(
                loss._replace(variable=None) if _rule(self._rules, loss.variable or "") else loss
                for loss in trace.losses
            ),
        )

    def _cuts(self, variables: Sequence[VariableRecord]) -> dict[str, _Cut]:
        cuts, idle = {}, set(self._rules)
        for record in variables:
            if (rule := _rule(self._rules, record.name)) is not None:
                idle.discard(rule)
                cuts[record.key] = _checked(record, rule)
        if variables and idle:
            patterns = ", ".join(repr(rule.pattern) for rule in self._rules if rule in idle)
            raise InputError(f"no variable of the candidate has a name in which the parts rule {patterns} is found.")
        return cuts


def _rule(rules: Sequence[PartRule], name: str) -> PartRule | None:
    return next((rule for rule in rules if patterns.search(rule.pattern, name)), None)


def _checked(record: VariableRecord, rule: PartRule) -> _Cut:
    rank = len(record.shape)
    cuts = f"parts rule {shown(rule.pattern)} cuts {record.name}, of shape {tuple(record.shape)},"
    said = f"{cuts} along axis {shown(rule.axis)}"
    if not -rank <= rule.axis < rank:
        raise InputError(f"{said}, which it does not have.")
    axis = rule.axis % rank
    if sum(rule.sizes) != record.shape[axis]:
        raise InputError(
            f"{said} into {shown(rule.sizes)}; they add up to {shown(sum(rule.sizes))}, and the axis has "
            f"{record.shape[axis]}."
        )
    return _Cut(record, axis, rule.sizes)
