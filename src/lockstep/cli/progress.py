"""What is shown on standard error while a check works.

On a terminal a live display, which is gone when it is done; elsewhere (a pipe, a log) a line every few seconds.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lockstep.check.reporting import Event
    from lockstep.results.model import StepReport

EVERY_S = 5.0
"""How often a line is written where there is no terminal; what is done sooner is silent."""


class Progress:
    """A line for what is being done now; on a terminal below the steps that are done.

    Used as a context manager and as the `progress` of `lockstep.verify`.
    """

    def __init__(self, *, quiet: bool = False, every_s: float = EVERY_S) -> None:
        """Shows nothing if `quiet`; otherwise a line every `every_s` seconds where there is no terminal."""
        self._quiet, self._every_s = quiet, every_s
        self._steps: list[StepReport] = []
        self._stack = contextlib.ExitStack()
        self._live: Any = None
        self._doing = ""

    def __enter__(self) -> Progress:
        if self._quiet:
            return self
        if not sys.stderr.isatty():
            self._stack.enter_context(_Lines(self, self._every_s))
            return self
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
        self._doing = text
        if self._live is not None:
            self._live.update(self._rendered(text))

    def line(self) -> str:
        """Returns what a log is told: what is being done, and how many steps are done."""
        done = len(self._steps)
        return f"{self._doing}{f' ({done} steps done)' if done > 1 else ''}"

    def _rendered(self, text: str) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        from lockstep.common.shown import shown
        from lockstep.report.text import verdict_text

        done = [Text.assemble(f"{step.name:<24}", verdict_text(step.verdict)) for step in self._steps]
        return Group(*done, Spinner("dots", Text(shown(text), overflow="fold")))


class _Lines:
    """A thread that writes a line every few seconds, also while TensorFlow or the user's code does not return."""

    def __init__(self, progress: Progress, every_s: float) -> None:
        self._progress, self._every_s = progress, every_s
        self._done = threading.Event()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lockstep-progress", daemon=True)
        self._stack = contextlib.ExitStack()
        self._stream: IO[str] = sys.stderr

    def __enter__(self) -> None:
        with contextlib.suppress(OSError, io.UnsupportedOperation):  # a test's stream has no descriptor
            duplicate = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
            self._stream = self._stack.enter_context(duplicate)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._stack.close()

    def _run(self) -> None:
        from lockstep.common.shown import shown_in_a_line

        while not self._done.wait(self._every_s):
            seconds = time.monotonic() - self._start
            try:
                self._stream.write(f"lockstep: {seconds:3.0f} s   {shown_in_a_line(self._progress.line())}\n")
                self._stream.flush()
            except (OSError, ValueError):  # whoever read it has gone: the check goes on
                return
