"""Sparse inputs: graph networks feed adjacency as a sparse placeholder, and their rewrites take a sparse tensor."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import lockstep
from lockstep.ground.failures import RecordingError
from lockstep.recorder import graph, originals
from lockstep.recorder.modules import Sources
from lockstep.recorder.randomness import GraphSeeds

v1 = tf.compat.v1
PLACES = [[0, 0], [0, 2], [1, 1], [2, 0], [3, 3]]
ADJACENCY = v1.SparseTensorValue(PLACES, np.linspace(0.5, 1.5, 5, dtype=np.float32), [4, 4])
FEATURES = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3) ** 3
ARRAYS = {
    "adj/indices": np.array(PLACES),
    "adj/values": ADJACENCY.values,
    "adj/shape": np.array([4, 4]),
    "x": FEATURES,
}
SCRIPT = """
import tensorflow.compat.v1 as tf

adjacency = tf.sparse_placeholder(tf.float32{told})
x = tf.placeholder(tf.float32, [None, 3], name="x")
w = tf.get_variable("w", [3, 2])
logits = tf.sparse_tensor_dense_matmul(adjacency, tf.matmul(x, w))
logits = tf.identity(logits, name="logits")
"""
TOLD = {
    "fetches": {"logits": "logits:0"},
    "training_feeds": {},
    "inference_feeds": {},
    "arguments": [],
    "loss": "",
    "train_op": "",
}


def built(folder, text, fed, arrays=ARRAYS):
    """Builds a script whose input `adj` feeds the placeholder of some name."""
    (folder / "train.py").write_text(text)
    modules = Sources(str(folder)).anew()
    feeds = {"adj": fed, "x": "x"}
    description = {"kind": "script", "folder": str(folder), "whole": True, "feeds": feeds, **TOLD}
    original = originals.adapted(lambda: modules.module(str(folder / "train.py")), description)
    with modules.active():
        return graph.build(original, arrays, False, GraphSeeds(mode="num_random_ops"))


def multiplied(w):
    dense = np.zeros((4, 4), np.float32)
    dense[tuple(np.array(PLACES).T)] = ADJACENCY.values
    return dense @ (FEATURES @ w)


@pytest.mark.parametrize(
    ("told", "fed"),
    [
        ("", "Placeholder"),
        ("", "Placeholder_2:0"),
        (', name="graph/adjacency"', "graph/adjacency"),
        (', shape=[4, 4], name="adjacency"', "adjacency"),
    ],
)
def test_a_sparse_placeholder_of_a_script_is_fed_by_its_name(tmp_path, told, fed):
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    model = built(tmp_path, SCRIPT.format(told=told), fed)
    assert model.run({"w": w}, ARRAYS).outputs["logits"] == pytest.approx(multiplied(w))


@pytest.mark.parametrize(
    ("fed", "arrays", "told"),
    [
        (
            "adjacent",
            ARRAYS,
            "adjacent names no sparse placeholder of the script. Its sparse placeholders are adjacency.",
        ),
        ("x", ARRAYS, "x names no sparse placeholder"),
        ("adjacency/values", {"adj": np.ones((4, 4), np.float32), "x": FEATURES}, "the placeholder that it feeds is"),
    ],
)
def test_what_does_not_fit_together_is_told(tmp_path, fed, arrays, told):
    with pytest.raises(RecordingError) as error:
        built(tmp_path, SCRIPT.format(told=', name="adjacency"'), fed, arrays)
    assert told in str(error.value)


def forward(inputs, training):
    with v1.variable_scope("graph_convolution"):
        hidden = v1.matmul(inputs["x"], v1.get_variable("weights", [3, 5]))
        return v1.nn.relu(v1.sparse_tensor_dense_matmul(inputs["adj"], hidden))


def loss(outputs, batch):
    return v1.reduce_sum(v1.sparse_tensor_dense_matmul(batch["adj"], outputs) ** 2)


class Convolution(keras.layers.Layer):
    def __init__(self, twice=False):
        super().__init__(name="graph_convolution")
        self.twice = twice

    def build(self, shapes):
        self.kernel = self.add_weight(name="kernel", shape=(3, 5))

    def call(self, inputs):
        hidden = tf.sparse.sparse_dense_matmul(inputs["adj"], ops.matmul(inputs["x"], self.kernel))
        return ops.relu(tf.sparse.sparse_dense_matmul(inputs["adj"], hidden) if self.twice else hidden)


def check(build):
    return lockstep.verify(
        lockstep.tf1_graph(forward), lockstep.keras(build), {"adj": ADJACENCY, "x": FEATURES}, loss=(loss, keras_loss)
    )


def keras_loss(outputs, batch):
    return ops.sum(tf.sparse.sparse_dense_matmul(batch["adj"], outputs) ** 2)


def test_both_sides_are_given_one_sparse_tensor_and_so_are_their_losses():
    report = check(Convolution)
    assert report.verdict == "equivalent", report
    told = {step.name: step for step in report.steps}
    assert "called as it is" not in told["training-random"].summary  # a functional model takes it, too
    assert told["gradients"].verdict == "equivalent"


def test_a_second_product_with_the_adjacency_is_what_is_told():
    report = check(lambda: Convolution(twice=True))
    assert report.verdict == "diverged"
    assert [culprit.kind for culprit in report.culprits] == ["operation"]
    assert "SparseTensorDenseMatMul" in report.culprits[0].operations[1]
