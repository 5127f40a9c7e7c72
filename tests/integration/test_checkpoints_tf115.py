"""Checkpoints of the real TensorFlow 1.15: from there to the shim, to a native rewrite, and into its weight file."""

import json
import shutil
import subprocess
import textwrap

import pytest
from tests.commands import lockstep

from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide
from lockstep.environments.variables import inherited_variables

SPEC = EnvironmentSpec("3.7", ("tensorflow==1.15.5",))
pytestmark = pytest.mark.slow

# Trains the original for a few steps, so that no value is its initial one, and saves it in both formats; with a
# partitioned variable, which Keras has none of.
TRAIN = textwrap.dedent(
    """
    import sys

    sys.path.insert(0, sys.argv[1])
    import legacy_model
    import numpy as np
    import tensorflow as tf

    v1, draw = tf.compat.v1, np.random.RandomState(0)
    x = {"words": v1.placeholder(tf.int32, [4, 5])}
    loss = tf.reduce_mean((legacy_model.forward(x, training=True)["logits"] - 1.0) ** 2)
    step = v1.train.get_or_create_global_step()
    with tf.control_dependencies(v1.get_collection("update_ops")):
        train = v1.train.AdamOptimizer(0.05).minimize(loss, global_step=step)
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        for _ in range(10):
            session.run(train, {x["words"]: draw.randint(0, 50, (4, 5))})
        v1.train.Saver().save(session, sys.argv[1] + "/model.ckpt", write_meta_graph=False)
        v1.train.Saver(write_version=1).save(session, sys.argv[1] + "/v1.ckpt", write_meta_graph=False)
    """
)
LEGACY = textwrap.dedent(
    """
    import tensorflow.compat.v1 as tf

    def forward(inputs, training):
        with tf.variable_scope("tagger"):
            parts = tf.fixed_size_partitioner(2)
            words = tf.get_variable("words", [50, 8], partitioner=parts)
            net = tf.nn.embedding_lookup(tf.convert_to_tensor(words), inputs["words"])
            _, state = tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(6), net, dtype=tf.float32)
            net = tf.layers.dense(state.h, 7, activation=tf.tanh)
            net = tf.layers.dense(net, 7, activation=tf.tanh)
            net = tf.layers.batch_normalization(net, training=training)
            return {"logits": tf.layers.dense(net, 3)}
    """
)
SHIM = textwrap.dedent(
    """
    import keras
    import legacy_model
    from lockstep import tf1

    class Tagger(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return legacy_model.forward(inputs, training=bool(training))

    def build():
        return Tagger()
    """
)
NATIVE = textwrap.dedent(
    """
    import keras

    def build():
        words = keras.Input([5], dtype="int32", name="words")
        net = keras.layers.Embedding(50, 8, name="embedding")(words)
        net = keras.layers.LSTM(6, name="lstm")(net)
        net = keras.layers.Dense(7, "tanh", name="hidden")(net)
        net = keras.layers.Dense(7, "tanh", name="hidden_1")(net)
        net = keras.layers.BatchNormalization(epsilon=1e-3, name="norm")(net)
        return keras.Model({"words": words}, {"logits": keras.layers.Dense(3, name="head")(net)})
    """
)
CONFIGURATION = textwrap.dedent(
    """
    [reference]
    runtime = "tf1"
    entry = "legacy_model.py:forward"
    python = "3.7"
    requirements = ["tensorflow==1.15.5"]
    [candidate]
    runtime = "keras"
    entry = "ENTRY.py:build"
    [inputs.words]
    shape = [4, 5]
    dtype = "int32"
    high = 50
    """
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    try:
        environment = provide(SPEC, say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")
    place = tmp_path_factory.mktemp("tagger")
    for name, text in (("legacy_model", LEGACY), ("shim", SHIM), ("native", NATIVE), ("train", TRAIN)):
        (place / f"{name}.py").write_text(text)
    whole = LEGACY.replace(", partitioner=parts", "").replace("tf.convert_to_tensor(words)", "words")
    (place / "whole").mkdir()
    (place / "whole" / "legacy_model.py").write_text(whole)
    command = [environment.python, place / "train.py", place]
    subprocess.run(command, check=True, capture_output=True, cwd=place, timeout=300, env=inherited_variables())
    return place


def run(*arguments):
    done = lockstep(*arguments)
    return done.status, done.stdout, done.stderr


@pytest.mark.parametrize("checkpoint", ["model.ckpt", "v1.ckpt"])
def test_a_checkpoint_with_a_partitioned_variable_runs_in_1_15_and_in_the_graph_here(folder, checkpoint):
    # The candidate is the same graph: eagerly no variable is partitioned.
    text = CONFIGURATION.replace('"keras"', '"tf1"').replace("ENTRY.py:build", "legacy_model.py:forward")
    text += f'[checkpoint]\npath = "{checkpoint}"\n'
    (folder / "lockstep.toml").write_text(text)
    status, output, errors = run("check", folder, "--json", "-")
    assert status == 0, (output, errors)
    report = json.loads(output)
    step = next(step for step in report["steps"] if step["name"] == "checkpoint")
    assert report["environments"]["reference"]["tensorflow"] == "1.15.5"
    assert step["verdict"] == "equivalent"
    assert step["figures"]["output_error_of_code"] == 0
    assert step["figures"]["checkpoint_variables"] == 14  # two of them slices of one entry
    assert step["figures"]["checkpoint_missing"] == []


def test_the_shim_takes_the_same_checkpoint_with_the_variable_in_one_piece(folder, tmp_path):
    for file in (folder / "shim.py", folder / "whole" / "legacy_model.py", *folder.glob("model.ckpt.*")):
        shutil.copy(file, tmp_path)
    text = CONFIGURATION.replace("ENTRY", "shim")
    (tmp_path / "lockstep.toml").write_text(text)
    status, output, errors = run("convert", tmp_path / "model.ckpt", tmp_path, tmp_path / "out.keras")
    assert status == 0, (output, errors)
    assert "0 (bit for bit) is your code" in " ".join(output.split())


def test_a_native_rewrite_is_mapped_converted_and_equivalent_in_a_process_of_its_own(folder, tmp_path):
    shutil.copy(folder / "native.py", tmp_path)
    shutil.copy(folder / "whole" / "legacy_model.py", tmp_path)  # the same variables, in one piece
    plain = CONFIGURATION.replace("ENTRY", "native")
    (tmp_path / "lockstep.toml").write_text(plain)
    status, rules, errors = run("map", folder / "model.ckpt", tmp_path)
    assert status == 0, (rules, errors)
    assert "# confirmed by running it" in rules
    assert "split(0, 1, [8, 6]) | gates(ijfo->ifco)" in rules
    (tmp_path / "lockstep.toml").write_text(plain + rules)
    target = tmp_path / "model.weights.h5"
    status, output, errors = run("convert", folder / "model.ckpt", tmp_path, target)
    assert status == 0, (output, errors)
    assert target.stat().st_size > 0
    wrong = rules.replace("forget_bias(1.0", "forget_bias(0.0")
    (tmp_path / "lockstep.toml").write_text(plain + wrong + '[tolerance]\nrule = "fixed"\n')
    status, output, errors = run("convert", folder / "model.ckpt", tmp_path, tmp_path / "wrong.weights.h5")
    assert (status, (tmp_path / "wrong.weights.h5").exists()) == (1, False), (output, errors)
