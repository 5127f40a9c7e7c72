"""The environments on disk: where they lie, which are whole, how large they are, and how they go away.

environments/locks/DIGEST              held while one is made or removed; itself never removed
environments/DIGEST/environment.json   written last: without it there is no environment
environments/DIGEST/venv-PID-RANDOM/   one per attempt, so that what an attempt left running spoils no other
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lockstep.common.cache import cache_folder
from lockstep.common.errors import InputError
from lockstep.environments.locking import locked

_FORMAT = 1
_RECORD = "environment.json"
_DIGEST = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True)
class Record:
    """What is known about a whole environment.

    Attributes:
        folder: The name of its virtual environment beside the record.
        wanted_python: The version asked for.
        python_version: The version that it has.
        asked: The requirements, normalised.
        constraints: What Lockstep added to them.
        packages: `name==version` of what is installed, sorted.
        made_s: When it was made, in seconds since 1970.
        took_s: How long that took.
    """

    folder: str
    wanted_python: str
    python_version: str
    asked: tuple[str, ...]
    constraints: tuple[str, ...]
    packages: tuple[str, ...]
    made_s: float
    took_s: float


@dataclass(frozen=True)
class Listed:
    """One environment of the cache.

    Attributes:
        digest: Its key.
        record: What is known about it; None: an attempt that was never finished.
        bytes_on_disk: What it occupies. uv shares files with its own cache by hard links where it can: those are
            counted, and freed only when both are gone.
        last_used_s: When it was last used, in seconds since 1970.
    """

    digest: str
    record: Record | None
    bytes_on_disk: int
    last_used_s: float


def environments_folder() -> Path:
    """Returns the folder that holds them all; it need not exist."""
    return cache_folder() / "environments"


def lock_file(digest: str) -> Path:
    """Returns the file whose lock is to be held; its folder is made."""
    folder = environments_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / digest


def read_record(home: Path) -> Record | None:
    """Returns the record of an environment; None where there is none, or one of another format, or a damaged one."""
    try:
        told: dict[str, Any] = json.loads((home / _RECORD).read_text(encoding="utf-8"))
        if told.pop("format") != _FORMAT:
            return None
        lists = {key: tuple(value) for key, value in told.items() if isinstance(value, list)}
        record = Record(**{**told, **lists})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    # The name becomes a path that is run and removed.
    return record if re.fullmatch(r"venv-[0-9a-z-]+", str(record.folder)) else None


def write_record(home: Path, record: Record) -> None:
    """Writes the record, which makes the environment whole: all at once or not at all, and lasting."""
    partial = _partial(home)
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"format": _FORMAT, **asdict(record)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(home / _RECORD)


def _partial(home: Path) -> Path:
    return home / f".{_RECORD}.partial"


def note_use(home: Path) -> None:
    """Notes that an environment is used now."""
    with contextlib.suppress(OSError):  # a cache that may only be read is no reason not to read it
        os.utime(home / _RECORD)


def remove_attempts(home: Path, *, keep: str | None = None) -> None:
    """Removes the record first and then the attempts, so that half an environment is never taken for whole."""
    if keep is None:
        (home / _RECORD).unlink(missing_ok=True)
        _partial(home).unlink(missing_ok=True)
    for path in home.glob("venv-*"):
        if path.name != keep:
            shutil.rmtree(path, ignore_errors=True)  # what an orphan writes meanwhile goes with the next removal


def reclaim() -> None:
    """Removes the attempts of processes that were killed while they made an environment."""
    with contextlib.suppress(InputError, OSError):  # there is no cache, or it may only be read
        for home in environments_folder().iterdir():
            if _DIGEST.fullmatch(home.name) and _has_attempts(home):
                with locked(lock_file(home.name), say=lambda _: None, wait=False) as held:
                    if held and _has_attempts(home):
                        record = read_record(home)
                        remove_attempts(home, keep=None if record is None else record.folder)
                        with contextlib.suppress(OSError):
                            home.rmdir()  # where nothing of it is whole


def _has_attempts(home: Path) -> bool:
    """Tells whether there is more than one whole environment; what this version cannot read is left alone."""
    record = read_record(home)
    if record is None:
        return not (home / _RECORD).exists()
    return any(path.name != record.folder for path in home.glob("venv-*"))


def listed() -> tuple[Listed, ...]:
    """Returns the environments of the cache, the one used last first."""
    folder = environments_folder()
    homes = [path for path in folder.iterdir() if _DIGEST.fullmatch(path.name)] if folder.is_dir() else []
    found = [Listed(home.name, read_record(home), _bytes(home), _last_used_s(home)) for home in homes]
    return tuple(sorted(found, key=lambda one: one.last_used_s, reverse=True))


def clean(
    digests: Iterable[str] = (), *, older_than_s: float | None = None, say: Callable[[str], None]
) -> tuple[Listed, ...]:
    """Removes environments and returns those that are gone.

    Args:
        digests: Which; the beginnings of their keys will do. None given: all.
        older_than_s: Only those not used for so many seconds.
        say: Told of those that stay because another process is making them.

    Raises:
        InputError: A digest fits none, or several; nothing is removed then.
    """
    present = listed()
    digests = tuple(digests)
    chosen = {_only(digest, present) for digest in digests} if digests else {one.digest for one in present}
    limit = None if older_than_s is None else time.time() - older_than_s
    gone = []
    for one in present:
        if one.digest not in chosen or (limit is not None and one.last_used_s > limit):
            continue
        try:
            if _removed(one.digest, say):
                gone.append(one)
        except OSError as error:
            raise InputError(f"{one.digest[:12]} cannot be removed: {error.strerror or error}.") from error
    return tuple(gone)


def _removed(digest: str, say: Callable[[str], None]) -> bool:
    with locked(lock_file(digest), say=say, wait=False) as held:
        if not held:
            say(f"{digest[:12]} stays: another process is making it")
            return False
        home = environments_folder() / digest
        remove_attempts(home)
        shutil.rmtree(home, ignore_errors=True)
        if home.exists():
            say(f"{digest[:12]} could not be removed whole; see {home}")
        return not home.exists()


def _only(digest: str, present: tuple[Listed, ...]) -> str:
    fitting = [one.digest for one in present if digest and one.digest.startswith(digest)]
    if len(fitting) != 1:
        many = f"{len(fitting)} environments begin with" if fitting else "there is no environment"
        raise InputError(f"{many} {digest!r}; `lockstep env list` lists them.")
    return fitting[0]


def _bytes(home: Path) -> int:
    seen: set[tuple[int, int]] = set()
    blocks = 0.0
    for folder, _, names in os.walk(home):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                stat = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - ten thousands of files
                if (stat.st_dev, stat.st_ino) not in seen:
                    seen.add((stat.st_dev, stat.st_ino))
                    blocks += getattr(stat, "st_blocks", stat.st_size / 512)  # in units of 512 bytes (POSIX)
    return int(blocks * 512)


def _last_used_s(home: Path) -> float:
    for path in (home / _RECORD, home):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return 0.0
