"""HDF5 files as somebody else may have made them: what is opened, and what of it may be read.

HDF5 is more than a container of arrays: a link or a dataset may name another file, a dataset may be made of parts of
others, an array of a terabyte may take no byte, and a filter may be code that is looked for on this machine. A file of
weights has none of it, so that each is refused in a sentence, before a value is read.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.common.arrays import MAX_DIMENSIONS, numpy_dtype
from lockstep.common.errors import InputError
from lockstep.common.values import brief, shown, shown_path
from lockstep.ground.restoring import Held

_BFLOAT16 = "bfloat16"
_PLAIN = "fiub"
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # what h5py brings along itself
_MOST_EXPANSION = 1100  # deflate makes at most 1,032 bytes of one (zlib's "Technical Details")
_UNQUESTIONED = 1 << 20
_MOST_ATTRIBUTE = 1 << 24
_DEEPEST = 64
_BLOCK = 1 << 22
_ENCRYPTED = 0x1
_LOCAL_HEADER, _LOCAL_SIZES = 30, slice(26, 30)  # of a member of an archive (APPNOTE 4.3.7)
# What h5py raises where HDF5 finds something wrong, by the kind of the object and the version.
_RAISED = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


@contextmanager
def told(path: Path, what: str = "") -> Iterator[None]:
    """Puts what h5py raises about a file into a sentence.

    Args:
        path: The file.
        what: What in it was looked at.
    """
    try:
        yield
    except InputError:
        raise
    except (*_RAISED, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{shown_path(path)}: there is no such file.") from None
        place = f" ({what})" if what else ""
        raise InputError(
            f"{shown_path(path)} is no weight file of Keras, or is damaged{place}: {brief(error)}."
        ) from error


def opened(path: Path, member: str = "") -> Any:
    """Opens a file of HDF5, or one that is a member of an archive, for reading; it is closed when it is let go.

    Args:
        path: The file, or the archive.
        member: Its name in the archive. One that is stored is read where it lies, one that is packed is unpacked into a
            temporary file, neither into memory.

    Raises:
        InputError: It cannot be opened; or the package h5py is missing.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{shown_path(path)} is a file of HDF5, which the package h5py reads: pip install h5py."
        ) from None
    with told(path):
        if not path.is_file():
            raise InputError(f"{shown_path(path)}: there is no such file.")
        if member:
            return h5py.File(_member(path, member), "r")
        return h5py.File(str(path), "r", locking="best-effort")


def link_of(group: Any, name: str) -> Any:
    """Returns what a name in a group leads to, within this very file.

    Raises:
        InputError: It is a link to elsewhere, or there is nothing of that name.
    """
    import h5py

    inner = group
    for part in [part for part in name.split("/") if part not in ("", ".")]:
        if not isinstance(inner, h5py.Group):
            raise InputError(f"{_place(group)} has no {shown(name)}.")
        link = inner.get(part, getlink=True)
        if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
            where = f"{shown(link.filename)} " if isinstance(link, h5py.ExternalLink) else ""
            raise InputError(f"{_place(inner)}/{part} is a link to {where}{shown(link.path)}; links are not followed.")
        if link is None:
            raise InputError(f"{_place(group)} has no {shown(name)}.")
        inner = inner[part]
    return inner


def datasets(group: Any, path: tuple[str, ...] = (), seen: frozenset[object] = frozenset()) -> Iterator[Any]:
    """Yields (path, dataset) for all datasets in a group and below, names in order with their numbers counted.

    Raises:
        InputError: A link to elsewhere, or a group within itself.
    """
    import h5py

    place = h5py.h5o.get_info(group.id).addr
    if place in seen or len(path) > _DEEPEST:
        raise InputError(f"{_place(group)} holds itself, or groups more than {_DEEPEST} deep.")
    for name in sorted(group, key=_counted):
        inner = link_of(group, name)
        if isinstance(inner, h5py.Dataset):
            yield (*path, name), inner
        elif isinstance(inner, h5py.Group):
            yield from datasets(inner, (*path, name), seen | {place})


def judged(dataset: Any, name: str) -> Held:
    """Returns a dataset's shape and the name of its dtype, where it is a plain array that lies in the file.

    Raises:
        InputError: It is not.
    """
    refused = _refused(dataset)
    if refused:
        raise InputError(f"the entry {shown(name)} {refused}.")
    return Held(tuple(int(size) for size in dataset.shape), _dtype(dataset))


def value(dataset: Any) -> np.ndarray:
    """Reads a dataset that was judged, into one array and without a second copy."""
    array = np.empty(dataset.shape, dataset.dtype)
    if array.size:
        dataset.read_direct(array)
    return array.view(numpy_dtype(_BFLOAT16)) if _dtype(dataset) == _BFLOAT16 else array


def texts(owner: Any, name: str) -> list[str]:
    """Returns the texts of an attribute, which Keras 2 cuts into `name0`, `name1`, ... where it is long.

    Raises:
        InputError: It is larger than any list of names.
    """
    if name in owner.attrs:
        return [_text(item) for item in _attribute(owner, name)]
    found: list[str] = []
    number = 0
    while (part := f"{name}{number}") in owner.attrs:
        found += [_text(item) for item in _attribute(owner, part)]
        number += 1
    return found
    return None


def _attribute(owner: Any, name: str) -> Any:
    attribute = owner.attrs.get_id(name)
    size = math.prod(int(length) for length in attribute.shape) * int(attribute.dtype.itemsize)
    if size > _MOST_ATTRIBUTE:
        raise InputError(f"the attribute {shown(name)} of {_place(owner)} has {size:,} bytes.")
    return np.asarray(owner.attrs[name]).reshape(-1)


def text(owner: Any, name: str) -> str:
    """Returns the text of an attribute; empty where there is none."""
    return next(map(_text, _attribute(owner, name)), "") if name in owner.attrs else ""


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def _refused(dataset: Any) -> str:
    """Tells why a dataset is not read; empty where it may be."""
    dtype = _dtype(dataset)
    if dataset.shape is None or not dtype:
        return f"is no array of numbers (dtype {dataset.dtype})"
    if len(dataset.shape) > MAX_DIMENSIONS:
        return f"has {len(dataset.shape)} dimensions, and an array has {MAX_DIMENSIONS} at most"
    if dataset.external or dataset.is_virtual:
        return "has its values in another file, which is not opened"
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if other := [number for number in filters if number not in _FILTERS]:
        return f"is packed by filter {other[0]}, which is not one of h5py's own"
    claimed, stored = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if claimed > _UNQUESTIONED and claimed > stored * (_MOST_EXPANSION if filters else 1):
        return f"claims {claimed:,} bytes, and the file has {stored:,} of it"
    return ""


def _dtype(dataset: Any) -> str:
    # Keras 3 writes bfloat16, which HDF5 has no type for, as two bytes and says so beside them.
    if dataset.dtype == np.dtype("V2"):
        return _BFLOAT16 if text(dataset, "dtype") == _BFLOAT16 else ""
    return str(dataset.dtype.name) if dataset.dtype.kind in _PLAIN else ""


def _place(group: Any) -> str:
    return shown((group.name or "").rstrip("/") or "the file")


def _counted(name: str) -> tuple[str, int, str]:
    """Orders `0`, `2`, `10` and `dense`, `dense_2`, `dense_10` as they were counted."""
    word, _, number = name.rpartition("_")
    if name.isdecimal() and name.isascii():
        return "", int(name[:18]), name
    return (word, int(number[:18]), name) if number.isdecimal() and number.isascii() and word else (name, 0, name)


def _member(path: Path, name: str) -> _Region:
    """Returns a member of an archive as a file in which one can seek; its checksum is tested first."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
        if info.file_size > _MOST_EXPANSION * max(info.compress_size, 1) or info.flag_bits & _ENCRYPTED:
            raise InputError(f"{name} in {shown_path(path)} claims {info.file_size:,} bytes, or is encrypted.")
        stored = info.compress_type == zipfile.ZIP_STORED
        with archive.open(info) as stream, contextlib.ExitStack() as stack:
            unpacked = None if stored else stack.enter_context(tempfile.TemporaryFile())
            while block := stream.read(_BLOCK):
                if unpacked is not None:
                    unpacked.write(block)
            if unpacked is not None:
                unpacked.flush()
                return _Region(os.fdopen(os.dup(unpacked.fileno()), "rb", buffering=0), 0, info.file_size)
    file = path.open("rb", buffering=0)
    file.seek(info.header_offset)
    local = file.read(_LOCAL_HEADER)[_LOCAL_SIZES]
    lengths = sum(int.from_bytes(local[at : at + 2], "little") for at in (0, 2))
    return _Region(file, info.header_offset + _LOCAL_HEADER + lengths, info.file_size)


class _Region(RawIOBase):
    """A part of a file that is a file of its own: a stored member of an archive, read where it lies.

    Args:
        file: The file, which is closed with this one.
        start: Where the part begins.
        size: Its bytes.
    """

    def __init__(self, file: RawIOBase, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0
        self._close = weakref.finalize(self, file.close)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Returns the place."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Reads as many bytes as there are from the place on, as far as they fit."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._at))
        self._file.seek(self._start + self._at)
        read = self._file.readinto(view[:wanted]) or 0
        self._at += read
        return read

    def close(self) -> None:
        """Closes it."""
        self._close()
        super().close()
