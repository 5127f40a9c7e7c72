"""The live display while a check works: on a terminal only, and gone when it is done."""

from __future__ import annotations

import contextlib
import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lockstep.check.verification import Event
    from lockstep.results.model import StepReport


class Progress:
    """A line for what is being done now, below the steps that are done; silent where standard error is no terminal.

    Used as a context manager and as the `progress` of `lockstep.verify`.
    """

    def __init__(self) -> None:
        self._steps: list[StepReport] = []
        self._stack = contextlib.ExitStack()
        self._live: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # A duplicate of the terminal: descriptor 2 itself is held back while TensorFlow is imported.
            terminal = self._stack.enter_context(os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8"))
            console = Console(file=terminal, highlight=False, markup=False, emoji=False)
            self._live = self._stack.enter_context(Live(console=console, transient=True, refresh_per_second=8))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live = None
        self._stack.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Shows an event of `lockstep.verify`."""
        if event.step is not None:
            self._steps.append(event.step)
        self.say(event.text)

    def say(self, text: str) -> None:
        """Shows what is being done now."""
        if self._live is not None:
            self._live.update(self._rendered(text))

    def _rendered(self, text: str) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        from lockstep.common.shown import shown
        from lockstep.report.text import verdict_text

        done = [Text.assemble(f"{step.name:<24}", verdict_text(step.verdict)) for step in self._steps]
        return Group(*done, Spinner("dots", Text(shown(text), overflow="fold")))
