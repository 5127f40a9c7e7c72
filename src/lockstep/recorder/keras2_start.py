"""What a Keras 2 model's variables start from where its code has set them: `set_weights`, `load_weights`.

In a graph these write into a session of Keras's own, which nobody else runs. What they leave there is put in the place
of the variables' initializers, so that every session starts from it, wherever the graph is run.
"""

import contextlib
import functools
from typing import Any, Callable, Iterator, List

import numpy as np
import tensorflow as tf

from ..ground.structure import same_bits
from . import keras_layers
from .wrapping import wrapped

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)


@contextlib.contextmanager
def noted() -> Iterator[List[Any]]:
    """Yields a list that Keras's sessions are put into that are asked for inside it, each once."""
    sessions: List[Any] = []

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def get_session(*args: Any, **kwargs: Any) -> Any:
            session = original(*args, **kwargs)
            if not any(session is other for other in sessions):
                sessions.append(session)
            return session

        return get_session

    with contextlib.ExitStack() as stack:
        for keras in keras_layers.installed():
            if "get_session" in vars(keras.backend):
                stack.enter_context(wrapped(keras.backend, "get_session", noting))
        yield sessions


def keep(sessions: List[Any], model: Any, graph: Any) -> None:
    """Has a model's variables start from what they are in Keras's sessions, where that is not what initializers give.

    Args:
        sessions: As `noted` found them.
        model: The model, with its variables.
        graph: The graph that it is in.
    """
    ours = [session for session in sessions if session.graph is graph]
    variables = [variable for variable in model.weights if getattr(variable, "graph", None) is graph]
    if not ours or not variables:
        return
    session = ours[-1]
    there = session.run([v1.is_variable_initialized(variable) for variable in variables])
    written = [variable for variable, is_there in zip(variables, there) if is_there]
    values = session.run(written) if written else []
    with v1.Session(graph=graph) as fresh:
        fresh.run([variable.initializer for variable in written])
        starts = fresh.run(written) if written else []
    for variable, value, start in zip(written, values, starts):
        if not same_bits(np.asarray(value), np.asarray(start)):
            with tf.name_scope("lockstep_start"):
                kept = tf.constant(value, variable.dtype.base_dtype)
            variable.initializer._update_input(1, kept)
    session.close()
    _forget_session()


def _forget_session() -> None:
    """Has Keras make another session when it is asked again."""
    for keras in keras_layers.installed():
        clear = getattr(keras.backend, "_SESSION", None)
        if clear is not None:
            clear.session = None
