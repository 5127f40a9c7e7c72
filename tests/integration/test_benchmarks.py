"""`make bench` runs to its end: each of its parts, in this order, in one process, at a size that takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRINTED = {
    "check": "`lockstep check` of the quickstart",
    "metrics": "100,000 float32 pairs",
    "traces": "two traces of 20 tensors",
    "traces, a network": "quickstart, training mode",
    "checkpoints": "checkpoint of 100 variables",
    "weights": "weights of 2 MB in 8 tensors",
    "shim": "quickstart, inference; medians of 2 turns",
    "shim, growth": "growth with the number of variables",
    "shim, memory": "memory over 20 calls",
    "localise": "perceptron, training mode, native",
    # Two examples of it have modules of the same names: the second must not run the first's code.
    "localise, right migrations": "| example | ",
    "torch": "an encoder in PyTorch",
}


@pytest.mark.slow
def test_every_part_of_make_bench_runs_to_its_end():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--small"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert [name for name, words in PRINTED.items() if words not in done.stdout] == [], done.stdout
    assert "places of a right migration are blamed" not in done.stdout


def test_make_bench_is_what_is_tested():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(BIN)/python -m benchmarks\n" in makefile
