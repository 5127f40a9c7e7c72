"""What forced lockstep saw of each operation, and what both programs do when errors travel: for a reader to look at."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np

from lockstep.common.errors import KernelError
from lockstep.localise.budget import Judged, largest_ordinary, shaped
from lockstep.localise.findings import Localisation
from lockstep.localise.forcing import updates_alone
from lockstep.localise.matching import alike_draws
from lockstep.localise.values import Values
from lockstep.program import Operation, Program
from lockstep.program.evaluating import Ran, evaluate
from lockstep.program.kernels import Kernels
from lockstep.results.evidence import Computed, ProgramPair, Row, State


def observed(
    mode: str, reference: Program, candidate: Program, found: Localisation, values: Values, kernels: Kernels
) -> ProgramPair:
    """Puts both programs side by side, each operation with what is known of it.

    The candidate runs once more from its own values, so that errors travel, and the reference in float64.

    Args:
        mode: `"inference"` or `"training"`.
        reference: The reference's program.
        candidate: The candidate's.
        found: What forced lockstep found.
        values: The reference's values.
        kernels: Runs operations.
    """
    notes = [*found.unmatched, *found.limits, *found.notes]
    free = _measured(notes, "the candidate running freely", lambda: _free(reference, candidate, found, values, kernels))
    rounding = _measured(notes, "the reference in float64", lambda: _rounding(reference, values, kernels))
    rows = _Rows(reference, candidate, found, free, rounding).all()
    return ProgramPair(mode, tuple(rows), tuple(dict.fromkeys(notes)))


def _measured(notes: list[str], what: str, measure: Callable[[], dict[int, float]]) -> Mapping[int, float]:
    try:
        return measure()
    except KernelError as error:
        notes.append(f"{what}: {error}")
        return {}


def _free(
    reference: Program, candidate: Program, found: Localisation, values: Values, kernels: Kernels
) -> dict[int, float]:
    """Returns how far each operation of the candidate is from its partner, by index, all of it on its own values."""
    drawn = alike_draws(reference, candidate)
    if drawn is None:
        raise KernelError("it draws other random numbers than the reference")
    apart: dict[int, float] = {}

    def look(ran: Ran) -> None:
        for tensor, value in zip(ran.operation.outputs, ran.gave, strict=True):
            wanted = found.known.get(tensor)
            if wanted is not None and ran.operation.index not in apart:
                distance = _relative(kernels.numpy(values[wanted]), kernels.numpy(value))
                if distance is not None:
                    apart[ran.operation.index] = distance

    sources = {theirs: reference.sources[ours].value for theirs, ours in drawn.items()}
    evaluate(candidate, kernels, double=False, sources=sources, observe=look)
    return apart


def _rounding(reference: Program, values: Values, kernels: Kernels) -> dict[int, float]:
    """Returns how far each operation of the reference is from float64, by index."""
    apart: dict[int, float] = {}

    def look(ran: Ran) -> None:
        tensor = ran.operation.outputs[0]
        distance = _relative(kernels.numpy(values[tensor]), kernels.numpy(ran.gave[0]))
        if distance is not None:
            apart[ran.operation.index] = distance

    evaluate(reference, kernels, double=True, observe=look)
    return apart


def _relative(reference: np.ndarray, other: np.ndarray) -> float | None:
    """The largest difference in units of the reference's largest magnitude; None where there are no numbers to it."""
    reference, other = (
        each.astype(np.float32) if each.dtype.name == "bfloat16" else each for each in (reference, other)
    )
    if reference.dtype.kind not in "fc" or other.dtype.kind not in "fc" or not reference.size:
        return None
    fitting = shaped(other, reference.shape)
    if fitting is None:
        return float("inf")
    wide = np.complex128 if "c" in reference.dtype.kind + fitting.dtype.kind else np.float64
    with np.errstate(invalid="ignore"):
        off = np.abs(reference.astype(wide) - fitting.astype(wide))
    odd = ~np.isfinite(off)
    if odd.any() and not np.array_equal(reference[odd], fitting[odd], equal_nan=True):
        return float("inf")
    largest = float(np.max(np.where(odd, 0.0, off), initial=0.0))
    return largest / (largest_ordinary(reference) or 1.0)


class _Rows:
    """Both programs in one list: the reference's order, what only the candidate has behind what came before it."""

    def __init__(
        self,
        reference: Program,
        candidate: Program,
        found: Localisation,
        free: Mapping[int, float],
        rounding: Mapping[int, float],
    ) -> None:
        self._r, self._c, self._found, self._free, self._rounding = reference, candidate, found, free, rounding
        self._updating = updates_alone(reference), updates_alone(candidate)
        self._blamed: tuple[dict[int, Judged], dict[int, Judged]] = ({}, {})
        for blame in found.blames:
            sides: tuple[Sequence[Operation], Sequence[Operation]] = blame.reference, blame.candidate
            if not any(sides):  # nothing computes it: what reads the wrong tensor is shown
                sides = (
                    () if blame.partner is None else (blame.partner,),
                    () if blame.reads is None else blame.reads[:1],
                )
            for known, operations in zip(self._blamed, sides, strict=True):
                known.update((operation.index, blame.judged) for operation in operations)

    def all(self) -> list[Row]:
        """All rows."""
        partners = self._partners()
        after: dict[int, list[Operation]] = defaultdict(list)
        place = -1
        for operation in self._c.operations:
            if operation.index in partners:
                place = partners[operation.index].index
            else:
                after[place].append(operation)
        theirs = {ours.index: self._c.operations[index] for index, ours in partners.items()}
        rows = [self._row(None, operation) for operation in after[-1]]
        for ours in self._r.operations:
            rows.append(self._row(ours, theirs.get(ours.index)))
            rows += [self._row(None, operation) for operation in after[ours.index]]
        return rows

    def _partners(self) -> dict[int, Operation]:
        """Returns the candidate's operations -> the reference's, each of which has one at most."""
        numbers = self._found.numbers
        waiting: dict[int, deque[Operation]] = defaultdict(deque)
        for operation in self._r.operations:
            for number in dict.fromkeys(numbers.get(tensor, tensor) for tensor in operation.outputs):
                waiting[number].append(operation)
        taken: set[int] = set()
        partners: dict[int, Operation] = {}
        for operation in self._c.operations:
            for tensor in operation.outputs:
                free = waiting.get(self._found.known.get(tensor, -1), deque())
                while free and free[0].index in taken:
                    free.popleft()
                if free:
                    partners[operation.index] = free.popleft()
                    taken.add(partners[operation.index].index)
                    break
        return partners

    def _row(self, ours: Operation | None, theirs: Operation | None) -> Row:
        state, judged = self._judged(ours, theirs)
        scale = 1.0 if judged is None else judged.scale or 1.0
        return Row(
            reference=_computed(self._r, ours),
            candidate=_computed(self._c, theirs),
            state=state,
            error=0.0 if state == "identical" else None if judged is None else judged.error / scale,
            budget=None if judged is None else judged.budget / scale,
            ratio=0.0 if state == "identical" else None if judged is None else judged.ratio,
            free=None if theirs is None else self._free.get(theirs.index),
            rounding=None if ours is None else self._rounding.get(ours.index),
            forward=not (_is_among(ours, self._updating[0]) or _is_among(theirs, self._updating[1])),
        )

    def _judged(self, ours: Operation | None, theirs: Operation | None) -> tuple[State, Judged | None]:
        for known, operation in zip(self._blamed, (ours, theirs), strict=True):
            if operation is not None and operation.index in known:
                return "beyond", known[operation.index]
        if theirs is None:
            return "inside", None
        if theirs.index in self._found.same:
            return "identical", None
        judged = next((self._found.judged[t] for t in theirs.outputs if t in self._found.judged), None)
        if judged is None:
            return "inside", None
        return ("within" if judged.within else "harmless"), judged


def _is_among(operation: Operation | None, tensors: Container[int]) -> bool:
    return operation is not None and all(tensor in tensors for tensor in operation.outputs[:1])


def _computed(program: Program, operation: Operation | None) -> Computed | None:
    if operation is None:
        return None
    spec, place = program.specs[operation.outputs[0]], operation.place
    made_by = (program.producers.get(tensor) for tensor in operation.inputs)
    return Computed(
        place.name,
        place.scope,
        operation.type,
        place.source,
        tuple(spec.shape),
        spec.dtype,
        operation.index,
        tuple(dict.fromkeys(maker.index for maker in made_by if maker is not None)),
    )
