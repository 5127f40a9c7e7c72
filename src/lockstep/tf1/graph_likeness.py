"""What TF1 code asks of tensors, variables and shapes, and TensorFlow 2 does not answer.

An eager tensor has no name, no operation and no graph, neither it nor a variable may be a key of a dictionary, and a
dimension is a plain number. While TF1-style code runs
(in a decorated method, or as the reference whose graph is built) the user's own files are answered; TensorFlow, Keras
and all other code find what they always find, as some of it tells eager tensors by what they lack.
"""

from __future__ import annotations

import contextlib
import operator
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from lockstep.common.source_lines import is_users
from lockstep.tf1 import private

_v1 = tf.compat.v1


class _Running(threading.local):
    def __init__(self) -> None:
        self.depth = 0
        self.names: dict[int, tuple[Any, str]] = {}
        self.counts: dict[str, int] = {}


_running = _Running()


@contextlib.contextmanager
def tf1_code() -> Iterator[None]:
    """Is entered around TF1-style code; names given to eager tensors hold until the outermost one is left."""
    _running.depth += 1
    try:
        yield
    finally:
        _running.depth -= 1
        if not _running.depth:
            _running.names.clear()
            _running.counts.clear()


class Dimension(int):
    """One dimension of a shape: a number, of which TF1 code may ask its `value` as well, and that of a product.

    >>> Dimension(3).value, Dimension(3) + 1, (2 * Dimension(3)).value
    (3, 4, 6)
    """

    @property
    def value(self) -> int:
        """The number itself."""
        return int(self)


def _kept(operation: Callable[[int, int], int], *, reflected: bool) -> Callable[[Dimension, Any], Any]:
    def calculated(self: Dimension, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        mine, others = int(self), int(other)
        return Dimension(operation(others, mine) if reflected else operation(mine, others))

    return calculated


for _operator in ("add", "sub", "mul", "floordiv", "mod"):
    setattr(Dimension, f"__{_operator}__", _kept(getattr(operator, _operator), reflected=False))
    setattr(Dimension, f"__r{_operator}__", _kept(getattr(operator, _operator), reflected=True))


@dataclass(frozen=True)
class EagerOperation:
    """Stands for the operation of an eager tensor, or of a variable outside of a graph, where code asks for its name.

    Attributes:
        name: That of the tensor or variable, without output number.
        graph: The current default graph.
        device: Where the tensor lies.
    """

    name: str
    graph: Any
    device: str

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise AttributeError(
            f"Tensor.op has no {attribute} when eager execution is enabled; of an operation only name, graph and "
            "device are known there."
        )


def replacements() -> list[tuple[type, str, Any]]:
    """Returns what is to be put into TensorFlow's classes: the class, the attribute, and the value."""
    tensor, variable, shape = private.eager_tensor_class(), private.resource_variable_class(), tf.TensorShape
    return [
        *((tensor, name, _answered(vars(tensor)[name], answer)) for name, answer in _OF_TENSORS.items()),
        *((variable, name, _answered(vars(variable)[name], answer)) for name, answer in _OF_VARIABLES.items()),
        *((kind, "__hash__", _by_identity(kind.__hash__)) for kind in (tensor, tf.Tensor, tf.Variable)),
        (shape, "__getitem__", _dimension_of(shape.__getitem__)),
        (shape, "__iter__", _dimensions_of(shape.__iter__)),
    ]


def _answered(original: property, answer: Callable[[Any], Any]) -> property:
    def get(self: Any) -> Any:
        try:
            return original.__get__(self)
        except AttributeError:
            if not _asked_by_user():
                raise
        return answer(self)

    return property(get, doc=original.__doc__)


def _by_identity(original: Callable[[Any], int]) -> Callable[[Any], int]:
    # A dictionary compares by `==` only where two hashes are equal, so another tensor of equal value is not found.
    def hash_of(self: Any) -> int:
        return id(self) if _asked_by_user() else original(self)

    return hash_of


def _dimension_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def getitem(self: Any, key: Any) -> Any:
        found = original(self, key)
        return Dimension(found) if type(found) is int and _asked_by_user() else found

    return getitem


def _dimensions_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def iterate(self: Any) -> Iterator[Any]:
        found = original(self)
        if not _asked_by_user():
            return found  # type: ignore[no-any-return]
        return iter([Dimension(size) if type(size) is int else size for size in found])

    return iterate


def _asked_by_user() -> bool:
    """Tells whether the code that asks is the user's, and TF1 code is running; the asking frame is the second up."""
    return _running.depth > 0 and is_users(sys._getframe(2))


def _name(tensor: Any) -> str:
    key = private.tensor_id(tensor)
    if key not in _running.names:
        scope = tf.get_current_name_scope()
        base = f"{scope}/Tensor" if scope else "Tensor"
        count = _running.counts[base] = _running.counts.get(base, -1) + 1
        # The tensor is kept, so that no other one gets its number.
        _running.names[key] = tensor, f"{base}_{count}:0" if count else f"{base}:0"
    return _running.names[key][1]


def _graph(thing: Any) -> Any:
    del thing
    return _v1.get_default_graph()


def _operation(tensor: Any) -> EagerOperation:
    return EagerOperation(_name(tensor).removesuffix(":0"), _graph(tensor), tensor.device)


def _operation_of_variable(variable: Any) -> EagerOperation:
    return EagerOperation(variable.name.removesuffix(":0"), _graph(variable), variable.device)


_OF_TENSORS = {"name": _name, "op": _operation, "graph": _graph}
_OF_VARIABLES = {"op": _operation_of_variable, "graph": _graph}
