"""What the recorder raises on purpose, and how the user's code is kept from ending the process."""

import contextlib
import os
import threading
from typing import Any, Iterator, Optional


class RecordingError(Exception):
    """A recording cannot be made, written or read; its text is one or more full sentences."""


class UsersImportError(Exception):
    """A file of the user's failed while it was imported; `__cause__` is what it raised."""


def said(error: Optional[BaseException]) -> str:
    """Returns what an exception says; a note where its own `__str__` fails, as the user's code may have it."""
    try:
        return "".join([str(error)])
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # whatever the user's method does, it must not hide what happened
        return "(its __str__ raised %s)" % type(failure).__name__


class ProcessEnded(BaseException):
    """The user's code called `os._exit`; like `SystemExit`, nothing that means to handle errors should catch it."""

    __module__ = "builtins"  # a traceback shows it as it shows SystemExit


@contextlib.contextmanager
def ending_nothing() -> Iterator[None]:
    """Turns `os._exit` into `ProcessEnded` while the user's code runs; a fork of this process may end as it likes.

    Such an end has a status of the user's choice, 0 more often than not, and leaves no time to say anything.
    """
    with _LOCK:
        if _Open.count == 0:
            _Open.original, os._exit = os._exit, _refuse_to_end(os._exit, os.getpid())
        _Open.count += 1
    try:
        yield
    finally:
        with _LOCK:
            _Open.count -= 1
            if _Open.count == 0:
                os._exit = _Open.original


class _Open:
    """How many blocks are open, in all threads."""

    count = 0
    original: Any = os._exit


_LOCK = threading.Lock()


def _refuse_to_end(original: Any, process: int) -> Any:
    def refuse(status: int) -> None:
        if os.getpid() != process:
            original(status)
        raise ProcessEnded("os._exit(%s)" % status)

    return refuse
