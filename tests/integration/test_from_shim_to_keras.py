"""The staged example: from the shim to Keras 3 one scope at a time, `equivalent` at every stage."""

import json
import re
import shutil
from pathlib import Path

import pytest
from tests.commands import lockstep

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "from_shim_to_keras"
STAGES = sorted(path.stem.removeprefix("lockstep-stage-") for path in EXAMPLE.glob("lockstep-stage-*.toml"))
LAST = STAGES[-1]


def check(configuration):
    done = lockstep("check", configuration, "--json", "-")
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.status


@pytest.fixture
def copied(tmp_path):
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_there_are_four_stages_each_with_its_model():
    assert STAGES == ["0", "1", "2", "3"]
    assert [(EXAMPLE / f"stage_{stage}.py").exists() for stage in STAGES] == [True] * 4


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_equivalent(stage):
    report, status = check(EXAMPLE / f"lockstep-stage-{stage}.toml")
    assert {step["name"]: step["verdict"] for step in report["steps"][:5]} == dict.fromkeys(
        ("variables-created-once", "variables-match", "inference-fixed", "inference-random", "training-random"),
        "equivalent",
    )
    assert (report["verdict"], status) == ("equivalent", 0)


def test_the_last_stage_imports_keras_alone():
    imported = re.findall(
        r"^\s*(?:import|from) (\S+)",
        (EXAMPLE / f"stage_{LAST}.py").read_text() + (EXAMPLE / "keras_layers.py").read_text(),
        re.MULTILINE,
    )
    assert sorted(set(imported)) == ["keras", "keras_layers"]


@pytest.mark.parametrize(
    ("old", "new", "culprit"),
    [
        ("L2(1e-3 / 2)", "L2(1e-3)", "regularizer"),
        ("BatchNormalization(", "BatchNormalization(momentum=0.9, ", "state"),
        ('initializer="ones"', 'initializer="zeros"', "initializer"),
    ],
)
def test_a_mistake_in_the_rewrite_is_diverged(copied, old, new, culprit):
    layers = copied / "keras_layers.py"
    assert old in layers.read_text()
    layers.write_text(layers.read_text().replace(old, new))
    report, status = check(copied / f"lockstep-stage-{LAST}.toml")
    assert (report["verdict"], status) == ("diverged", 1)
    assert culprit in {c["kind"] for c in report["culprits"]}


def test_without_its_rename_rules_a_stage_finds_them(copied):
    configuration = copied / "lockstep-stage-1.toml"
    configuration.write_text(configuration.read_text().partition("[variables]")[0])
    report, status = check(configuration)
    assert (report["verdict"], status) == ("equivalent", 0)
    (match,) = [step for step in report["steps"] if step["name"] == "variables-match"]
    assert "confirmed by running" in match["summary"]
