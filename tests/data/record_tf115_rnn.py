"""Records what real TF 1.15 does with every configuration of rnn_cases.py.

    python3.7 record_tf115_rnn.py tf115_rnn.npz

Python 3.7 with tensorflow 1.15; imports nothing of Lockstep. The file is laid out as that of record_tf115_layers.py.
"""

import inspect
import json
import sys

import numpy as np
import rnn_cases
import tensorflow as tf
from record_tf115_layers import MAJOR, Pool, random_seed, signature_of

FUNCTIONS = [
    "bidirectional_dynamic_rnn", "dynamic_rnn", "raw_rnn", "static_bidirectional_rnn", "static_rnn",
    "static_state_saving_rnn",
]  # fmt: skip


def signatures():
    rnn_cell = tf.compat.v1.nn.rnn_cell
    names = [name for name in sorted(dir(rnn_cell)) if not name.startswith("_")]
    # The wrappers take *args here; what these are stands in a base class.
    table = {}
    for name in names:
        classes = [c for c in inspect.getmro(getattr(rnn_cell, name)) if "__init__" in vars(c)]
        specs = [signature_of(c.__init__) for c in classes]
        table[name] = next((spec for spec in specs if len(spec["args"]) > 1), None)
    return table


def run(case, pool):
    draws = [0]

    def get_seed(op_seed):
        if op_seed is not None:
            return 42, op_seed
        draws[0] += 1
        return 42, draws[0] - 1

    random_seed.get_seed = get_seed
    with tf.Graph().as_default() as graph:
        x = tf.constant(rnn_cases.input_of(case))
        items = tf.nest.flatten(case.body(tf.compat.v1, x))
        outputs = [item for item in items if isinstance(item, tf.Tensor)]
        operations = [[op.type, op.name] for op in graph.get_operations() if op.type in MAJOR]
        variables, trainable = tf.global_variables(), tf.trainable_variables()
        losses = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        gradients = tf.gradients(rnn_cases.loss_of(tf, outputs), trainable) if trainable else []
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        known = [g for g in gradients if g is not None]
        with tf.Session(config=tf.ConfigProto(inter_op_parallelism_threads=1)) as session:
            session.run(tf.global_variables_initializer())
            initial = session.run(variables)
            for variable, value in zip(variables, initial):
                variable.load(rnn_cases.moved_value(variable.name, value), session)
            values, loss_values, gradient_values = session.run([outputs, losses, known])
    gradient_values = iter(gradient_values)
    return {
        "variables": [
            {"name": v.name, "trainable": v in trainable, "initial": pool.put(value)}
            for v, value in zip(variables, initial)
        ],
        "outputs": [pool.put(value) for value in values],
        "facts": [item for item in items if not isinstance(item, tf.Tensor)],
        "losses": [float(value) for value in loss_values],
        "gradients": [None if g is None else pool.put(next(gradient_values)) for g in gradients],
        "operations": operations,
        "draws": draws[0],
    }


def main(path):
    pool = Pool()
    index = {"tensorflow": tf.__version__, "signatures": signatures(), "runs": {}}
    index["functions"] = {name: signature_of(getattr(tf.compat.v1.nn, name)) for name in FUNCTIONS}
    for case in rnn_cases.CASES:
        try:
            index["runs"][case.name] = run(case, pool)
        except Exception:
            print("in the case", case.name)
            raise
    text = json.dumps(index, sort_keys=True, separators=(",", ":"))
    np.savez_compressed(
        path,
        index=np.frombuffer(text.encode(), np.uint8),
        values=np.frombuffer(b"".join(pool.parts), np.uint8),
    )
    assert sum(run["draws"] for run in index["runs"].values()), "the seeds were not aligned"
    print("%d cases, %d bytes of values" % (len(rnn_cases.CASES), pool.size))


if __name__ == "__main__":
    main(sys.argv[1])
