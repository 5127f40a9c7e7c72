"""Folders for what is not finished: each is locked by its owner, and removed by whoever comes next if the owner died.

TMPDIR/lockstep-PID-RANDOM/        what goes between this process and its children
PARENT/.NAME.partial-PID-RANDOM/   what becomes PARENT/NAME when it is whole
    .lockstep-owner                locked while the owner lives; made first, removed last
    replaced                       what was at PARENT/NAME, on its way out

The lock tells whether the owner lives; the number in the name is for people. A folder that two processes could take for
theirs does not come about: whoever has the lock looks whether the folder is still there, and otherwise makes another.
"""

import binascii
import errno
import json
import os
import re
import shutil
import stat
import tempfile
import weakref
from typing import Any, List, Optional, Pattern

from . import locks

OWNER = ".lockstep-owner"
REPLACED = "replaced"
TEMPORARY = re.compile(r"^lockstep-[0-9]+-[0-9a-f]{8}$")
PARTIAL = re.compile(r"^\..+\.partial-(?P<pid>[0-9]+)(-[0-9a-f]{8}|\.replaced)?$")
"""The second ending, and none, are those of earlier versions, whose folders had no lock."""
_LONGEST_NAME = 200  # bytes of the target's name in that of the folder: a name may have 255


class Claim:
    """A folder that is this process's own until `remove`, the end of its last use, or the end of the process.

    Used as a context manager, it is removed with all that is still in it.

    Attributes:
        name: Where it is, as `tempfile.TemporaryDirectory` calls it.
    """

    def __init__(self, folder: str, held: locks.Held) -> None:
        self.name = folder
        self._finalizer = weakref.finalize(self, _remove, folder, held, os.getpid())
        _LIVING.add(self)

    def path(self, name: str) -> str:
        """Returns the path of something in it."""
        return os.path.join(self.name, name)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()

    def remove(self) -> None:
        """Removes the folder; once is enough."""
        self._finalizer()


_LIVING: "weakref.WeakSet[Claim]" = weakref.WeakSet()


def temporary() -> Claim:
    """Makes a folder in the system's temporary one, and removes there what processes left that were killed.

    Raises:
        OSError: It cannot be made.
    """
    parent = tempfile.gettempdir()
    reclaim(parent, TEMPORARY)
    return _claimed(parent, "lockstep-", "")


def beside(target: str) -> Claim:
    """Makes a folder beside a target, and removes there what processes left that were killed.

    Raises:
        OSError: It cannot be made.
    """
    parent, name = os.path.split(os.path.abspath(target))
    reclaim(parent, PARTIAL)
    return _claimed(parent, ".%s.partial-" % os.fsdecode(os.fsencode(name)[:_LONGEST_NAME]), name)


def reclaim(parent: str, names: Pattern[str]) -> None:
    """Removes the folders of a kind whose owners have died; what cannot be told is left alone."""
    for entry in _names(parent):
        found = names.match(entry)
        if found:
            _reclaim(parent, entry, found.groupdict().get("pid"))


def remove_all() -> None:
    """Removes every folder of this process: its end is near."""
    for claim in list(_LIVING):
        claim.remove()


def _claimed(parent: str, prefix: str, target: str) -> Claim:
    while True:
        folder = os.path.join(parent, "%s%d-%s" % (prefix, os.getpid(), binascii.hexlify(os.urandom(4)).decode()))
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            continue
        try:
            held = _owned(folder, target)
        except FileNotFoundError:
            continue  # it was empty, and somebody took it for abandoned
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if held is not None:
            return Claim(folder, held)


def _owned(folder: str, target: str) -> Optional[locks.Held]:
    """Writes whose the folder is and takes its lock; None where somebody was faster, who removes it."""
    path = os.path.join(folder, OWNER)
    held = locks.Held(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    # Where the file system has no locks, nobody will take it for abandoned either.
    if _free(held.descriptor) is not False and _is_at(path, held.descriptor):
        os.write(held.descriptor, json.dumps({"pid": os.getpid(), "target": target}).encode("ascii"))
        return held
    held.release()
    return None


def _free(descriptor: int) -> Optional[bool]:
    """Takes a lock; tells whether it was free; None where the file system has no locks."""
    try:
        return locks.take(descriptor)
    except OSError:
        return None


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _reclaim(parent: str, entry: str, pid: Optional[str]) -> None:
    folder = os.path.join(parent, entry)
    if not _is_ours(folder):
        return
    owner = os.path.join(folder, OWNER)
    try:
        descriptor = os.open(owner, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        _reclaim_unlocked(folder, pid)
        return
    except OSError:
        return
    try:
        if _free(descriptor) and _is_at(owner, descriptor):
            _put_back(parent, folder, descriptor)
            _empty(folder)
    finally:
        os.close(descriptor)


def _is_ours(folder: str) -> bool:
    """Tells whether it is a folder, no link, and of this user: others may write into a temporary folder as well."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


def _reclaim_unlocked(folder: str, pid: Optional[str]) -> None:
    """Removes an empty folder, whose owner makes another one if it lives; one of an earlier version by its number."""
    try:
        os.rmdir(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and pid and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _put_back(parent: str, folder: str, descriptor: int) -> None:
    """Gives what was being replaced its name again, if the new one did not get it."""
    replaced = os.path.join(folder, REPLACED)
    if not os.path.lexists(replaced):
        return
    try:
        target = json.loads(os.read(descriptor, 4096).decode("ascii"))["target"]
        place = os.path.join(parent, os.path.basename(target))
        if target and not os.path.lexists(place):
            os.rename(replaced, place)
    except (OSError, ValueError, KeyError, TypeError):
        return


def _remove(folder: str, held: locks.Held, pid: int) -> None:
    if os.getpid() != pid:
        return  # a fork: the folder is its parent's
    if os.name == "nt":  # an open file cannot be removed there
        held.release()
    try:
        _empty(folder)
    except BaseException:  # a signal's
        _empty(folder)
        raise
    finally:
        held.release()


def _empty(folder: str) -> None:
    """Removes a folder so that its owner's file goes last: half removed it still can be told and is locked."""
    entries = _names(folder)
    for entry in entries:
        path = os.path.join(folder, entry)
        if entry == OWNER:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            _tried(os.remove, path)
    if entries and all(entry == OWNER for entry in _names(folder)):
        _tried(os.remove, os.path.join(folder, OWNER))
    _tried(os.rmdir, folder)  # what could not be removed keeps its sign, and goes with a later try


def _names(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # it is gone


def _tried(remove: Any, path: str) -> None:
    try:
        remove(path)
    except OSError:
        return  # gone, or not to be removed: then it is found again


def _alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, asking would kill it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's process, or nothing that can be told: leave it
    return True
