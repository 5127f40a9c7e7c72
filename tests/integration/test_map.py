"""`lockstep map` without a checkpoint: between both sides of a configuration, and from weight files of Keras."""

import sys

import h5py
import keras
import pytest
from click.testing import CliRunner

from lockstep.cli import main
from lockstep.common.errors import InputError
from lockstep.frameworks.runtimes import open_checkpoint

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LEGACY = """
import tensorflow.compat.v1 as tf

def forward(inputs, training):
    x = tf.layers.dense(inputs["x"], 8, tf.nn.tanh, name="hidden")
    return tf.layers.dense(x, 3, name="out")
"""
MIGRATED = """
import keras

def build():
    layers = [keras.Input((4,)), keras.layers.Dense(8, "tanh", name="one"), keras.layers.Dense(3, name="two")]
    return keras.Sequential(layers, name="net")
"""
CONFIGURATION = """
[reference]
runtime = "tf1"
entry = "legacy.py:forward"
[candidate]
runtime = "keras"
entry = "migrated.py:build"
[inputs.x]
shape = [2, 4]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "legacy.py").write_text(LEGACY)
    (tmp_path / "migrated.py").write_text(MIGRATED)
    (tmp_path / "lockstep.toml").write_text(CONFIGURATION)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    outcome = CliRunner().invoke(main, ["map", *map(str, arguments)])
    return outcome.exit_code, outcome.stdout, outcome.stderr


def test_both_sides_of_a_configuration_are_mapped_by_running_them(folder):
    status, output, errors = run("lockstep.toml")
    assert status == 0, errors
    assert "confirmed by running" in errors
    assert {rule[1] for rule in tomllib.loads(output)["variables"]["rename"]} == {"net/one/", "net/two/"}


def test_a_mistake_is_no_confirmation(folder):
    (folder / "migrated.py").write_text(MIGRATED.replace("tanh", "relu"))
    status, output, errors = run("lockstep.toml")
    assert status == 1
    assert "not confirmed by running" in errors
    assert tomllib.loads(output)["variables"]


def saved(folder, name):
    layers = [keras.Input((4,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(3, name="b")]
    model = keras.Sequential(layers, name="old")
    model.save_weights(name) if name.endswith(".weights.h5") else model.save(name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "kernel"), [("m.h5", "old/a/kernel"), ("m.keras", "dense/0"), ("m.weights.h5", "dense/0")]
)
def test_a_weight_file_of_keras_is_mapped_without_loading_it(folder, name, kernel):
    saved(folder, name)
    status, output, errors = run(name, "migrated.py:build")
    assert status == 0, errors
    rename = dict(tomllib.loads(output)["variables"]["rename"])
    assert rename[f"^{kernel}$"] == "net/one/kernel"
    assert len(rename) == 4


def test_what_is_no_weight_file_is_told(folder):
    (folder / "broken.h5").write_bytes(b"no file of HDF5")
    (folder / "broken.keras").write_bytes(b"no archive")
    for name in ("broken.h5", "broken.keras", "missing.h5"):
        status, output, errors = run(name, "migrated.py:build")
        assert (status, output) == (2, "")
        assert name in errors
        assert "Traceback" not in errors


def test_a_link_out_of_a_weight_file_is_not_followed(folder):
    saved(folder, "other.weights.h5")
    with h5py.File("linked.weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink("other.weights.h5", "/layers")
    with pytest.raises(InputError, match=r"is a link to 'other.weights.h5' '/layers'; links are not followed"):
        open_checkpoint(folder / "linked.weights.h5")
