"""Packages that others wrote for Keras 2, in a TensorFlow of their own, against the same models in Keras 3."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide

MODELS = Path(__file__).parents[1] / "data" / "keras2_packages"
PYTHON = "3.10"
REQUIREMENTS = ("tensorflow-cpu==2.10.1", "efficientnet==1.1.1", "keras-bert==0.89.0")
CONFIGURATION = """
steps = {steps}
[reference]
runtime = "keras2"
entry = "original.py:{name}"
python = "{python}"
requirements = {requirements}
[candidate]
runtime = "keras"
entry = "rewrite.py:{build}"
{inputs}
"""
INPUTS = {
    "efficientnet": '[inputs.image]\nshape = [2, 32, 32, 3]\nfill = "normal"\n',
    "bert": "".join(f'[inputs.Input-{name}]\npath = "{name}.npy"\n' for name in ("Token", "Segment", "Masked")),
}
FORWARD = ["variables-created-once", "variables-match", "inference-fixed", "inference-random", "training-random"]
pytestmark = [pytest.mark.release, pytest.mark.corpus]


def check(folder, name, build, steps=FORWARD):
    try:
        provide(EnvironmentSpec(PYTHON, REQUIREMENTS), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"these packages cannot be had here: {error}")
    shutil.copytree(MODELS, folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    tokens = np.array([[3, 5, 7, 9, 0, 0], [2, 4, 11, 13, 17, 19]], np.float32)
    segments = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]], np.float32)
    for file, array in (("Token", tokens), ("Segment", segments), ("Masked", np.ones((2, 6), np.float32))):
        np.save(folder / "models" / f"{file}.npy", array)
    text = CONFIGURATION.format(
        steps=json.dumps(steps),
        name=name,
        build=build,
        python=PYTHON,
        requirements=json.dumps(REQUIREMENTS),
        inputs=INPUTS[name],
    )
    file = folder / "models" / "lockstep.toml"
    file.write_text(text)
    command = [sys.executable, "-m", "lockstep", "check", str(file), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", INPUTS)
def test_a_right_rewrite_is_equivalent(tmp_path, name):
    report = check(tmp_path, name, name)
    assert report["verdict"] == "equivalent", report


@pytest.mark.parametrize(
    ("name", "mistake", "steps", "told"),
    [
        ("efficientnet", "with_hard_gates", ["inference-fixed"], "sigmoid"),
        ("bert", "without_a_mask", ["inference-fixed"], "lacks sub"),
        ("bert", "with_the_other_gelu", ["inference-fixed"], "gelu"),
    ],
)
def test_a_mistake_is_named(tmp_path, name, mistake, steps, told):
    report = check(tmp_path, name, f"{name}_{mistake}", steps)
    assert report["verdict"] == "diverged", report
    assert told in " ".join(str(culprit["cause"]) for culprit in report["culprits"]).lower(), report["culprits"]
