"""The suite's own order, markers and targets: nothing runs twice, nothing is forgotten, no list names what is gone."""

import ast
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests import conftest
from tools import times_of_tests

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

pytest_plugins = "pytester"

ROOT = Path(__file__).resolve().parents[2]
OURS = ("slow", "corpus", "release")
OF_PYTEST = {"parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings"}
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def targets():
    """Target of the Makefile -> the markers' expression that it runs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^(test[\w-]*): \$\(STAMP\)\n\t\$\(PYTEST\) -m '([^']+)'$", makefile, re.MULTILINE))


def selects(expression, markers):
    return bool(eval(expression, {"__builtins__": {}}, {marker: marker in markers for marker in OURS}))


def test_the_list_of_long_files_names_files_that_exist_each_once():
    names = conftest.LONGEST_FIRST
    assert len(set(names)) == len(names) > 5
    assert [name for name in names if not (ROOT / "tests" / name).is_file()] == []


def test_long_files_come_first_and_a_file_stays_together(monkeypatch):
    monkeypatch.setattr(conftest, "LONGEST_FIRST", ("unit/test_c.py", "unit/test_b.py"))
    files = ["src/lockstep/x.py", "tests/unit/test_a.py", "tests/unit/test_b.py", "tests/unit/test_c.py"]
    items = [SimpleNamespace(location=(file, 0, test)) for file in files for test in ("2", "1")]
    conftest.pytest_collection_modifyitems(items)
    assert [item.location[0] for item in items[::2]] == [files[3], files[2], files[0], files[1]]
    assert [item.location[2] for item in items] == ["2", "1"] * 4


def test_the_order_holds_in_a_run_of_pytest(pytester):
    pytester.makeconftest((ROOT / "tests/conftest.py").read_text(encoding="utf-8"))
    first, second = conftest.LONGEST_FIRST[:2]
    for name in ("unit/test_aaa.py", second, first):
        file = pytester.path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("def test_it():\n    pass\n")
    ran = pytester.runpytest_inprocess("--collect-only", "-q", "-p", "no:cacheprovider", "tests")
    listed = [line for line in ran.outlines if "::" in line]
    assert listed == [f"tests/{name}::test_it" for name in (first, second, "unit/test_aaa.py")]


def test_every_marker_that_a_test_has_is_declared_and_every_declared_one_is_in_use():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    declared = {line.partition(":")[0] for line in options["markers"]}
    used = {found for file in TESTS for found in re.findall(r"\bmark\.(\w+)", file.read_text(encoding="utf-8"))}
    assert used - OF_PYTEST == declared == set(OURS)


@pytest.mark.parametrize("markers", [c for n in range(4) for c in itertools.combinations(OURS, n)], ids=str)
def test_each_test_is_run_by_one_target(markers):
    assert sorted(targets()) == ["test", "test-corpora", "test-release", "test-slow"]
    chosen = [target for target, expression in targets().items() if selects(expression, markers)]
    assert len(chosen) == 1, chosen


def test_what_must_pass_is_all_but_what_comes_before_a_release():
    run = (ROOT / ".ci/run").read_text(encoding="utf-8")
    called = set(re.findall(r"^make (\S+)", run, re.MULTILINE))
    assert set(targets()) - called == {"test-release"}
    assert called >= {"lint", "matrix", "soundness", "fuzz"}
    assert "make test-release" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def stepped(file):
    """Lines at which a list of cases is cut with a step, or by a random generator: another case moves the sample."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.parametrize"):
            parts = [part for argument in node.args[1:2] for part in ast.walk(argument)]
            found += [node.lineno for part in parts if isinstance(part, ast.Slice) and part.step is not None]
    return found


def test_no_sample_shifts_when_a_case_is_added(tmp_path):
    assert [f"{file.name}:{line}" for file in TESTS for line in stepped(file)] == []
    (tmp_path / "test_it.py").write_text('@pytest.mark.parametrize("slug", SLUGS[::4])\ndef test_it(slug): ...\n')
    assert stepped(tmp_path / "test_it.py") == [1]


def test_times_are_of_the_process_and_its_children_and_a_sample_counts_for_all(pytester, monkeypatch):
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    pytester.makepyfile(
        test_it=f"import subprocess, sys, pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n):\n    "
        f"subprocess.run([sys.executable, '-S', '-c', {burn!r}], check=True)\ndef test_other(): pass\n"
    )
    monkeypatch.setenv(times_of_tests.FILE, str(pytester.path / "times"))
    monkeypatch.setenv(times_of_tests.SAMPLE, "2")
    pytester.runpytest_inprocess("-p", "tools.times_of_tests", "-p", "no:cacheprovider").assert_outcomes(passed=3)
    costs = times_of_tests.read(pytester.path / "times")
    assert [(cost.test, cost.weight) for cost in costs] == [("test_it[0]", 3), ("test_it[3]", 3), ("test_other", 1)]
    assert min(cost.processor_s for cost in costs[:2]) > 0.2
    first, whole = (line.split() for line in times_of_tests.table(costs).splitlines()[1:])
    assert first == [*whole[:3], "test_it.py"]
    assert (float(whole[0]) > 1.2, whole[2:]) == (True, ["7", "all"])
