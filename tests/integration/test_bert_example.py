"""Google's BERT in TensorFlow 1.15, unmodified, against `transformers`: the port is proved, mistakes are named."""

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")
pytest.importorskip("transformers", reason="pip install -r examples/bert/requirements.txt")

pytestmark = pytest.mark.release

MISTAKES = {
    "epsilon": ("LayerNorm", "epsilon"),
    "gelu": ("intermediate", "gelu-form"),
    "mask_turned_over": ("attention/self|encoder", "mask"),
    "mask": ("attention/self", "mask"),
    "segments": ("token_type_embeddings", "wrong-input"),
    "positions": ("position_embeddings", "slicing"),
}
"""File -> where its one culprit is, and what it is called."""


def checked(name):
    command = [sys.executable, "-m", "lockstep", "check", f"examples/bert/{name}.toml", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(done.stdout)


def test_the_port_is_equivalent_and_trains_alike():
    report = checked("lockstep")
    assert report["verdict"] == "equivalent", report
    verdicts = {step["name"]: step["verdict"] for step in report["steps"]}
    assert verdicts.pop("checkpoint") == verdicts.pop("metrics") == "not asked for"
    assert set(verdicts.values()) == {"equivalent"}
    assert report["environments"]["reference"]["tensorflow"] == "1.15.5"
    assert not report["culprits"]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_the_one_culprit_and_has_its_cause(name):
    where, pitfall = MISTAKES[name]
    report = checked(name)
    assert report["verdict"] == "diverged"
    (one,) = report["culprits"]
    assert re.search(where, f"{one['reference']} {one['candidate']}"), one
    assert one["pitfall"] == pitfall, one
