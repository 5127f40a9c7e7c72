"""Which line of the user's made each Keras layer: a functional model runs none of their lines when it is called."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from lockstep.common.source_lines import frames, is_users

_CALLER = str(Path(__file__).with_name("keras_eager.py"))
"""What calls the model, and is called by the user's script: lines further out are none of the model."""


class LayerLines:
    """The layers that were made while `noting`, each with the line that made it."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str]] = []
        self._by_name: dict[str, list[tuple[str, str]]] | None = None

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Notes every layer that is made in the meantime."""
        before = keras.layers.Layer.__init__

        @functools.wraps(before)
        def noted(layer: Any, *args: Any, **kwargs: Any) -> None:
            self._made.append((layer, users_line(sys._getframe(1), layer)))
            before(layer, *args, **kwargs)

        noted.__signature__ = inspect.signature(before)  # type: ignore[attr-defined] # Keras keeps arguments by it
        keras.layers.Layer.__init__ = noted
        try:
            yield
        finally:
            keras.layers.Layer.__init__ = before

    def of(self, scope: str) -> str:
        """Returns the line of the innermost layer of a scope: `"folder/model.py:22"`; nothing where it is not known.

        Args:
            scope: Names of layers, the outermost first, separated by slashes.
        """
        if self._by_name is None:
            self._by_name = self._named()
        parts = scope.split("/")
        for count in range(len(parts), 0, -1):
            known = self._by_name.get(parts[count - 1], ())
            # Two blocks may each have their "conv_1". The scope may begin further out than the layer's path, with the
            # model's own name; where paths tell nothing, a line that all layers of the name share does.
            within = "/" + "/".join(parts[:count])
            fitting = [(len(path), line) for path, line in known if within.endswith("/" + path)]
            longest = max(fitting, default=(0, ""))[0]
            lines = {line for length, line in fitting if length == longest} or {line for _, line in known}
            if len(lines) == 1:
                return lines.pop()
        return ""

    def forget(self) -> None:
        """Lets go of the layers."""
        self._made.clear()
        self._by_name = None

    def _named(self) -> dict[str, list[tuple[str, str]]]:
        named: dict[str, list[tuple[str, str]]] = {}
        for layer, line in self._made:
            if line:
                path = getattr(layer, "path", None) or layer.name  # a layer has its path since it was built
                named.setdefault(layer.name, []).append((path, line))
        return named


def users_line(innermost: FrameType | None, made: Any = None) -> str:
    """Returns the innermost line of the model's own code in a stack: `"folder/model.py:22"`, or nothing.

    Args:
        innermost: Where the stack is looked through from.
        made: An object whose own methods do not count, as it is being made in them.
    """
    for frame in frames(innermost):
        code = frame.f_code
        if code.co_filename == _CALLER:
            break
        own = made is not None and code.co_argcount > 0 and frame.f_locals.get(code.co_varnames[0]) is made
        if is_users(frame) and not own:
            return f"{code.co_filename}:{frame.f_lineno}"
    return ""
