"""What to do about exceptions of the user's code that TF1 code meets again and again on today's TensorFlow."""

from __future__ import annotations

import re

_CONTRIB = (
    "tf.contrib is gone for good; most of contrib.layers is in tf_slim (pip install tf-slim, import tf_slim as slim), "
    "and a package that lockstep.tf1.give_tensorflow_1_to names finds it there"
)
_V1 = (
    "the names of TensorFlow 1 are in tensorflow.compat.v1: import tensorflow.compat.v1 as tf, or name the module in "
    "lockstep.tf1.give_tensorflow_1_to before it is imported"
)
_ENDS = 'the code ends the program; what a script runs belongs below if __name__ == "__main__":'
_ENDINGS = ("SystemExit", "ProcessEnded")
_AS_A_GRAPH = "put @tf.function(autograph=False) above @track_tf1_style_variables, where it works as it did"
_BY_NAME = (
    "a tensor is found by its name only in the graph that it is in, and an eager model has none: keep it in the "
    f"program itself, or {_AS_A_GRAPH}"
)
_MINIMIZE = (
    "minimize() belongs to the training step and not to the model: take it out of the call, and name the optimizer of "
    "each side in the configuration to have it compared"
)
_AVERAGE_OF_TENSOR = (
    "ExponentialMovingAverage.apply takes variables alone outside of a TF1 graph: keep the tensor's average in a "
    "variable, average = tf.get_variable(..., trainable=False), and update it by average.assign_sub((1 - decay) * "
    "(average - tensor))"
)
_DIMENSION = (
    "a dimension is a plain number in TensorFlow 2: tf.compat.dimension_value(x.shape[1]) gives it in TensorFlow 1 too"
)
_MADE_ANEW = (
    "the call makes a tf.Variable anew each time, or minimize() makes an optimizer's: make variables with "
    "tf.get_variable, or once, as attributes of the layer, and take minimize() out of the model"
)
_TF_KERAS = (
    "Keras 2 on today's TensorFlow is the package tf_keras: pip install 'lockstep-verify[keras2]'; or give the side "
    "an environment of its own, with python and requirements"
)
# Pattern of the message -> what to do. The first that is found counts.
_ADVICE = (
    (r"No module named 'tf_keras'", _TF_KERAS),
    (r"(No module named 'tensorflow\.contrib|has no attribute 'contrib')", _CONTRIB),
    (
        r"module 'tensorflow(\._api\.v2(?!\.compat)[.\w]*)?' has no attribute",
        _V1,
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
        r"tf\.gradients is not supported when eager execution",
        f"tf.gradients needs a graph: {_AS_A_GRAPH}, or take the gradients with tf.GradientTape",
    ),
    (
        r"refers to a Tensor which does not exist|refers to an Operation not in the graph",
        _BY_NAME,
    ),
    (
        r"`loss` passed to Optimizer\.compute_gradients should be a function",
        _MINIMIZE,
    ),
    (
        r"ExponentialMovingAverage does not support non-Variable tensors",
        _AVERAGE_OF_TENSOR,
    ),
    (
        r"'int' object has no attribute 'value'",
        _DIMENSION,
    ),
    (
        r"tf\.function only supports singleton tf\.Variables",
        _MADE_ANEW,
    ),
    (
        r"Tensor\.(name|op|graph) is undefined when eager execution",
        "code that reads names of tensors runs in a method decorated with lockstep.tf1.track_tf1_style_variables",
    ),
    (
        r"placeholder\(\) is not compatible with eager execution",
        "a model is given its inputs: take the tensors from the arguments of the call, in place of placeholders",
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
    ' (the names of TensorFlow 1 are in tensorflow.compat.v1: import tensorflow.compat.v1 as tf, or ...'
    >>> hint("division by zero")
    ''
    """
    if kind in _ENDINGS:
        return f" ({_ENDS})"
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, message)), None)
    return f" ({advice})" if advice else ""
