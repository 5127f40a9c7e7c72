"""Where an original's files lie: each is a regular file of a size that was looked at, before anything reads it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from lockstep.common.errors import InputError, nearest
from lockstep.common.values import shown_path
from lockstep.files.checkpoints import locating

GRAPH = "saved_model.pb"
TEXT_GRAPH = "saved_model.pbtxt"
_LARGEST = (1 << 31) - 1  # of a protocol buffer
_BLOCK = 1 << 22
_SUFFIXES = {".pb": "frozen_graph", ".h5": "keras_file", ".hdf5": "keras_file", ".keras": "keras_file"}
_WORDS = {
    "saved_model": "a SavedModel is a folder that holds saved_model.pb",
    "frozen_graph": "a frozen graph is a file such as model.pb",
    "meta_graph": "a MetaGraph is the file model.ckpt.meta beside its checkpoint, named without .meta",
    "keras_file": "a Keras file is one such as model.h5 or model.keras",
}


def kind_at(path: Path) -> str | None:
    """Tells what kind of original lies at a path, by its name and what is beside it; None where it is none.

    >>> kind_at(Path("no/such/place")) is None
    True
    """
    try:
        if path.is_dir():
            return "saved_model" if any((path / name).exists() for name in (GRAPH, TEXT_GRAPH)) else None
        if path.name == GRAPH:
            return None
        if path.suffix in _SUFFIXES and path.exists():
            return _SUFFIXES[path.suffix]
        return "meta_graph" if _meta(path).exists() else None
    except (OSError, ValueError):  # a name that is too long, or holds NUL
        return None


def _meta(path: Path) -> Path:
    return path if path.suffix == ".meta" else path.with_name(f"{path.name}.meta")


def refuse_missing(place: str, kind: str, path: Path) -> None:
    """Refuses a path at which no original of that kind can be.

    Args:
        place: What an error begins with: `"[reference]"`.
        kind: One of `KINDS`.
        path: The path.

    Raises:
        InputError: There is nothing, a folder where a file is needed or the other way, a pipe, a device, or an empty
            file.
    """
    try:
        files = graph_files(kind, path)
        found = files[0]
        mode = found.stat().st_mode
        size = found.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise _nothing(place, kind, path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: {shown_path(path)} cannot be used: {_said(error)}.") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{place}: {shown_path(found)} is a folder; {_WORDS[kind]}.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{place}: {shown_path(found)} is a pipe or a device; a file is needed.")
    if not size:
        raise InputError(f"{place}: {shown_path(found)} is empty; {_WORDS[kind]}.")


def _said(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it holds a NUL character"


def _nothing(place: str, kind: str, path: Path) -> InputError:
    if kind == "saved_model" and path.is_file():
        return InputError(f"{place}: {shown_path(path)} is a file; {_WORDS[kind]}.")
    if kind == "saved_model" and path.is_dir():
        if (path / TEXT_GRAPH).exists():
            return InputError(
                f"{place}: {shown_path(path)} holds {TEXT_GRAPH}, a SavedModel as text; save it with as_text=False."
            )
        return InputError(f"{place}: {shown_path(path)} holds no {GRAPH}; {_WORDS[kind]}.")
    if not path.parent.is_dir():
        return InputError(f"{place}: there is no folder {shown_path(path.parent)}.")
    names = [entry.name for entry in path.parent.iterdir()]
    if kind == "meta_graph":
        names = [name.removesuffix(".meta") for name in names if name.endswith(".meta")]
        what = f"MetaGraph {shown_path(_meta(path))}"
    else:
        what = f"{'folder' if kind == 'saved_model' else 'file'} {shown_path(path)}"
    return InputError(f"{place}: there is no {what}{nearest(path.name, names) or '.'}")


def graph_files(kind: str, path: Path) -> list[Path]:
    """Lists the files that an original's graph is in, without its weights.

    Raises:
        OSError: What lies there cannot be looked at.
        FileNotFoundError: It is a SavedModel's place without one.
    """
    if kind == "saved_model":
        if not path.is_dir() or not (path / GRAPH).exists():
            raise FileNotFoundError(path)
        return [path / GRAPH]
    return [_meta(path)] if kind == "meta_graph" else [path]


def checkpoint_of(kind: str, path: Path) -> Path:
    """Returns where the weights beside a graph lie, as `locating.located` takes it."""
    if kind == "saved_model":
        return path / "variables" / "variables"
    return path.with_suffix("") if path.suffix == ".meta" else path


def content(path: Path, folder: Path, what: str) -> bytes:
    """Returns a file's bytes.

    Args:
        path: The file.
        folder: What it has to lie in, links followed.
        what: What it has to be, for the error.

    Raises:
        InputError: It leaves the folder, is no regular file, is larger than a protocol buffer can be, or consists of
            holes.
    """
    refuse_outside(path, folder)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{shown_path(path)} is a pipe, a device or a folder; {what} is a file.")
        if found.st_size > _LARGEST:
            raise InputError(f"{shown_path(path)} has {found.st_size:,} bytes; {what} has {_LARGEST:,} at most.")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {shown_path(path)}.") from None
    except OSError as error:
        raise InputError(f"{shown_path(path)} cannot be read: {error.strerror}.") from error


def refuse_outside(path: Path, folder: Path) -> None:
    """Refuses a file of an original that is a link to somewhere else.

    Raises:
        InputError: It leaves the folder.
    """
    real, inside = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if not real.is_relative_to(inside):
        raise InputError(f"{shown_path(path)} is a link that leaves {shown_path(folder)}; copy the file.")


def files_of(original_kind: str, path: Path) -> dict[str, str]:
    """Returns name -> SHA-256 of the files that a model is in: what a report says it was about."""
    paths = graph_files(original_kind, path)
    if original_kind in ("saved_model", "meta_graph"):
        prefix = checkpoint_of(original_kind, path)
        if prefix.with_name(f"{prefix.name}.index").is_file():
            paths += locating.files(prefix)
    return {file.name: _digest(file) for file in paths}


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
