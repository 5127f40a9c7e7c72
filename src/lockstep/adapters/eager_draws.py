"""What each draw of an eager call is for: whether its numbers reach an output, a loss or a variable's update."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

import tensorflow as tf

from lockstep.recorder.records import ForwardDraw
from lockstep.tf1 import private

_HANDLES = (tf.resource, tf.variant)


class DrawsFollowed:
    """Follows draws through the operations that this thread runs eagerly, as a callback on each of them.

    A set of draws is a number whose bits are theirs, so that joining what two tensors come from costs next to nothing.
    What is read by Python and decides there which operations run is not seen: such a draw seems to lead to nothing.

    Args:
        variables: Numbers of the handles of the model's variables (`private.tensor_id`).
    """

    def __init__(self, variables: Collection[int]) -> None:
        self._variables = variables
        self._draws: dict[int, ForwardDraw] = {}
        self._of: dict[int, int] = defaultdict(int)
        self._written = 0

    def __call__(  # the signature of TensorFlow's callbacks
        self, kind: Any, inputs: Any, attributes: Any, outputs: Any, _name: Any = None, graph: Any = None
    ) -> None:
        """Takes down one operation that ran; those of graphs that are being traced are no operations that ran."""
        if graph is not None:
            return
        read, gave = list(_flat(inputs)), list(_flat(outputs))
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
                if number in self._variables and "Assign" in _text(kind):
                    self._written |= come_from
                self._of[number] |= come_from

    def _drew(self, seed: int, kind: Any, gave: Any) -> int:
        self._draws.setdefault(seed, ForwardDraw(seed, _text(kind), gave.dtype.name, math.prod(gave.shape)))
        return 1 << seed

    def asked_for(self, count: int, results: Iterable[Any]) -> tuple[ForwardDraw | None, ...]:
        """Returns the draw that each seed was asked for; None where no operation bears it.

        Args:
            count: How many seeds were asked for: they were counted from 0.
            results: What the call returned, and its losses.
        """
        needed = self._written
        for value in results:
            needed |= self._of.get(private.tensor_id(value), 0) if hasattr(value, "_id") else 0
        found = (self._draws.get(seed) for seed in range(count))
        return tuple(None if draw is None else draw._replace(used=bool(needed >> draw.seed & 1)) for draw in found)


def _operation_seed(attributes: Any) -> int | None:
    flat = list(attributes or ())
    named = {_text(name): value for name, value in zip(flat[::2], flat[1::2], strict=False)}
    return int(named["seed2"]) if "seed" in named and "seed2" in named else None


def _flat(values: Any) -> Iterable[Any]:
    for value in values if isinstance(values, (list, tuple)) else (values,):
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        elif value is not None:
            yield value


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
