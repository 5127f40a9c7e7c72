"""Protocol buffers and sorted string tables as bytes: what TensorFlow's checkpoints are made of, read without it.

Both formats are small and public (protobuf.dev/programming-guides/encoding; LevelDB's doc/table_format.md), and reading
them strictly is the point: whatever is not as TensorFlow writes it is refused here, and never reaches its C++ code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

Bytes: TypeAlias = memoryview
Field: TypeAlias = "int | Bytes"

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""The wire types in use; groups (3, 4) are in no message of a checkpoint."""

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5  # of a block: how it is packed, and its checksum, which TensorFlow's own reader tests
_PLAIN = 0
_LONGEST_VARINT = 10
_LARGEST_BLOCK = 1 << 32


class DamagedError(Exception):
    """The bytes are not what TensorFlow writes; the text says what is wrong, without a full stop."""


def varint(data: Bytes, at: int) -> tuple[int, int]:
    """Returns the unsigned number at a place and the place behind it."""
    value = shift = 0
    for place in range(at, min(at + _LONGEST_VARINT, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, place + 1
        shift += 7
    raise DamagedError("a number does not end, or is too large")


def signed(value: int) -> int:
    """Returns the `int64` that an unsigned number stands for."""
    return value - (1 << 64) if value >> 63 else value


def fields(message: Bytes, known: dict[int, int], repeated: tuple[int, ...] = ()) -> dict[int, list[Field]]:
    """Takes a message apart.

    Args:
        message: Its bytes.
        known: Number of a field -> its wire type. Others are left out, as a later TensorFlow may add some.
        repeated: Which may occur more than once.

    Returns:
        Number of each known field -> its values; an empty list where it is missing.

    Raises:
        DamagedError: It is no message, a field is of another type, or one occurs twice that may not: readers differ in
            what they take then.
    """
    found: dict[int, list[Field]] = {number: [] for number in known}
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, kind = tag >> 3, tag & 7
        value, at = _field(message, at, kind)
        if number == 0 or (number in known and known[number] != kind):
            raise DamagedError(f"field {number} is of another type")
        if number in known:
            if found[number] and number not in repeated:
                raise DamagedError(f"field {number} occurs twice")
            found[number].append(value)
    return found


def _field(message: Bytes, at: int, kind: int) -> tuple[Field, int]:
    if kind == VARINT:
        return varint(message, at)
    if kind == LENGTH:
        length, at = varint(message, at)
    elif kind in (FIXED64, FIXED32):
        length = 8 if kind == FIXED64 else 4
    else:
        raise DamagedError(f"a field has type {kind}")
    if length > len(message) - at:
        raise DamagedError("a field is longer than its message")
    return message[at : at + length], at + length


def number(values: list[Field], default: int = 0, *, bits: int = 64) -> int:
    """Returns the value of a field that holds a signed number, or its default.

    Raises:
        DamagedError: It does not fit into that many bits.
    """
    if not values:
        return default
    value = values[0]
    assert isinstance(value, int)
    value = signed(value)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise DamagedError("a number is too large for its field")
    return value


def messages(values: list[Field]) -> list[Bytes]:
    """Returns the values of a field that holds messages or bytes."""
    return [value for value in values if not isinstance(value, int)]


def table(data: Bytes) -> Iterator[tuple[bytes, Bytes]]:
    """Yields the entries of a sorted string table, in the order of their keys.

    Raises:
        DamagedError: It is none, or its keys are not in order.
    """
    if len(data) < _FOOTER:
        raise DamagedError("it is too short")
    footer = data[-_FOOTER:]
    if struct.unpack("<Q", footer[40:])[0] != _MAGIC:
        raise DamagedError("it is no table of TensorFlow's")
    at = 0
    handles = []
    for _ in range(4):
        value, at = varint(footer[:40], at)
        handles.append(value)
    _block(data, *handles[:2])
    before: bytes | None = None
    for _, handle in _entries(_block(data, *handles[2:])):
        offset, at = varint(handle, 0)
        size, at = varint(handle, at)
        if at != len(handle):
            raise DamagedError("a place in its index is malformed")
        for key, content in _entries(_block(data, offset, size)):
            if before is not None and key <= before:
                raise DamagedError("its keys are not in order")
            before = key
            yield key, content


def _block(data: Bytes, offset: int, size: int) -> Bytes:
    if size > _LARGEST_BLOCK or offset + size + _TRAILER > len(data) - _FOOTER:
        raise DamagedError("a block lies outside of it")
    if data[offset + size] != _PLAIN:
        raise DamagedError("a block is compressed, as TensorFlow writes none")
    return data[offset : offset + size]


def _entries(block: Bytes) -> Iterator[tuple[bytes, Bytes]]:
    """Yields the entries of one block; a key is told by what it shares with the one before."""
    if len(block) < 8:
        raise DamagedError("a block is too short")
    (count,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * count
    if count < 1 or end < 0:
        raise DamagedError("a block's list of places is malformed")
    restarts = set(struct.unpack(f"<{count}I", block[end:-4]))
    key, at, starts = b"", 0, {0}
    while at < end:
        begin = at
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or own > end - at or length > end - at - own:
            raise DamagedError("an entry is longer than its block")
        if not shared:
            starts.add(begin)
        key = key[:shared] + bytes(block[at : at + own])
        yield key, block[at + own : at + own + length]
        at += own + length
    if not restarts <= starts or 0 not in restarts:
        raise DamagedError("a block's list of places is malformed")
