"""The guide itself, and its network, end to end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "inception_resnet_v2"

pytestmark = pytest.mark.slow


def run(*arguments, timeout_s=1800):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, check=False
    )


def test_every_block_of_the_guide_runs_as_printed():
    done = run(ROOT / "examples" / "guide" / "validate_correctness.py")
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stdout
    assert "variables: 1114" in told
    assert "Attempted to create a new variable instead of reusing an existing one." in told
    assert "Created vars: [<tf.Variable 'broken_scaling_layer_1/Variable:0'" in told
    assert "re-use the already-used operation seed 1" in told
    for figure in ("2.50637", "0.45038", "2.96343", "1.22543", "1.22548", "1.22399"):
        assert figure in told


@pytest.fixture(scope="module")
def demo():
    return run("-m", "lockstep", "demo")


def test_the_demo_is_equivalent_and_every_figure_agrees_with_the_guide(demo):
    assert demo.returncode == 0, demo.stdout + demo.stderr[-3000:]
    assert "verdict  equivalent" in demo.stdout
    figures = [line.split() for line in demo.stdout.splitlines() if line.endswith((" yes", " no"))]
    assert len(figures) == 6
    assert all(line[-1] == "yes" for line in figures)
    for printed in ("1114", "0.001182976", "0.00299837", "1.2254326", "1.22548", "1.2239965"):
        assert any(printed in line for line in figures)


# With TensorFlow 1.15 as the reference test_tf115.py has the same, with its culprits.
@pytest.mark.release
def test_a_residual_scale_of_0_11_for_0_10_is_diverged(tmp_path):
    for file in ("legacy_model.py", "lockstep.toml"):
        (tmp_path / file).write_text((EXAMPLE / file).read_text())
    wrong = (EXAMPLE / "legacy_model.py").read_text()
    assert wrong.count("0.10") >= 1
    (tmp_path / "other_network.py").write_text(wrong.replace("0.10", "0.11"))
    migrated = (EXAMPLE / "migrated_model.py").read_text()
    (tmp_path / "migrated_model.py").write_text(migrated.replace("legacy_model", "other_network"))
    done = run("-m", "lockstep", "check", tmp_path / "lockstep.toml", "--json", "-")
    assert done.returncode == 1, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert {step["name"]: step["verdict"] for step in report["steps"]}["variables-match"] == "equivalent"
    assert {step["name"]: step["verdict"] for step in report["steps"]}["inference-fixed"] == "diverged"
