"""`lockstep isolate`: one part of both sides alone, and a script that shows the difference elsewhere."""

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from lockstep.cli import main

LEGACY = """
import tensorflow.compat.v1 as tf


def network(image, training, epsilon):
    with tf.variable_scope("net"):
        net = tf.layers.conv2d(image, 8, 3, padding="same", name="conv")
        with tf.variable_scope("block"):
            net = tf.layers.batch_normalization(net, training=training, epsilon=epsilon, name="norm")
            net = tf.nn.relu(net)
        return tf.layers.dense(tf.reduce_mean(net, (1, 2)), 5, name="logits")


def forward(inputs, training):
    return network(inputs["image"], training, 1e-3)
"""
MIGRATED = """
import keras
from legacy_model import network
from lockstep import tf1


class Model(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return network(inputs["image"], training, 2e-3)


def build():
    return Model(name="migrated")
"""
CONFIGURATION = """
[reference]
runtime = "tf1"
entry = "legacy_model.py:forward"

[candidate]
runtime = "keras"
entry = "migrated_model.py:build"

[inputs.image]
shape = [96, 24, 24, 3]
fill = "uniform"
"""


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    folder = tmp_path_factory.mktemp("migration")
    (folder / "legacy_model.py").write_text(LEGACY)
    (folder / "migrated_model.py").write_text(MIGRATED)
    (folder / "lockstep.toml").write_text(CONFIGURATION)
    return folder / "lockstep.toml"


@pytest.fixture(scope="module")
def norm(configuration):
    """The block with the wrong epsilon, isolated in inference mode: its result and the folder that was written."""
    out = configuration.parent / "repro"
    return invoke(configuration, "net/block", "--out", out), out


def invoke(*arguments):
    return CliRunner().invoke(main, ["isolate", *map(str, arguments)], env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def shown(norm):
    """What the script prints, and what it prints with the mistake mended, in a process that has no Lockstep."""
    _, out = norm
    mended = out.parent / "mended"
    mended.mkdir()
    (mended / "repro.py").write_text((out / "repro.py").read_text().replace("epsilon=0.002", "epsilon=0.001"))
    (mended / "inputs.npz").write_bytes((out / "inputs.npz").read_bytes())
    program = f"""
import runpy, sys
sys.modules["lockstep"] = None
for script in {[str(out / "repro.py"), str(mended / "repro.py")]!r}:
    try:
        runpy.run_path(script)
    except SystemExit as end:
        print("exit", end.code)
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_part_that_differs_is_told_with_its_operation(norm):
    result, _ = norm
    assert result.exit_code == 1, result.output
    rows = [line for line in result.output.splitlines() if "FusedBatchNormV3" in line]
    assert len(rows) == 1
    assert rows[0].endswith(" no")
    relus = [line for line in result.output.splitlines() if "/Relu" in line]
    assert relus[0].split()[-1] in ("bit-equal", "yes")  # alone, on the reference's input, it is right
    assert relus[1].endswith(" no")  # as what the whole part gives, it is not


def test_the_script_shows_the_difference_without_lockstep(shown):
    before, _, after = shown.partition("exit 1")
    assert "elements differ beyond rounding" in before
    assert "\n0 of " not in before
    assert "\n0 of " in after
    assert after.endswith("exit 0\n")


def test_its_data_is_small_and_unpickled(norm):
    _, out = norm
    # The block reads 96 x 24 x 24 x 8 numbers, 1.8 MB: a few examples of the batch do.
    assert (out / "inputs.npz").stat().st_size < 1_000_000
    with np.load(out / "inputs.npz", allow_pickle=False) as data:
        assert all(array.dtype.kind in "fiub" for array in data.values())
        assert sum(array.nbytes for array in data.values()) < 1_000_000
    assert sorted(path.name for path in out.iterdir()) == ["inputs.npz", "repro.py"]


def test_a_right_part_is_equivalent(configuration):
    result = invoke(configuration, "net/logits", "--training")
    assert result.exit_code == 0, result.output
    assert " no" not in [line[-3:] for line in result.output.splitlines()]


def test_a_name_of_the_candidate_will_do(configuration):
    result = invoke(configuration, "migrated/net/conv")
    assert result.exit_code == 0, result.output
    assert "Conv2D" in result.output


def test_an_unknown_scope_is_told_with_the_nearest(configuration):
    result = invoke(configuration, "net/blok")
    assert result.exit_code == 2
    assert "no operation of either side begins with 'net/blok'; did you mean 'net/block'?" in result.output


def test_a_folder_that_exists_is_left_alone(configuration):
    (configuration.parent / "mine").mkdir()
    result = invoke(configuration, "net/block", "--out", configuration.parent / "mine")
    assert result.exit_code == 2
    assert "it exists" in result.output
    assert not any((configuration.parent / "mine").iterdir())
