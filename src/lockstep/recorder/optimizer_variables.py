"""The variables of an optimizer that `forward` itself applies: they belong to the training, and not to the model.

TF1 code often builds `optimizer.minimize(loss)` where it builds the model. Nothing that is recorded runs it, and the
migrated model has no such variables.
"""

import contextlib
import threading
from typing import Any, Callable, Iterator, List, Set

import tensorflow as tf

from . import operations
from .wrapping import wrapped

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

COLLECTION = "lockstep_optimizer_variables"
"""The names of an optimizer's variables, in the graph, so that they are known where it is imported too."""


class _Noting(threading.local):
    def __init__(self) -> None:
        self.optimizers: List[List[Any]] = []


_noting = _Noting()


@contextlib.contextmanager
def noted() -> Iterator[List[Any]]:
    """Yields a list that the optimizers of `tf.train` are put into that apply gradients inside it."""
    applied: List[Any] = []
    _noting.optimizers.append(applied)
    try:
        with wrapped(v1.train.Optimizer, "apply_gradients", _noting_optimizer):
            yield applied
    finally:
        _noting.optimizers.pop()


def _noting_optimizer(original: Callable[..., Any]) -> Callable[..., Any]:
    def apply_gradients(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = original(self, *args, **kwargs)
        if _noting.optimizers:
            _noting.optimizers[-1].append(self)
        return done

    return apply_gradients


def collect(graph: Any, optimizers: List[Any], needed: List[Any]) -> None:
    """Notes the variables of optimizers in their graph.

    Args:
        graph: The graph.
        optimizers: Those that applied gradients.
        needed: What is fetched in a run: a step counter that it depends on is the model's.
    """
    if not optimizers:
        return
    found = [variable for optimizer in optimizers for variable in optimizer.variables()]
    names = [variable.op.name for variable in found if variable.graph is graph]
    used = {op.name for op in operations.ancestors(needed)}
    steps = [step.op.name for step in graph.get_collection(v1.GraphKeys.GLOBAL_STEP)]
    names.extend(name for name in steps if name not in used)
    for name in dict.fromkeys(names):
        graph.add_to_collection(COLLECTION, name)


def names_in(graph: Any) -> Set[str]:
    """Returns the names that `collect` noted; an imported graph has them as bytes."""
    return {name.decode("utf-8") if isinstance(name, bytes) else name for name in graph.get_collection(COLLECTION)}
