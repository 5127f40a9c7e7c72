"""Gradients, optimizers and training steps with real TensorFlow 1.15 as the reference."""

import json
import shutil
from pathlib import Path

import pytest
from tests.commands import lockstep

from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide

EXAMPLE = Path(__file__).parents[2] / "examples" / "mlp"
TRAINING_STEPS = ("gradients", "optimizer", "trajectory")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def environment():
    try:
        return provide(EnvironmentSpec("3.7", ("tensorflow==1.15.5",)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EXAMPLE, tmp_path / "mlp"))


def check(folder):
    done = lockstep("check", folder / "lockstep-training.toml", "--json", "-")
    assert done.status in (0, 1), done.stderr
    return json.loads(done.stdout)


def verdicts(report):
    return {step["name"]: step["verdict"] for step in report["steps"]}


def test_the_example_trains_as_in_tensorflow_115(folder):
    report = check(folder)
    assert report["environments"]["reference"]["tensorflow"] == "1.15.5"
    assert {v for name, v in verdicts(report).items() if name not in ("checkpoint", "metrics")} == {"equivalent"}, (
        report
    )
    gradients, optimizer, trajectory = (s["figures"] for s in report["steps"] if s["name"] in TRAINING_STEPS)
    assert gradients["gradient_error_of_code"] == 0
    assert gradients["gradient_error_of_runtime"] > 0
    assert (optimizer["updates"], optimizer["slots"]) == (5, 18)
    assert trajectory["steps"] == len(trajectory["drift"]) == len(trajectory["own_drift"]) == 20
    assert trajectory["drift"][-1] < 100 * trajectory["own_drift"][-1]


def test_mistakes_in_training_are_told_by_their_steps(folder):
    """One recording: a schedule one step off, a forgotten epsilon, and a loss that is summed, all in the candidate."""
    training = folder / "training.py"
    text = training.read_text()
    text += """

def summed(outputs, batch):
    return 16 * loss(outputs, batch)


def late_optimizer():
    import keras

    class OneStepEarly(keras.optimizers.schedules.ExponentialDecay):
        def __call__(self, step):
            return super().__call__(step + 1)

    return keras.optimizers.Adam(OneStepEarly(0.01, 1000, 0.5, staircase=True))
"""
    training.write_text(text)
    toml = folder / "lockstep-training.toml"
    toml.write_text(
        toml.read_text()
        .replace('"training.py:migrated_optimizer"', '"training.py:late_optimizer"\nloss = "training.py:summed"')
        .replace("loss =", "trajectory = 3\nloss =", 1)
    )
    report = check(folder)
    told = verdicts(report)
    assert [name for name, verdict in told.items() if verdict == "diverged"] == list(TRAINING_STEPS)
    causes = "\n".join(culprit["cause"] for culprit in report["culprits"])
    assert "the size of the batch (16): the reference averages the loss, the candidate sums it" in causes
    assert "Adam(epsilon=1e-08) is needed (the candidate has 1e-07)" in causes
    assert "the candidate's schedule is one step early" in causes
