"""Ends a child process together with everything that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

TYPE_CHECKING = False  # the supervisor of a child loads this file alone; `typing` takes as long as all the rest
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from lockstep.environments.lifeline import Lifeline

_POLL_S = 0.02
_PROC = "/proc"


class Members:
    """The processes of a session, and their descendants.

    The process group of the session's leader holds most of them. Where `/proc` tells more, those that made a process
    group of their own (a shell with job control) or a session of their own are found too, the latter while their
    parent lives.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._seen: set[tuple[int, str]] = set()  # with the time of their start: numbers are used again

    def signal(self, number: int) -> None:
        """Signals all of them, the leader's group last: a supervisor ends all of it and so itself."""
        self.signal_others(number)
        signal_group(self._leader, number)

    def signal_others(self, number: int) -> None:
        """Signals all but the leader, where `/proc` tells who they are."""
        self._seen |= set(self._found())
        for pid, start in self._seen:
            if pid != self._leader and _start(pid) == start:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def lives(self) -> bool:
        """Tells whether one besides the leader lives; without `/proc`, whether the group has any member."""
        if not os.path.isdir(_PROC):  # noqa: PTH112
            return signal_group(self._leader, 0)
        self._seen |= set(self._found())
        return any(_start(pid) == start for pid, start in self._seen if pid != self._leader)

    def _found(self) -> Iterator[tuple[int, str]]:
        """Yields the living processes of the leader's session and below it, as `/proc` has them."""
        table = dict(_table())
        found = {self._leader} | {pid for pid, start in self._seen if pid in table and table[pid][2] == start}
        grown = True
        while grown:
            more = {
                pid
                for pid, (parent, session, _) in table.items()
                if pid not in found and (session == self._leader or parent in found)
            }
            found |= more
            grown = bool(more)
        yield from ((pid, table[pid][2]) for pid in found if pid in table)


class Group:
    """A child that leads a session of its own, and its descendants.

    Args:
        leader: The child.
        lifeline: What is closed when they have ended: the supervisor's sign that this process lives.
    """

    def __init__(self, leader: subprocess.Popen[bytes], lifeline: Lifeline | None = None) -> None:
        self._leader, self._lifeline = leader, lifeline
        self._members = Members(leader.pid)

    def has_ended(self) -> bool:
        """Tells whether the leader has ended, and leaves it to be waited for.

        Until then its number, and so that of its group and session, cannot be given to a stranger.
        """
        if self._leader.returncode is not None:
            return True
        if sys.platform != "win32" and hasattr(os, "waitid"):  # not on macOS before Python 3.13
            with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored in this process: nobody waits for it
                return os.waitid(os.P_PID, self._leader.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self._leader.poll() is not None

    def end(self, grace_s: float, *, impatient: Callable[[], bool]) -> None:
        """Asks all to end, and kills who has not after `grace_s`, or as soon as `impatient`; leaves no zombie."""
        try:
            self._end(grace_s, impatient)
        finally:
            if self._lifeline is not None:
                self._lifeline.close()

    def _end(self, grace_s: float, impatient: Callable[[], bool]) -> None:
        if sys.platform == "win32":
            _end_tree(self._leader)
            return
        self._members.signal(signal.SIGTERM)
        limit = time.monotonic() + grace_s
        while self._lives() and time.monotonic() < limit and not impatient():
            time.sleep(_POLL_S)
        if self._lives():
            self._members.signal(signal.SIGKILL)
        self._leader.wait()

    def _lives(self) -> bool:
        return not self.has_ended() or self._members.lives()


def signal_group(leader: int, number: int) -> bool:
    """Signals a process group; tells whether there is one with a living member."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or (macOS) nothing but a zombie
            os.killpg(leader, number)
            return True
    return False


def _table() -> Iterator[tuple[int, tuple[int, int, str]]]:
    if not os.path.isdir(_PROC):  # noqa: PTH112
        return
    for entry in os.listdir(_PROC):  # noqa: PTH208 - thousands of names, of which a few matter
        if entry.isdecimal():
            fields = _stat(int(entry))
            if fields is not None:
                yield int(entry), (int(fields[1]), int(fields[3]), fields[19])


def _start(pid: int) -> str | None:
    fields = _stat(pid)
    return None if fields is None else fields[19]


def _stat(pid: int) -> list[str] | None:
    """Returns the fields of `/proc/PID/stat` from the state on; None for what is gone or a zombie.

    proc(5): state, parent, process group, session, ...; field 22 of the file is the time of the start. The name before
    them may hold blanks and parentheses.
    """
    try:
        with open(f"{_PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if not fields or fields[0] in "ZX" else fields


def _end_tree(leader: subprocess.Popen[bytes]) -> None:
    # Windows has no signal to ask with; taskkill follows the tree of parents.
    import subprocess

    if leader.poll() is None:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(leader.pid)], capture_output=True, check=False)
        leader.kill()
    leader.wait()
