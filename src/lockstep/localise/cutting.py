"""Both programs and their numbers -> the part of either that lies between known tensors and one that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lockstep.common.errors import KernelError
from lockstep.localise import budget
from lockstep.localise.budget import Part
from lockstep.localise.numbering import Numbering
from lockstep.localise.values import Values
from lockstep.program import Operation, Program
from lockstep.program.kernels import Kernels

_LARGEST_PART = 200


class Cutting:
    """Cuts parts out of both programs; both sides' parts start from the reference's values.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        numbers: What is known of their tensors; it grows while parts are cut.
        values: The reference's values.
        kernels: Runs operations.
    """

    def __init__(
        self, reference: Program, candidate: Program, numbers: Numbering, values: Values, kernels: Kernels
    ) -> None:
        self._r, self._c, self._numbers = reference, candidate, numbers
        self._values, self._kernels = values, kernels

    def theirs(self, tensor: int) -> Part:
        """Returns the candidate's operations between tensors with a number and this one."""
        start: dict[int, object] = {}
        forced: dict[tuple[int, int], tuple[object, str]] = {}
        operations: dict[int, Operation] = {}
        waiting = [tensor]
        while waiting:
            current = waiting.pop()
            made_by = self._c.producers.get(current)
            number = self._numbers.theirs.get(current)
            known = None if self._c.is_constant(current) else self._value_for(number, current)
            if known is not None:
                start[current] = known
            elif made_by is None:
                start[current] = self._c.sources[current].value
            elif made_by.index not in operations:
                operations[made_by.index] = made_by
                for slot, read in enumerate(made_by.inputs):
                    number = self._numbers.forced.get((made_by.index, slot))
                    value = self._value_for(number, read)
                    if value is not None:
                        forced[made_by.index, slot] = value, f"forced {number}"
                    else:
                        waiting.append(read)
        return Part(self._c, _in_order(operations), start, tensor, forced)

    def starts(self, theirs: Part) -> set[int]:
        """Returns the numbers that a part of the candidate starts from."""
        known = {self._numbers.theirs[tensor] for tensor in theirs.start if tensor in self._numbers.theirs}
        return known | {self._numbers.forced[slot] for slot in theirs.forced}

    def ours(self, wanted: int, stop: set[int]) -> Part:
        """Returns the reference's operations between some numbers and a tensor.

        Where these lie far away, the part starts from the nearest that the candidate has reached.
        """
        part = self.between(stop, wanted)
        if part is None and stop is not self._numbers.reached:
            part = self.between(stop | self._numbers.reached, wanted)
        return part or Part(self._r, (), {wanted: self._values[wanted]}, wanted, {})

    def between(self, stop: set[int], wanted: int) -> Part | None:
        """Returns the reference's operations between some numbers and a tensor; None where they are too many."""
        start: dict[int, object] = {}
        operations: dict[int, Operation] = {}
        waiting = [wanted]
        while waiting:
            current = waiting.pop()
            made_by = self._r.producers.get(current)
            if self._numbers.ours[current] in stop or made_by is None:
                start[current] = self._values[current]
            elif made_by.index not in operations:
                if len(operations) > _LARGEST_PART:
                    return None
                operations[made_by.index] = made_by
                waiting.extend(made_by.inputs)
        return Part(self._r, _in_order(operations), start, wanted, {})

    def computed(self, part: Part) -> Any:
        """Returns what a part gives, as an array; None where it cannot be computed on the reference's tensors."""
        try:
            return self._kernels.numpy(part.run(self._kernels))
        except KernelError:  # sizes that do not fit, say, which are blamed elsewhere
            return None

    def _value_for(self, number: int | None, tensor: int) -> Any:
        """Returns the reference's value in the shape of the candidate's tensor; None where there is none that fits.

        A condition of one value an example in the reference may be one an element in the candidate.
        """
        if number is None:
            return None
        value, shape = self._values[number], self._c.specs[tensor].shape
        if self._r.specs[number].shape == shape:
            return value
        # With other dimensions nothing could follow: a condition for each example is one for each element here.
        return budget.fitting(self._kernels.numpy(value), shape)


def _in_order(operations: dict[int, Operation]) -> Sequence[Operation]:
    return [operations[index] for index in sorted(operations)]
