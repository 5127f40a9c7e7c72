"""Kernels that remember what small operations gave, so that nothing small is computed twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels, has_state
from lockstep.program import Operation

_LARGEST = 4096
"""Elements of an input beyond which an operation runs again: to compare what it reads would take as long."""
_MOST_BYTES = 64 * 1024**2
"""Inputs and outputs that are kept: those of some hundred thousand operations of a small cell."""
_MOST_NAMED = 100_000
"""Operations whose parameters are known as text; an edit makes new ones."""
_BESIDE = 500
"""Bytes of an entry beside its values."""
_UNREADABLE = frozenset({tf.string, tf.resource, tf.variant})

_Key = tuple[object, ...]


class RememberingKernels(TensorFlowKernels):
    """Runs each operation once on the same values; see `lockstep.program.kernels.Kernels`.

    To look for what is wrong runs the same operations on the same values over and over: what leads to one round of a
    loop leads to the next one too, a hypothesis changes the end of a part, and training mode repeats most of inference.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, tuple[list[Any], int]] = OrderedDict()
        self._names: dict[int, tuple[Operation, _Key | None]] = {}
        self._bytes = 0

    def run(self, operation: Operation, inputs: Sequence[Any]) -> list[Any]:
        """See `Kernels.run`."""
        return self._remembered(operation, inputs, "as it is", super().run)

    def run_double(self, operation: Operation, inputs: Sequence[Any], *, halves: bool = False) -> list[Any]:
        """See `Kernels.run_double`."""
        run = super().run_double
        how = "double, halves too" if halves else "double"
        return self._remembered(operation, inputs, how, lambda o, given: run(o, given, halves=halves))

    def _remembered(
        self,
        operation: Operation,
        inputs: Sequence[Any],
        how: str,
        run: Callable[[Operation, Sequence[Any]], list[Any]],
    ) -> list[Any]:
        named, read = self._named(operation), self._read(inputs)
        if named is None or read is None:
            return run(operation, inputs)
        key = (how, named, *read)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return list(found[0])
        outputs = run(operation, inputs)
        size = _BESIDE + sum(len(part) for part in read if isinstance(part, bytes))
        self._keep(key, outputs, size)
        return outputs

    def _read(self, inputs: Sequence[Any]) -> list[object] | None:
        """What an operation reads, bit for bit; None where it is too much to look at, or no number."""
        found: list[object] = []
        for value in inputs:
            if isinstance(value, tf.Tensor) and value.dtype in _UNREADABLE:
                return None
            array = self.numpy(value)
            if array.size > _LARGEST or array.dtype.kind not in "biufcV":
                return None
            found += (array.dtype, array.shape, array.tobytes())
        return found

    def _named(self, operation: Operation) -> _Key | None:
        """What an operation computes, whichever program it is of; None where that is not all that decides."""
        known = self._names.get(id(operation))
        if known is None:
            if len(self._names) >= _MOST_NAMED:
                self._forget()
            parameters = repr(sorted(operation.attributes.items())), repr(operation.call), len(operation.outputs)
            name = None if has_state(operation.type) else (operation.type, *parameters)
            # The operation is held: another one might come to have its address.
            known = self._names[id(operation)] = operation, name
        return known[1]

    def _forget(self) -> None:
        self._names.clear()
        self._known.clear()
        self._bytes = 0

    def _keep(self, key: _Key, outputs: list[Any], size: int) -> None:
        for value in outputs:
            if isinstance(value, tf.Tensor) and value.dtype in _UNREADABLE:
                return
            size += np.asarray(value).nbytes
        self._known[key] = list(outputs), size
        self._bytes += size
        while self._bytes > _MOST_BYTES:
            self._bytes -= self._known.popitem(last=False)[1][1]
