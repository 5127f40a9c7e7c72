"""What the target `traces` damages: small traces with everything that a trace may hold, recorded in this process."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "words": np.array([b"a", b"bc", b"\xff"])}
MODEL = textwrap.dedent(
    """
    import tensorflow.compat.v1 as tf

    def forward(inputs, training):
        with tf.variable_scope("net"):
            w = tf.get_variable("w", [4, 5], regularizer=lambda v: 1e-3 * tf.nn.l2_loss(v))
            mean = tf.get_variable("mean", [5], trainable=False, initializer=tf.zeros_initializer())
            counter = tf.get_variable("counter", [], tf.int64, tf.zeros_initializer(), trainable=False)
            net = tf.nn.elu(tf.matmul(inputs["x"], w))
            _, net = tf.while_loop(lambda i, _: i < 2, lambda i, v: (i + 1, tf.tanh(v) * FACTOR), [0, net])
            table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1.5]), 0.5)
            net += tf.reshape(table.lookup(inputs["words"]), [3, 1])
            if not training:
                net -= mean
            else:
                net = tf.nn.dropout(net, rate=0.5)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(mean, tf.reduce_mean(net, axis=0)))
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_add(counter, 1))
            return {"y": tf.nn.relu(net), "z": tf.complex(tf.reduce_sum(net), 0.0)}

    def loss(outputs, batch):
        return tf.reduce_mean(tf.square(outputs["y"] - 1.0))

    def optimizer():
        return tf.train.MomentumOptimizer(0.1, 0.9)
    """
)


def code() -> dict[str, Any]:
    """The functions of the reference's trace, to run in this process: `"forward"`, `"loss"`, `"optimizer"`."""
    names: dict[str, Any] = {"FACTOR": 2.0}
    exec(compile(MODEL, "model.py", "exec"), names)  # the text above
    return names


def record(folder: Path, name: str, factor: str) -> Path:
    """Records the model with a factor in it, in every mode, with its gradients, optimizer, steps and taps."""
    from lockstep.ground import folder as folders
    from lockstep.recorder import recording, worker

    code = folder / f"code-{name}"
    code.mkdir()
    (code / "model.py").write_text(MODEL.replace("FACTOR", factor), encoding="utf-8")
    entries = {"entry": "model.py:forward", "loss": "model.py:loss", "optimizer": "model.py:optimizer"}
    builds: list[dict[str, Any]] = [
        {"training": False, "randomness": "num_random_ops", "settings": ["initial", "constant", "distinct"]},
        {"training": True, "randomness": "num_random_ops", "settings": ["initial", "distinct"], "differentiated": True,
         "trajectory": 2},
        {"training": True, "randomness": "constant", "settings": ["initial"]},
    ]  # fmt: skip
    target = folder / name
    request = {
        **entries,
        "runtime": "tf1",
        "label": "model.py:forward",
        "folder": str(code),
        "single_input": False,
        "target": str(target),
        "builds": [{**build, "operations": True, "tapped": ["initial"]} for build in builds],
        "taps": {"patterns": [".*"], "max_bytes": 1 << 20},
    }
    recording.record(worker.UsersCode(str(code), entries), INPUTS, request, lambda _: None)
    assert (target / folders.MANIFEST).is_file()
    return target
