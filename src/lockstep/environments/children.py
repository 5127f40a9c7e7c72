"""Runs a program as a child process that never outlives the call: not on Ctrl-C, a time limit, or an error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from lockstep.common.errors import InputError
from lockstep.environments.lifeline import Lifeline
from lockstep.environments.output import DRAIN_S, POLL_S, Reading
from lockstep.environments.processes import Group

GRACE_S = 3.0
"""How long a child may take to end after it was asked to (SIGTERM), before it is killed (SIGKILL)."""
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_PYTHON = sys.executable
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass(frozen=True)
class Completed:
    """How a child process ended.

    Attributes:
        returncode: Its exit status; negative: minus the number of the signal that ended it.
        output: The last 64 KB of standard output and standard error, in the order of writing; what is not UTF-8 is
            replaced.
        signal: The name of the signal that ended it, as in `"SIGSEGV"`, or None.
        timed_out: Whether it was ended because its time was over.
        duration_s: How long it ran, in seconds.
    """

    returncode: int
    output: str
    signal: str | None
    timed_out: bool
    duration_s: float

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself, with status 0."""
        return self.returncode == 0 and not self.timed_out

    @property
    def ending(self) -> str:
        """How it ended, in words that follow "it"."""
        if self.timed_out:
            return f"was still running after its time limit of {self.duration_s:,.0f} s and was ended"
        if self.signal == "SIGKILL":
            return "was killed (SIGKILL), as the system does where memory runs out"
        if self.signal is not None:
            return f"was ended by {self.signal}"
        # A shell or a container reports a signal as 128 plus its number.
        killed = ", which stands for SIGKILL: memory may have run out" if self.returncode == 137 else ""
        return f"ended with status {self.returncode}{killed}"


def run_child(
    argv: Sequence[str | Path],
    *,
    environment_variables: Mapping[str, str],
    folder: Path,
    timeout_s: float,
    say: Callable[[str], None] | None = None,
) -> Completed:
    r"""Runs a program to its end.

    It has a session of its own, so that what it starts can be ended with it: at a time limit, on Ctrl-C, SIGTERM or
    SIGHUP to this process (in the main thread), when `say` raises, and when this process is gone, however it ended. All
    are asked to end first (SIGTERM) and killed after `GRACE_S`, at once on a second Ctrl-C. What it leaves running
    behind it is ended too. Standard input is empty. Of its output no more is held in memory than the tail and what
    `say` has not taken yet.

    Args:
        argv: The program and its arguments; no shell is involved.
        environment_variables: All that it gets; `inherited_variables` makes them from those of this process.
        folder: Its current folder.
        timeout_s: How long it may run, in seconds.
        say: Called with each line as it comes, without its line end.

    Raises:
        InputError: It could not be started.
        KeyboardInterrupt: Ctrl-C; the child has ended by then.

    Example:
        >>> import os, sys
        >>> run_child([sys.executable, "-c", "print('hello')"], environment_variables=os.environ,
        ...           folder=Path(), timeout_s=60).output
        'hello\n'
    """
    begin = time.monotonic()
    with held_signals() as received:
        process, group = start(argv, environment_variables, folder)
        assert process.stdout is not None
        reading = Reading(process.stdout)
        timed_out = False
        try:
            while not group.has_ended() and not received:
                timed_out = time.monotonic() - begin > timeout_s
                if timed_out:
                    break
                reading.take(say, POLL_S)
            if group.has_ended():
                reading.drain(say, DRAIN_S)
        finally:
            group.end(GRACE_S, impatient=lambda: len(received) > 1)
            reading.close()
        reading.flush(say)
    return completed(process, reading.text, timed_out, time.monotonic() - begin)


def completed(process: subprocess.Popen[bytes], output: str, timed_out: bool, duration_s: float) -> Completed:
    """Describes how a process ended that has been waited for."""
    code = process.returncode
    name = signal.Signals(-code).name if code < 0 and -code in set(signal.Signals) else None
    return Completed(code, output, name if not timed_out else None, timed_out, duration_s)


def start(
    argv: Sequence[str | Path], variables: Mapping[str, str], folder: Path, *, stdin: int = subprocess.DEVNULL
) -> tuple[subprocess.Popen[bytes], Group]:
    """Starts a program in a session of its own, its output in one pipe.

    The leader of the session is its supervisor, which ends as the program does, and ends it when this process is gone.
    Windows has none: there the program itself is what is started.

    Raises:
        InputError: It could not be started.
    """
    program = [str(part) for part in argv]
    try:
        if sys.platform != "win32" and _PYTHON:
            return _supervised(program, variables, folder, stdin)
        process = _popen(program, variables, folder, stdin)
        return process, Group(process)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"{argv[0]} could not be started in {folder}: {reason}.") from error


def _popen(
    argv: Sequence[str], variables: Mapping[str, str], folder: Path, stdin: int, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        env=dict(variables),
        cwd=folder,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=sys.platform != "win32",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        pass_fds=pass_fds,
    )


def _supervised(
    program: Sequence[str], variables: Mapping[str, str], folder: Path, stdin: int
) -> tuple[subprocess.Popen[bytes], Group]:
    lifeline = Lifeline()
    told, tells = os.pipe()
    try:
        try:
            locale = "set" if "LC_CTYPE" in variables else "unset"
            supervisor = [_PYTHON, "-I", "-S", str(_SUPERVISOR), str(lifeline.theirs), str(tells), locale]
            process = _popen([*supervisor, *program], variables, folder, stdin, (lifeline.theirs, tells))
        finally:
            os.close(tells)
            lifeline.hand_over()
        failure = os.read(told, 64)  # ends as the program starts
    except BaseException:
        lifeline.close()
        raise
    finally:
        os.close(told)
    if failure:
        lifeline.close()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        raise OSError(int(failure), os.strerror(int(failure)))
    return process, Group(process, lifeline)


@contextlib.contextmanager
def held_signals() -> Iterator[list[int]]:
    """Notes signals that would end this process, and delivers them when the block is done.

    An exception raised by a handler could come between the start of a child and the line that remembers it. Only the
    main thread may set handlers; in another one a signal is what it always is: a matter of the main thread.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    # What is ignored (SIGHUP under nohup) stays ignored; None is a handler that was not set from Python.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
