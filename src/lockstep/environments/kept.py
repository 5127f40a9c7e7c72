"""A child process that is asked again and again: what takes seconds to start is started once."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lockstep.environments.children import GRACE_S, Completed, completed, held_signals, start
from lockstep.environments.output import DRAIN_S, POLL_S, Reading


class KeptChild:
    """A program that takes one line after the other from its standard input, until that ends.

    It leads a session of its own, as a program of `run_child` does, and ends with everything it has started by `end`;
    on Ctrl-C, SIGTERM, SIGHUP or a time limit while it is asked; and when this process is gone, however it ended. It
    is for one thread at a time.

    Raises:
        InputError: It could not be started.
    """

    def __init__(self, argv: Sequence[str | Path], *, environment_variables: Mapping[str, str], folder: Path) -> None:
        with held_signals() as received:
            self._process, self._group = start(argv, environment_variables, folder, stdin=subprocess.PIPE)
            assert self._process.stdout is not None
            self._reading = Reading(self._process.stdout)
            self._over = False
            if received:
                self.end()

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return not self._over and not self._group.has_ended()

    def ask(
        self,
        line: str,
        *,
        answered: Callable[[], bool],
        timeout_s: float,
        say: Callable[[str], None] | None = None,
    ) -> Completed | None:
        """Hands it a line and waits until it has answered.

        Args:
            line: Without a line end.
            answered: Tells whether the answer is there: a file, say. Asked at each output, and many times a second.
            timeout_s: How long the answer may take, in seconds.
            say: Called with each line of output as it comes; when it raises, the program is ended.

        Returns:
            None; or how the program ended, by itself or at the time limit, if there is no answer.
        """
        begin = time.monotonic()
        self._reading.restart()
        done = timed_out = False
        with held_signals() as received:
            try:
                self._write(line)
                while not (done := answered()) and not self._group.has_ended() and not received:
                    timed_out = time.monotonic() - begin > timeout_s
                    if timed_out:
                        break
                    self._reading.take(say, POLL_S)
                done = done or answered()  # it may have answered and ended
                if done:
                    self._reading.settle(say)  # what it wrote before its answer belongs to this line, not to the next
                elif not timed_out:
                    self._reading.drain(say, DRAIN_S)
            finally:
                if received or not done:
                    self.end(impatient=lambda: len(received) > 1)
        return None if done else completed(self._process, self._reading.text, timed_out, time.monotonic() - begin)

    def end(self, *, impatient: Callable[[], bool] = lambda: False) -> None:
        """Ends it with everything that it has started: asked at first, killed after a grace or when `impatient`."""
        if self._over:
            return
        self._over = True
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it may be gone
            self._process.stdin.close()
        self._group.end(GRACE_S, impatient=impatient)
        self._reading.close()

    def leave_to_parent(self) -> None:
        """Lets go of it in a fork of the process that started it, so that it ends with that one."""
        self._over = True
        self._process.returncode = 0  # nobody here may wait for it
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended, which is told by who waits for the answer
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
