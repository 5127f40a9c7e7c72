"""Traces of references, kept by content: a second check reruns only what has changed.

traces/KEY-RANDOM/             a trace; the same key may have several, where the files that it was recorded from changed
traces/KEY-RANDOM/last-used    its time is that of the last use; locked by whoever uses the trace, and to remove it
traces/.KEY.partial-.../       a trace that is being recorded or removed
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lockstep.common import workspace
from lockstep.common.cache import traces_folder
from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.ground import claims, locks
from lockstep.ground.locks import Held

LIMIT_BYTES = 10 << 30
"""How much the traces may take together, unless `LOCKSTEP_TRACE_CACHE_GB` says otherwise."""
_USED = "last-used"


@dataclass(frozen=True)
class Kept:
    """One trace in the cache."""

    folder: Path
    bytes: int
    used_s: float


def key_of(facts: Mapping[str, object]) -> str:
    """Returns the key of what a trace depends on and is known before it is recorded: 24 hexadecimal digits.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}), len(key_of({}))
    (True, 24)
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def find(key: str, folder: Path) -> RecordedSubject | None:
    """Returns the trace of a key if the files that the subject imported are still what they were.

    It stays where it is while the subject, or anything that reads its trace, is in use.

    Args:
        key: As `key_of` gives it.
        folder: What the trace's file names are relative to.
    """
    kept = [trace for trace in listed() if trace.folder.name.partition("-")[0] == key]
    for trace in sorted(kept, key=lambda trace: trace.used_s, reverse=True):
        subject = _opened(trace.folder)
        if subject is not None and all(sha256(folder / name) == digest for name, digest in subject.files.items()):
            return subject
    return None


def _opened(place: Path) -> RecordedSubject | None:
    held = _taken(place, shared=True)
    if held is None:
        return None
    try:
        subject = RecordedSubject(place, trusted=True)
    except InputError:
        # Damaged, or of another version: it is recorded anew, which says so if it fails.
        return None
    with contextlib.suppress(OSError):  # a cache that may only be read
        os.utime(place / _USED)
    subject.hold(held)
    return subject


def shelf() -> Path | None:
    """Returns the folder in which traces can be kept; None where there is none, after a line that says why."""
    try:
        folder = traces_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except InputError as error:
        _say_unkept(str(error))
        return None
    except OSError as error:
        _say_unkept(
            f"{traces_folder()} cannot be made ({error.strerror or error}); name another folder in LOCKSTEP_CACHE."
        )
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        _say_unkept(f"{folder} cannot be written to; name another folder in LOCKSTEP_CACHE.")
        return None
    return folder


@functools.cache
def _say_unkept(reason: str) -> None:
    logging.getLogger(__name__).warning("the trace is not kept for the next check: %s", reason)


def keep(recorded: Path, key: str) -> RecordedSubject:
    """Gives a trace that lies beside the kept ones its place among them; it is in use from the first moment.

    Raises:
        InputError: It cannot be moved.
    """
    held = None if sys.platform == "win32" else _taken(recorded, shared=True)  # no open file can be moved there
    place = traces_folder() / f"{key}-{secrets.token_hex(4)}"
    try:
        recorded.rename(place)
    except OSError as error:
        raise InputError(f"the trace cannot be kept in {place.parent}: {error.strerror}.") from error
    subject = RecordedSubject(place, trusted=True)
    subject.hold(held if held is not None else _taken(place, shared=True))
    for other in listed():
        if other.folder.name.partition("-")[0] == key and other.folder != place:
            _evict(other.folder)  # what it was recorded from has changed
    return subject


def make_room() -> None:
    """Removes the traces that were not used for the longest time until the rest is within the limit.

    A trace in use stays, in whatever process.
    """
    reclaim()
    kept = sorted(listed(), key=lambda trace: trace.used_s)
    excess = sum(trace.bytes for trace in kept) - limit_bytes()
    for trace in kept:
        if excess <= 0:
            break
        if _evict(trace.folder):
            excess -= trace.bytes


def reclaim() -> None:
    """Removes what processes left that were killed while they recorded or removed a trace."""
    with contextlib.suppress(InputError):  # there is no cache
        claims.reclaim(str(traces_folder()), claims.PARTIAL)


def _evict(folder: Path) -> bool:
    """Removes a trace that nobody uses; tells whether it is gone. What is half removed has its name no more."""
    held = _taken(folder, shared=False)
    if held is None:
        return False
    try:
        with workspace.beside(folder) as place:
            if sys.platform == "win32":
                held.release()
            folder.rename(place / "evicted")
    except OSError:  # a cache that may only be read
        return False
    finally:
        held.release()
    return True


def _taken(folder: Path, *, shared: bool) -> Held | None:
    """Takes the lock of a trace; None where others hold it in a way that does not go with this, or the trace is gone.

    Where no file can be made and there is none, the folder is locked in its place, which keeps off nobody.
    """
    marker = folder / _USED
    for path, flags in ((marker, os.O_RDWR | os.O_CREAT), (marker, os.O_RDONLY), (folder, os.O_RDONLY)):
        try:
            held = Held(os.open(path, flags, 0o666))
        except OSError:
            continue
        try:
            free = locks.take(held.descriptor, shared)
        except OSError:
            free = True  # the file system has no locks
        with contextlib.suppress(OSError):
            if free and os.path.samestat(path.stat(), os.fstat(held.descriptor)):
                return held
        held.release()
        return None
    return None


def listed() -> Sequence[Kept]:
    """Lists the kept traces."""
    try:
        entries = sorted(traces_folder().iterdir())
    except (InputError, OSError):  # there is no cache
        return []
    return [Kept(entry, _bytes(entry), _used_s(entry)) for entry in entries if _is_kept(entry)]


def _is_kept(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


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
    with contextlib.suppress(OSError):  # another process is clearing up
        for file in folder.iterdir():
            total += file.stat().st_size
    return total


def _used_s(folder: Path) -> float:
    for path in (folder / _USED, folder):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return time.time()


def sha256(file: Path) -> str:
    """Returns a file's digest; nothing where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
