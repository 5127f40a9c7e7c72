"""Finds tensors and operations of a graph by their names, and says which are near where there is none."""

import difflib
from typing import Any, Iterable

import tensorflow as tf

from ..ground.failures import RecordingError

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)


def tensor(name: str, place: str) -> Any:
    """Returns a tensor of the default graph; `"x"` is `"x:0"`.

    Args:
        name: Its name.
        place: What named it, for messages.

    Raises:
        RecordingError: There is none.
    """
    op_name, _, number = name.partition(":")
    op = _operations().get(op_name)
    if op is None:
        raise RecordingError(
            "%s names %s, and the graph has no such tensor%s" % (place, name, near(op_name, _operations()))
        )
    if not op.outputs:
        raise RecordingError("%s names %s, which is an operation (%s) that gives no tensor." % (place, name, op.type))
    if (number or "0").isdigit() and int(number or "0") < len(op.outputs):
        return op.outputs[int(number or "0")]
    raise RecordingError(
        "%s names %s, and the operation %s gives %s." % (place, name, op_name, ", ".join(t.name for t in op.outputs))
    )


def operation(name: str, place: str) -> Any:
    """Returns an operation of the default graph, by its own name or that of a tensor that it gives.

    Raises:
        RecordingError: There is none.
    """
    known = _operations()
    found = known.get(name.partition(":")[0])
    if found is None:
        raise RecordingError("%s names %s, and the graph has no such operation%s" % (place, name, near(name, known)))
    return found


def near(name: str, known: Iterable[str]) -> str:
    """Ends a sentence: with the nearest known name as a question, or with a full stop."""
    names = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.5)
    return "; did you mean %s?" % names[found[0]] if found else "."


def described(value: Any) -> str:
    """Describes a tensor: `x:0, float32 of shape (?, 3)`."""
    return "%s, %s of shape %s" % (value.name, value.dtype.base_dtype.name, shape_of(value))


def shape_of(value: Any) -> str:
    """Returns a tensor's static shape as text."""
    if value.shape.ndims is None:
        return "unknown"
    return "(%s)" % ", ".join("?" if size is None else str(int(size)) for size in value.shape.as_list())


def _operations() -> Any:
    return {op.name: op for op in v1.get_default_graph().get_operations()}
