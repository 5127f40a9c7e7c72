"""SIGTERM and SIGHUP interrupt a command as Ctrl-C does: children end, folders go, a sentence says so."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN_S = 0.1


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
    exception that a finalizer swallows is raised again.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        came.append(number)
        raise Interrupted(number)

    with _handling(interrupt), _swallowing_none():
        yield came


@contextlib.contextmanager
def _handling(handler: Any) -> Iterator[None]:
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    # What is ignored (SIGHUP under nohup, SIGINT after &) stays ignored; None is a handler that is not Python's.
    before = {number: found for number in numbers if (found := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)


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
    from lockstep.recorder import claims

    claims.remove_all()
    os._exit(128 + number)  # children end with this process
