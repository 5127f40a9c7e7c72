"""Runs a program and ends with it; when the process that asked for it is gone, ends it with all that it has started.

    python -I -S supervisor.py LINE FAILURE LOCALE PROGRAM ARGUMENT...

LINE is the reading end of a pipe whose other end the asking process alone holds: the system closes that with it,
however it ends, also by SIGKILL. A thread of the program itself could not watch it, as code that hangs may hold
Python's lock, and uv has none. The parent-death signal of Linux comes when the thread ends that started the program,
which the process outlives.

FAILURE is a pipe for the number of the error if the program cannot be started; it closes without one as that starts.
LOCALE tells whether LC_CTYPE was set: Python sets it for itself and what it starts (PEP 538).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # `typing` takes as long to import as all the rest
if TYPE_CHECKING:
    from typing import Any

GRACE_S = 0.5
"""How long a program whose asking process is gone, or what a program leaves, has before it is killed."""
_POLL_S = 0.02
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")


def main(line: int, failure: int, program: list[str]) -> None:
    """Starts the program, waits for its end or that of the asking process, and ends as the program did."""
    os.set_inheritable(line, False)
    os.set_inheritable(failure, False)
    child_ended = signal.getsignal(signal.SIGCHLD)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _noted)
    # Whoever asks the whole group to end must be heard by the program, and must not end who watches it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
    child = os.fork()
    if not child:
        _become(program, failure, child_ended)
    for number in _ASKING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING)
    os.close(failure)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)  # the program's alone: its reader sees them end with it
    while True:
        ready, _, _ = select.select([line, woken], [], [])
        if line in ready:
            _end_all()
        os.read(woken, 4096)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _end_rest()
            _end_like(status)


def _noted(number: int, frame: object) -> None:
    """Is there so that the signal is written to the pipe."""


def _become(program: list[str], failure: int, child_ended: object) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN if child_ended is signal.SIG_IGN else signal.SIG_DFL)
    for name in _IGNORED_BY_PYTHON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    for number in _ASKING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING)
    try:
        os.execvpe(program[0], program, os.environ)
    except OSError as error:
        os.write(failure, str(error.errno).encode())
    os._exit(127)


def _members() -> Any:
    # pathlib takes as long to import as Python to start.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    from processes import Members  # type: ignore[import-not-found]

    return Members(os.getpid())


def _end_all() -> None:
    """Ends the program and what it has started: asked first, killed after the grace; and with them this process."""
    members = _members()
    members.signal(signal.SIGTERM)
    _wait_for(members)
    members.signal(signal.SIGKILL)
    os._exit(0)


def _end_rest() -> None:
    """Ends what the program leaves running, as long as there is somebody to do so: the asking process may be killed."""
    members = _members()
    if os.path.isdir("/proc") and members.lives():  # noqa: PTH112
        members.signal_others(signal.SIGTERM)
        _wait_for(members)
        members.signal_others(signal.SIGKILL)


def _wait_for(members: Any) -> None:
    limit = time.monotonic() + GRACE_S
    while members.lives() and time.monotonic() < limit:
        time.sleep(_POLL_S)
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def _end_like(status: int) -> None:
    if not os.WIFSIGNALED(status):
        os._exit(os.WEXITSTATUS(status))
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program's core is the one that matters
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pause()


if __name__ == "__main__":
    if sys.argv[3] == "unset":
        os.environ.pop("LC_CTYPE", None)
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[4:])
