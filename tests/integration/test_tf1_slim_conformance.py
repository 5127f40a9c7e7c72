"""tf_slim's own tests, which ship in its wheel: those that pass on TensorFlow 1.15 pass here, but for a listed few."""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
RECORDED = HERE.parent / "data/tf115_slim_outcomes.json"
PAGE = ROOT / "docs/tf_slim.md"
AT_MOST = 6
SCRIPT = "tests/slim_conformance.py"
# Nets that take too long, or too much memory, for what they would add: they use the same functions.
LEFT_OUT = ("inception", "overfeat", "resnet", "vgg")


def recorded():
    """What passes on TensorFlow 1.15, tf_slim as it is: the tests' full names."""
    modules = json.loads(RECORDED.read_text())["passed"]
    return {f"{m}.{c}.{test}" for m, classes in modules.items() for c, tests in classes.items() for test in tests}


def listed():
    """The table of exceptions in the documentation: test -> reason."""
    rows = re.findall(r"^\| `(tf_slim\.\S+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return dict(rows)


def regressions(outcome, expected):
    """What is expected to pass and does not: failed, was skipped or is missing: test -> why."""
    passed = set(outcome["passed"])
    whys = {**outcome["skipped"], **outcome["failed"]}
    return {test: whys.get(test, "was not run") for test in expected - passed}


def test_the_table_is_short_and_about_tests_that_pass_on_tensorflow_1_15():
    assert len(listed()) <= AT_MOST
    assert listed().keys() <= recorded()
    assert all(len(reason) > 20 for reason in listed().values())


def test_the_page_tells_which_nets_are_left_out():
    modules = json.loads(RECORDED.read_text())["passed"]
    assert not any(f"nets.{net}" in module for module in modules for net in LEFT_OUT)
    assert ", ".join(LEFT_OUT) in PAGE.read_text()


def test_the_page_tells_how_many():
    assert f"{len(recorded()):,} tests pass on TensorFlow 1.15" in PAGE.read_text()
    assert f"all but {len(listed())} of them" in PAGE.read_text()


def test_a_test_that_fails_is_skipped_or_vanishes_counts():
    outcome = {"passed": ["a"], "skipped": {"b": "no reason"}, "failed": {"c": "AssertionError"}}
    expected = {"a", "b", "c", "d"}
    assert regressions(outcome, expected) == {"b": "no reason", "c": "AssertionError", "d": "was not run"}
    assert regressions(outcome, {"a"}) == {}


@pytest.mark.slow
def test_what_passes_on_tensorflow_1_15_passes_here_but_for_the_table():
    command = [sys.executable, SCRIPT, *(f"--exclude=nets.{net}" for net in LEFT_OUT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "\n{" in done.stdout, done.stderr[-3000:]
    found = regressions(json.loads(done.stdout[done.stdout.rindex("\n{") :]), recorded())
    # The table is of the newest TensorFlow; on an older one (`make matrix`) an exception of it may still pass.
    newest = importlib.metadata.version("tensorflow-cpu") == pinned("tensorflow-cpu")
    assert found.keys() == listed().keys() if newest else found.keys() <= listed().keys(), found


def pinned(package):
    return dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))[package]
