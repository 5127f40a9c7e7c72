"""The fuzzer's runner tells apart what can go wrong, and goes on after each."""

import subprocess
import sys

from tools.fuzz import __main__ as runner
from tools.fuzz import children
from tools.fuzz._unwell import WAYS


def test_each_way_to_go_wrong_is_told_and_the_trials_after_it_are_run():
    first = -children.SEEDS % len(WAYS)  # seed 1 begins at SEEDS
    found = list(children.run("_unwell", 1, first, 2 * len(WAYS)))
    assert [number for number, _ in found] == list(range(first, first + 2 * len(WAYS)))
    assert [outcome.kind for _, outcome in found] == [*WAYS, *WAYS]
    assert all(outcome.what == outcome.kind for _, outcome in found)
    said = {outcome.kind: outcome.detail for _, outcome in found}
    assert "RuntimeError: unforeseen" in said["traceback"]
    assert "_unwell.py" in said["hang"]  # where it hung
    assert "ended with -6" in said["abort"]


def test_a_row_counts_what_went_wrong(capsys):
    tally, failures = runner._tried("_unwell", 0, len(WAYS), jobs=2)
    assert tally == {"right": 2, "wrong": 1, "traceback": 1, "hang": 1, "abort": 1}
    assert [number for number, _ in failures] == [1, 2, 3, 4]
    assert capsys.readouterr().out.split()[:-1] == ["_unwell", "6", "1", "1", "1", "1"]


def test_the_targets_need_no_tensorflow_to_be_imported():
    code = (
        "import sys; from tools.fuzz.__main__ import targets; print(*targets()); assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "_unwell" not in done.stdout
