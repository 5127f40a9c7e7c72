"""What is kept of a check for a reader to look at: distances, pairs, lines of code."""

import numpy as np
import pytest

from lockstep.check.collecting import Collector
from lockstep.check.judging import Traces
from lockstep.compare.align import align
from lockstep.results.evidence import ProgramPair, Row
from lockstep.results.model import Culprit
from lockstep.subjects import Recording, Subject
from lockstep.traces.trace import Trace, VariableRecord


def trace(outputs=None, before=None):
    records = tuple(VariableRecord(k, k, v.shape, v.dtype.name, True) for k, v in (before or {}).items())
    return Trace(records, before or {}, outputs or {})


def ulps(ours, theirs):
    collector = Collector()
    collector.step = "inference-fixed"
    collector.outputs(Traces(trace({"y": np.asarray(ours)}), trace({"y": np.asarray(theirs)})))
    return collector.finished((), {}).ulps


def test_distances_are_counted_by_powers_of_two():
    start = np.ones(6, np.float32)
    moved = (start.view(np.uint32) + np.array([0, 1, 2, 3, 4, 1 << 20], np.uint32)).view(np.float32)
    (found,) = ulps(start, moved)
    assert found.counts[:4] == (1, 1, 2, 1)
    assert found.counts[21] == 1
    assert sum(found.counts) == 6


def test_what_is_finite_on_one_side_alone_has_no_distance():
    (found,) = ulps(np.float32([1, np.nan, np.inf, np.nan]), np.float32([1, np.nan, 2, 3]))
    assert (found.counts, found.others) == ((1,), 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(np.int32([1]), np.int32([2])), (np.float32([1]), np.float32([1, 2])), (np.array(["a"]), np.array(["b"]))],
)
def test_what_has_no_distances_is_left_out(ours, theirs):
    assert ulps(ours, theirs) == ()


def test_several_runs_of_a_question_add_up():
    collector = Collector()
    collector.step = "inference-fixed"
    for far in (0, 5):
        y = np.float32([1.0])
        collector.outputs(Traces(trace({"y": y}), trace({"y": (y.view(np.uint32) + np.uint32(far)).view(np.float32)})))
    assert collector.finished((), {}).ulps[0].counts == (1, 0, 0, 1)


def test_a_pair_says_which_rule_made_its_names_meet_and_how_far_its_values_are_apart():
    reference = trace(before={"net/w": np.float32([1, 2]), "net/v": np.float32([1])})
    candidate = trace(before={"model/w": np.float32([1, 2.5]), "other": np.float32([1])})
    rules = [("^net", "model")]
    alignment = align(reference.variables, candidate.variables, rules, (), ())
    collector = Collector()
    collector.variables(Traces(reference, candidate), alignment, rules)
    pair, missing, extra = collector.finished((), {}).variables
    assert (pair.reference, pair.candidate, pair.rule, pair.initial) == ("net/w", "model/w", "^net → model", 0.5)
    assert (missing.reference, missing.candidate) == ("net/v", None)
    assert (extra.reference, extra.candidate) == (None, "other")
    assert "other" in missing.note


def test_lines_are_found_in_the_folder_of_the_configuration_and_elsewhere_are_left_out(tmp_path):
    (tmp_path / "model.py").write_text("\n".join(f"line {n}" for n in range(1, 31)), encoding="utf-8")
    (tmp_path / "secret.txt").write_text("no code\n", encoding="utf-8")
    culprits = [
        Culprit("a", "b", "operation", "c", source=f"{tmp_path / 'secret.txt'}:1", reference_source="model.py:10"),
        Culprit("a", "b", "operation", "c", source="gone.py:3"),
    ]
    found = Collector([tmp_path]).finished(culprits, {}).excerpts
    assert list(found) == ["model.py"]
    assert list(found["model.py"].lines) == list(range(6, 15))
    assert found["model.py"].lines[10] == "line 10"


class Recorded(Subject):
    """A side that somebody recorded."""

    label, recording = "a recording", Recording()

    def environment(self):
        return {}

    def build(self, mode, inputs, wanted=None):
        raise NotImplementedError


def test_a_recording_has_no_file_read_outside_of_the_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "secret.py").write_text("password = 1\n", encoding="utf-8")
    (tmp_path / "mine/model.py").write_text("net = 1\n", encoding="utf-8")
    culprits = [
        Culprit("a", "b", "operation", "c", source="model.py:1", reference_source=f"{tmp_path / 'secret.py'}:1"),
        Culprit("a", "b", "operation", "c", source="../secret.py:1"),
    ]
    collector = Collector([tmp_path / "mine"])
    assert list(collector.finished(culprits, {"reference": Recorded()}).excerpts) == ["model.py"]
    assert len(collector.finished(culprits, {}).excerpts) == 2  # a line of code that ran here is shown


def test_programs_in_which_something_is_wrong_are_kept_before_those_in_which_nothing_is():
    right, wrong = (ProgramPair("inference", (Row(None, None, state),)) for state in ("identical", "beyond"))
    for order in ((right, wrong), (wrong, right)):
        collector = Collector()
        for pair in order:
            collector.programs(pair)
        assert collector.finished((), {}).programs == (wrong,)
