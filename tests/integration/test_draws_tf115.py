"""Draws of real TensorFlow 1.15: its loops, and what it draws nothing for."""

import json

import pytest
from tests.commands import lockstep

from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide

pytestmark = pytest.mark.slow

LOOPS = """
import tensorflow.compat.v1 as tf

def forward(inputs, training):
    cell = tf.nn.rnn_cell.BasicLSTMCell(5)
    if training:
        cell = tf.nn.rnn_cell.DropoutWrapper(cell, 0.7, 0.8, 0.6)
    h = tf.nn.dynamic_rnn(cell, inputs["x"], dtype=tf.float32)[0]
    w = tf.get_variable("w", initializer=tf.random_uniform([5, 5], -0.5, 0.5))

    def inner(j, h):
        h = tf.tanh(tf.tensordot(h, w, 1))
        return j + 1, tf.nn.dropout(h, keep_prob=KEPT) if training else h

    def outer(i, h):
        h = tf.while_loop(lambda j, _: j < 2, inner, [0, h])[1]
        return i + 1, tf.nn.dropout(h, keep_prob=0.9) if training else h

    return {"y": tf.while_loop(lambda i, _: i < 2, outer, [0, h])[1]}
"""

NOTHING_DRAWN = """
import tensorflow.compat.v1 as tf

def forward(inputs, training):
    a = tf.get_variable("a", [5, 5])
    h = tf.nn.dropout(tf.tensordot(inputs["x"], a, 1), rate=0.0)
    b = tf.get_variable("b", [5, 5])
    h = tf.nn.dropout(tf.tensordot(h, b, 1), keep_prob=KEPT if training else 1.0)
    return {"y": tf.tensordot(h, tf.get_variable("c", [5, 5]), 1)}
"""

SHIM = """
import keras, migrated
from lockstep import tf1

class Net(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return migrated.forward(inputs, bool(training))

def build():
    return Net()
"""

TOML = """
[reference]
runtime = "tf1"
entry = "legacy.py:forward"
python = "3.7"
requirements = ["tensorflow==1.15.5"]

[candidate]
runtime = "keras"
entry = "shim.py:build"

[inputs.x]
shape = [3, 4, 5]
fill = "normal"
"""


@pytest.fixture(scope="module", autouse=True)
def environment():
    try:
        return provide(EnvironmentSpec("3.7", ("tensorflow==1.15.5",)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")


def check(folder, code, kept):
    for name, content in {
        "legacy.py": code.replace("KEPT", "0.7"),
        "migrated.py": code.replace("KEPT", kept),
        "shim.py": SHIM,
        "lockstep.toml": TOML,
    }.items():
        (folder / name).write_text(content)
    done = lockstep("check", folder / "lockstep.toml", "--json", "-")
    assert done.status in (0, 1, 2), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("code", [LOOPS, NOTHING_DRAWN], ids=["loops", "nothing drawn"])
def test_unchanged_code_is_equivalent_and_another_rate_is_found(tmp_path, code):
    right = check(tmp_path, code, "0.7")
    assert (right["verdict"], right["culprits"]) == ("equivalent", []), right
    assert check(tmp_path, code, "0.6")["verdict"] == "diverged"
