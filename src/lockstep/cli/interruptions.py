"""SIGTERM and SIGHUP interrupt a command as Ctrl-C does: children end, folders go, a sentence says so."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn

from lockstep.cli import saying

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN_S = 0.1
PATIENCE_S = 8.0
"""How long a library's code may hold an interruption up. Containers are killed 10 s after they were asked to stop."""


class Interrupted(KeyboardInterrupt):
    """A signal asks this process to end.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def status(error: BaseException) -> int:
    """Returns the exit status of an interruption: 128 plus the number of the signal, as shells have it."""
    return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


@contextlib.contextmanager
def raised() -> Iterator[list[int]]:
    """Has the signals raise `Interrupted` while the block runs; yields the list of those that came.

    Code of others may turn the exception into one of its own, so that the list tells what the exception does not. An
    exception that a finalizer swallows is raised again. Where none can be raised within `PATIENCE_S`, since the main
    thread is in a library's code, the process ends all the same.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        came.append(number)
        raise Interrupted(number)

    with _handling(interrupt), _swallowing_none(), _watching(came):
        yield came


@contextlib.contextmanager
def _handling(handler: Any) -> Iterator[None]:
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    # What is ignored (SIGHUP under nohup, SIGINT after &) stays ignored; None is a handler that is not Python's.
    before = {number: found for number in numbers if (found := signal.getsignal(number)) not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, found in before.items():
            signal.signal(number, found)

    for number in before:
        signal.signal(number, handler)
    with _undone_in_forks(restore):
        try:
            yield
        finally:
            restore()


_UNDONE_IN_FORKS: list[Callable[[], object]] = []


@contextlib.contextmanager
def _undone_in_forks(restore: Callable[[], object]) -> Iterator[None]:
    """Has a fork behave as one of any program does: the user's code may end its own by SIGTERM."""
    _UNDONE_IN_FORKS.append(restore)
    try:
        yield
    finally:
        _UNDONE_IN_FORKS.remove(restore)


def _after_fork() -> None:
    for restore in reversed(_UNDONE_IN_FORKS):
        restore()
    _UNDONE_IN_FORKS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def _swallowing_none() -> Iterator[None]:
    before = sys.unraisablehook
    if not hasattr(signal, "pthread_kill"):  # Windows
        yield
        return

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            before(unraisable)
            return
        number = status(unraisable.exc_value) - 128
        # To the thread itself, so that a system call in which it waits ends.
        again = threading.Timer(_AGAIN_S, signal.pthread_kill, [threading.main_thread().ident, number])
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def _watching(came: list[int]) -> Iterator[None]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # Python's own handler writes there at once

    def restore() -> None:
        signal.set_wakeup_fd(before)

    threading.Thread(target=_watch, args=(reading, came), daemon=True, name="lockstep interruptions").start()
    with _undone_in_forks(restore):
        try:
            yield
        finally:
            restore()
            os.close(writing)


def _watch(reading: int, came: list[int]) -> None:
    asking = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    while number := os.read(reading, 1):
        limit = time.monotonic() + PATIENCE_S
        while number[0] in asking and not came:
            if time.monotonic() > limit:
                saying.say(sentence(number[0]), err=True)
                _leave(number[0], None)
            time.sleep(_AGAIN_S)
    os.close(reading)


def sentence(number: int) -> str:
    """Returns what is said about an interruption."""
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    return f"lockstep: interrupted{by}; nothing was judged."


class LastSteps:
    """Used as a context manager around all that a process does: a signal after it ends the process without a word.

    What was to be said has been said by then, and no traceback of an exit function shall follow it.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    from lockstep.ground import claims

    claims.remove_all()
    os._exit(128 + number)  # children end with this process
