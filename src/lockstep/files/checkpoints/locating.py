"""Finds the checkpoint that a path means; no framework is needed for it, and nothing is read but names."""

from __future__ import annotations

import re
from pathlib import Path

from lockstep.common.errors import InputError, nearest

_STATE = "checkpoint"
_SUFFIX = re.compile(r"\.(index|meta|data-[0-9]{5}-of-[0-9]{5})$")
_NAMED = re.compile(r'^model_checkpoint_path:\s*"(?P<path>[^"\\]+)"\s*$', re.MULTILINE)
_STATE_BYTES = 1 << 20
_V1_SHARD, _V2_SHARD = (r"-([0-9]{5})-of-([0-9]{5})", r"\.data-([0-9]{5})-of-([0-9]{5})")


def located(path: Path) -> Path:
    """Returns the path without suffix (V2) or the file (V1) that TensorFlow's readers take.

    Args:
        path: `model.ckpt`, one of its files (`model.ckpt.index`), or a folder with a `checkpoint` file that tells its
            latest checkpoint.

    Raises:
        InputError: There is no checkpoint; the nearest name is told. Or one of its files is missing.
    """
    if path.is_dir():
        path = _latest(path)
    name = _SUFFIX.sub("", path.name)
    prefix = path.with_name(name)
    if prefix.with_name(f"{name}.index").is_file():
        _refuse_missing_shards(prefix)
        return prefix
    if prefix.is_file() and prefix.name != _STATE:
        return prefix  # the V1 format
    if (shards := _numbered(prefix, _V1_SHARD)) is not None:
        _refuse_missing(prefix, shards, "-{:05d}-of-{:05d}")
        return prefix.with_name(f"{name}-?????-of-{shards[1]:05d}")  # the pattern that the reader takes
    if not prefix.parent.is_dir():
        raise InputError(f"checkpoint {path}: there is no folder {prefix.parent}.")
    if list(prefix.parent.glob(f"{_escaped(name)}.data-*-of-*")):
        raise InputError(
            f"checkpoint {path}: there are data files but no {name}.index, without which they cannot be read; copy "
            "all files of the checkpoint."
        )
    raise InputError(f"checkpoint {path}: there is no such checkpoint{nearest(name, _known(prefix.parent)) or '.'}")


def files(prefix: Path) -> list[Path]:
    """Lists the files that the tensors of a checkpoint are in."""
    if prefix.is_file():
        return [prefix]
    if "-?????-of-" in prefix.name:
        return sorted(prefix.parent.glob(re.sub(r"([*\[])", r"[\1]", prefix.name)))
    shards = sorted(prefix.parent.glob(f"{_escaped(prefix.name)}.data-*-of-*"))
    return [prefix.with_name(f"{prefix.name}.index"), *shards]


def _latest(folder: Path) -> Path:
    state = folder / _STATE
    if not state.is_file():
        known = sorted(_known(folder))
        held = f"; it holds {', '.join(known[:5])}" if known else ""
        raise InputError(f"checkpoint {folder}: the folder has no file 'checkpoint' that names the latest one{held}.")
    with state.open(encoding="utf-8", errors="replace") as file:
        found = _NAMED.search(file.read(_STATE_BYTES))
    if found is None:
        raise InputError(f"checkpoint {folder}: its file 'checkpoint' names no model_checkpoint_path.")
    # Where it was written is not where it is now; and no other folder is any of this one's business.
    return folder / Path(found["path"]).name


def _refuse_missing_shards(prefix: Path) -> None:
    shards = _numbered(prefix, _V2_SHARD)
    if shards is None:
        raise InputError(
            f"checkpoint {prefix}: there is an index but no data file {prefix.name}.data-00000-of-00001; copy all "
            "files of the checkpoint."
        )
    _refuse_missing(prefix, shards, ".data-{:05d}-of-{:05d}")


def _numbered(prefix: Path, suffix: str) -> tuple[set[int], int] | None:
    """Returns the numbers of the shards that are there, and how many there should be; None where there is none."""
    found = [re.fullmatch(re.escape(prefix.name) + suffix, entry.name) for entry in _entries(prefix.parent)]
    numbers = [(int(match[1]), int(match[2])) for match in found if match]
    of = max((of for _, of in numbers), default=0)
    return ({number for number, its in numbers if its == of}, of) if of else None


def _refuse_missing(prefix: Path, shards: tuple[set[int], int], suffix: str) -> None:
    present, of = shards
    missing = sorted(set(range(of)) - present)
    if missing:
        raise InputError(
            f"checkpoint {prefix}: {len(missing)} of its {of} data files are missing, the first is "
            f"{prefix.name}{suffix.format(missing[0], of)}; copy all files of the checkpoint."
        )


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _known(folder: Path) -> set[str]:
    names = {entry.name for entry in folder.iterdir() if entry.is_file()}
    return {_SUFFIX.sub("", name) for name in names if name != _STATE}


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)
