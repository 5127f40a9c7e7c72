"""What an assertion shows: its report to the pytest plugin, and its failure at the line of the test."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from lockstep.common.errors import LockstepError

if TYPE_CHECKING:
    from lockstep.results.model import Report

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_observer: ContextVar[Callable[[Report], None] | None] = ContextVar("lockstep_observer", default=None)


@contextlib.contextmanager
def observer(told: Callable[[Report], None]) -> Iterator[None]:
    """Has `told` called with every report that an assertion makes within this context."""
    token = _observer.set(told)
    try:
        yield
    finally:
        _observer.reset(token)


def observed(report: Report) -> Report:
    """Tells the observer, if there is one, of a report, and returns it."""
    told = _observer.get()
    if told is not None:
        told(report)
    return report


def at_the_callers_line(assertion: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Has what Lockstep raises on purpose show none of its own frames; the cause, of the user's code, keeps its."""

    @functools.wraps(assertion)
    def called(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        __tracebackhide__ = True
        try:
            return assertion(*args, **kwargs)
        except LockstepError as error:
            raise error.with_traceback(None) from error.__cause__

    return called
