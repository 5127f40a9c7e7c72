"""Counterfactual runs: the candidate's whole program in float64 with an edit, and whether its ends then agree."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.causes.repairs.edit import Edit, InNumpy
from lockstep.common.errors import KernelError
from lockstep.ground.fill import jittered
from lockstep.localise import effects
from lockstep.localise.budget import largest_ordinary, shaped
from lockstep.program import Operation, Program
from lockstep.program.evaluating import Ran, as_it_was, evaluate
from lockstep.program.kernels import Kernels


class Agreement(enum.IntEnum):
    """How far what the candidate gives is what the reference gives.

    `EXACT` is but for the last places of constants; `ROUNDED` but for those of all that goes in, as float32 variables
    that went through a transform are rounded.
    """

    NONE = 0
    ROUNDED = 1
    EXACT = 2


@dataclass(frozen=True)
class Outcome:
    """What a run comes to.

    Attributes:
        outputs: How far everything that is returned agrees.
        wrong: The reference's tensors that are left in variables, of those where the candidate leaves something else.
    """

    outputs: Agreement
    wrong: frozenset[int]


class Counterfactual:
    """Both programs in float64, from start to end.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        ends: `(candidate's tensor, reference's tensor)` of what both return and leave behind.
        known: Candidate's tensor -> the reference's that it is; a draw is the reference's.
        kernels: Runs operations.

    Attributes:
        ours: The reference's tensors -> values.
        theirs: The candidate's, without an edit.

    Raises:
        KernelError: One cannot be run.
    """

    def __init__(
        self,
        reference: Program,
        candidate: Program,
        ends: Sequence[tuple[int, int]],
        known: Mapping[int, int],
        kernels: Kernels,
    ) -> None:
        self._r, self._c, self._ends, self._kernels = reference, candidate, list(dict.fromkeys(ends)), kernels
        self._narrow = False
        self.ours: dict[int, np.ndarray] = {}
        exact = evaluate(reference, kernels, double=True, observe=functools.partial(self._keep, self.ours))
        self.ours.update(exact.ends)
        self._narrow_reference = exact.narrow
        self._sources = {tensor: self._source(tensor, known) for tensor in candidate.sources}
        self.theirs: dict[int, Any] = {}
        for operation in candidate.operations:
            self.theirs.update(self._run(operation, [self._read(tensor, {}, {}) for tensor in operation.inputs]))
        self._narrow_base = self._narrow

    def value(self, tensor: int) -> np.ndarray:
        """A tensor of the candidate's without an edit."""
        return self._kernels.numpy(self._read(tensor, {}, {}))

    def value_of_reference(self, tensor: int) -> np.ndarray | None:
        """A tensor of the reference's; None where it has none."""
        if tensor in self.ours:
            return self.ours[tensor]
        source = self._r.sources.get(tensor)
        return None if source is None or source.value is None else self._kernels.numpy(source.value)

    def outcome(self, edit: Edit | None = None) -> Outcome:
        """Tells how far the ends are the reference's, with an edit or as they are."""
        values: dict[int, Any] = {}
        self._narrow = self._narrow_base
        given = {} if edit is None else edit.sources
        outputs, wrong = Agreement.EXACT, set[int]()
        returned = set(self._r.outputs.values())
        try:
            if edit is not None:
                self._rerun(edit, values)
            for theirs, ours in self._ends:
                agreement = self._same(self._read(theirs, values, given), ours)
                outputs = min(outputs, agreement) if ours in returned else outputs
                if ours not in returned and not agreement:
                    wrong.add(ours)
        except KernelError:  # what was edited does not fit what reads it
            return Outcome(Agreement.NONE, frozenset(ours for _, ours in self._ends if ours not in returned))
        return Outcome(outputs, frozenset(wrong))

    def _rerun(self, edit: Edit, values: dict[int, Any]) -> None:
        """Computes what an edit changes, and nothing else."""
        fresh = set(edit.sources)
        for operation in self._c.operations:
            now = edit.operations.get(operation.index, operation)
            if now is operation and fresh.isdisjoint(now.inputs):
                continue
            made = self._run(now, [self._read(tensor, values, edit.sources) for tensor in now.inputs])
            values.update(made)
            fresh.update(made)

    def _read(self, tensor: int, values: Mapping[int, Any], given: Mapping[int, Any]) -> Any:
        for known in (given, values, self.theirs, self._sources):
            if tensor in known:
                return known[tensor]
        raise KernelError(f"tensor {tensor} is not computed before it is read")

    def _run(self, operation: Operation, inputs: Sequence[Any]) -> dict[int, Any]:
        if isinstance(operation.call, InNumpy):
            made: list[Any] = [operation.call.run(self._kernels, inputs, self._outputs)]
        else:
            made = self._outputs(operation, inputs)
        return dict(zip(operation.outputs, made, strict=False))

    def _outputs(self, operation: Operation, inputs: Sequence[Any]) -> list[Any]:
        try:
            return self._kernels.run_double(operation, inputs)
        except KernelError:  # no float64 kernel
            self._narrow = True
            return self._kernels.run(
                operation, [self._as_it_was(*pair) for pair in zip(operation.inputs, inputs, strict=True)]
            )

    def _as_it_was(self, tensor: int, value: Any) -> Any:
        """Returns a value in the dtype that it has in the program; a constant of an edit is in its own."""
        return as_it_was(self._c, self._kernels, tensor, value) if tensor < len(self._c.specs) else value

    def _source(self, tensor: int, known: Mapping[int, int]) -> Any:
        source, other = self._c.sources[tensor], self._r.sources.get(known.get(tensor, -1))
        if source.kind in ("draw", "opaque") and other is not None and other.value is not None:
            return other.value
        return source.value

    def _keep(self, kept: dict[int, np.ndarray], ran: Ran) -> None:
        kept.update(
            (tensor, self._kernels.numpy(value)) for tensor, value in zip(ran.operation.outputs, ran.gave, strict=True)
        )

    def _same(self, theirs: Any, tensor: int) -> Agreement:
        ours = self.value_of_reference(tensor)
        value = None if ours is None else shaped(self._kernels.numpy(theirs), ours.shape)
        if ours is None or value is None:
            return Agreement.NONE
        if ours.dtype.kind not in "fc" or value.dtype.kind not in "fc":
            return Agreement.EXACT if np.array_equal(ours, value) else Agreement.NONE
        with np.errstate(invalid="ignore"):
            off = np.abs(value - ours)
        odd = ~np.isfinite(off)
        if odd.any() and not np.array_equal(ours[odd], value[odd], equal_nan=True):
            return Agreement.NONE
        most = float(np.where(odd, 0.0, off).max(initial=0.0))
        narrow = self._narrow or self._narrow_reference
        if not narrow and most <= _allowed(ours, self._moved.get(tensor, ours), effects.FLOOR):
            return Agreement.EXACT
        within = most <= _allowed(ours, self._moved_in_single.get(tensor, ours), effects.FLOOR_IN_SINGLE)
        return Agreement.ROUNDED if within else Agreement.NONE

    @functools.cached_property
    def _moved(self) -> Mapping[int, np.ndarray]:
        return evaluate(self._r, self._kernels, double=True, moved=_constants_alone).ends

    @functools.cached_property
    def _moved_in_single(self) -> Mapping[int, np.ndarray]:
        return evaluate(self._r, self._kernels, double=True, moved=jittered).ends


def _allowed(ours: np.ndarray, moved: np.ndarray, floor: float) -> float:
    """How far an end may be off: what the last places that were moved come to, and evaluation's own rounding."""
    with np.errstate(invalid="ignore"):
        movement = np.abs(moved - ours)
    finite = np.where(np.isfinite(movement), movement, 0.0)
    return float(effects.FACTOR * finite.max(initial=0.0) + floor * largest_ordinary(ours))


def _constants_alone(array: np.ndarray, name: str) -> np.ndarray:
    return effects.other_constants(array, name) if name.startswith("constant/") else array
