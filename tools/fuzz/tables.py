"""Writes sorted string tables and protocol buffers, with checksums that are right whatever they hold."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_MAGIC = 0xDB4775248B80FB57
_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected


def _table() -> list[int]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = row >> 1 ^ (_POLYNOMIAL if row & 1 else 0)  # noqa: PLW2901
        rows.append(row)
    return rows


_ROWS = _table()


def masked_crc(data: bytes) -> int:
    """Returns the checksum that LevelDB and TensorFlow store for some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _ROWS[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    """Returns a number as protocol buffers write it; a negative one as ten bytes."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(number: int, value: int | bytes | bytearray) -> bytes:
    """Returns a field with a number or with bytes; a `bytearray` of four or eight is a number of that size."""
    if isinstance(value, bytearray):
        return varint(number << 3 | (5 if len(value) == 4 else 1)) + bytes(value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def written(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns a table of one block with these entries, as they come."""
    content = bytearray()
    handle = _block(content, _packed(entries))
    empty = _block(content, _packed([]))
    index = _block(content, _packed([(b"\xff" * 300, handle)]))
    footer = empty + index
    return bytes(content) + footer + b"\0" * (40 - len(footer)) + struct.pack("<Q", _MAGIC)


def _packed(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    block = bytearray()
    restarts = []
    for key, value in entries:
        restarts.append(len(block))
        block += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    restarts = restarts or [0]
    return bytes(block) + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def _block(content: bytearray, block: bytes) -> bytes:
    """Appends a block; returns where it is, as an index says it."""
    handle = varint(len(content)) + varint(len(block))
    content += block + b"\0" + struct.pack("<I", masked_crc(block + b"\0"))
    return handle
