"""Puts the names that Keras 3 took away back where TF1-style code, and the guide, look for them."""

from __future__ import annotations

import importlib
import threading
import types
from typing import Any

import tensorflow as tf

_lock = threading.Lock()
_undo: list[tuple[Any, str, bool, Any]] = []


def enable() -> None:
    """Makes the guide's own calls work: `tf.compat.v1.keras.utils.*`, `tf.compat.v1.layers.*`, tf_slim.

    TensorFlow's and Keras's modules stay as they are: only the lazy `tf.compat.v1` entries and tf_slim's
    own modules are given names. Calling it again changes nothing; `disable()` takes everything back.

    Example:
        >>> enable()
        >>> tf.compat.v1.keras.utils.DeterministicRandomTestTool.__name__
        'DeterministicRandomTestTool'
    """
    with _lock:
        if _undo:
            return
        from lockstep.tf1 import layers, slim

        for name in layers.__all__:
            _put(tf.compat.v1.layers, name, getattr(layers, name))
        _put(tf.compat.v1.keras, "utils", _KerasUtils())
        slim.enable()


def disable() -> None:
    """Takes back what `enable` put in place."""
    with _lock:
        from lockstep.tf1 import slim

        slim.disable()
        while _undo:
            module, name, had, before = _undo.pop()
            if had:
                setattr(module, name, before)
            else:
                delattr(module, name)


class _KerasUtils(types.ModuleType):
    """`keras.utils` with the guide's tools added, without touching `keras.utils` itself."""

    def __init__(self) -> None:
        super().__init__("keras.utils")

    def __getattr__(self, name: str) -> Any:
        found = _GUIDE_TOOLS.get(name)
        if found is not None:
            return getattr(importlib.import_module(found), name)
        return getattr(tf.keras.utils, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(tf.keras.utils), *_GUIDE_TOOLS})


_GUIDE_TOOLS = {
    "track_tf1_style_variables": "lockstep.tf1.tracking",
    "get_or_create_layer": "lockstep.tf1.tracking",
    "VariableScopeLayer": "lockstep.tf1.tracking",
    "DeterministicRandomTestTool": "lockstep.randomness",
}


def _put(module: Any, name: str, value: Any) -> None:
    had = name in vars(module)
    _undo.append((module, name, had, vars(module).get(name)))
    setattr(module, name, value)
