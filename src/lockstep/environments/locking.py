"""One process at a time makes an environment; a lock whose owner has died is free."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lockstep.ground import locks

_POLL_S = 0.2


@contextlib.contextmanager
def locked(path: Path, *, say: Callable[[str], None], wait: bool = True) -> Iterator[bool]:
    """Holds the lock of a file while the block runs.

    The system holds the lock for an open file, and frees it when the owner ends, in whatever way: there is no stale
    lock. The file itself stays; it holds the number of the last owner, for the message alone.

    Args:
        path: The file; it is made if need be.
        say: Told once if another process has the lock.
        wait: Whether to wait for it.

    Yields:
        Whether the lock is held: always, if it was waited for.
    """
    with path.open("a+b") as file:
        held = locks.take(file.fileno())
        if not held and wait:
            say(f"waiting for {_owner(path)}, which is making the same environment")
            while not locks.take(file.fileno()):
                time.sleep(_POLL_S)
            held = True
        try:
            if held:
                file.truncate(0)
                file.write(str(os.getpid()).encode())
                file.flush()
            yield held
        finally:
            if held:
                locks.free(file.fileno())


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError):  # Windows lets nobody read a locked file
        number = path.read_text(encoding="ascii", errors="replace").strip()
        if number.isdecimal():
            return f"process {number}"
    return "another process"
