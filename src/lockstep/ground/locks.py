"""Locks of open files, which the system frees when their owner ends, in whatever way: there is no stale lock.

The number of a process proves nothing, because numbers are used again.
"""

import os
import sys
import weakref

if sys.platform == "win32":
    import msvcrt

    def take(descriptor: int, shared: bool = False) -> bool:
        """Takes the lock of an open file, if nobody else has it; tells whether it did. Windows has no shared one."""
        del shared
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def free(descriptor: int) -> None:
        """Gives the lock back."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def take(descriptor: int, shared: bool = False) -> bool:
        """Takes the lock of an open file, if nobody else has it; tells whether it did.

        Args:
            descriptor: The file.
            shared: Whether others may have it at the same time, in the same way.

        Raises:
            OSError: The file system has no locks.
        """
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def free(descriptor: int) -> None:
        """Gives the lock back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class Held:
    """An open file whose lock is held until `release`, the end of this object's last use, or that of the process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        _HELD.add(self)

    def release(self) -> None:
        """Gives the lock back; once is enough."""
        self._finalizer()


_HELD: "weakref.WeakSet[Held]" = weakref.WeakSet()


def _after_fork() -> None:
    for held in list(_HELD):
        held.release()  # the parent's stays: a lock goes with the last of its open files


if hasattr(os, "register_at_fork"):  # Python 3.7; a fork would hold the lock after its owner's death
    os.register_at_fork(after_in_child=_after_fork)
