"""What each draw of an eager call is for: whether its numbers reach an output, a loss or a variable's update."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

import tensorflow as tf

from lockstep.frameworks.tensorflow.draws import RecordedDraws
from lockstep.ground.records import ForwardDraw
from lockstep.tf1 import private

_HANDLES = (tf.resource, tf.variant)


class DrawsFollowed:
    """Follows draws through the operations that this thread runs eagerly, as a callback on each of them.

    A set of draws is a number whose bits are theirs, so that joining what two tensors come from costs next to nothing.
    What is read by Python and decides there which operations run is not seen: such a draw seems to lead to nothing.

    Args:
        variables: Numbers of the handles of the model's variables (`private.tensor_id`).
        tool: What hands out the seeds.
    """

    def __init__(self, variables: Collection[int], tool: RecordedDraws) -> None:
        self._variables, self._tool = variables, tool
        self._draws: dict[int, ForwardDraw] = {}
        self._of: dict[int, int] = defaultdict(int)
        self._written = 0

    def __call__(  # the signature of TensorFlow's callbacks
        self, kind: Any, inputs: Any, attributes: Any, outputs: Any, _name: Any = None, graph: Any = None
    ) -> None:
        """Takes down one operation that ran; those of graphs that are being traced are no operations that ran."""
        if graph is not None:
            return
        read, gave = list(leaves(inputs)), list(leaves(outputs))
        come_from = 0
        for value in read:
            come_from |= self._of.get(private.tensor_id(value), 0)
        seed = _operation_seed(attributes)
        if seed is not None and gave:
            come_from |= self._drew(seed, kind, gave[0])
        if not come_from:
            return
        for value in gave:
            self._of[private.tensor_id(value)] |= come_from
        for value in read:
            if value.dtype in _HANDLES:  # what is put into a variable, or a list, comes out of it again
                number = private.tensor_id(value)
                if number in self._variables and "Assign" in text(kind):
                    self._written |= come_from
                self._of[number] |= come_from

    def _drew(self, seed: int, kind: Any, gave: Any) -> int:
        """Takes down a draw with the seed that was asked for last; one of the user's own making is none."""
        place = len(self._tool.taken) - 1
        if place < 0 or self._tool.taken[place] != seed:
            return 0
        # The last one counts: before it, the tool may have drawn what was drawn in earlier rounds.
        self._draws[place] = ForwardDraw(seed, text(kind), gave.dtype.name, math.prod(gave.shape))
        return 1 << place

    def asked_for(self, results: Iterable[Any]) -> tuple[ForwardDraw | None, ...]:
        """Returns the draw that each seed was asked for; None where no operation bears it.

        Args:
            results: What the call returned, and its losses.
        """
        needed = self._written
        for value in results:
            needed |= self._of.get(private.tensor_id(value), 0) if hasattr(value, "numpy") else 0
        found = [self._draws.get(place) for place in range(len(self._tool.taken))]
        return tuple(
            None if draw is None else draw._replace(used=bool(needed >> place & 1)) for place, draw in enumerate(found)
        )


def _operation_seed(attributes: Any) -> int | None:
    named = by_name(attributes)
    return int(named["seed2"]) if "seed" in named and "seed2" in named else None


def leaves(values: Any) -> Iterable[Any]:
    """Yields the tensors of an operation's inputs or outputs, which may hold lists of them."""
    for value in values if isinstance(values, (list, tuple)) else (values,):
        if isinstance(value, (list, tuple)):
            yield from leaves(value)
        elif value is not None:
            yield value


def by_name(attributes: Any) -> dict[str, Any]:
    """Returns attribute -> value of what TensorFlow hands over as names and values in turn."""
    flat = list(attributes or ())
    pairs = zip(flat[::2], flat[1::2], strict=False)
    return {text(name): value for name, value in pairs if value is not None}


def text(name: Any) -> str:
    """Returns a name that TensorFlow hands over as bytes or as text."""
    return name.decode() if isinstance(name, bytes) else str(name)
