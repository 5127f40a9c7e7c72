"""A Keras side that runs in a process of its own, question by question: the same answers as in this one."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.common.errors import InputError, SubjectError, UnavailableEnvironmentError
from lockstep.elsewhere import live_recording
from lockstep.elsewhere.isolated_keras import IsolatedKeras
from lockstep.environments import Environment, EnvironmentSpec, find_interpreter
from lockstep.subjects import INITIAL, Ask, Mode, Setting

v1 = tf.compat.v1
ROWS = np.random.default_rng(4).normal(size=(16, 6)).astype(np.float32)
HERE = EnvironmentSpec(interpreter=Path(sys.executable))
RENAME = ((r"^(.*)$", r"net/\1"),)
# Draws its kernels first and its dropout after: in another order than the TF1 program.
MODEL = textwrap.dedent(
    """
    import os
    import keras

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.hidden = keras.layers.Dense(12, "relu", kernel_regularizer=keras.regularizers.L2(0.01), name="hidden")
            self.drop = keras.layers.Dropout(0.5)
            self.logits = keras.layers.Dense(4, name="logits")

        def call(self, inputs, training=None):
            return {"logits": self.logits(self.drop(self.hidden(inputs["x"]), training=training))}

    def build():
        print("built in", os.getpid())
        return Net()

    def wrong():
        net = Net()
        net.hidden.activation = keras.activations.elu
        return net

    def failing():
        raise RuntimeError("my own mistake")

    def dying():
        print("my last words", flush=True)
        os.abort()

    def ending():
        os._exit(0)
    """
)


def legacy(inputs, training):
    h = v1.layers.dense(inputs["x"], 12, tf.nn.relu, name="hidden",
                        kernel_regularizer=lambda kernel: 0.02 * tf.nn.l2_loss(kernel))  # fmt: skip
    if training:
        h = tf.nn.dropout(h, rate=0.5)
    return {"logits": v1.layers.dense(h, 4, name="logits")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("migration")
    (place / "model.py").write_text(MODEL)
    return place


def candidate(folder, name="build", **options):
    return IsolatedKeras(folder, f"model.py:{name}", options.pop("environment_spec", HERE), **options)


@pytest.fixture(scope="module")
def right(folder):
    said = []
    subject = candidate(folder, say=said.append)
    report = lockstep.verify(lockstep.tf1_graph(legacy), subject, {"x": ROWS}, rename=RENAME)
    return subject, report, said


def test_a_right_rewrite_is_equivalent_in_all_steps(right):
    _, report, said = right
    assert [str(step.verdict) for step in report.steps[:5]] == ["equivalent"] * 5, report
    assert "4 initial values bit-equal" in report.steps[3].summary
    # The dropout's draws are replayed over there with the reference's seeds.
    assert "num_random_ops: initial values taken from the reference" in report.steps[4].summary
    assert report.environments["candidate"]["tensorflow"] == tf.__version__
    assert report.environments["candidate"]["subject"] == "model.py:build"
    assert "importing TensorFlow and Keras" in said
    assert not any("answered" in line for line in said)


@pytest.mark.parametrize("mode", [Mode(False, "num_random_ops"), Mode(True, "constant", functional=True)])
def test_it_computes_what_this_process_computes(right, folder, monkeypatch, mode):
    monkeypatch.syspath_prepend(str(folder))
    import model

    built = [side.build(mode, {"x": ROWS}) for side in (lockstep.keras(model.build), right[0])]
    given = Setting("given", {"net/hidden/kernel": np.full((6, 12), 0.25, np.float32)})
    for setting in (INITIAL, given):
        expected, found = (instance.run(setting, Ask(repeats=1)) for instance in built)
        assert found.variables == expected.variables
        assert (found.calls, found.draws, found.created) == (expected.calls, expected.draws, expected.created)
        assert [loss.variable for loss in found.losses] == [loss.variable for loss in expected.losses] != []
        np.testing.assert_array_equal(found.total_loss, expected.total_loss)
        for group in ("before", "outputs", "after"):
            theirs, ours = (dict(getattr(trace, group)) for trace in (found, expected))
            assert theirs.keys() == ours.keys()
            for name, value in ours.items():
                np.testing.assert_array_equal(theirs[name], value)
    np.testing.assert_array_equal(found.before["net/hidden/kernel"], given.values["net/hidden/kernel"])
    built[1].close()
    sys.modules.pop("model")


def test_it_can_be_recorded_for_another_day(right, tmp_path):
    live_recording.record(right[0], {"x": ROWS}, tmp_path / "trace")
    mode = Mode(False, "num_random_ops")
    recorded = lockstep.load(tmp_path / "trace")
    assert recorded.environment()["tensorflow"] == tf.__version__
    found, expected = (side.build(mode, {"x": ROWS}).run(INITIAL) for side in (recorded, right[0]))
    np.testing.assert_array_equal(found.outputs["logits"], expected.outputs["logits"])


def test_the_process_ends_with_the_subject(folder):
    subject = candidate(folder)
    subject.build(Mode(False, "num_random_ops"), {"x": ROWS})
    process = subject._process
    pid, work = process._child._process.pid, Path(process._work.name)
    os.kill(pid, 0)
    del subject
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not work.exists()


def test_what_goes_wrong_over_there_is_told(right, folder):
    mode = Mode(False, "num_random_ops")
    subject = right[0]
    subject.entry = "model.py:failing"
    subject._process.ask({"do": "import", "entry": subject.entry, "folder": str(folder), "side": "candidate"})
    with pytest.raises(SubjectError, match="my own mistake") as caught:
        subject.build(mode, {"x": ROWS})
    assert caught.value.traceback_text.splitlines()[-1] == "RuntimeError: my own mistake"
    assert 'raise RuntimeError("my own mistake")' in caught.value.traceback_text
    assert "lockstep" not in caught.value.traceback_text
    subject._process.ask({"do": "import", "entry": "model.py:ending", "folder": str(folder), "side": "candidate"})
    with pytest.raises(SubjectError, match=r"building .*ProcessEnded: os\._exit\(0\)"):
        subject.build(mode, {"x": ROWS})
    subject._process.ask({"do": "import", "entry": "model.py:dying", "folder": str(folder), "side": "candidate"})
    with pytest.raises(InputError, match=r"my last words(.|\n)*was ended by SIGABRT"):
        subject.build(mode, {"x": ROWS})
    with pytest.raises(InputError, match="no function 'biuld'; did you mean 'build'"):
        candidate(folder, "biuld").build(mode, {"x": ROWS})


def test_an_old_python_is_told(folder, monkeypatch):
    old = Environment(Path("python3.7"), "3.7.16", (), 0.0, from_cache=True)
    monkeypatch.setattr("lockstep.elsewhere.isolated_keras.provide", lambda spec, say: old)
    with pytest.raises(InputError, match=r"with Python 3\.7\.16; that needs Python 3\.10 or later"):
        candidate(folder).build(Mode(False, "constant"), {"x": ROWS})


@pytest.mark.slow
def test_a_candidate_on_an_older_keras_from_the_command_line(folder, tmp_path):
    try:
        find_interpreter("3.10")
    except UnavailableEnvironmentError as error:
        pytest.skip(str(error))
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "legacy.py").write_text(
        "import tensorflow as tf\nv1 = tf.compat.v1\n"
        "def forward(inputs, training):\n"
        "    h = v1.layers.dense(inputs['x'], 12, tf.nn.relu, name='hidden',\n"
        "                        kernel_regularizer=lambda kernel: 0.02 * tf.nn.l2_loss(kernel))\n"
        "    if training:\n        h = tf.nn.dropout(h, rate=0.5)\n"
        "    return {'logits': v1.layers.dense(h, 4, name='logits')}\n"
    )
    configuration = textwrap.dedent(
        """
        [reference]
        runtime = "tf1"
        entry = "legacy.py:forward"
        [candidate]
        runtime = "keras"
        entry = "model.py:build"
        python = "3.10"
        requirements = ["tensorflow-cpu==2.16.2", "keras==3.3.3"]
        [inputs.x]
        shape = [16, 6]
        fill = "normal"
        [variables]
        rename = [["^(.*)$", "net/\\\\1"]]
        """
    )
    (tmp_path / "lockstep.toml").write_text(configuration)
    command = [sys.executable, "-m", "lockstep", "check", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TensorFlow 2.16.2" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("verdict  equivalent")
    (tmp_path / "lockstep.toml").write_text(configuration.replace("model.py:build", "model.py:wrong"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the candidate ran on TensorFlow 2.16.2" in " ".join(done.stdout.split())
