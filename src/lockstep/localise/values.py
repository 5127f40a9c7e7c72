"""The reference's values, held in memory up to a bound and in a temporary file beyond it."""

from __future__ import annotations

import re
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any

import numpy as np

from lockstep.program import Program
from lockstep.program.kernels import Kernels

MAX_MEMORY = 2 * 1024**3
"""Bytes of recorded values that stay in memory, unless told otherwise: what a laptop can spare beside a model."""
_PLAIN = ("float", "bfloat", "complex", "int", "uint", "bool")


class Values:
    """All tensors of a program, computed once in its order.

    Args:
        program: The program; its sources hold their values.
        kernels: Runs its operations.
        max_memory: Bytes to hold in memory; the rest is in a temporary file, which nobody else can open.
    """

    def __init__(self, program: Program, kernels: Kernels, max_memory: int = MAX_MEMORY) -> None:
        self._program, self._kernels, self._bound = program, kernels, max_memory
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._places: dict[int, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        self.peak = 0

    def __enter__(self) -> Values:
        for operation in self._program.operations:
            inputs = [self[tensor] for tensor in operation.inputs]
            self._make_room(sum(map(self._size, operation.outputs)))
            for tensor, value in zip(operation.outputs, self._kernels.run(operation, inputs), strict=True):
                self._hold(tensor, value)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        if self._file is not None:
            self._file.close()

    def __getitem__(self, tensor: int) -> Any:
        source = self._program.sources.get(tensor)
        if source is not None:
            return source.value
        if tensor in self._held:
            self._held.move_to_end(tensor)
            return self._held[tensor]
        place, dtype, shape = self._places[tensor]
        assert self._file is not None
        self._make_room(self._size(tensor))
        self._file.seek(place)
        raw = self._file.read(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        value = np.frombuffer(raw, dtype).reshape(shape)
        self._hold(tensor, value)
        return value

    def all(self, tensors: Sequence[int]) -> list[Any]:
        """Returns several values."""
        return [self[tensor] for tensor in tensors]

    def _hold(self, tensor: int, value: Any) -> None:
        self._held[tensor] = value
        self._bytes += self._size(tensor)
        self.peak = max(self.peak, self._bytes)

    def _make_room(self, wanted: int) -> None:
        """Gives up what was not asked for longest, so that as many bytes more stay within the bound."""
        while self._bytes + wanted > self._bound:
            oldest = next((tensor for tensor in self._held if self._size(tensor)), None)
            if oldest is None:
                return
            dropped = self._held.pop(oldest)
            self._bytes -= self._size(oldest)
            if oldest not in self._places:
                self._write(oldest, self._kernels.numpy(dropped))

    def _write(self, tensor: int, array: np.ndarray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="lockstep-")  # noqa: SIM115 - closed with the values
        place = self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._places[tensor] = (place, array.dtype, array.shape)

    def _size(self, tensor: int) -> int:
        """Returns the bytes that it takes; 0 for what only the framework can hold (strings, handles)."""
        spec = self._program.specs[tensor]
        if not spec.dtype.startswith(_PLAIN):
            return 0
        bits = re.search("[0-9]+", spec.dtype)
        width = (int(bits.group()) if bits else 8) // 8 or 1
        return int(np.prod(spec.shape, dtype=np.int64)) * width
