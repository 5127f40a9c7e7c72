"""Ablation, as the guide advises: one part of both sides alone, on the inputs that the reference recorded for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockstep.check.forced_runs import ForcedRuns
from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError, KernelError, nearest
from lockstep.compare.align import Rename, align
from lockstep.frameworks import runtimes
from lockstep.localise.budget import Judged, Part, Standard, judged, shaped
from lockstep.localise.forcing import localise
from lockstep.localise.values import MAX_MEMORY, Values
from lockstep.program import Operation, Program
from lockstep.program.kernels import Kernels
from lockstep.subjects import INFERENCE, INITIAL, TRAINING, Subject

_LARGEST_PART = 2_000
"""Operations of the reference beside one output; a part that is larger starts nearer to its end."""


@dataclass(frozen=True)
class Row:
    """One operation of the candidate, or, without one, an output of the whole part.

    Attributes:
        name: The candidate's operation.
        type: Its type.
        partner: The reference's operation whose output it should give; None where it has no counterpart.
        judged: What came of the comparison; None where there is none.
    """

    name: str
    type: str
    partner: str | None
    judged: Judged | None


@dataclass(frozen=True)
class Case:
    """What the reproduction is about: one output of the part, from both sides.

    Attributes:
        reference: The reference's operations, with what they start from.
        candidate: The candidate's.
        row: What came of it.
        budget: The noise budget, element by element, of the output's shape.
    """

    reference: Part
    candidate: Part
    row: Row
    budget: np.ndarray


@dataclass(frozen=True)
class Isolated:
    """One part of both sides.

    Attributes:
        scope: What was asked for.
        operations: Each operation of the candidate alone, on the reference's values.
        outputs: The outputs of the part as a whole.
        case: The output that is the furthest off.
    """

    scope: str
    operations: tuple[Row, ...]
    outputs: tuple[Row, ...]
    case: Case

    @property
    def within(self) -> bool:
        """Whether rounding alone explains every difference."""
        return all(row.judged is None or row.judged.within for row in (*self.operations, *self.outputs))


@dataclass(frozen=True)
class Sides:
    """What both sides computed, and which tensor of the candidate is which of the reference."""

    reference: Program
    candidate: Program
    known: Mapping[int, int]


def take_down(
    subjects: tuple[Subject, Subject],
    inputs: Arrays,
    say: Callable[[str], None],
    *,
    training: bool = False,
    rules: Sequence[Rename] = (),
    transforms: Sequence[Any] = (),
) -> Sides:
    """Runs both sides from distinct values of their variables, operation by operation.

    Raises:
        InputError: A side cannot be followed in this process.
        SubjectError: The code of one side failed.
    """
    mode = TRAINING if training else INFERENCE
    built, programs = [], []
    for side, subject in zip(("reference", "candidate"), subjects, strict=True):
        say(f"{side}: building and running")
        built.append(instance := subject.build(mode, inputs))
        graph = subject.graph_here(mode, inputs) if instance.followed is None else None
        programs.append(instance.followed or (None if graph is None else graph.followed))
        if programs[-1] is None:
            raise InputError(
                f"the {side} cannot be followed operation by operation in this process; isolate needs a graph, or a "
                "Keras model that runs here."
            )
    traces = [instance.run(INITIAL) for instance in built]
    alignment = align(traces[0].variables, traces[1].variables, tuple(rules), transforms)
    say("taking down both sides, operation by operation")
    found = ForcedRuns(programs[0], programs[1], alignment, traces[0].before, say).programs()
    assert found is not None
    reference, candidate, partners = found
    return Sides(reference, candidate, localise(reference, candidate, partners, runtimes.kernels()).known)


def isolate(sides: Sides, scope: str, kernels: Kernels, *, max_memory: int = MAX_MEMORY) -> Isolated:
    """Runs the operations of one scope on both sides, on the reference's values.

    Args:
        sides: What both sides computed.
        scope: The beginning of operations' names, or of their scope, on either side.
        kernels: Runs operations.
        max_memory: Bytes of the reference's values to hold in memory.

    Raises:
        InputError: No operation is there, or none of them has a counterpart.
    """
    inside = _inside(sides, scope)
    with Values(sides.reference, kernels, max_memory) as values:
        cut = _Cut(sides, values, kernels)
        used = _used(sides.candidate)
        rows = [row for o in inside for row in cut.rows([o], [tensor for tensor in o.outputs if tensor in used])]
        compared = [tensor for tensor in _leaving(sides.candidate, inside) if tensor in sides.known]
        outputs = [row for tensor in compared for row in cut.rows(inside, [tensor])]
        if not outputs:
            raise InputError(
                f"no output of the {len(inside):,} operations of {scope!r} has a counterpart in the reference; name a "
                "larger part."
            )
        worst = max(range(len(outputs)), key=lambda n: _ratio(outputs[n]))
        return Isolated(scope, tuple(rows), tuple(outputs), cut.case(inside, compared[worst], outputs[worst]))


def _ratio(row: Row) -> float:
    return 0.0 if row.judged is None else row.judged.ratio


def _inside(sides: Sides, scope: str) -> list[Operation]:
    """The candidate's operations of a scope, and those that stand for the reference's of that scope."""
    theirs = {operation.index for operation in sides.candidate.operations if _is_in(operation, scope)}
    wanted = {t for operation in sides.reference.operations if _is_in(operation, scope) for t in operation.outputs}
    if not theirs and not wanted:
        places = [o.place for program in (sides.reference, sides.candidate) for o in program.operations]
        names = dict.fromkeys(name for place in places for name in _prefixes(place.name) + _prefixes(place.scope))
        raise InputError(f"no operation of either side begins with {scope!r}{nearest(scope, names) or '.'}")
    for operation in sides.candidate.operations:
        if any(sides.known.get(tensor) in wanted for tensor in operation.outputs):
            theirs.add(operation.index)
    if not theirs:
        raise InputError(
            f"the candidate has nothing that stands for the {len(wanted):,} tensors of {scope!r}; name a larger part."
        )
    return [operation for operation in sides.candidate.operations if operation.index in theirs]


def _is_in(operation: Operation, scope: str) -> bool:
    return any(f"{name}/".startswith(f"{scope.rstrip('/')}/") for name in (operation.place.name, operation.place.scope))


def _prefixes(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _used(program: Program) -> set[int]:
    """The tensors that anything reads or asks for: batch normalisation gives more than is used."""
    read = {tensor for operation in program.operations for tensor in operation.inputs}
    return read | {*program.outputs.values(), *program.writes.values()}


def _leaving(program: Program, inside: Sequence[Operation]) -> list[int]:
    """The tensors of a part that something else reads, or that are asked for."""
    indices = {operation.index for operation in inside}
    read = {t for operation in program.operations if operation.index not in indices for t in operation.inputs}
    read |= {*program.outputs.values(), *program.writes.values()}
    return [tensor for operation in inside for tensor in operation.outputs if tensor in read]


class _Cut:
    """Cuts parts out of both programs and compares them."""

    def __init__(self, sides: Sides, values: Values, kernels: Kernels) -> None:
        self._sides, self._values, self._kernels = sides, values, kernels

    def rows(self, inside: Sequence[Operation], ends: Sequence[int]) -> list[Row]:
        """Compares outputs of some operations."""
        rows = []
        for end in ends:
            made_by = self._sides.candidate.producers[end]
            wanted = self._sides.known.get(end)
            if wanted is None:
                rows.append(Row(made_by.place.name, made_by.type, None, None))
                continue
            partner = self._sides.reference.producers.get(wanted)
            source = self._sides.reference.sources.get(wanted)
            name = partner.place.name if partner is not None else source.name if source is not None else ""
            ours, theirs = self.parts(inside, end)
            found = judged(self._kernels, ours, theirs, self._values[wanted])
            rows.append(Row(made_by.place.name, made_by.type, name, found))
        return rows

    def case(self, inside: Sequence[Operation], end: int, row: Row) -> Case:
        """Puts together what it takes to show one output elsewhere."""
        ours, theirs = self.parts(inside, end)
        here = self._kernels.numpy(self._values[self._sides.known[end]])
        budget = np.zeros(here.shape)
        if here.dtype.kind in "fcV" and row.judged is not None and row.judged.scale < float("inf"):
            value = shaped(self._kernels.numpy(theirs.run(self._kernels)), here.shape)
            if value is not None:
                budget = Standard.of(self._kernels, ours, theirs, here).budget
        return Case(ours, theirs, row, budget)

    def parts(self, inside: Sequence[Operation], end: int) -> tuple[Part, Part]:
        """Cuts out what leads from recorded tensors to an output, on both sides."""
        sides, indices = self._sides, {operation.index for operation in inside}

        def recorded(tensor: int, made_by: Operation | None) -> Any:
            within = made_by is not None and made_by.index in indices
            number = None if within or sides.candidate.is_constant(tensor) else sides.known.get(tensor)
            return None if number is None else self._fitting(number, tensor)

        theirs = _walked(sides.candidate, end, recorded)
        stop = {sides.known[tensor] for tensor in theirs.start if tensor in sides.known}
        wanted = sides.known[end]
        held = self._values

        def known(tensor: int, _: Operation | None) -> Any:
            return held[tensor] if tensor in stop and tensor != wanted else None

        ours = _walked(sides.reference, wanted, known)
        if len(ours.operations) > _LARGEST_PART:
            ours = Part(sides.reference, (), {wanted: held[wanted]}, wanted, {})
        return ours, theirs

    def _fitting(self, number: int, tensor: int) -> Any:
        value, shape = self._values[number], self._sides.candidate.specs[tensor].shape
        if tuple(value.shape) == shape:
            return value
        array = self._kernels.numpy(value)
        return array.reshape(shape) if array.size == np.prod(shape, dtype=np.int64) else None


def _walked(program: Program, end: int, recorded: Callable[[int, Operation | None], Any]) -> Part:
    """Walks back from a tensor to what is recorded and to the program's sources."""
    start: dict[int, Any] = {}
    operations: dict[int, Operation] = {}
    waiting, seen = [end], set()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        made_by = program.producers.get(tensor)
        value = recorded(tensor, made_by)
        if value is not None:
            start[tensor] = value
        elif made_by is None:
            start[tensor] = program.sources[tensor].value
        elif made_by.index not in operations:
            operations[made_by.index] = made_by
            waiting.extend(made_by.inputs)
    return Part(program, [operations[index] for index in sorted(operations)], start, end, {})


def sliced(case: Case, kernels: Kernels, limit: int) -> Case:
    """Cuts a case along the batch axis to what still shows the difference, where its data would be larger than a limit.

    Args:
        case: The case.
        kernels: Runs operations.
        limit: Bytes.

    Returns:
        The smallest slice that differs as the whole does; the case itself where it is small enough, or none will do.
    """
    if size(case, kernels) <= limit or not case.budget.ndim:
        return case
    batch = case.budget.shape[0]
    ours, theirs = (kernels.numpy(part.run(kernels)) for part in (case.reference, case.candidate))
    other = shaped(theirs, ours.shape)
    if other is None:
        return case
    over = np.abs(np.asarray(other, np.float64) - np.asarray(ours, np.float64)) - case.budget
    worst = int(np.argmax(over.reshape(batch, -1).max(axis=1)))
    count = 1
    while count < batch:
        first = min(max(worst - count // 2, 0), batch - count)
        rows = slice(first, first + count)
        parts = [replace(part, start=_cut(part, rows, batch, kernels)) for part in (case.reference, case.candidate)]
        smaller = Case(parts[0], parts[1], case.row, case.budget[rows])
        if _shows_the_same(smaller, ours[rows], other[rows], kernels):
            return smaller
        count *= 2
    return case


def _cut(part: Part, rows: slice, batch: int, kernels: Kernels) -> dict[int, Any]:
    variables = {t for t, source in part.program.sources.items() if source.kind in ("variable", "constant")}
    arrays = {tensor: kernels.numpy(value) for tensor, value in part.start.items()}
    return {
        tensor: array[rows] if tensor not in variables and array.ndim and array.shape[0] == batch else array
        for tensor, array in arrays.items()
    }


def _shows_the_same(case: Case, ours: np.ndarray, theirs: np.ndarray, kernels: Kernels) -> bool:
    """Whether a slice gives what the whole gave there, within the budget."""
    try:
        found = [kernels.numpy(part.run(kernels)) for part in (case.reference, case.candidate)]
    except KernelError:  # a shape that is written into an operation, say
        return False
    for value, expected in zip(found, (ours, theirs), strict=True):
        given = shaped(value, expected.shape)
        if given is None or not (np.abs(given - expected) <= case.budget + 1e-6 * np.abs(expected)).all():
            return False
    return True


def size(case: Case, kernels: Kernels) -> int:
    """Bytes of what a case starts from and of its budget."""
    values = {id(v): v for part in (case.reference, case.candidate) for v in part.start.values()}
    return sum(int(kernels.numpy(value).nbytes) for value in values.values()) + 4 * case.budget.size
