"""`show`, `compare` and `explain` where TensorFlow is not installed, or is and nobody needs it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.commands import lockstep

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("numpy", "numpy.libs", "click", "rich", "packaging", "markdown_it", "mdurl", "pygments", "tomli")
RUN = """
import json, sys
sys.path[:0] = {paths!r}
from lockstep.cli import main
status = main({arguments!r}, standalone_mode=False) or 0
loaded = [name for name in ("tensorflow", "keras") if name in sys.modules]
open({outcome!r}, "w").write(json.dumps([status, loaded]))
"""


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """The quickstart's reference, its candidate, and one with another factor, recorded."""
    folder = tmp_path_factory.mktemp("traces") / "quickstart"
    shutil.copytree(ROOT / "examples" / "quickstart", folder)

    def record(*arguments):
        done = lockstep("record", *arguments, cwd=folder)
        assert done.status == 0, done.stderr

    record("--to", "A")
    candidate = ("--side", "candidate", "--reference", "A", "--to")
    record(*candidate, "B")
    model = folder / "migrated_model.py"
    text = model.read_text()
    assert "return forward(inputs, training)" in text
    changed = 'result = forward(inputs, training)\n        return {"logits": 1.5 * result["logits"]}'
    model.write_text(text.replace("return forward(inputs, training)", changed))
    record(*candidate, "C")
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder with what the core needs, and no framework."""
    packages = tmp_path_factory.mktemp("bare")
    site = Path(np.__file__).resolve().parents[1]
    for name in NEEDED:
        if (site / name).exists():
            (packages / name).symlink_to(site / name)
    return packages


def run(folder, arguments, packages=None):
    """Runs a command; returns its exit status, the frameworks that it imported, and what it printed."""
    paths = [str(ROOT / "src"), *([] if packages is None else [str(packages)])]
    program = RUN.format(paths=paths, arguments=list(arguments), outcome=str(folder / "outcome.json"))
    options = [] if packages is None else ["-I", "-S"]
    done = subprocess.run(
        [sys.executable, *options, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    status, loaded = json.loads((folder / "outcome.json").read_text())
    return status, loaded, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [("show", "A"), ("compare", "A", "B"), ("explain", "epsilon"), ("explain",)])
def test_what_needs_no_tensorflow_imports_none(traces, bare, arguments):
    status, loaded, *_ = run(traces, arguments)
    assert (status, loaded) == (0, [])
    status, loaded, *_ = run(traces, arguments, bare)
    assert (status, loaded) == (0, [])


def test_without_tensorflow_the_verdict_is_the_same_and_what_is_missing_is_told(traces, bare):
    with_it = run(traces, ("compare", "A", "C"))
    assert with_it[:2] == (1, ["tensorflow", "keras"])  # how far rounding moves the reference was asked of its graph
    status, loaded, stdout, stderr = run(traces, ("compare", "A", "C"), bare)
    assert (status, loaded) == (1, [])
    assert "diverged: the candidate does not compute what the reference computes" in stdout
    assert "TensorFlow is not installed here, so the reference's graph was not run" in stderr


def test_the_bare_folder_has_no_tensorflow(traces, bare):
    status, _, _, stderr = run(traces, ("check",), bare)
    assert status == 2
    assert "pip install 'lockstep-verify[tensorflow]'" in stderr
