"""`make matrix`: finding interpreters, making environments anew, and telling what came out."""

import importlib.util
import pathlib
import re
import sys

import pytest

from lockstep.tf1 import compatibility

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def matrix(monkeypatch, tmp_path):
    specification = importlib.util.spec_from_file_location("matrix", ROOT / "tools/matrix.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "matrix", module)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "PLACE", tmp_path / ".matrix")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    return module


def interpreter(path, answer):
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


def test_a_broken_shim_of_pyenv_is_passed_over(matrix, tmp_path):
    interpreter(tmp_path / "path/python3.10", "echo 'pyenv: python3.10: command not found' >&2; exit 127")
    behind = interpreter(tmp_path / "pyenv/versions/3.10.13/bin/python3.10", "echo 3.10")
    of_uv = interpreter(tmp_path / "uv/cpython-3.10.9-linux/bin/python3.10", "echo 3.10")
    assert list(matrix.interpreters("3.10")) == [behind, of_uv]


def test_an_interpreter_on_path_comes_first_if_it_is_what_its_name_says(matrix, tmp_path):
    first = interpreter(tmp_path / "path/python3.11", "echo 3.11")
    interpreter(tmp_path / "pyenv/versions/3.11.1/bin/python3.11", "echo 3.12")
    assert list(matrix.interpreters("3.11")) == [first]


def test_a_missing_interpreter_is_told_and_is_no_success(matrix):
    outcome = matrix.run(matrix.ROWS[0], ["tests"], [], slow=False)
    assert (
        "no Python 3.10 was found on PATH, in pyenv's or in uv's folders; run: uv python install 3.10"
        in outcome.trouble
    )
    assert not outcome.good
    assert outcome.trouble in matrix.table([outcome])


def test_an_environment_is_made_anew_when_its_pins_change_and_only_then(matrix, tmp_path, monkeypatch):
    interpreter(tmp_path / "path/python3.10", "echo 3.10")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "pins.txt").write_text("keras==3.3.3\n")
    calls = []

    def uv(*arguments):
        calls.append(arguments[0])
        if arguments[0] == "venv":
            (tmp_path / ".matrix/row/bin").mkdir(parents=True)
            (tmp_path / ".matrix/row/bin/python").touch()

    monkeypatch.setattr(matrix, "_uv", uv)
    row = matrix.Row("row", "3.10", "pins.txt")
    for _ in range(2):
        matrix.environment(row)
    assert calls == ["venv", "pip"]
    for file, text in (("pins.txt", "keras==3.4.0\n"), ("pyproject.toml", "[project]\n")):
        (tmp_path / file).write_text(text)
        matrix.environment(row)
    assert calls == ["venv", "pip"] * 3


@pytest.mark.parametrize(
    ("counts", "trouble", "good"),
    [
        ({"passed": 3}, "", True),
        ({"passed": 3, "skipped": 1}, "", True),
        ({"passed": 3, "failed": 1}, "", False),
        ({"passed": 3, "errors": 2}, "", False),
        ({"skipped": 3}, "", False),
        ({}, "", False),
        ({"passed": 3}, "pytest ended with status 3", False),
    ],
)
def test_what_is_a_good_outcome(matrix, counts, trouble, good):
    assert matrix.Outcome(matrix.ROWS[0], counts, (), 1.0, trouble).good is good


def test_a_failed_guide_is_no_good_outcome(matrix):
    assert not matrix.Outcome(matrix.ROWS[0], {"passed": 3}, ("FAILED examples/guide",), 1.0).good


def test_the_table_has_a_line_for_each_row_and_the_failures_below(matrix):
    outcomes = [
        matrix.Outcome(matrix.ROWS[0], {"passed": 30, "failed": 1, "skipped": 2}, ("FAILED test_x.py::test_y",), 61.4),
        matrix.Outcome(matrix.ROWS[1], {"passed": 33}, (), 60.0),
    ]
    lines = matrix.table(outcomes).splitlines()
    assert " ".join(lines[1].split()) == "oldest TensorFlow 2.16.2, Keras 3.3.3, Python 3.10 30 1 2 61 s"
    assert "oldest: FAILED test_x.py::test_y" in lines
    assert any(".matrix/oldest.log" in line for line in lines)
    assert not any(line.startswith("middle:") for line in lines)


def test_the_rows_are_the_versions_that_the_shim_says_it_was_checked_on(matrix):
    rows = [re.search(r"TensorFlow (\S+), Keras (\S+),", row.versions()).groups() for row in matrix.ROWS]
    assert tuple(rows) == compatibility.CHECKED_PAIRS


def test_the_tests_of_the_shim_are_found(matrix):
    files = matrix.files_of_tests("")
    assert "tests/integration/test_tf1_tracking.py" in files
    assert all((ROOT / file).is_file() for file in files)
    assert matrix.files_of_tests("slim") == [file for file in files if "slim" in file]
