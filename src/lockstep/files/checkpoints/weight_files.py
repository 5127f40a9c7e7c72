"""Which format a file of weights has, told by what is in it, and the reader of that format."""

from __future__ import annotations

import enum
import zipfile
from collections.abc import Callable
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.common.values import shown_path
from lockstep.files.checkpoints import keras_files, npz, safetensors
from lockstep.files.checkpoints.entries import Checkpoint
from lockstep.files.checkpoints.locating import located


class Stored(str, enum.Enum):
    """How weights are stored."""

    TENSORFLOW = "TensorFlow checkpoint"
    HDF5 = "HDF5"
    KERAS = ".keras archive"
    NPZ = ".npz archive"
    SAFETENSORS = "safetensors"
    TORCH = "PyTorch file"

    def __str__(self) -> str:
        return self.value


_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC, _PICKLE_MAGIC = b"PK\x03\x04", b"\x80\x02"  # of a protocol that PyTorch wrote before 1.6
_TORCH_MEMBER = "/data.pkl"
_TORCH_SUFFIXES = (".pt", ".pth", ".bin")

_READERS: dict[Stored, Callable[..., Checkpoint]] = {
    Stored.HDF5: keras_files.read_file,
    Stored.KERAS: keras_files.read_file,
    Stored.NPZ: npz.read_file,
    Stored.SAFETENSORS: safetensors.read_file,
}


def stored_as(path: Path) -> Stored:
    """Tells the format of what lies at a path, by its first bytes; a checkpoint of TensorFlow may be several files.

    Raises:
        InputError: There is nothing, or a file that no reader is for.
    """
    try:
        if not path.is_file():
            located(path)
            return Stored.TENSORFLOW
        with path.open("rb") as file:
            first = file.read(16)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{shown_path(path)} cannot be read: {error.strerror}.") from error
    except ValueError:
        raise InputError(f"{shown_path(path)} is no path: it holds a NUL character.") from None
    if first.startswith(_HDF5_MAGIC):
        return Stored.HDF5
    if first.startswith(_ZIP_MAGIC):
        return _archive(path)
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") <= size - 8:  # the length of a header, and JSON
        return Stored.SAFETENSORS
    if first.startswith(_PICKLE_MAGIC) and path.suffix in _TORCH_SUFFIXES:
        return Stored.TORCH
    return _by_name(path)


def open_weights(path: Path, stored: Stored, *, moving_averages: bool = False) -> Checkpoint:
    """Opens a file of weights that needs no framework: `Stored` other than TensorFlow's and PyTorch's.

    Raises:
        InputError: It is damaged, or has something in it that leads elsewhere.
    """
    return _READERS[stored](path, moving_averages=moving_averages)


def _archive(path: Path) -> Stored:
    if path.suffix == ".keras":
        return Stored.KERAS
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise InputError(f"{shown_path(path)} is an archive that is damaged or cut short: {error}.") from error
    if keras_files.MEMBER in names:
        return Stored.KERAS
    if any(name.endswith(_TORCH_MEMBER) for name in names):
        return Stored.TORCH
    if names and names[0].endswith(npz.SUFFIX):
        return Stored.NPZ
    raise InputError(
        f"{shown_path(path)} is an archive without {keras_files.MEMBER} (.keras), arrays (.npz) or data.pkl (PyTorch)."
    )


def _by_name(path: Path) -> Stored:
    """Returns what a file is to be by its name, where its content says nothing; its reader tells what is wrong."""
    if path.suffix in (".h5", ".hdf5"):
        return Stored.HDF5
    named = {".keras": Stored.KERAS, ".npz": Stored.NPZ, ".safetensors": Stored.SAFETENSORS}
    if path.suffix in _TORCH_SUFFIXES:
        return Stored.TORCH
    return named.get(path.suffix, Stored.TENSORFLOW)
