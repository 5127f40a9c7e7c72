"""The example of a frozen graph: what its README says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "frozen_graph"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("frozen") / "frozen_graph"
    shutil.copytree(EXAMPLE, place)
    subprocess.run([sys.executable, str(place / "make_graph.py")], check=True, timeout=300, capture_output=True)
    return place


def check(configuration):
    command = [sys.executable, "-m", "lockstep", "check", str(configuration), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def test_the_rewrite_is_equivalent(folder):
    report = check(folder / "lockstep-graph.toml")
    assert report["verdict"] == "equivalent", report
    assert list(report["code"]["reference"]["files"]) == ["model.pb"]


def test_the_mistake_is_named_with_its_cause(folder):
    report = check(folder / "lockstep-broken.toml")
    assert report["verdict"] == "diverged"
    assert "epsilon is 0.01; with 0.001 the difference vanishes" in str(report["culprits"])
