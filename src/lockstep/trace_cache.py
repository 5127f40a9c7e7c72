"""Traces of references, kept by content: a second check reruns only what has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lockstep.cache import cache_folder
from lockstep.errors import InputError
from lockstep.recorded import RecordedSubject
from lockstep.recorder.folder import remove_abandoned
from lockstep.values import shown

LIMIT_BYTES = 10 << 30
"""How much the traces may take together, unless `LOCKSTEP_TRACE_CACHE_GB` says otherwise."""
_USED = "last-used"


@dataclass(frozen=True)
class Kept:
    """One trace in the cache."""

    folder: Path
    bytes: int
    used_s: float


def traces_folder() -> Path:
    """Returns the folder of the kept traces; it need not exist."""
    return cache_folder() / "traces"


def key_of(facts: Mapping[str, object]) -> str:
    """Returns the key of what a trace depends on and is known before it is recorded: 24 hexadecimal digits.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}), len(key_of({}))
    (True, 24)
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def find(key: str, folder: Path) -> RecordedSubject | None:
    """Returns the trace of a key if the files that the subject imported are still what they were.

    Args:
        key: As `key_of` gives it.
        folder: What the trace's file names are relative to.
    """
    place = traces_folder() / key
    if not place.is_dir():
        return None
    try:
        subject = RecordedSubject(place, trusted=True)
    except InputError:
        # Damaged, or of another version: it is recorded anew, which says so if it fails.
        return None
    if any(sha256(folder / name) != digest for name, digest in subject.files.items()):
        return None
    (place / _USED).touch()
    return subject


def make_room(keep: Path | None = None) -> None:
    """Removes the traces that were not used for the longest time until the rest is within the limit."""
    if traces_folder().is_dir():
        remove_abandoned(str(traces_folder()))
    kept = sorted(listed(), key=lambda trace: trace.used_s)
    excess = sum(trace.bytes for trace in kept) - limit_bytes()
    for trace in kept:
        if excess <= 0:
            break
        if trace.folder != keep:
            shutil.rmtree(trace.folder, ignore_errors=True)
            excess -= trace.bytes


def listed() -> Sequence[Kept]:
    """Lists the kept traces."""
    folder = traces_folder()
    entries = folder.iterdir() if folder.is_dir() else ()
    found = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [Kept(entry, _bytes(entry), _used_s(entry)) for entry in sorted(found)]


def limit_bytes() -> int:
    """Returns how much the traces may take together.

    Raises:
        InputError: `LOCKSTEP_TRACE_CACHE_GB` is no number, negative or infinite.
    """
    text = os.environ.get("LOCKSTEP_TRACE_CACHE_GB")
    if not text:
        return LIMIT_BYTES
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes * 1e9 < 1 << 63:  # also false of NaN
        raise InputError(f"LOCKSTEP_TRACE_CACHE_GB is {shown(text)}; it must be a number of gigabytes.")
    return int(gigabytes * 1e9)


def _bytes(folder: Path) -> int:
    total = 0
    for file in folder.iterdir():
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # another process is clearing up
            continue
    return total


def _used_s(folder: Path) -> float:
    marker = folder / _USED
    try:
        return (marker if marker.exists() else folder).stat().st_mtime
    except FileNotFoundError:
        return time.time()


def sha256(file: Path) -> str:
    """Returns a file's digest; nothing where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
