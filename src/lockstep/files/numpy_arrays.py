"""Single arrays as NumPy stores them (`.npy`, members of `.npz`), whoever made them; nothing is unpickled.

The header says how large an array is. It is held against the file's size before anything is allocated: a header of a
hundred bytes may claim a hundred terabytes, and so may a member of an archive.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from lockstep.common.arrays import MAX_DIMENSIONS
from lockstep.common.errors import InputError
from lockstep.common.values import brief, shown

MAGIC = b"\x93NUMPY"  # numpy.lib.format, version 1.0 to 3.0
ZIP_MAGIC = b"PK"
_ENCRYPTED = 0x1  # bit 0 of a member's flags (APPNOTE 4.4.4)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy writes no other
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
# What NumPy's parser of headers raises: it evaluates them as a Python literal.
_BAD_HEADER = (
    ValueError,
    TypeError,
    SyntaxError,
    OverflowError,
    RecursionError,
    MemoryError,
    EOFError,
    KeyError,
    AttributeError,
    tokenize.TokenError,
)
BAD_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    OverflowError,
)


@dataclass(frozen=True)
class Said:
    """How an array is spoken of, and how large it may be.

    Attributes:
        place: What messages begin with.
        what: What the array is called.
        most_bytes: Its largest size.
        reason: Why, after that size in the message.
    """

    place: str
    what: str
    most_bytes: int
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def from_member(said: Said, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Reads the array that is a member of an archive, without a second copy of it.

    Raises:
        InputError: It is encrypted, packed otherwise than NumPy packs, damaged, too large, or holds Python objects.
        BAD_ARCHIVE: The archive is damaged.
    """
    shape, dtype = header_of_member(said, archive, info)
    with archive.open(info) as stream:
        array = _read(said, stream)
        if stream.read(1):  # nothing is left; and with its end the checksum is tested
            raise _other_size(said, shape, dtype)
    return array


def header_of_member(
    said: Said, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Returns shape and dtype of an array in an archive, whose size is what the archive's directory states.

    Raises:
        InputError: As of `from_member`.
        BAD_ARCHIVE: The archive is damaged.
    """
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{said} is encrypted; save it with numpy.savez.")
    if info.compress_type not in _COMPRESSIONS:
        raise InputError(f"{said} is packed in a way that numpy.savez never uses; save it with that.")
    _refuse_large(said, info.file_size)
    # The header alone: what is no array, or claims another size, is not unpacked.
    with archive.open(info) as stream:
        found = header(said, stream)
        if stream.tell() + _bytes(*found) != info.file_size:
            raise _other_size(said, *found)
    return found


def from_stream(said: Said, stream: IO[bytes], size: int | None = None) -> np.ndarray:
    """Reads an array from the start of a stream.

    Args:
        said: How it is spoken of.
        stream: Its bytes; it can be moved in.
        size: How many bytes there are, where that is known.

    Raises:
        InputError: It is damaged, too large, or holds Python objects.
    """
    shape, dtype = header(said, stream)
    start = stream.tell()
    if size is not None:
        _refuse_large(said, size)
        if _bytes(shape, dtype) > size - start:
            raise _other_size(said, shape, dtype)
    stream.seek(0)
    return _read(said, stream)


def _read(said: Said, stream: IO[bytes]) -> np.ndarray:
    try:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    except _BAD_HEADER as error:
        raise InputError(f"{said} is damaged: {brief(error)}.") from error
    _refuse_impossible(said, array)
    return array


def header(said: Said, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Returns the shape and the dtype that an array's header tells; the stream is at its data then.

    Raises:
        InputError: It is no header, or one of Python objects.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except _BAD_HEADER as error:
        raise InputError(f"{said} is damaged, its header is no header of numpy: {brief(error)}.") from error
    if dtype.hasobject:
        raise InputError(f"{said} holds Python objects, which Lockstep never unpickles; save plain numbers.")
    if not dtype.itemsize or any(type(length) is not int or length < 0 for length in shape):
        raise InputError(f"{said} is damaged: its header says shape {shown(shape)}, dtype {dtype}.")
    if len(shape) > MAX_DIMENSIONS:
        raise InputError(f"{said} has {len(shape)} dimensions; an array has {MAX_DIMENSIONS} at most.")
    return tuple(shape), dtype


def _bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _refuse_large(said: Said, size: int) -> None:
    if size > said.most_bytes:
        raise InputError(f"{said} has {size:,} bytes, and {said.reason}.")


def _other_size(said: Said, shape: tuple[int, ...], dtype: np.dtype[Any]) -> InputError:
    return InputError(
        f"{said} is damaged or cut short: its header says shape {shown(shape)} and dtype {dtype.name}, and "
        "the data are of another size."
    )


def _refuse_impossible(said: Said, array: np.ndarray) -> None:
    """Refuses bytes that are no value of their dtype: code that trusts them may do anything."""
    if array.dtype == np.bool_ and array.size:
        wrong = bool((array.view(np.uint8) > 1).any())
    elif array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        codes = codes if array.dtype.isnative else codes.byteswap()
        low, high = _SURROGATES
        wrong = bool(((codes > _LAST_CHARACTER) | ((codes >= low) & (codes <= high))).any())
    else:
        return
    if wrong:
        raise InputError(f"{said} is damaged: it holds bytes that are no {array.dtype.name}.")
