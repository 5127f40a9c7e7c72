"""A `lockstep.toml` as a test: one item, which passes if `lockstep check` of it is equivalent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lockstep.common.errors import LockstepError, SubjectError
from lockstep.testing.observing import observed


class ConfigurationFile(pytest.File):
    """A `lockstep.toml`."""

    def collect(self) -> Iterator[Check]:
        """Yields its one test; the file is read when that runs, so that a wrong one fails alone."""
        yield Check.from_parent(self, name="check")


class Check(pytest.Item):
    """The check that a configuration describes."""

    def runtest(self) -> None:
        """Runs it.

        Raises:
            LockstepError: It is not equivalent, or could not run.
        """
        from lockstep.cli import session

        observed(session.run(self.path, quiet=True)).raise_if_diverged()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Shows a report, or a sentence; the traceback of the user's code where that failed."""
        error = excinfo.value
        if not isinstance(error, LockstepError):
            return super().repr_failure(excinfo, style)
        told = [str(error)]
        if isinstance(error, SubjectError):
            from lockstep.common.tracebacks import users_traceback

            traceback = error.traceback_text or (users_traceback(error.__cause__) if error.__cause__ else "")
            told = [text for text in (traceback, error.also, *told) if text]
        return "\n".join(told)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it is: the file, and what is said of it."""
        return self.path, None, f"lockstep check {self.nodeid.partition('::')[0]}"
