"""Shapes, dtypes and slices as checkpoints describe them, and the keys that slices are stored under."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.common.arrays import MAX_DIMENSIONS
from lockstep.files.checkpoints import wire
from lockstep.files.checkpoints.wire import LENGTH, VARINT, Bytes, DamagedError, Field

STRING = 7
# tensorflow/core/framework/types.proto: number -> name and bytes of an element. References (101 and more), handles,
# variants and types of four bits are in no checkpoint that a Saver wrote.
DTYPES = {
    1: ("float32", 4), 2: ("float64", 8), 3: ("int32", 4), 4: ("uint8", 1), 5: ("int16", 2), 6: ("int8", 1),
    STRING: ("string", 0), 8: ("complex64", 8), 9: ("int64", 8), 10: ("bool", 1), 11: ("qint8", 1), 12: ("quint8", 1),
    13: ("qint32", 4), 14: ("bfloat16", 2), 15: ("qint16", 2), 16: ("quint16", 2), 17: ("uint16", 2),
    18: ("complex128", 16), 19: ("float16", 2), 22: ("uint32", 4), 23: ("uint64", 8), 24: ("float8_e5m2", 1),
    25: ("float8_e4m3fn", 1),
}  # fmt: skip
_MAX_SLICES = 10_000
_WHOLE = -1  # the length of a slice along an axis that it has all of


@dataclass(frozen=True)
class Slice:
    """A part of a tensor.

    Attributes:
        starts: Where it begins along each axis.
        lengths: Its size along each axis; -1 for the whole axis.
    """

    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    def shape(self, whole: Sequence[int]) -> tuple[int, ...]:
        """Returns its shape within a tensor of a shape."""
        return tuple(size if length == _WHOLE else length for length, size in zip(self.lengths, whole, strict=True))


def dtype_of(values: list[Field]) -> int:
    """Returns the number of a dtype that a checkpoint may hold."""
    found = wire.number(values, bits=32)
    if found not in DTYPES:
        raise DamagedError(f"dtype {found} is none that a Saver writes")
    return found


def shape_of(values: list[Field]) -> tuple[int, ...]:
    """Reads a `TensorShapeProto`; without one the shape is that of a scalar."""
    shape: list[int] = []
    for message in wire.messages(values):
        found = wire.fields(message, {2: LENGTH, 3: VARINT}, repeated=(2,))
        if wire.number(found[3]):
            raise DamagedError("its rank is unknown")
        if len(found[2]) > MAX_DIMENSIONS:
            raise DamagedError(f"it has {len(found[2])} dimensions, and an array has {MAX_DIMENSIONS} at most")
        shape += [wire.number(wire.fields(dim, {1: VARINT})[1]) for dim in wire.messages(found[2])]
    if any(size < 0 for size in shape):
        raise DamagedError("a dimension is negative")
    if math.prod(size for size in shape if size) >= 1 << 62:
        raise DamagedError("it has more elements than there are bytes")
    return tuple(shape)


def slice_of(message: Bytes, whole: Sequence[int]) -> Slice:
    """Reads a `TensorSliceProto` of a tensor of a shape."""
    found = wire.messages(wire.fields(message, {1: LENGTH}, repeated=(1,))[1])
    if len(found) != len(whole):
        raise DamagedError("a slice has another rank than its tensor")
    starts, lengths = [], []
    for extent, size in zip(found, whole, strict=True):
        parts = wire.fields(extent, {1: VARINT, 2: VARINT})
        start, length = wire.number(parts[1]), wire.number(parts[2], _WHOLE)
        if parts[2] and not (start >= 0 and length > 0 and start + length <= size):
            raise DamagedError("a slice lies outside of its tensor")
        if not parts[2] and start:
            raise DamagedError("a slice has a start and no length")
        starts.append(start)
        lengths.append(length)
    return Slice(tuple(starts), tuple(lengths))


def check_cover(found: Sequence[Slice], whole: Sequence[int]) -> None:
    """Refuses slices that overlap, or leave a part of their tensor out."""
    if len(found) > _MAX_SLICES:
        raise DamagedError(f"it is cut into {len(found):,} slices")
    shapes = [part.shape(whole) for part in found]
    if sum(math.prod(shape) for shape in shapes) != math.prod(whole):
        raise DamagedError("its slices are not the whole of it")
    if not whole or not math.prod(whole):
        return
    starts = np.array([part.starts for part in found], np.int64)
    ends = starts + np.array(shapes, np.int64)
    for place in range(len(found) - 1):
        apart = (starts[place + 1 :] >= ends[place]) | (ends[place + 1 :] <= starts[place])
        if not apart.any(axis=1).all():
            raise DamagedError("its slices overlap")


def key_of(name: bytes, part: Slice) -> bytes:
    """Returns the key of a slice: zero, the tensor's name, its rank, and start and length along each axis.

    The numbers and the name are in TensorFlow's ordered code (tensorflow/core/lib/strings/ordered_code.cc).
    """
    key = _increasing(0) + _escaped(name) + b"\x00\x01" + _increasing(len(part.starts))
    for start, length in zip(part.starts, part.lengths, strict=True):
        key += _signed_increasing(start) + _signed_increasing(length)
    return key


def _escaped(name: bytes) -> bytes:
    return b"".join({0: b"\x00\xff", 255: b"\xff\x00"}.get(byte, bytes([byte])) for byte in name)


def _increasing(value: int) -> bytes:
    digits = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(digits)]) + digits


def _signed_increasing(value: int) -> bytes:
    # A byte for each seven bits, one of which is the sign; as many ones as there are bytes lead the positive ones.
    bare = ~value if value < 0 else value
    size = 1
    while bare >= 1 << 7 * size - 1:
        size += 1
    header = ((1 << size) - 1) << 7 * size
    return ((value & (1 << 8 * size) - 1) ^ header).to_bytes(size, "big")
