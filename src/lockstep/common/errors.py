"""Everything Lockstep raises on purpose derives from `LockstepError`."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable
from typing import TypeVar

from lockstep.common.values import brief
from lockstep.ground.failures import RecordingError

_Result = TypeVar("_Result")


class LockstepError(Exception):
    """The root of all errors that Lockstep raises on purpose. Its text is one or more full sentences."""


class InputError(LockstepError, ValueError):
    """Something handed to Lockstep (a configuration, a file, an array, an argument) cannot be used."""


class DamagedError(InputError):
    """A file of a trace is not what was written: whatever was concluded without it might be another verdict."""


class UnavailableEnvironmentError(InputError):
    """An environment of a side's own cannot be had: no such interpreter, a requirement that cannot be installed."""


class ProgramError(LockstepError):
    """What a model computes cannot be followed operation by operation.

    Attributes:
        operation: The operation at which that ended.
    """

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(message)
        self.operation = operation


class KernelError(LockstepError):
    """The framework cannot run a single operation: it has no such kernel, or the inputs do not fit."""


class SubjectError(LockstepError):
    """The user's own code failed while Lockstep ran it; `__cause__` is the original exception.

    Attributes:
        side: `"reference"` or `"candidate"`.
        doing: what Lockstep was doing with it, as in "building it in training mode".
        traceback_text: the traceback as text, where it was raised in another process; else empty.
        also: what else was tried before it was given up, as a sentence; empty where nothing was.
    """

    traceback_text: str = ""
    also: str = ""

    def __init__(self, message: str, *, side: str, doing: str) -> None:
        super().__init__(message)
        self.side = side
        self.doing = doing


class VerdictError(LockstepError, AssertionError):
    """The verdict of a report is none that passes.

    Attributes:
        report: The `lockstep.results.model.Report`, or that of `lockstep.switches`; None where it has been lost.
    """

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class DivergedError(VerdictError):
    """The two subjects do not compute the same; raised only by `Report.raise_if_diverged`."""


class UndecidedError(VerdictError):
    """Nothing could be judged, which is no pass; raised only by `Report.raise_if_diverged`."""


class UnsupportedVersionError(LockstepError, ImportError):
    """A framework is missing, or its version is one that Lockstep was not made for."""


class UncheckedVersionWarning(UserWarning):
    """A framework or Python is newer than any that Lockstep was checked on; it has what Lockstep needs, and is used."""


class FaultWarning(RuntimeWarning):
    """Lockstep itself has failed in a part of its work: the verdict says `undecided` there. Please report it."""


def told_as_fault(error: Exception) -> str:
    """Warns of a bug of Lockstep's own, and returns what to say of it where its result is missing."""
    fault = f"a fault of Lockstep's own, please report it: {type(error).__name__}: {brief(error)}"
    warnings.warn(fault, FaultWarning, stacklevel=3)  # an error in our own tests
    return fault


def refused(read: Callable[[], _Result]) -> _Result:
    """Turns what the recorder's modules raise into an `InputError`."""
    try:
        return read()
    except RecordingError as error:
        raise InputError(str(error)) from error


_LONGEST = 300  # a longer word is no slip of the fingers, and comparing takes the product of the lengths


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the known word closest to `word`, or an empty string.

    >>> nearest("varables", ["variables", "inputs"])
    "; did you mean 'variables'?"
    >>> nearest("zebra", ["variables"])
    ''
    """
    if len(word) > _LONGEST:
        return ""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


for _public in (InputError, LockstepError, SubjectError, DivergedError, UndecidedError, UnsupportedVersionError):
    _public.__module__ = "lockstep"  # where users have them from, and what a traceback calls them
