"""Records what real TF 1.15 does with every configuration of layer_cases.py.

    python3.7 record_tf115_layers.py tf115_layers.npz

Python 3.7 with tensorflow 1.15; imports nothing of Lockstep. One file holds all arrays as one run of bytes, and a JSON
text that says which bytes are which: no pickle, and few of a zip archive's headers.
"""

import inspect
import json
import sys

import layer_cases
import numpy as np
import tensorflow as tf

# The module whose `get_seed` every random operation asks; TF 1.15 has a second copy under tensorflow_core.
random_seed = sys.modules[tf.compat.v1.get_seed.__module__]

# Operations that another TensorFlow must have too, in this order: what a layer computes, without the bookkeeping.
MAJOR = {
    "AvgPool", "AvgPool3D", "BiasAdd", "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2",
    "DepthwiseConv2dNative", "FusedBatchNormV3", "MatMul", "MaxPool", "MaxPool3D", "RandomUniform", "Relu",
    "TruncatedNormal",
}  # fmt: skip


class Pool:
    """Collects arrays as bytes; returns for each where it is."""

    def __init__(self):
        self.parts, self.size = [], 0

    def put(self, array):
        array = np.asarray(array)
        place = [str(array.dtype), list(array.shape), self.size]
        self.parts.append(array.tobytes())
        self.size += array.nbytes
        return place


def name_of_default(value):
    return repr(value) if isinstance(value, (type(None), bool, int, float, str, tuple)) else type(value).__name__


def signature_of(function):
    spec = inspect.getfullargspec(inspect.unwrap(function))
    defaults = [name_of_default(value) for value in spec.defaults or ()]
    return {"args": spec.args, "defaults": defaults, "varkw": spec.varkw is not None}


def signatures():
    table = {}
    for name in sorted(set(dir(tf.compat.v1.layers)) - {"experimental"}):
        if not name.startswith("_"):
            item = getattr(tf.compat.v1.layers, name)
            table[name] = signature_of(item.__init__ if inspect.isclass(item) else item)
    return table


def run(case, training, pool):
    draws = [0]

    def get_seed(op_seed):
        draws[0] += 1
        return 42, draws[0] - 1

    random_seed.get_seed = get_seed
    with tf.Graph().as_default() as graph:
        x = tf.constant(layer_cases.input_of(case))
        result = case.body(tf.compat.v1, tf.compat.v1.layers, x, training)
        items = result if isinstance(result, list) else [result]
        outputs = [item for item in items if isinstance(item, tf.Tensor)]
        variables = tf.global_variables()
        trainable = tf.trainable_variables()
        losses = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        operations = [[op.type, op.name] for op in graph.get_operations() if op.type in MAJOR]
        config = tf.ConfigProto(inter_op_parallelism_threads=1)
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            initial = session.run(variables)
            for variable, value in zip(variables, initial):
                variable.load(layer_cases.moved_value(variable.name, value), session)
            values, loss_values = layer_cases.run_updates(session, case, outputs, losses, updates)
            after = session.run(variables)
    return {
        "variables": [
            {"name": v.name, "trainable": v in trainable, "initial": pool.put(i), "after": pool.put(a)}
            for v, i, a in zip(variables, initial, after)
        ],
        "outputs": [pool.put(value) for value in values],
        "facts": [item for item in items if not isinstance(item, tf.Tensor)],
        "losses": [float(value) for value in loss_values],
        "updates": [op.name for op in updates],
        "operations": operations,
        "draws": draws[0],
    }


def main(path):
    pool = Pool()
    index = {"tensorflow": tf.__version__, "signatures": signatures(), "runs": {}}
    for case in layer_cases.CASES:
        for training in (False, True) if case.trains else (False,):
            index["runs"]["%s/%s" % (case.name, "training" if training else "inference")] = run(case, training, pool)
    text = json.dumps(index, sort_keys=True, separators=(",", ":"))
    np.savez_compressed(
        path,
        index=np.frombuffer(text.encode(), np.uint8),
        values=np.frombuffer(b"".join(pool.parts), np.uint8),
    )
    draws = sum(run["draws"] for run in index["runs"].values())
    assert draws, "the seeds were not aligned: get_seed of another module is in use"
    print("%d cases, %d runs, %d bytes of values" % (len(layer_cases.CASES), len(index["runs"]), pool.size))


if __name__ == "__main__":
    main(sys.argv[1])
