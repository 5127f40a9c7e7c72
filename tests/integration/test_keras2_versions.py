"""Keras 2 as it was in TensorFlow 1.15 and 2.10, in environments of their own, against Keras 3."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide

EXAMPLE = Path(__file__).parents[2] / "examples" / "keras2_to_keras3"
ENVIRONMENTS = {
    "TensorFlow 1.15": ("3.7", "tensorflow==1.15.5"),
    "TensorFlow 2.10": ("3.10", "tensorflow-cpu==2.10.1"),
}
pytestmark = pytest.mark.release


def check(folder, environment, *changes):
    python, requirement = ENVIRONMENTS[environment]
    try:
        provide(EnvironmentSpec(python, (requirement,)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no {environment} can be had here: {error}")
    shutil.copytree(EXAMPLE, folder / "example", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "example" / "lockstep.toml"
    text = file.read_text()
    for before, after in (("3.10", python), ("tensorflow-cpu==2.10.1", requirement), *changes):
        assert before in text
        text = text.replace(before, after)
    file.write_text(text)
    command = [sys.executable, "-m", "lockstep", "check", str(file), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_example_is_equivalent_in_every_step(tmp_path, environment):
    report = check(tmp_path, environment)
    verdicts = {step["name"]: step["verdict"] for step in report["steps"]}
    assert verdicts.pop("checkpoint") == verdicts.pop("metrics") == "not asked for"
    assert set(verdicts.values()) == {"equivalent"}, report
    assert len(verdicts) == 8
    assert report["environments"]["reference"]["tensorflow"] == ENVIRONMENTS[environment][1].rpartition("=")[2]


def test_what_keras_3_keeps_of_the_variance_is_named(tmp_path):
    change = ("migrated_model.py:build", "migrated_model.py:build_with_keras_3s_own_average")
    report = check(tmp_path, "TensorFlow 2.10", change)
    assert report["verdict"] == "diverged"
    first = report["culprits"][0]
    assert first["reference"].startswith("batch_normalization/moving_variance")
    assert "n / (n - 1)" in first["cause"]
