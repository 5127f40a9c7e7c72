"""The recorder runs where nothing but an old Python, NumPy and an old TensorFlow is installed."""

import ast
import sys
from pathlib import Path

import pytest

import lockstep.recorder

ROOT = Path(lockstep.recorder.__file__).parents[1]
FILES = sorted(file for package in ("ground", "recorder") for file in (ROOT / package).glob("*.py"))
ALLOWED = {"numpy", "tensorflow", "lockstep_recorder"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_each_module_is_python_3_6_and_imports_nothing_else(file):
    tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 6))
    foreign = {name for name in imported(tree) if name not in sys.stdlib_module_names and name not in ALLOWED}
    assert foreign == set()
    assert "dataclasses" not in imported(tree), "Python 3.6 has no dataclasses"


@pytest.mark.parametrize("source", ["if (x := 1): pass", "def f(a, /): pass", "import pandas", "import dataclasses"])
def test_this_check_can_fail(source, tmp_path):
    file = tmp_path / "module.py"
    file.write_text(source)
    with pytest.raises((SyntaxError, AssertionError)):
        test_each_module_is_python_3_6_and_imports_nothing_else(file)
