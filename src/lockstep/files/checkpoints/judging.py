"""Judges what a checkpoint says of itself before TensorFlow reads it, which trusts it: a wrong number ends the process.

TensorFlow (2.16 to 2.21) aborts on a negative dimension, on more than 254, on a dtype that is none, and reads beyond a
tensor whose data are short. Its own checksums are no help: whoever writes a file writes its checksums. Of two ways, a
child process whose death is told and a reader of one's own, this is the second: it takes milliseconds where an import
of TensorFlow takes seconds, it says what is wrong and where, and what it lets through is tested to be readable.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lockstep.common.errors import InputError
from lockstep.common.values import shown, shown_path
from lockstep.files.checkpoints import slices, wire
from lockstep.files.checkpoints.slices import DTYPES, STRING, Slice
from lockstep.files.checkpoints.wire import FIXED32, LENGTH, VARINT, Bytes, DamagedError
from lockstep.ground.restoring import Held

_MAX_INDEX = 1 << 30
_MAX_SHARDS = 99_999  # a file's name has five digits
_LITTLE_ENDIAN, _BIG_ENDIAN = 0, 1
_SLICE = b"\x00"  # what the key of a slice begins with

# tensorflow/core/framework/tensor.proto: the field of a TensorProto in which V1 stores the values of a dtype, and the
# bytes of a value in it; 0: numbers of varying length, 1: such a number for each value and two values an element.
_FLOATS, _DOUBLES, _INTS, _STRINGS, _COMPLEX64 = (5, 4), (6, 8), (7, 0), (8, 0), (9, 8)
_INT64S, _BOOLS, _COMPLEX128, _HALVES, _UINT32S, _UINT64S = (10, 0), (11, 0), (12, 16), (13, 0), (16, 0), (17, 0)
_STORED = {
    "float32": _FLOATS, "float64": _DOUBLES, "int32": _INTS, "uint8": _INTS, "int16": _INTS, "int8": _INTS,
    "string": _STRINGS, "complex64": _COMPLEX64, "int64": _INT64S, "bool": _BOOLS, "qint8": _INTS, "quint8": _INTS,
    "qint32": _INTS, "bfloat16": _HALVES, "qint16": _INTS, "quint16": _INTS, "uint16": _INTS,
    "complex128": _COMPLEX128, "float16": _HALVES, "uint32": _UINT32S, "uint64": _UINT64S,
}  # fmt: skip


def judged(prefix: Path) -> dict[str, Held]:
    """Returns what a checkpoint holds: name -> shape and dtype.

    Args:
        prefix: As `locating.located` gives it.

    Raises:
        InputError: Something in it is not as TensorFlow writes it.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    try:
        if index.is_file():
            return _bundle(prefix, index)
        files = [prefix] if prefix.is_file() else _shards(prefix)
        return _saved_slices(files)
    except DamagedError as error:
        raise InputError(
            f"checkpoint {shown_path(prefix)} is no TensorFlow checkpoint, or is damaged or cut short: {error}."
        ) from error
    except OSError as error:
        raise InputError(f"checkpoint {shown_path(prefix)} cannot be read: {error.strerror}.") from error


# The format V2: an index, and data files.


@dataclass(frozen=True)
class _Entry:
    """A `BundleEntryProto`."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    slices: tuple[Slice, ...]


def _bundle(prefix: Path, index: Path) -> dict[str, Held]:
    if index.stat().st_size > _MAX_INDEX:
        raise DamagedError(f"its index has {index.stat().st_size:,} bytes")
    found = wire.table(memoryview(index.read_bytes()))
    key, header = next(found, (None, None))
    if key != b"" or header is None:
        raise DamagedError("its index has no header")
    count, little = _header(header)
    entries = {}
    for name, value in found:
        with _said_of(name):
            entries[name] = _entry(value)
    data = _Data(prefix, count, little=little)
    parts: dict[bytes, tuple[bytes, _Entry]] = {}
    for name, entry in entries.items():
        with _said_of(name):
            if entry.slices:
                slices.check_cover(entry.slices, entry.shape)
                parts.update((slices.key_of(name, p), (name, _of_part(entry, p))) for p in entry.slices)
            else:
                data.check(entry)
    _check_parts(entries, parts)
    return {_text(n): Held(e.shape, DTYPES[e.dtype][0]) for n, e in entries.items() if not n.startswith(_SLICE)}


def _check_parts(entries: Mapping[bytes, _Entry], parts: Mapping[bytes, tuple[bytes, _Entry]]) -> None:
    """Refuses slices that are missing, of another shape or dtype, or of no tensor."""
    for key, (name, wanted) in parts.items():
        has = entries.get(key)
        if has is None or has.slices or (has.dtype, has.shape) != (wanted.dtype, wanted.shape):
            raise DamagedError(f"a slice of {shown(_text(name))} is missing, or of another shape or dtype")
    if any(key.startswith(_SLICE) and key not in parts for key in entries):
        raise DamagedError("it holds a slice that no tensor has")


def _header(message: Bytes) -> tuple[int, bool]:
    """Reads a `BundleHeaderProto`: how many data files there are, and whether their numbers begin with the low byte."""
    found = wire.fields(message, {1: VARINT, 2: VARINT, 3: LENGTH})
    count, order = wire.number(found[1], bits=32), wire.number(found[2], bits=32)
    if not 1 <= count <= _MAX_SHARDS or order not in (_LITTLE_ENDIAN, _BIG_ENDIAN):
        raise DamagedError("its header is malformed")
    for version in wire.messages(found[3]):
        wire.fields(version, {1: VARINT, 2: VARINT})
    return count, order == _LITTLE_ENDIAN


def _entry(message: Bytes) -> _Entry:
    known = {1: VARINT, 2: LENGTH, 3: VARINT, 4: VARINT, 5: VARINT, 6: FIXED32, 7: LENGTH}
    found = wire.fields(message, known, repeated=(7,))
    shape = slices.shape_of(found[2])
    parts = tuple(slices.slice_of(part, shape) for part in wire.messages(found[7]))
    shard = wire.number(found[3], bits=32)
    return _Entry(slices.dtype_of(found[1]), shape, shard, wire.number(found[4]), wire.number(found[5]), parts)


def _of_part(entry: _Entry, part: Slice) -> _Entry:
    return _Entry(entry.dtype, part.shape(entry.shape), 0, 0, 0, ())


class _Data:
    """The data files of a checkpoint, and whether an entry's data are in them."""

    def __init__(self, prefix: Path, count: int, *, little: bool) -> None:
        self._prefix, self._count, self._little = prefix, count, little
        self._sizes: dict[int, int] = {}

    def check(self, entry: _Entry) -> None:
        """Refuses an entry whose data are elsewhere, or of another size than its shape says."""
        if not 0 <= entry.shard < self._count:
            raise DamagedError(f"its data file is number {entry.shard} of {self._count}")
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > self._size(entry.shard):
            raise DamagedError("its data lie outside of the data file, which may be cut short")
        count, (_, item) = math.prod(entry.shape), DTYPES[entry.dtype]
        if entry.dtype == STRING:
            self._check_strings(entry, count)
        elif entry.size != count * item:
            raise DamagedError(f"it has {entry.size:,} bytes of data, and its shape and dtype have {count * item:,}")

    def _file(self, shard: int) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}.data-{shard:05d}-of-{self._count:05d}")

    def _size(self, shard: int) -> int:
        if shard not in self._sizes:
            file = self._file(shard)
            if not file.is_file():
                raise DamagedError(f"there is no {file.name}")
            self._sizes[shard] = file.stat().st_size
        return self._sizes[shard]

    def _check_strings(self, entry: _Entry, count: int) -> None:
        """Texts are stored as their lengths, a checksum of four bytes, and their bytes one after the other."""
        if count > entry.size:
            raise DamagedError("its texts are cut short")
        with self._file(entry.shard).open("rb") as file:
            file.seek(entry.offset)
            data = memoryview(file.read(entry.size))
        at = total = 0
        for _ in range(count):
            length, at = wire.varint(data, at)
            total += length
        if at + 4 + total != entry.size:
            raise DamagedError("its texts have other lengths than their data")


# The format V1: tables that hold everything.


def _shards(pattern: Path) -> list[Path]:
    return sorted(pattern.parent.glob(re.sub(r"([*\[])", r"[\1]", pattern.name)))


def _saved_slices(files: list[Path]) -> dict[str, Held]:
    held: dict[bytes, tuple[tuple[int, ...], int]] = {}
    parts: dict[bytes, list[Slice]] = {}
    for file in files:
        for name, (shape, dtype, own) in _table_of_slices(_mapped(file)).items():
            if held.setdefault(name, (shape, dtype)) != (shape, dtype):
                raise DamagedError(f"{shown(_text(name))} has two shapes or dtypes")
            parts.setdefault(name, []).extend(own)
    for name, (shape, _) in held.items():
        with _said_of(name):
            slices.check_cover(parts[name], shape)
    return {_text(name): Held(shape, DTYPES[dtype][0]) for name, (shape, dtype) in held.items()}


def _table_of_slices(data: Bytes) -> Mapping[bytes, tuple[tuple[int, ...], int, list[Slice]]]:
    found = wire.table(data)
    key, value = next(found, (None, None))
    if key != b"" or value is None:
        raise DamagedError("it has no header")
    metas = wire.messages(wire.fields(value, {1: LENGTH, 2: LENGTH})[1])
    tensors: dict[bytes, tuple[tuple[int, ...], int, list[Slice]]] = {}
    wanted: dict[bytes, tuple[bytes, Slice]] = {}
    for tensor in [t for meta in metas for t in wire.messages(wire.fields(meta, {1: LENGTH}, repeated=(1,))[1])]:
        described = wire.fields(tensor, {1: LENGTH, 2: LENGTH, 3: VARINT, 4: LENGTH}, repeated=(4,))
        name = b"".join(bytes(part) for part in wire.messages(described[1]))
        with _said_of(name):
            if name in tensors:
                raise DamagedError("it occurs twice")
            shape, dtype = slices.shape_of(described[2]), slices.dtype_of(described[3])
            own = [slices.slice_of(part, shape) for part in wire.messages(described[4])]
            tensors[name] = shape, dtype, own
            wanted.update((slices.key_of(name, part), (name, part)) for part in own)
    for key, value in found:
        if key not in wanted:
            raise DamagedError("it holds a slice that no tensor has")
        name, part = wanted.pop(key)
        with _said_of(name):
            _check_stored(value, name, part, *tensors[name][:2])
    for name, _ in wanted.values():
        raise DamagedError(f"a slice of {shown(_text(name))} is missing")
    return tensors


def _check_stored(value: Bytes, name: bytes, part: Slice, shape: tuple[int, ...], dtype: int) -> None:
    """Refuses data that are not as many values as their slice has: TensorFlow would read on behind them."""
    saved = wire.messages(wire.fields(value, {1: LENGTH, 2: LENGTH})[2])
    if len(saved) != 1:
        raise DamagedError("a slice has no data")
    found = wire.fields(saved[0], {1: LENGTH, 2: LENGTH, 3: LENGTH})
    if b"".join(bytes(text) for text in wire.messages(found[1])) != name:
        raise DamagedError("a slice bears another name")
    count = math.prod(part.shape(shape))
    if DTYPES[dtype][0] not in _STORED:
        raise DamagedError(f"its dtype {DTYPES[dtype][0]} came after this format")
    number, size = _STORED[DTYPES[dtype][0]]
    tensor = wire.messages(found[3])
    if len(tensor) != 1:
        raise DamagedError("a slice has no data")
    stored = wire.fields(tensor[0], {1: VARINT, number: LENGTH}, repeated=(number,) if dtype == STRING else ())
    if wire.number(stored[1], bits=32) not in (0, dtype):
        raise DamagedError("a slice is of another dtype")
    if _stored_count(wire.messages(stored[number]), dtype, size) != count:
        raise DamagedError("a slice has more or fewer values than its shape says")


def _stored_count(values: list[Bytes], dtype: int, size: int) -> int:
    if dtype == STRING:
        return len(values)
    total = 0
    for packed in values:
        if size and len(packed) % size:
            raise DamagedError("a slice's values are cut short")
        # Of a number of varying length the last byte alone is below 128.
        total += len(packed) // size if size else int(np.count_nonzero(np.frombuffer(packed, np.uint8) < 0x80))
    return total


def _mapped(file: Path) -> Bytes:
    """Returns a file's bytes without reading them; the file is let go with the last view of them."""
    if not file.stat().st_size:
        raise DamagedError("it is empty")
    with file.open("rb") as opened:
        return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def _said_of(name: bytes) -> Iterator[None]:
    """Puts the name of the tensor before what is wrong with it."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{shown(name.decode('utf-8', 'replace'))}: {error}") from None


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise DamagedError("a name is no UTF-8") from None
