"""Locks of open files, which the system frees when their owner ends, in whatever way: there is no stale lock.

The number of a process proves nothing, because numbers are used again.
"""

import os
import sys

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
