"""Reads one array of a `.npy` or `.npz` file as an input; see `files.numpy_arrays` for what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from lockstep.common.errors import InputError
from lockstep.common.values import bare, brief, shown
from lockstep.config.tables import guess, kind_of, missing_file
from lockstep.files.numpy_arrays import BAD_ARCHIVE, MAGIC, ZIP_MAGIC, Said, from_member, from_stream

MAX_BYTES = 4 << 30
"""How large an input's array may be: what a model computes shows on a small batch."""
_REASON = f"an input has {MAX_BYTES:,} at most; a small batch shows what a model computes"


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
            magic = file.read(len(MAGIC))
            file.seek(0)
            if magic.startswith(ZIP_MAGIC):
                return _from_archive(place, name, key, path, file)
            if magic != MAGIC:
                raise InputError(
                    f"{place}: {path.name} is neither a .npy nor a .npz file; save it with numpy.save or numpy.savez."
                )
            if key is not None:
                raise InputError(f"{place} has key, but {path.name} is a .npy file, which holds one array.")
            return from_stream(Said(place, path.name, MAX_BYTES, _REASON), file, path.stat().st_size)
    except OSError as error:
        raise InputError(f"{place}: {path} cannot be read: {error.strerror or brief(error)}.") from error


def _from_archive(place: str, name: str, key: str | None, path: Path, file: IO[bytes]) -> np.ndarray:
    try:
        with zipfile.ZipFile(file) as archive:
            wanted, info = _chosen(place, name, key, path, archive)
            said = Said(place, f"the array {shown(wanted)} of {path.name}", MAX_BYTES, _REASON)
            return from_member(said, archive, info)
    except InputError:
        raise
    except BAD_ARCHIVE as error:
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
