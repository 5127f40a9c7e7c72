"""What a checkpoint is converted to, and how a file gets its name only when it has been found to be right."""

from __future__ import annotations

import contextlib
import enum
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from lockstep.common import workspace
from lockstep.common.arrays import numpy_dtype
from lockstep.common.errors import InputError
from lockstep.ground.restoring import Held
from lockstep.ground.tensors import STORED_DTYPES

_ALIGNMENT = 64  # the data begins at a multiple of it, as in the format's own writer
_RESERVED = "__metadata__"
_READ_BACK = ("bfloat16",)  # which NumPy writes as two bytes; `npz.read_file` knows them


class Format(str, enum.Enum):
    """What a target is, told by its name."""

    WEIGHTS_H5 = ".weights.h5"
    KERAS = ".keras"
    SAFETENSORS = ".safetensors"
    NPZ = ".npz"
    TF_CHECKPOINT = ".ckpt"

    def __str__(self) -> str:
        return self.value


def format_of(target: Path) -> Format:
    """Returns the format that a target's name means.

    Raises:
        InputError: It means none.
    """
    for known in Format:
        if target.name.endswith(known.value) and target.name != known.value:
            return known
    raise InputError(
        f"{target}: the name must tell the format; it ends in {', '.join(f.value for f in Format)} (the last is a "
        "tf.train.Checkpoint)."
    )


class Staging:
    """A folder beside the target in which files are written, until they are moved to where they belong.

    Used as a context manager; whatever was not published is removed.

    Args:
        target: The file, or the prefix of the files, to be made.
        replace: Whether what is there may be replaced.

    Raises:
        InputError: It is there already, or its folder does not exist.
    """

    def __init__(self, target: Path, *, replace: bool = False) -> None:
        self._target, self._replace = target.absolute(), replace
        if not self._target.parent.is_dir():
            raise InputError(f"{target} cannot be written: there is no folder {self._target.parent}.")
        self._refuse_present()
        self._stack = contextlib.ExitStack()
        self._folder = self._target.parent

    @property
    def file(self) -> Path:
        """Where the file, or the files with this prefix, are to be written."""
        return self._folder / self._target.name

    def __enter__(self) -> Staging:
        try:
            self._folder = self._stack.enter_context(workspace.beside(self._target))
        except OSError as error:
            raise InputError(f"{self._target} cannot be written: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def publish(self) -> list[Path]:
        """Moves what was written to its place, an index last, and returns where it is.

        Raises:
            InputError: Something of that name has come meanwhile, or it cannot be moved.
        """
        self._refuse_present()
        made = sorted(self._folder.iterdir(), key=lambda file: file.suffix == ".index")
        places = [self._target.with_name(file.name) for file in made]
        try:
            for file in made:
                _flush(file)
            if len(made) > 1:  # whoever is killed in between leaves nothing that could be taken for a checkpoint
                places[-1].unlink(missing_ok=True)
            for file, place in zip(made, places, strict=True):
                file.replace(place)
        except OSError as error:
            raise InputError(f"{self._target} cannot be written: {error.strerror}.") from error
        return places

    def _refuse_present(self) -> None:
        present = [self._target, self._target.with_name(f"{self._target.name}.index")]
        found = next((path for path in present if path.exists() or path.is_symlink()), None)
        if found is None or (self._replace and found.is_file()):
            return
        hint = "it is no file" if not found.is_file() else "name another, or say --replace"
        raise InputError(f"{found} exists already, and nothing is overwritten; {hint}.")


def write_safetensors(path: Path, held: Mapping[str, Held], read: Callable[[str], np.ndarray]) -> None:
    """Writes tensors one by one, so that no more than one is in memory.

    Args:
        path: The file to be made.
        held: Name -> shape and dtype.
        read: Name -> value of that shape and dtype.

    Raises:
        InputError: A dtype or a name that the format does not have, or the file cannot be written.
    """
    names = sorted(held, key=lambda name: (-_item_bytes(name, held[name]), name))
    header: dict[str, object] = {}
    end = 0
    for name in names:
        start, end = end, end + _item_bytes(name, held[name]) * math.prod(held[name].shape)
        stored = STORED_DTYPES[held[name].dtype]
        header[name] = {"dtype": stored, "shape": list(held[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    try:
        with path.open("xb") as file:
            file.write(struct.pack("<Q", len(text)))
            file.write(text)
            for name in names:
                # Not `ascontiguousarray`, which makes a vector of a scalar.
                array = np.asarray(read(name), numpy_dtype(held[name].dtype).newbyteorder("<"), order="C")
                assert array.shape == tuple(held[name].shape), name
                file.write(array.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def write_npz(path: Path, held: Mapping[str, Held], read: Callable[[str], np.ndarray]) -> None:
    """Writes arrays as `numpy.savez` does, one by one, so that no more than one is in memory.

    Args:
        path: The file to be made.
        held: Name -> shape and dtype.
        read: Name -> value of that shape and dtype.

    Raises:
        InputError: A dtype that NumPy writes as bytes of no meaning, or the file cannot be written.
    """
    for name, has in held.items():
        if has.dtype not in _READ_BACK and np.dtype(numpy_dtype(has.dtype)).isbuiltin != 1:
            raise InputError(f"{name} cannot be written: a .npz file has no dtype {has.dtype}; choose another format.")
    try:
        with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name in held:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(read(name)), allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def _item_bytes(name: str, has: Held) -> int:
    if has.dtype not in STORED_DTYPES or name == _RESERVED:
        what = f"dtype {has.dtype}" if name != _RESERVED else "a tensor of that name"
        raise InputError(f"{name} cannot be written: the safetensors format has no {what}; choose another format.")
    return numpy_dtype(has.dtype).itemsize


def _flush(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
