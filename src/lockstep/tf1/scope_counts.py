"""The counters of TF1's variable scopes, in time that does not grow with the number of scopes.

TensorFlow sets the counters below a scope back when the scope is left, and looks through all counters for those below
it: with thousands of scopes nearly all the time of a call goes there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class ScopeCounts(dict[str, int]):
    """Full scope name -> how often it was opened; what TensorFlow keeps as `variable_scopes_count`.

    Example:
        >>> counts = ScopeCounts({"a": 1, "a/b/c": 2, "ab": 1})
        >>> counts.close_below("a")
        >>> counts
        {'a': 1, 'ab': 1}
    """

    def __init__(self, counts: dict[str, int] | None = None) -> None:
        """Takes the counters of another."""
        super().__init__()
        self._below: dict[str, set[str]] = {}
        self._changes: list[tuple[str, int | None]] | None = None
        for name, count in (counts or {}).items():
            self[name] = count

    def __setitem__(self, name: str, count: int) -> None:
        if self._changes is not None:
            self._changes.append((name, self.get(name)))
        if name not in self:
            self._index(name)
        super().__setitem__(name, count)

    def __copy__(self) -> ScopeCounts:
        """Copies the counters; TensorFlow does on entering a scope again."""
        return ScopeCounts(self)

    def _index(self, name: str) -> None:
        while (slash := name.rfind("/")) >= 0:
            parent = name[:slash]
            known = parent in self._below
            self._below.setdefault(parent, set()).add(name)
            if known:  # and so is its own place below its parents
                return
            name = parent

    def close_below(self, name: str | None) -> None:
        """Sets back the counters of all scopes below `name`, whose own stays; None is all."""
        if name is None:
            for other in self:
                self[other] = 0
            return
        left = [name]
        while left:
            for inner in self._below.pop(left.pop(), ()):
                left.append(inner)
                count = self.pop(inner, None)
                if self._changes is not None and count is not None:
                    self._changes.append((inner, count))

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Takes back, at the end, what was counted inside."""
        outer, self._changes = self._changes, []
        try:
            yield
        finally:
            changes, self._changes = self._changes, None  # what surrounds this sees no change at all
            for name, count in reversed(changes or ()):
                self[name] = count or 0  # nought and absent are one to TensorFlow
            self._changes = outer


@contextlib.contextmanager
def counted_anew(scopes: Any) -> Iterator[None]:
    """Lets scope counters start at nothing inside.

    Args:
        scopes: TensorFlow's object with the current scope and the counters of this thread.
    """
    outer = scopes.variable_scopes_count
    scopes.variable_scopes_count = ScopeCounts()

    def close_variable_subscopes(name: str | None) -> None:
        counts = scopes.variable_scopes_count
        if isinstance(counts, ScopeCounts):
            counts.close_below(name)
        else:
            type(scopes).close_variable_subscopes(scopes, name)

    # Of this object and, as it is a threading.local, of this thread alone.
    before = vars(scopes).get("close_variable_subscopes")
    scopes.close_variable_subscopes = close_variable_subscopes
    try:
        yield
    finally:
        scopes.variable_scopes_count = outer
        if before is None:
            del scopes.close_variable_subscopes
        else:
            scopes.close_variable_subscopes = before
