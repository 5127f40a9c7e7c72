"""`lockstep convert` where the result cannot be written: one sentence, and nothing is left beside the target."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from lockstep.files.checkpoints.formats import write_safetensors
from lockstep.ground.restoring import Held
from lockstep.ground.tensors import TensorFile

v1 = tf.compat.v1
LEGACY = textwrap.dedent(
    """
    import tensorflow.compat.v1 as tf

    def forward(inputs, training):
        with tf.variable_scope("net"):
            w = tf.get_variable("w", [4, 500])
            v = tf.get_variable("v", [500, 2000])
            s = tf.get_variable("s", [], initializer=tf.ones_initializer())
            return {"y": s * tf.matmul(tf.tanh(tf.matmul(inputs["x"], w)), v)}
    """
)
NATIVE = textwrap.dedent(
    """
    import os
    import signal
    import keras

    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.s = self.add_weight(name="s", shape=(), initializer="ones")

        def call(self, x):
            return self.s * x

        def save_own_variables(self, store):
            DYING
            super().save_own_variables(store)

    def build():
        x = keras.Input([4], name="x")
        net = keras.layers.Dense(500, "tanh", use_bias=False, name="w")(x)
        net = keras.layers.Dense(2000, use_bias=False, name="v")(net)
        return keras.Model({"x": x}, {"y": Scale(name="scale")(net)})
    """
)
CONFIGURATION = """
[reference]
runtime = "tf1"
entry = "legacy.py:forward"
[candidate]
runtime = "keras"
entry = "native.py:build"
[inputs.x]
shape = [3, 4]
[variables]
rename = [["^net/([wv])$", "\\\\1/kernel"], ["^net/s$", "scale/s"]]
"""
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from lockstep.cli import main
main()
"""
MEGABYTE = 1 << 20  # the values take four
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("migration")
    (place / "legacy.py").write_text(LEGACY)
    (place / "native.py").write_text(NATIVE.replace("DYING", "pass"))
    (place / "lockstep.toml").write_text(CONFIGURATION)
    space = {}
    exec(LEGACY, space)
    with tf.Graph().as_default(), v1.Session() as session:
        space["forward"]({"x": tf.zeros([3, 4])}, False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(place / "model.ckpt"), write_meta_graph=False)
    return place


def convert(folder, target, limit=1 << 40):
    target.parent.mkdir(exist_ok=True)
    arguments = ["convert", folder / "model.ckpt", folder / "lockstep.toml", target]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".safetensors", ".ckpt"])
def test_a_full_disk_is_a_sentence_and_nothing_is_left(folder, tmp_path, suffix):
    status, said = convert(folder, tmp_path / "out" / f"model{suffix}", limit=2 * MEGABYTE)
    assert status == 2, said
    assert said.splitlines()[-1].startswith("lockstep: "), said
    assert "File too large" in said
    assert "Traceback" not in said
    assert list((tmp_path / "out").iterdir()) == []


def test_a_small_file_system_that_runs_full_is_a_sentence(folder, tmp_path):
    """Where the file alone does not fit: HDF5 itself meets the full disk."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, check=False
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("mounting a file system takes a privilege that this process does not have")
    try:
        status, said = convert(folder, small / "model.weights.h5")
        assert (status, list(small.iterdir())) == (2, [])
        assert "No space left on device" in said
        assert "Traceback" not in said
    finally:
        subprocess.run(["umount", small], check=True)


def test_the_death_of_the_process_that_writes_is_a_sentence_and_nothing_is_left(folder, tmp_path):
    dying = tmp_path / "dying"
    shutil.copytree(folder, dying)
    (dying / "native.py").write_text(NATIVE.replace("DYING", "os.kill(os.getpid(), signal.SIGSEGV)"))
    status, said = convert(dying, tmp_path / "out" / "model.weights.h5")
    assert status == 2, said
    assert "the process that was to write model.weights.h5 was ended by SIGSEGV" in said.splitlines()[-1]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_scalar_is_written_as_a_scalar(tmp_path):
    values = {"scalar": np.array(7, np.int64), "empty": np.zeros((0, 3), np.float32), "turned": np.ones((2, 3)).T}
    held = {name: Held(value.shape, value.dtype.name) for name, value in values.items()}
    write_safetensors(tmp_path / "m.safetensors", held, values.__getitem__)
    file = TensorFile(str(tmp_path / "m.safetensors"), np.dtype)
    for name, value in values.items():
        found = file.tensor(name)
        assert (found.shape, found.dtype) == (value.shape, value.dtype)
        assert np.array_equal(found, value)
