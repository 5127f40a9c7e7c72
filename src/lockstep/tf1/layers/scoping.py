"""How a layer finds its name and its variable scope, as in TF 1.15."""

from __future__ import annotations

import re
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1 import private

_v1 = tf.compat.v1

_names_in_graph: weakref.WeakKeyDictionary[Any, Counter[str]] = weakref.WeakKeyDictionary()


class Scoped(private.trackable_class()):  # type: ignore[misc]
    """A layer's name and variable scope.

    The name is made of the class name and counts up per graph from 1. The scope is another matter: it is made at
    the first call, of the name that was given or of the class name, unique among its neighbours.
    """

    _reuse: Any
    _scope: Any
    _current_scope: Any

    def _set_name(self, name: Any) -> None:
        if isinstance(name, str) and name:
            self._name = self._base_name = name
            return
        self.automatically_named = name is None
        snake_case = _snake_case(type(self).__name__)
        counter = _names_in_graph.setdefault(_v1.get_default_graph(), Counter())
        counter[snake_case] += 1
        self._name = f"{snake_case}_{counter[snake_case]}"
        self._base_name = name.name if isinstance(name, _v1.VariableScope) else snake_case

    def _capture_scope(self, scope: Any) -> None:
        if isinstance(scope, _v1.VariableScope) and tf.executing_eagerly():
            # Entering it would only copy it; a graph also counts the entry in the names of its operations.
            self._scope = scope
            return
        with _v1.variable_scope(scope) as captured:
            self._scope = captured

    def _set_scope(self, scope: Any = None) -> None:
        if self._scope is not None:
            return
        if self._reuse:
            self._capture_scope(scope if scope is not None else self._base_name)
        else:
            with _v1.variable_scope(scope, default_name=self._base_name) as captured:
                self._scope = captured

    @contextmanager
    def _entered(self, reuse: Any) -> Iterator[Any]:
        with _v1.variable_scope(self._scope, reuse=reuse, auxiliary_name_scope=False) as scope:
            self._current_scope = scope
            with name_scope(scope.original_name_scope):
                yield scope

    @property
    def name(self) -> str:
        """The layer's name; where it was made of the class name, not the name of its scope."""
        return self._name

    @property
    def scope_name(self) -> str:
        """The full name of the layer's variable scope.

        Raises:
            InputError: the layer has not been called yet.
        """
        if self._scope is None:
            raise InputError(
                f"No name available for layer scope because the layer {self._name!r} has not been used yet. "
                "The scope name is determined the first time the layer instance is called."
            )
        return str(self._scope.name)

    @property
    def graph(self) -> None:
        """None: layers do not keep their graph."""
        if tf.executing_eagerly():
            raise RuntimeError("Layer.graph not supported when executing eagerly.")


def _snake_case(name: str) -> str:
    """Makes a scope's name of a class name, by Keras's rule.

    >>> _snake_case("Conv2DTranspose"), _snake_case("MaxPooling1D"), _snake_case("_Cell")
    ('conv2d_transpose', 'max_pooling1d', 'private__cell')
    """
    parted = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()
    return "private" + parted if parted.startswith("_") else parted


def name_scope(name: str | None) -> Any:
    """Enters a name scope; None or nothing is the root."""
    # In eager execution tf.name_scope takes two thirds of the time; a graph's root, None, is for TF1's alone.
    return tf.name_scope(name) if name and tf.executing_eagerly() else _v1.name_scope(name or None)
