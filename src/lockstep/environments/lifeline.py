"""What ties a child to the life of this process: a pipe whose writing end nobody else holds."""

from __future__ import annotations

import contextlib
import os
import weakref


class Lifeline:
    """A pipe between this process and the supervisor of a child; nothing is ever written to it.

    Attributes:
        theirs: The end that the supervisor is to inherit.
    """

    def __init__(self) -> None:
        self.theirs, self._ours = os.pipe()
        _HELD.add(self)

    def hand_over(self) -> None:
        """Closes the supervisor's end in this process, once it has been started or could not be."""
        os.close(self.theirs)

    def close(self) -> None:
        """Lets go of the child; once is enough."""
        if self in _HELD:
            _HELD.discard(self)
            with contextlib.suppress(OSError):
                os.close(self._ours)


_HELD: weakref.WeakSet[Lifeline] = weakref.WeakSet()


def _after_fork() -> None:
    for lifeline in list(_HELD):
        lifeline.close()


if hasattr(os, "register_at_fork"):  # a fork may live on, and would hold the line
    os.register_at_fork(after_in_child=_after_fork)
