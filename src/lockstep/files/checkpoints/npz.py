"""Weights as `numpy.savez` writes them: one array for each name, or `arr_0`, `arr_1`, ... in a model's order."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lockstep.common.arrays import numpy_dtype
from lockstep.common.errors import InputError
from lockstep.common.values import brief, shown, shown_path
from lockstep.files.checkpoints.entries import Checkpoint
from lockstep.files.checkpoints.numbered import Numbered
from lockstep.files.numpy_arrays import BAD_ARCHIVE, Said, from_member, header_of_member
from lockstep.ground.restoring import Held

SUFFIX = ".npy"
"""What the name of each member ends in."""

_MOST_BYTES = 64 << 30
_REASON = f"weights have {_MOST_BYTES:,} at most"
_UNNAMED = re.compile(r"arr_(\d{1,9})")
# NumPy has no bfloat16 of its own and stores what ml_dtypes adds as so many bytes; of two bytes there is no other.
_BFLOAT16 = np.dtype("V2")


def read_file(path: Path, *, moving_averages: bool = False) -> Checkpoint:
    """Opens an archive of arrays: names, shapes and dtypes are read at once, each value when it is asked for.

    Raises:
        InputError: It is none, is damaged, or holds Python objects, which are never unpickled.
    """
    with _told(path), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(SUFFIX): info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise InputError(f"{shown_path(path)} holds two arrays of one name.")
        held = {name: _held(_said(path, name), archive, info) for name, info in members.items()}

    def read(name: str) -> np.ndarray:
        with _told(path), zipfile.ZipFile(path) as archive:
            array = from_member(_said(path, name), archive, members[name])
        return array.view(numpy_dtype("bfloat16")) if array.dtype == _BFLOAT16 else array

    unnamed = sorted((int(match[1]), name) for name in held if (match := _UNNAMED.fullmatch(name)))
    whole = (Numbered((), tuple(name for _, name in unnamed)),) if len(unnamed) == len(held) else ()
    return Checkpoint(path, held, read, moving_averages=moving_averages, numbered=whole)


def _held(said: Said, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Held:
    shape, dtype = header_of_member(said, archive, info)
    if dtype != _BFLOAT16 and dtype.kind not in "fiubc":
        raise InputError(f"{said} is no array of numbers (dtype {dtype}).")
    return Held(shape, "bfloat16" if dtype == _BFLOAT16 else str(dtype.name))


def _said(path: Path, name: str) -> Said:
    return Said(shown_path(path), f"the array {shown(name)}", _MOST_BYTES, _REASON)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (*BAD_ARCHIVE, OSError) as error:
        raise InputError(f"{shown_path(path)} is no .npz file, or is damaged: {brief(error)}.") from error
