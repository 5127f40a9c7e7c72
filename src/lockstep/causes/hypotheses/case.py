"""One place where two programs part, and what can be tried on it."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockstep.common.errors import KernelError
from lockstep.localise.budget import Part, Standard, is_text, largest_ordinary
from lockstep.localise.findings import Blame
from lockstep.program import Operation, Program
from lockstep.program.dialect import LEAST_FUSED_EPSILON, Trait, having
from lockstep.program.kernels import Kernels
from lockstep.results.pitfalls import Pitfall

_MOST_PRINTED = 16
_OF_DROPOUT = frozenset(
    {
        "Mul",
        "RealDiv",
        "Select",
        "Cast",
        "GreaterEqual",
        "Less",
        "Add",
        "Sub",
        "Floor",
        "Reshape",
        "Greater",
        "LessEqual",
    }
)

_DROPOUT_DEPTH = 5
_MOST_RUN = 10_000
"""Operations that the trials for one place may run, some thirty evaluations of a part of 350 operations; no hypothesis
is tested beyond."""
_NEAR = 12


@dataclass(frozen=True)
class Cause:
    """A cause that was tested, or, without a pitfall, what can be said without one.

    Attributes:
        sentence: What is wrong.
        pitfall: Its page in `docs/pitfalls/`; empty where none fits.
        fix: What to write instead; empty where that is not known.
        attributes: What the two operations are parametrised by otherwise: `"epsilon: 0.001 against 0.002"`.
        operations: The one of the reference and the one of the candidate among several that it is about, if it is
            about single ones.
        vague: Whether it says how the results are related, and not what was done wrong.
        rounded: Whether a number is the other one but for how it was written down, and the difference is nothing else.
    """

    sentence: str
    pitfall: Pitfall = ""
    fix: str = ""
    attributes: tuple[str, ...] = ()
    operations: tuple[Operation | None, Operation | None] = (None, None)
    vague: bool = False
    rounded: bool = False


@dataclass(frozen=True)
class Scalar:
    """A number that a part is parametrised by: a constant that an operation reads, or an attribute."""

    operation: Operation
    slot: int | str
    value: float


class Case:
    """One place, and what can be tried on it."""

    def __init__(self, blame: Blame, reference: Program, candidate: Program, kernels: Kernels) -> None:
        self.blame, self.reference, self.candidate, self.kernels = blame, reference, candidate, kernels
        self.ours, self.theirs = blame.ours, blame.theirs
        self._ran = 0

    def differing(self) -> tuple[str, ...]:
        """Lists the attributes in which two single operations of one family differ."""
        pair = self.single()
        if pair is None:
            return ()
        ours, theirs = pair
        names = [n for n in ours.attributes if n in theirs.attributes and ours.attributes[n] != theirs.attributes[n]]
        return tuple(f"{n}: {short(ours.attributes[n])} against {short(theirs.attributes[n])}" for n in names)

    def single(self) -> tuple[Operation, Operation] | None:
        """The one computing operation of either side; None where a side has more or none."""
        ours = computing([o for o in self.blame.reference if not is_idle(self.reference, o)])
        theirs = computing([o for o in self.blame.candidate if not is_idle(self.candidate, o)])
        return (ours[0], theirs[0]) if len(ours) == len(theirs) == 1 else None

    def constant_of(self, operation: Operation, program: Program) -> float | None:
        """The one number among the constants that an operation reads; None where there is another count."""
        values = [program.constant(t) for t in operation.inputs if program.is_constant(t)]
        return float(values[0].reshape(-1)[0]) if len(values) == 1 and values[0].size == 1 else None

    def feeds(self, operation: Operation, *families: str) -> bool:
        """Whether an operation of the reference is read by one of these families."""
        return _feeds(self.reference, operation, families)

    def feeds_in_candidate(self, operation: Operation, *families: str) -> bool:
        """Whether an operation of the candidate is read by one of these families."""
        return _feeds(self.candidate, operation, families)

    def drops(self, operation: Operation) -> bool:
        """Whether an operation of either side reads what dropout draws."""
        for program in (self.reference, self.candidate):
            if operation.index < len(program.operations) and program.operations[operation.index] is operation:
                return any(is_of_dropout(program, t) for t in operation.inputs)
        return False

    def beside_dropout(self, theirs: Operation) -> bool:
        """Whether it scales what a mask then selects, or what was selected."""
        return (
            any(
                "dropout" in operation.place.scope.lower() or operation.family == "Select"
                for operation in consumers(self.candidate, theirs)
            )
            or "dropout" in theirs.place.scope.lower()
        )

    def updates(self, theirs: Operation) -> bool:
        """Whether it leads to nothing but an update of a variable."""
        written = set(self.candidate.writes.values())
        following, seen = [theirs], 0
        while following and seen < 8:
            current = following.pop()
            seen += 1
            if any(t in written for t in current.outputs):
                return True
            following.extend(consumers(self.candidate, current))
        return False

    def is_flattened(self, theirs: Operation) -> bool:
        """Whether axes of what an operation makes are then merged."""
        rank = len(self.candidate.specs[theirs.outputs[0]].shape)
        readers = (o for o in consumers(self.candidate, theirs) if o.family == "Reshape")
        return any(len(self.candidate.specs[o.outputs[0]].shape) < rank for o in readers)

    def begins_rounds(self, operation: Operation, program: Program | None = None) -> bool:
        """Whether an operation reads a constant where its further rounds read what the one before them made.

        Args:
            operation: The operation.
            program: What it is part of; the candidate's.
        """
        program = program or self.candidate
        constant = [program.is_constant(tensor) for tensor in operation.inputs]
        for other in program.operations[operation.index + 1 :]:
            if (other.type, other.place) == (operation.type, operation.place) and len(other.inputs) == len(constant):
                later = [program.is_constant(tensor) for tensor in other.inputs]
                return sum(later) < sum(constant)
        return False

    def numbers(self, part: Part) -> list[Scalar]:
        """The numbers that a part is parametrised by: scalar constants and attributes."""
        found = []
        for operation in part.operations:
            for slot, tensor in enumerate(operation.inputs):
                if part.program.is_constant(tensor):
                    value = part.program.constant(tensor)
                    if value.size == 1 and value.dtype.kind == "f":
                        found.append(Scalar(operation, slot, float(value.reshape(-1)[0])))
            found += [
                Scalar(operation, name, float(value))
                for name, value in operation.attributes.items()
                if isinstance(value, float)
            ]
        return found

    def start_values(self) -> list[np.ndarray]:
        """The floating arrays of more than one element that the candidate's part starts from."""
        values = [*self.theirs.start.values(), *(value for value, _ in self.theirs.forced.values())]
        arrays = [self.kernels.numpy(value) for value in values if value is not None]
        return [array for array in arrays if array.dtype.kind == "f" and array.size > 1]

    def averaged(self) -> Iterator[int]:
        """Yields how many elements the reference's sums and means go over, near to this place."""
        waiting, depth = [self.blame.wanted], 0
        while waiting and depth < _NEAR:
            made_by, depth = self.reference.producers.get(waiting.pop(0)), depth + 1
            if made_by is None:
                continue
            if made_by.family in ("Mean", "Sum"):
                sizes = [math.prod(self.reference.specs[t].shape) for t in (made_by.inputs[0], made_by.outputs[0])]
                yield sizes[0] // max(sizes[1], 1)
            waiting.extend(made_by.inputs)

    def given(self, part: Part, operation: Operation, slot: int, tensor: int) -> np.ndarray | None:
        """What a part is given at an operation's input; None where it computes it."""
        if (operation.index, slot) in part.forced:
            return self.kernels.numpy(part.forced[operation.index, slot][0])
        if tensor in part.start and part.start[tensor] is not None:
            return self.kernels.numpy(part.start[tensor])
        return None

    def computed(self, part: Part, tensor: int) -> np.ndarray | None:
        """What a part computes for one of its own tensors; None where it does not."""
        values: dict[int, Any] = {}
        tried(functools.partial(part.run, self.kernels, every=values))
        return self.kernels.numpy(values[tensor]) if values.get(tensor) is not None else None

    def conditions(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the truth values that either part computes or starts from, with the name of what gives them."""
        for part in (self.ours, self.theirs):
            values: dict[int, Any] = {}
            tried(functools.partial(part.run, self.kernels, every=values))
            for tensor, value in {**part.start, **values}.items():
                if part.program.specs[tensor].dtype == "bool" and value is not None:
                    made_by, source = part.program.producers.get(tensor), part.program.sources.get(tensor)
                    name = made_by.place.name if made_by is not None else source.name if source is not None else ""
                    yield name or "a condition", self.kernels.numpy(value)

    def with_operation(self, theirs: Operation, attributes: Mapping[str, Any]) -> Part:
        """The candidate's part with other attributes of one operation."""
        changed = self.kernels.changed(theirs, attributes)
        return replace(self.theirs, operations=[changed if o is theirs else o for o in self.theirs.operations])

    def with_inputs(self, values: Mapping[tuple[int, int], Any], part: Part | None = None) -> Part:
        """The candidate's part, or another, with other values read: operation's index and slot -> value."""
        part = part or self.theirs
        return replace(part, forced={**part.forced, **{slot: (v, f"hypothesis {slot}") for slot, v in values.items()}})

    def with_number(self, scalar: Scalar, value: float, part: Part | None = None) -> Part:
        """The candidate's part, or another, with another number."""
        if isinstance(scalar.slot, str):
            base = part or self.theirs
            changed = self.kernels.changed(scalar.operation, {scalar.slot: value})
            return replace(base, operations=[changed if o is scalar.operation else o for o in base.operations])
        before = self.candidate.constant(scalar.operation.inputs[scalar.slot])
        return self.with_inputs({(scalar.operation.index, scalar.slot): np.full_like(before, value)}, part)

    def without(self, part: Part, operation: Operation, slot: int | None = None) -> Part | None:
        """A part in which an operation hands on what goes into it; None where nothing of its shape does."""
        slot, made = data_slot(part.program, operation) if slot is None else slot, operation.outputs[0]
        if slot is None:
            return None
        read, left = operation.inputs[slot], [o for o in part.operations if o is not operation]
        forced = part.forced.get((operation.index, slot))
        value = part.start.get(read) if forced is None else forced[0]
        if value is not None:
            return replace(part, operations=left, start={**part.start, made: value})
        return replace(
            part, operations=[rewired(o, {made: read}) for o in left], end=read if part.end == made else part.end
        )

    def gives_theirs(self, changed: Part) -> bool:
        """Whether a change of the reference gives what the candidate gives, within the budget."""
        standard, theirs, value = self.standard, self.both[1], self.double(changed)
        if (
            standard is None
            or theirs is None
            or value is None
            or not value.shape == theirs.shape == standard.exact.shape
        ):
            return False
        return bool((np.abs(value - theirs) <= standard.budget).all())

    def vanishes(self, changed: Part) -> bool:
        """Whether with a change of the candidate nothing is left of the difference, by the budget as it stood."""
        standard = self.standard
        self._ran += len(changed.operations)
        if standard is None or self._ran > _MOST_RUN:
            return False
        found = tried(lambda: standard.judged(self.kernels, changed))
        return found is not None and found.within

    @functools.cached_property
    def standard(self) -> Standard | None:
        """What the reference's part gives, and its budget; None where it cannot be had."""
        found: Standard | None = tried(
            lambda: Standard.of(self.kernels, self.ours, self.theirs, self.kernels.numpy(self.ours.run(self.kernels)))
        )
        return found

    @functools.cached_property
    def both(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What both parts give in float64; None where it cannot be had."""
        return self.double(self.ours), self.double(self.theirs)

    def double(self, part: Part) -> np.ndarray | None:
        """What a part gives in float64; None where it cannot be had."""
        found: np.ndarray | None = tried(lambda: self.kernels.numpy(part.run(self.kernels, double=True)))
        return found

    def result_on(self, operation: Operation, value: np.ndarray) -> np.ndarray | None:
        """What an operation gives on another value in float64; None where it cannot be had."""
        found: np.ndarray | None = tried(lambda: self.kernels.numpy(self.kernels.run_double(operation, [value])[0]))
        return found


def tried(action: Callable[[], Any]) -> Any:
    """Runs a trial. A hypothesis may ask for what no kernel can do, which refutes it."""
    try:
        return action()
    except KernelError:
        return None


def rewired(operation: Operation, instead: Mapping[int, int]) -> Operation:
    """Returns an operation that reads other tensors instead of some."""
    return replace(operation, inputs=tuple(instead.get(tensor, tensor) for tensor in operation.inputs))


def data_slot(program: Program, operation: Operation) -> int | None:
    """Returns the first input that an operation turns into another tensor like it; None where there is none."""
    return next(iter(data_slots(program, operation)), None)


def data_slots(program: Program, operation: Operation) -> list[int]:
    """Returns the inputs that an operation turns into another tensor like them."""
    if len(operation.outputs) != 1 or not program.specs[operation.outputs[0]].floating:
        return []
    return [
        slot
        for slot, tensor in enumerate(operation.inputs)
        if program.specs[tensor] == program.specs[operation.outputs[0]]
        and (tensor not in program.sources or program.sources[tensor].kind == "input")
    ]


def _feeds(program: Program, operation: Operation, families: Sequence[str]) -> bool:
    return any(other.family in families for other in consumers(program, operation))


def consumers(program: Program, operation: Operation) -> list[Operation]:
    """The operations that read what an operation makes."""
    made = set(operation.outputs)
    return [o for o in program.operations[operation.index + 1 :] if made.intersection(o.inputs)]


def is_of_dropout(program: Program, tensor: int) -> bool:
    """Whether a tensor is a draw that decides what to keep; normally distributed numbers are noise."""
    return tensor in program.draws and "Normal" not in program.sources[tensor].name


def draws_before(program: Program, tensor: int) -> bool:
    """Whether a tensor comes straight out of dropout."""
    waiting, seen = [(tensor, 0)], set()
    while waiting:
        current, depth = waiting.pop()
        if is_of_dropout(program, current):
            return True
        made_by = program.producers.get(current)
        if made_by is None or depth == _DROPOUT_DEPTH or current in seen or made_by.family not in _OF_DROPOUT:
            continue
        seen.add(current)
        waiting.extend((read, depth + 1) for read in made_by.inputs)
    return False


REARRANGING = having(Trait.REORDERS, Trait.PICKS, Trait.JOINS)
"""Families that only rearrange or pick what they are given."""


def rearranges(operations: Sequence[Operation]) -> bool:
    """Whether some operations do nothing but rearrange, at least one of them."""
    return bool(operations) and all(operation.family in REARRANGING for operation in operations)


def is_narrowing(program: Program, operations: Sequence[Operation]) -> bool:
    """Whether some operations have to do with floating numbers of another width than float32."""
    dtypes = {program.specs[t].dtype for o in operations if o.type == "Cast" for t in (*o.inputs, *o.outputs)}
    return any(dtype.startswith(("float", "bfloat")) and dtype != "float32" for dtype in dtypes)


def broadcast(condition: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns a condition for each element; one of fewer dimensions is for the first, or for the last, of them."""
    for form in (condition.shape + (1,) * (len(shape) - condition.ndim), condition.shape):
        with contextlib.suppress(ValueError):  # NumPy's own: it does not fit
            return np.broadcast_to(condition.reshape(form), shape)
    return None


def is_mask(array: np.ndarray) -> bool:
    """Whether an array holds two whole numbers, what to keep and what to leave out; one of them is zero."""
    values = np.unique(array) if array.size > 1 and array.dtype.kind in "fiub" else np.zeros(0)
    return values.size == 2 and not values.all() and all(value == np.round(value) for value in values.astype(float))


def is_idle(program: Program, operation: Operation) -> bool:
    """Whether an operation adds nothing but zeros, as a sum does that begins with them."""
    constants = [program.constant(tensor) for tensor in operation.inputs if program.is_constant(tensor)]
    return operation.family == "Add" and len(constants) == 1 and not constants[0].any()


def computing(operations: Sequence[Operation]) -> list[Operation]:
    """Those of some operations that compute, not only rearrange; all where none does."""
    shaping = ("Reshape", "Cast", "Fill", "Pack", "Unpack")
    return [o for o in operations if o.type not in shaping] or list(operations)


def listed(operations: Sequence[Operation]) -> str:
    """The types of some operations, the first four by name."""
    types = [operation.type for operation in operations]
    return ", ".join(types[:4]) + (f" and {len(types) - 4} more" if len(types) > 4 else "")


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same but for rounding; of text, the same.

    Beside the -1e9 that leaves something out of a softmax, the scale is that of the other values: on its own any two
    arrays would be alike.
    """
    if is_text(a) or is_text(b):
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-7 * largest_ordinary(b), equal_nan=True))


def why_epsilon(*numbers: float) -> str:
    """Says where an epsilon comes from that nobody wrote; empty for any other.

    >>> why_epsilon(1e-5, 1.001e-5)
    "; TensorFlow's fused batch normalization takes 1.001e-05 for every smaller epsilon, 1e-05 too"
    """
    if not any(close(number, LEAST_FUSED_EPSILON) for number in numbers):
        return ""
    least = short(LEAST_FUSED_EPSILON)
    return f"; TensorFlow's fused batch normalization takes {least} for every smaller epsilon, 1e-05 too"


def close(a: float, b: float) -> bool:
    """Whether two written-down numbers are the same."""
    return math.isclose(a, b, rel_tol=1e-5)


def short(value: Any) -> str:
    """Prints a number as one would write it; 0.10000000149 is 0.1.

    >>> short(np.float32(0.1)), short((1, 2, 2, 1)), short("SAME")
    ('0.1', '(1, 2, 2, 1)', 'SAME')
    """
    if isinstance(value, np.ndarray):
        if value.size > _MOST_PRINTED:
            return f"an array of shape {value.shape}"
        return short(value.reshape(-1)[0]) if value.size == 1 else str(value.tolist())
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}"
    if isinstance(value, np.generic):
        return str(value.item())
    return str(value)
