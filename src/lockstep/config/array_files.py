"""Reads one array of a `.npy` or `.npz` file, whoever made it; nothing is unpickled, and no more read than there is.

The header says how large an array is. It is held against the file's size before anything is allocated: a header of a
hundred bytes may claim a hundred terabytes, and so may a member of an archive.
"""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from lockstep.common.arrays import MAX_DIMENSIONS
from lockstep.common.errors import InputError
from lockstep.common.values import bare, brief, shown
from lockstep.config.tables import guess, kind_of, missing_file

MAX_BYTES = 4 << 30
"""How large an input's array may be: what a model computes shows on a small batch."""
_MAGIC = b"\x93NUMPY"  # numpy.lib.format, version 1.0 to 3.0
_ZIP_MAGIC = b"PK"
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
_BAD_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    OverflowError,
)


def read_array(place: str, name: str, key: str | None, path: Path) -> np.ndarray:
    """Returns the array that an input's table means.

    Args:
        place: Where the input is described, for messages.
        name: The input's name, by which an archive's array is found.
        key: Which array of an archive; None: the one of that name, or the only one.
        path: The file.

    Raises:
        InputError: It is missing, no such file, damaged, too large, or holds Python objects.
    """
    if kind_of(place, path) != "file":
        raise missing_file(place, path)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            file.seek(0)
            if magic.startswith(_ZIP_MAGIC):
                return _from_archive(place, name, key, path, file)
            if magic != _MAGIC:
                raise InputError(
                    f"{place}: {path.name} is neither a .npy nor a .npz file; save it with numpy.save or numpy.savez."
                )
            if key is not None:
                raise InputError(f"{place} has key, but {path.name} is a .npy file, which holds one array.")
            return _from_stream(place, path.name, file, path.stat().st_size)
    except OSError as error:
        raise InputError(f"{place}: {path} cannot be read: {error.strerror or brief(error)}.") from error


def _from_archive(place: str, name: str, key: str | None, path: Path, file: IO[bytes]) -> np.ndarray:
    try:
        with zipfile.ZipFile(file) as archive:
            wanted, info = _chosen(place, name, key, path, archive)
            said = f"the array {shown(wanted)} of {path.name}"
            return _from_stream(place, said, io.BytesIO(_member(place, said, archive, info)))
    except InputError:
        raise
    except _BAD_ARCHIVE as error:
        raise InputError(f"{place}: {path.name} is damaged: {brief(error)}.") from error


def _chosen(
    place: str, name: str, key: str | None, path: Path, archive: zipfile.ZipFile
) -> tuple[str, zipfile.ZipInfo]:
    held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    wanted = next(iter(held)) if key is None and len(held) == 1 else key or name
    if wanted not in held:
        some = ", ".join(bare(one) for one in list(held)[:20]) or "nothing"
        raise InputError(
            f"{place}: {path.name} has no array {shown(wanted)}{guess(wanted, list(held)[:1000])} It holds {some}; "
            "name one with key."
        )
    return wanted, held[wanted]


def _member(place: str, said: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Returns a member's content, of the size that the archive's directory states and no more."""
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{place}: {said} is encrypted; save it with numpy.savez.")
    if info.compress_type not in _COMPRESSIONS:
        raise InputError(f"{place}: {said} is packed in a way that numpy.savez never uses; save it with that.")
    _refuse_large(place, said, info.file_size)
    # The header first: what is no array, or claims another size, is not unpacked.
    with archive.open(info) as stream:
        header = _header(place, said, stream)
        if stream.tell() + _bytes(*header) != info.file_size:
            raise _other_size(place, said, *header)
    with archive.open(info) as stream:
        content = stream.read(info.file_size)
    if len(content) != info.file_size:
        raise InputError(f"{place}: {said} is damaged: it ends before its {info.file_size:,} bytes.")
    return content


def _from_stream(place: str, said: str, stream: IO[bytes], size: int | None = None) -> np.ndarray:
    shape, dtype = _header(place, said, stream)
    start = stream.tell()
    if size is not None:
        _refuse_large(place, said, size)
        if _bytes(shape, dtype) > size - start:
            raise _other_size(place, said, shape, dtype)
    stream.seek(0)
    try:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    except _BAD_HEADER as error:
        raise InputError(f"{place}: {said} is damaged: {brief(error)}.") from error
    _refuse_impossible(place, said, array)
    return array


def _header(place: str, said: str, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except _BAD_HEADER as error:
        raise InputError(f"{place}: {said} is damaged, its header is no header of numpy: {brief(error)}.") from error
    if dtype.hasobject:
        raise InputError(f"{place}: {said} holds Python objects, which Lockstep never unpickles; save plain numbers.")
    if not dtype.itemsize or any(type(length) is not int or length < 0 for length in shape):
        raise InputError(f"{place}: {said} is damaged: its header says shape {shown(shape)}, dtype {dtype}.")
    if len(shape) > MAX_DIMENSIONS:
        raise InputError(f"{place}: {said} has {len(shape)} dimensions; an array has {MAX_DIMENSIONS} at most.")
    return tuple(shape), dtype


def _bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _refuse_large(place: str, said: str, size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(
            f"{place}: {said} has {size:,} bytes, and an input has {MAX_BYTES:,} at most; a small batch shows what a "
            "model computes."
        )


def _other_size(place: str, said: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> InputError:
    return InputError(
        f"{place}: {said} is damaged or cut short: its header says shape {shown(shape)} and dtype {dtype.name}, and "
        "the data are of another size."
    )


def _refuse_impossible(place: str, said: str, array: np.ndarray) -> None:
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
        raise InputError(f"{place}: {said} is damaged: it holds bytes that are no {array.dtype.name}.")
