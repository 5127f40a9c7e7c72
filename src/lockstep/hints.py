"""What to do about exceptions of the user's code that TF1 code meets again and again on today's TensorFlow."""

from __future__ import annotations

import re

_CONTRIB = (
    "tf.contrib is gone for good; most of contrib.layers is in tf_slim (pip install tf-slim, import tf_slim as slim)"
)
_ENDS = 'the code ends the program; what a script runs belongs below if __name__ == "__main__":'
_ENDINGS = ("SystemExit", "ProcessEnded")
# Pattern of the message -> what to do. The first that is found counts.
_ADVICE = (
    (r"(No module named 'tensorflow\.contrib|has no attribute 'contrib')", _CONTRIB),
    (
        r"module 'tensorflow(\._api\.v2(?!\.compat)[.\w]*)?' has no attribute",
        "the names of TensorFlow 1 are in tensorflow.compat.v1: import tensorflow.compat.v1 as tf",
    ),
    (r"module '__main__' has no attribute", _ENDS),
    (
        r"'dict' object has no attribute|\(<class 'dict'>\) to a Tensor|List of Tensors when single Tensor expected",
        "named inputs come as a dict of tensors: take one by its name in [inputs], as in inputs['image']",
    ),
    (
        r"You must feed a value for placeholder tensor",
        "Lockstep feeds the tensors of `inputs` alone: take them from there, in place of placeholders of your own",
    ),
    (
        r"^\w+\(\) got an unexpected keyword argument 'training'",
        "the reference is called as forward(inputs, training=...)",
    ),
    (
        r"Variable \S+ already exists, disallowed",
        "in a Keras layer, put @lockstep.tf1.track_tf1_style_variables on the method; in a graph, reuse the scope",
    ),
)


def hint(message: str, kind: str = "") -> str:
    """Returns ` (advice)` for the whole message of an exception that is known, and nothing for others.

    Args:
        message: The message.
        kind: The name of the exception's class.

    >>> hint("module 'tensorflow' has no attribute 'get_variable'")
    ' (the names of TensorFlow 1 are in tensorflow.compat.v1: import tensorflow.compat.v1 as tf)'
    >>> hint("division by zero")
    ''
    """
    if kind in _ENDINGS:
        return f" ({_ENDS})"
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, message)), None)
    return f" ({advice})" if advice else ""
