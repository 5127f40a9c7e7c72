"""Losses that TF1-style code puts into collections by itself: `tf.losses.*`, or `REGULARIZATION_LOSSES` by hand.

TF1's training loops take them from there. In eager execution a collection lasts as long as the call, so the losses of
a call go to its owner, as those given to a Keras layer's `add_loss` do.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from lockstep.tf1.collected_loss import CollectedLoss

_v1 = tf.compat.v1
_COLLECTIONS = (_v1.GraphKeys.REGULARIZATION_LOSSES, _v1.GraphKeys.LOSSES)


class _Owned(threading.local):
    def __init__(self) -> None:
        self.ids: dict[int, Any] = {}
        self.depth = 0


_owned = _Owned()


@contextlib.contextmanager
def gathered() -> Iterator[Callable[[], list[tf.Tensor]]]:
    """Yields a function that returns the losses collected since, in this thread, that have no owner yet.

    Losses of variables with a regularizer are not among them: their owner knows these variable by variable.
    """
    before = {key: len(_v1.get_collection_ref(key)) for key in _COLLECTIONS}

    def found() -> list[tf.Tensor]:
        members = [loss for key in _COLLECTIONS for loss in _v1.get_collection_ref(key)[before[key] :]]
        new = {id(m): m for m in members if not isinstance(m, CollectedLoss) and id(m) not in _owned.ids}
        return [tf.convert_to_tensor(loss) for loss in new.values()]

    _owned.depth += 1
    try:
        yield found
    finally:
        _owned.depth -= 1
        if not _owned.depth:
            _owned.ids.clear()


def mark_owned(losses: list[tf.Tensor]) -> None:
    """Notes that losses have an owner, so that the code around does not take them too."""
    _owned.ids.update((id(loss), loss) for loss in losses)


class HandLosses:
    """The losses of an owner's last calls.

    Within a call of Keras's they add up, until Keras clears the losses of its layers at the next one; those of a method
    that is called by itself take the place of those of its last call. A method that is a `tf.function` runs when it is
    traced and never again; what it collected from variables alone stays, computed anew, as a regularizer's loss does.
    """

    def __init__(self) -> None:
        self._kept: list[_Loss] = []

    def take(self, method: str, losses: list[tf.Tensor], *, in_keras_call: bool) -> None:
        """Takes the losses of a call of a method."""
        self._kept = [kept for kept in self._kept if kept.method != method or (in_keras_call and not kept.cleared)]
        self._kept.extend(_Loss(method, loss) for loss in losses)

    def clear(self) -> None:
        """Forgets the losses of the last call."""
        self._kept = [kept for kept in self._kept if kept.outside is not None]
        for kept in self._kept:
            kept.cleared = True

    def present(self) -> list[tf.Tensor]:
        """Returns the losses as they are to be used where the caller runs."""
        return [kept.present() for kept in self._kept]


class _Loss:
    def __init__(self, method: str, tensor: tf.Tensor) -> None:
        self.method, self._tensor = method, tensor
        self.cleared = False

    @functools.cached_property
    def outside(self) -> Callable[[], tf.Tensor] | None:
        """Computes the loss outside of the function that it was traced in; None for one that has a value of its own."""
        return _computed_outside(self._tensor) if tf.is_symbolic_tensor(self._tensor) else None

    def present(self) -> tf.Tensor:
        """Returns the loss; one that depends on a function's inputs is symbolic outside of it, as Keras's own are."""
        if not tf.is_symbolic_tensor(self._tensor) or _is_reached(self._tensor.graph) or self.outside is None:
            return self._tensor
        return self.outside()


def _is_reached(graph: Any) -> bool:
    """Tells whether the code that runs now may use the tensors of a graph."""
    current = None if tf.executing_eagerly() else _v1.get_default_graph()
    while current is not None and current is not graph:
        current = getattr(current, "outer_graph", None)
    return current is not None


def _computed_outside(loss: tf.Tensor) -> Callable[[], tf.Tensor] | None:
    """Returns a function that computes a loss of a traced function anew, from the values that its variables have.

    None for a loss that depends on the traced function's inputs.
    """
    graph = loss.graph
    needed = _ancestors(loss.op)
    captured = [(outside, inside) for outside, inside in graph.captures if inside.op.name in needed]
    if {name for name, op in needed.items() if op.type == "Placeholder"} - {inside.op.name for _, inside in captured}:
        return None
    definition = graph.as_graph_def()
    kept = [node for node in definition.node if node.name in needed]
    del definition.node[:]
    definition.node.extend(kept)
    handles = {id(outside) for outside, _ in captured}
    read = [variable for variable in graph.variables if id(variable.handle) in handles]

    def compute() -> tf.Tensor:
        capture = _v1.get_default_graph().capture
        given = {inside.name: capture(outside) for outside, inside in captured}
        return tf.graph_util.import_graph_def(definition, given, [loss.name], name="")[0]

    function = tf.function(compute, autograph=False)

    def outside() -> tf.Tensor:
        for variable in read:
            variable.read_value()  # so that a gradient tape watches what the function reads
        computed: tf.Tensor = function()
        return computed

    return outside


def _ancestors(op: Any) -> dict[str, Any]:
    found = {op.name: op}
    waiting = [op]
    while waiting:
        current = waiting.pop()
        for before in [*(tensor.op for tensor in current.inputs), *current.control_inputs]:
            if before.name not in found:
                found[before.name] = before
                waiting.append(before)
    return found


def collecting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns one of `tf.losses`' functions that collects its loss in eager execution too, within an owner's call.

    TensorFlow's own leaves it out there, since nothing tells it when a training step ends.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def collect(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if _owned.depth and tf.executing_eagerly():
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            collection = given.arguments["loss_collection"]
            if collection:
                _v1.add_to_collection(collection, given.arguments["loss"] if result is None else result)
        return result

    return collect


def functions_of(losses: Any) -> dict[str, Callable[..., Any]]:
    """Returns name -> function of `tf.losses` for those that collect the loss that they compute or are given."""
    functions = {name: member for name, member in vars(losses).items() if inspect.isfunction(member)}
    return {
        name: function
        for name, function in functions.items()
        if not name.startswith(("_", "get_")) and "loss_collection" in inspect.signature(function).parameters
    }
