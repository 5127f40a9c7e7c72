"""One side of the shim's benchmark, in a process and an environment of its own.

Reads a line from standard input for each measurement (`call`, `function`, `graph`, `variables`) and answers with two
figures, the seconds that passed and the processor's seconds of all threads, so that the two sides can take turns.
`lockstep` or `tf_keras` as the first argument says whose shim it is, the second one which example is run.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIDE, EXAMPLE = sys.argv[1:]
INPUTS = {"inception_resnet_v2": ("image", (1, 299, 299, 3)), "quickstart": ("image", (8, 784))}
NAME, SHAPE = INPUTS[EXAMPLE]
if SIDE == "tf_keras":
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf  # noqa: E402

if SIDE == "tf_keras":
    import tf_keras as keras
    from tf_keras.src import legacy_tf_layers
    from tf_keras.src.legacy_tf_layers import normalization

    # TensorFlow looks for these where tf_keras no longer has them.
    sys.modules["tf_keras.legacy_tf_layers"] = legacy_tf_layers
    sys.modules["tf_keras.legacy_tf_layers.normalization"] = normalization
    track = tf.compat.v1.keras.utils.track_tf1_style_variables
else:
    import keras

    import lockstep

    lockstep.tf1.enable()
    track = lockstep.tf1.track_tf1_style_variables

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / EXAMPLE))
import legacy_model  # noqa: E402
import tf_slim as slim  # noqa: E402


class Network(keras.layers.Layer):
    @track
    def call(self, inputs, training=None):
        return legacy_model.forward(inputs, training=bool(training))


def timed(action) -> tuple[float, float]:
    start, processor_start = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - processor_start


def variable_maker(network):
    """Makes as many variables of the same names, shapes and initializers, without any shim: what a first call cannot
    do without."""
    initializers = {"weights": slim.xavier_initializer(), "moving_variance": tf.compat.v1.ones_initializer()}
    initializers["gamma"] = initializers["moving_variance"]
    zeros = tf.compat.v1.zeros_initializer()

    def initial_value(variable):
        last = variable.name.rpartition("/")[2].removesuffix(":0")
        return lambda: initializers.get(last, zeros)(list(variable.shape), dtype=tf.float32)

    return lambda: [
        tf.Variable(initial_value(v), name=v.name.removesuffix(":0"), trainable=v.trainable) for v in network.variables
    ]


def graph_runner():
    graph = tf.Graph()
    with graph.as_default():
        given = tf.compat.v1.placeholder(tf.float32, SHAPE)
        logits = tf.nest.flatten(legacy_model.forward({NAME: given}, training=False))[0]
        initialize = tf.compat.v1.global_variables_initializer()
    session = tf.compat.v1.Session(graph=graph)
    session.run(initialize)
    # Bound once, as a server would do it: what is timed is the graph, not the look-up of names.
    run = session.make_callable(logits, feed_list=[given])
    batch = tf.ones(SHAPE).numpy()
    return lambda: run(batch)


def main() -> None:
    inputs = {NAME: tf.ones(SHAPE)}
    network = Network()
    function = tf.function(lambda x: tf.nest.flatten(network(x, training=False))[0])
    actions = {
        "call": lambda: network(inputs, training=False),
        "function": lambda: function(inputs).numpy(),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.strip()
        if name == "graph" and name not in actions:
            actions[name] = graph_runner()
        if name == "variables":
            actions[name] = variable_maker(network)
        print(*timed(actions[name]), flush=True)


if __name__ == "__main__":
    main()
