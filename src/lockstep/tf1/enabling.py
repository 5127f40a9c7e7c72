"""Puts the names that Keras 3 took away back where TF1-style code, and the guide, look for them."""

from __future__ import annotations

import importlib
import threading
import types
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from lockstep.tf1 import private

_lock = threading.Lock()
_ABSENT = object()
_OURS = "_lockstep_replaced"
_replaced: list[tuple[Any, Any]] = []
_attributes: list[tuple[Any, str, Any]] = []
_undo: list[tuple[dict[str, Any], str, Any]] = []


def enable() -> None:
    """Makes the guide's own calls work: `tf.compat.v1.keras.utils.*`, `layers.*`, `nn.rnn_cell.*`, and tf_slim.

    The functions of `tf.compat.v1.losses` collect their loss in eager execution too, within a decorated method.

    TensorFlow's and Keras's modules stay as they are: only the lazy `tf.compat.v1` entries, `tf.compat.v1.losses`,
    `tf.compat.v1.summary` and tf_slim's own modules are given names. In a decorated method the user's own code may ask
    an eager tensor for `name`, `op.name` and `graph`, and a dimension for its `value`, and use tensors and variables as
    keys; all other code finds what it always finds. Calling it again changes nothing; `disable()` takes all of it back.

    Example:
        >>> enable()
        >>> tf.compat.v1.keras.utils.DeterministicRandomTestTool.__name__
        'DeterministicRandomTestTool'
    """
    with _lock:
        if _undo:
            return
        from lockstep.tf1 import graph_likeness, hand_losses, layers, rnn_cell, slim, summaries
        from lockstep.tf1.layers import experimental

        utils = _Overlay(tf.keras.utils, _GUIDE_TOOLS)
        for v1 in _v1_modules():
            # Past the lazy loader's own __setattr__, which would first load what Keras 3 does not have. Filling the
            # loader, instead of replacing it, also serves whoever imported it before.
            for name in layers.__all__:
                _put(vars(v1.layers), name, getattr(layers, name))
            _put(vars(v1.layers), "experimental", experimental)
            for name in rnn_cell.__all__:
                _put(vars(v1.nn.rnn_cell), name, getattr(rnn_cell, name))
            _replace(v1.losses, hand_losses.functions_of(v1.losses), hand_losses.collecting)
            _replace(v1.summary, {name: getattr(v1.summary, name) for name in summaries.NAMES}, summaries.left_out)
            # A lazy loader puts what it loaded in its place, so this one has to load before it is replaced.
            dir(v1.keras.utils)
            _replaced.append((v1, v1.keras))
            v1.keras = _Overlay(v1.keras, {"utils": lambda: utils})
        for holder, name, value in graph_likeness.replacements():
            _attributes.append((holder, name, vars(holder)[name]))
            setattr(holder, name, value)
        slim.enable()


def disable() -> None:
    """Takes back what `enable` put in place."""
    with _lock:
        from lockstep.tf1 import slim

        slim.disable()
        while _attributes:
            holder, name, original = _attributes.pop()
            setattr(holder, name, original)
        while _replaced:
            v1, keras_before = _replaced.pop()
            v1.keras = keras_before
        while _undo:
            names, name, before = _undo.pop()
            if before is _ABSENT:
                del names[name]
            else:
                names[name] = before


_known_v1: list[Any] = []


def _v1_modules() -> list[Any]:
    """All the objects that `tf.compat.v1` may be: a wrapper, and, once somebody imported it by name, the module."""
    # The import takes the wrapper out of `tf.compat`; whoever got hold of it before has it still.
    wrapper = private.wrapped_v1_module()
    for module in (wrapper, tf.compat.v1, importlib.import_module("tensorflow.compat.v1"), tf.compat.v1):
        if module is not None and all(module is not other for other in _known_v1):
            _known_v1.append(module)
    return _known_v1


class _Overlay(types.ModuleType):
    """A module with some names added, without touching the module itself."""

    def __init__(self, module: Any, added: dict[str, Callable[[], Any]]) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(_module=module, _added=added)

    def __getattr__(self, name: str) -> Any:
        added = self._added.get(name)
        return getattr(self._module, name) if added is None else added()

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._module), *self._added})


def _tool(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(module), name)


def _variable_scope_layer() -> Any:
    # Which class it is depends on what `tf.keras` is.
    return _tool("lockstep.tf1.tracking", "variable_scope_layer")()()


_GUIDE_TOOLS = {
    "track_tf1_style_variables": _tool("lockstep.tf1.tracking", "track_tf1_style_variables"),
    "get_or_create_layer": _tool("lockstep.tf1.tracking", "get_or_create_layer"),
    "VariableScopeLayer": _variable_scope_layer,
    "DeterministicRandomTestTool": _tool("lockstep.frameworks.tensorflow.randomness", "DeterministicRandomTestTool"),
}


def _replace(module: Any, functions: Mapping[str, Any], made_from: Callable[[Any], Any]) -> None:
    for name, function in functions.items():
        if not hasattr(function, _OURS):  # several of the modules above may share this one
            replacement = made_from(function)
            setattr(replacement, _OURS, True)
            _attributes.append((module, name, function))
            setattr(module, name, replacement)


def _put(names: dict[str, Any], name: str, value: Any) -> None:
    _undo.append((names, name, names.get(name, _ABSENT)))
    names[name] = value
