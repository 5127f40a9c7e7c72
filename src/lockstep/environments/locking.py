"""One process at a time makes an environment; a lock whose owner has died is free."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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
        held = _take(file.fileno())
        if not held and wait:
            say(f"waiting for {_owner(path)}, which is making the same environment")
            while not _take(file.fileno()):
                time.sleep(_POLL_S)
            held = True
        if held:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
        try:
            yield held
        finally:
            if held:
                _free(file.fileno())


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError):  # Windows lets nobody read a locked file
        number = path.read_text(encoding="ascii", errors="replace").strip()
        if number.isdecimal():
            return f"process {number}"
    return "another process"


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> bool:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _free(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _free(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
