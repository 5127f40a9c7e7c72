"""Counterfactual runs: the candidate's whole program in float64 with an edit, and whether its ends then agree."""

from __future__ import annotations

import contextlib
import copy
import enum
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.causes.repairs.edit import Borrowed, Edit, InNumpy, renumbered
from lockstep.common.errors import KernelError
from lockstep.ground.fill import jittered
from lockstep.localise import effects
from lockstep.localise.budget import largest_ordinary, shaped
from lockstep.program import Operation, Program, Spec
from lockstep.program.evaluating import Ran, as_it_was, evaluate
from lockstep.program.kernels import Kernels

_NEARLY = 1e-6
"""Relative to the largest: what constants' last places come to on the way; it guides the search and decides nothing."""
_LOOKED_AT = 10
"""What it costs to look whether an operation has to be run again, in elements."""
_IN_VAIN = 20
"""Tensors behind an edit that are as wrong as before, after which the rest is not computed: one that repairs the first
mistake puts right what follows at once, but for a few that are taken for others because of it."""
_ROUGHLY = 1e-4
"""The same where an operation has no float64 kernel."""


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
        off: The candidate's tensors, of those that are known to correspond to one of the reference's, that are not it.
    """

    outputs: Agreement
    wrong: frozenset[int]
    off: frozenset[int] = frozenset()

    @property
    def whole(self) -> bool:
        """Whether everything that is returned and left behind agrees."""
        return bool(self.outputs) and not self.wrong


class Counterfactual:
    """Both programs in float64, from start to end.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        ends: `(candidate's tensor, reference's tensor)` of what both return and leave behind.
        known: Candidate's tensor -> the reference's that it is; a draw is the reference's.
        kernels: Runs operations.
        moved: Changes what both sides start from: `(value, reference's source)`; None: they start from what they have.

    Attributes:
        kernels: Runs operations.
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
        moved: Callable[[np.ndarray, int], np.ndarray] | None = None,
    ) -> None:
        self._r, self._c, self._ends, self._kernels = reference, candidate, list(dict.fromkeys(ends)), kernels
        self.kernels = kernels
        self._narrow, self._shaken = False, moved
        self._spent = [0]
        self._scales: dict[int, float] = {}
        self._operations: Sequence[Operation] = candidate.operations
        self._given: dict[int, Any] = {}
        self._fresh = 2 * len(candidate.specs) + 1_000_000  # beyond what any edit numbers its own constants with
        self._common = {known[t] for t in candidate.sources if t in known and self._alike(candidate.specs[t], known[t])}
        self._started = {t: self._begin(t, s.value) for t, s in reference.sources.items() if s.value is not None}
        self.ours: dict[int, np.ndarray] = {}
        self._watched = {t: o for t, o in known.items() if t in candidate.producers}
        exact = evaluate(
            reference, kernels, double=True, sources=self._started, observe=functools.partial(self._keep, self.ours)
        )
        self.ours.update(exact.ends)
        self._narrow_reference = exact.narrow
        self._sources = {tensor: self._source(tensor, known) for tensor in candidate.sources}
        self.theirs: dict[int, Any] = {}
        for operation in candidate.operations:
            self.theirs.update(self._run(operation, [self._read(tensor, {}, {}) for tensor in operation.inputs]))
        self._narrow_base = self._narrow

    @property
    def spent(self) -> int:
        """What trials have computed so far: elements, each operation counted as a thousand."""
        return self._spent[0]

    @property
    def narrow(self) -> bool:
        """Whether an operation of either side has no float64 kernel, so that nothing agrees but for rounding."""
        return self._narrow_base or self._narrow_reference

    def value(self, tensor: int) -> np.ndarray:
        """A tensor of the candidate's without an edit."""
        return self._kernels.numpy(self._read(tensor, {}, {}))

    def value_of_reference(self, tensor: int) -> np.ndarray | None:
        """A tensor of the reference's; None where it has none."""
        if tensor in self.ours:
            return self.ours[tensor]
        return None if tensor not in self._started else self._kernels.numpy(self._started[tensor])

    def standing_for(self, tensors: Iterable[int]) -> list[int]:
        """Returns the candidate's tensors that are known to be, or that should be, one of some of the reference's."""
        wanted = set(tensors)
        return [tensor for tensor, ours in self._watched.items() if ours in wanted]

    def outcome(self, edit: Edit | None = None, *, before: Outcome | None = None) -> Outcome:
        """Tells how far the ends are the reference's, with an edit or as they are.

        Args:
            edit: What is changed.
            before: What was so without it; with that, it is told which tensors on the way are off.
        """
        values: dict[int, Any] = {}
        self._narrow = self._narrow_base
        given = {} if edit is None else edit.sources
        outputs, wrong = Agreement.EXACT, set[int]()
        returned = set(self._r.outputs.values())
        try:
            if edit is not None:
                self._rerun(edit, values, None if before is None else before.off)
            for theirs, ours in self._ends:
                agreement = self._same(self._read(theirs, values, given), ours)
                outputs = min(outputs, agreement) if ours in returned else outputs
                if ours not in returned and not agreement:
                    wrong.add(ours)
        except KernelError:  # what was edited does not fit what reads it
            left = frozenset(ours for _, ours in self._ends if ours not in returned)
            return Outcome(Agreement.NONE, left, before.off if before is not None else frozenset())
        off = before.off if before is not None else frozenset()
        if before is not None and (outputs or values):
            seen = {tensor for tensor in values if tensor in self._watched} - set(given)
            off = (off - seen - set(given)) | {tensor for tensor in seen if self._is_off(tensor, values[tensor])}
        return Outcome(outputs, frozenset(wrong), off)

    def residual(self, edit: Edit | None = None) -> np.ndarray:
        """Returns how far what is returned and left behind is off, with an edit: each end in units of its size.

        Raises:
            KernelError: The edit does not fit, or what comes of it is not finite.
        """
        values: dict[int, Any] = {}
        if edit is not None:
            self._rerun(edit, values)
        pieces: list[np.ndarray] = []
        for theirs, tensor in self._ends:
            ours = self.value_of_reference(tensor)
            if ours is None or ours.dtype.kind != "f":
                continue
            made = self._kernels.numpy(self._read(theirs, values, {} if edit is None else edit.sources))
            value = shaped(made, ours.shape)
            if value is not None:
                pieces.append((value - ours).reshape(-1) / (largest_ordinary(ours) or 1.0))
        found = np.concatenate(pieces) if pieces else np.zeros(0)
        if not np.isfinite(found).all():
            raise KernelError("what comes of it is not finite")
        return found

    def settled(self, edit: Edit) -> Counterfactual:
        """Returns the same runs with an edit made for good, on top of which others can be tried.

        Raises:
            KernelError: The edit does not fit.
        """
        values: dict[int, Any] = {}
        fresh = {t: self._fresh + n for n, t in enumerate(sorted(t for t in edit.sources if t >= len(self._c.specs)))}
        apart = renumbered(edit, fresh)
        made = copy.copy(self)
        made._fresh = self._fresh + len(fresh)
        self._rerun(apart, values)
        made._operations = [apart.operations.get(o.index, o) for o in self._operations]
        made._given = {**self._given, **apart.sources}
        made.theirs = {**self.theirs, **values}
        return made

    def untouched(self) -> Outcome:
        """Tells how far the candidate agrees as it is, with which of its tensors are off."""
        found = self.outcome()
        off = {tensor for tensor in self._watched if self._is_off(tensor, self.theirs[tensor])}
        return Outcome(found.outputs, found.wrong, frozenset(off))

    def _is_off(self, tensor: int, value: Any) -> bool:
        """Whether a tensor on the way is another than the reference's, by far more than constants' last places."""
        ours = self.value_of_reference(self._watched[tensor])
        theirs = self._kernels.numpy(value)
        if ours is None:
            return True
        with contextlib.suppress(ValueError):  # NumPy's own: an edit gives a statistic for each element
            ours = ours.reshape(theirs.shape) if ours.size == theirs.size else np.broadcast_to(ours, theirs.shape)
        if ours.shape != theirs.shape:
            return True
        if ours.dtype.kind != "f" or theirs.dtype.kind != "f":
            return not np.array_equal(ours, theirs)
        if tensor not in self._scales:
            self._scales[tensor] = largest_ordinary(ours)
        with np.errstate(invalid="ignore"):
            most = np.abs(ours - theirs).max(initial=0.0)
        return not most <= (_ROUGHLY if self._narrow_base else _NEARLY) * self._scales[tensor]

    def _rerun(self, edit: Edit, values: dict[int, Any], off: frozenset[int] | None = None) -> None:
        """Computes what an edit changes, and nothing else.

        Args:
            edit: The edit.
            values: Filled with what is computed.
            off: What was off before; an edit with which the first of these are as wrong as before is given up.

        Raises:
            KernelError: It does not fit, or is given up.
        """
        fresh, in_vain = set(edit.sources), 0
        self._spent[0] += _LOOKED_AT * len(self._operations)
        for operation in self._operations:
            now = edit.operations.get(operation.index, operation)
            if now is operation and fresh.isdisjoint(now.inputs):
                continue
            made = self._run(now, [self._read(tensor, values, edit.sources) for tensor in now.inputs])
            values.update(made)
            fresh.update(made)
            self._spent[0] += 1000 + sum(math.prod(self._c.specs[tensor].shape) for tensor in made)
            if now is operation and off is not None and in_vain >= 0:
                in_vain = self._in_vain(made, off, in_vain)

    def _in_vain(self, made: Mapping[int, Any], off: frozenset[int], before: int) -> int:
        """Counts what is as wrong as before an edit; -1 as soon as something is right.

        Raises:
            KernelError: It is too much.
        """
        for tensor in made:
            if tensor in off:
                if not self._is_off(tensor, made[tensor]):
                    return -1
                before += 1
        if before > _IN_VAIN:
            raise KernelError("what follows is as wrong as before")
        return before

    def _read(self, tensor: int, values: Mapping[int, Any], given: Mapping[int, Any]) -> Any:
        for known in (given, self._given, values, self.theirs, self._sources):
            if tensor in known:
                return self._lent(known[tensor], tensor)
        raise KernelError(f"tensor {tensor} is not computed before it is read")

    def _lent(self, value: Any, tensor: int) -> Any:
        """Returns what a tensor holds; what is borrowed is the reference's, in the shape that it has here."""
        if not isinstance(value, Borrowed):
            return value
        ours = self.value_of_reference(value.tensor)
        if ours is None:
            raise KernelError("what is borrowed is not known")
        here = shaped(ours, self._c.specs[tensor].shape) if tensor < len(self._c.specs) else ours
        if here is None:
            raise KernelError("what is borrowed has another size")
        return here

    def _run(self, operation: Operation, inputs: Sequence[Any]) -> dict[int, Any]:
        if isinstance(operation.call, InNumpy):
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # formulas of functions, on any values
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
        return self._begin(known.get(tensor, -1), source.value)

    def _alike(self, spec: Spec, ours: int) -> bool:
        """Whether a source is a variable or an input that the reference has in the same shape."""
        source = self._r.sources.get(ours)
        return source is not None and source.kind in ("variable", "input") and self._r.specs[ours] == spec

    def _begin(self, ours: int, value: Any) -> Any:
        """Returns what a source holds: moved, where both sides have it."""
        source = self._r.sources.get(ours)
        if self._shaken is None or value is None or source is None or ours not in self._common:
            return value
        return self._shaken(self._kernels.numpy(value), ours)

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
        return evaluate(self._r, self._kernels, double=True, sources=self._started, moved=_constants_alone).ends

    @functools.cached_property
    def _moved_in_single(self) -> Mapping[int, np.ndarray]:
        return evaluate(self._r, self._kernels, double=True, sources=self._started, moved=jittered).ends


def _allowed(ours: np.ndarray, moved: np.ndarray, floor: float) -> float:
    """How far an end may be off: what the last places that were moved come to, and evaluation's own rounding."""
    with np.errstate(invalid="ignore"):
        movement = np.abs(moved - ours)
    finite = np.where(np.isfinite(movement), movement, 0.0)
    return float(effects.FACTOR * finite.max(initial=0.0) + floor * largest_ordinary(ours))


def _constants_alone(array: np.ndarray, name: str) -> np.ndarray:
    return effects.other_constants(array, name) if name.startswith("constant/") else array
