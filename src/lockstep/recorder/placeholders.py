"""The inputs of a graph: a placeholder for each array, and how the user's function is given them."""

import re
from typing import Any, Dict, Mapping, Tuple

import numpy as np
import tensorflow as tf

from ..ground import sparse
from ..ground.records import ONLY_INPUT

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)


class MissingInputError(KeyError):
    """The user's function asks for an input that is not given."""

    def __str__(self) -> str:
        """The sentence as it is; a KeyError shows its representation."""
        return str(self.args[0])


class Given(dict):  # type: ignore[type-arg]
    """The inputs by name; of one that is missing it says which there are."""

    def __missing__(self, name: Any) -> Any:
        raise MissingInputError("no input is called %r; the inputs given are %s" % (name, ", ".join(self)))


def made_for(inputs: Any) -> Tuple[Dict[str, Any], Any]:
    """Makes a placeholder for each input in the default graph.

    Args:
        inputs: Input name -> array; or one array.

    Returns:
        Input name -> placeholder; and what the user's function is given: a dict of them, in which each sparse input is
        one sparse tensor, or the only one.
    """
    if isinstance(inputs, Mapping):
        placeholders = {name: placeholder(array, scope_safe(name)) for name, array in inputs.items()}
        # `forward` may change the dict that it is given; the arrays of what it took out are fed all the same.
        return placeholders, Given(composed(placeholders))
    only = placeholder(inputs, "input")
    return {ONLY_INPUT: only}, only


def composed(placeholders: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns the inputs as code gets them: the three placeholders of a sparse one as one `tf.SparseTensor`."""
    return sparse.composed(placeholders, tf.SparseTensor)


def placeholder(array: np.ndarray, name: str) -> Any:
    """Makes the placeholder that an input is fed into."""
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    return v1.placeholder(dtype, array.shape, name=name)


def scope_safe(name: str) -> str:
    """Returns a name that a graph takes."""
    safe = "".join(c if re.match("[A-Za-z0-9]", c) else "_" for c in name)
    return safe if re.match("[A-Za-z0-9]", safe) else "input" + safe
