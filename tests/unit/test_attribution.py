"""Which switch is named, on functions of NumPy in place of TensorFlow's."""

import json
import re

import numpy as np
import pytest

from lockstep.common.errors import DivergedError, InputError, SubjectError, UndecidedError
from lockstep.report.switches import Distance, SettingReport, SwitchReport, show, to_json
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.switching.attribution import (
    CANDIDATE,
    REFERENCE,
    Attribution,
    Seen,
    attribute,
    of_grappler,
    of_moved_process,
    of_reference,
    of_repeated_calls,
    of_second_call,
    of_xla,
)
from lockstep.switching.bench import distance, misaligned, reason, settled, why
from lockstep.traces.trace import Trace

PASSES = ("remapping", "arithmetic_optimization", "constant_folding", "loop_optimization")
X = np.linspace(0.1, 2.0, 50, dtype=np.float32)
EAGER = (X * np.float32(0.1) * np.float32(0.3) + X) / np.float32(3)


class Rewriter:
    """A compiler of NumPy code with passes, each of which computes one thing otherwise."""

    def __init__(self, rewrites, unnamed=False):
        self.rewrites, self.unnamed, self.runs = rewrites, unnamed, []

    def __call__(self, off):
        self.runs.append(off)
        on = set(PASSES) - set(off)
        return self._apart(any(rule(on) for rule in self.rewrites) or self.unnamed)

    def whole(self):
        self.runs.append(None)
        return self._apart(False)

    @staticmethod
    def _apart(rewritten):
        value = (X * np.float32(0.03) + X) * (np.float32(1) / np.float32(3)) if rewritten else EAGER
        error = float(np.max(np.abs(value - EAGER)))
        assert (error > 0) == rewritten, "the rewriting has to round otherwise"
        return Distance(error, None, bool(np.array_equal(value, EAGER)))


def found_by(*rewrites, **options):
    rewriter = Rewriter(rewrites, **options)
    return attribute(PASSES, rewriter, rewriter.whole), rewriter.runs


def test_one_pass_is_named_and_each_was_tried():
    found, runs = found_by(lambda on: "remapping" in on)
    assert found == Attribution(alone=("remapping",))
    assert runs == [(name,) for name in PASSES]


def test_two_passes_that_only_work_together_are_both_named():
    found, _ = found_by(lambda on: {"remapping", "constant_folding"} <= on)
    assert found.alone == ("remapping", "constant_folding")


def test_passes_that_each_do_it_have_to_be_off_together():
    found, _ = found_by(lambda on: "remapping" in on or "constant_folding" in on)
    assert found == Attribution(together=("remapping", "constant_folding"))


def test_a_set_is_the_smallest_of_which_none_can_be_left_on():
    found, runs = found_by(lambda on: "remapping" in on, lambda on: "loop_optimization" in on)
    assert found.together == ("remapping", "loop_optimization")
    assert len(runs) == len(PASSES) + 1 + 1 + len(PASSES), "linear in the number of passes"


def test_what_no_named_pass_does_is_grapplers_as_a_whole():
    found, _ = found_by(unnamed=True)
    assert found == Attribution(whole=True)
    assert found.found


def test_what_stays_without_grappler_is_not_grapplers():
    rewriter = Rewriter([lambda on: True])
    found = attribute(PASSES, rewriter, lambda: rewriter(()))
    assert not found.found


def test_a_setting_that_does_not_run_explains_nothing():
    assert not attribute(PASSES, lambda off: None, lambda: None).found


APART = Distance(1.9e-6, None, bit_equal=False)
SAME = Distance(0.0, None, bit_equal=True)
WITHIN = Seen(APART, Verdict.EQUIVALENT, 2e-5)
BEYOND = Seen(APART, Verdict.DIVERGED, 1e-9)


def test_the_sentence_about_one_pass():
    assert of_grappler(CANDIDATE, WITHIN, Attribution(alone=("remapping",))) == (
        "in tf.function the candidate differs by 1.9e-06 (noise budget 2e-05) from itself run eagerly. With remapping "
        "off it is bit for bit equal: the difference is Grappler's remapping, not your code."
    )


@pytest.mark.parametrize(
    ("seen", "found", "said"),
    [
        (Seen(SAME, Verdict.EQUIVALENT), Attribution(), "bit for bit what it computes run eagerly"),
        (WITHIN, Attribution(alone=("a", "b")), "With a off or with b off it is bit for bit equal: .* do together"),
        (WITHIN, Attribution(together=("a", "b")), "No single switch .* with a and b off together .* not your code"),
        (WITHIN, Attribution(whole=True), "with Grappler off as a whole .* Grappler's, not your code"),
        (WITHIN, Attribution(), r"No switch explains it \(no pass of Grappler makes it vanish, nor all of them\)\.$"),
        (BEYOND, Attribution(alone=("a",)), "Grappler's a, not your code. It is more than rounding explains"),
        (BEYOND, Attribution(), "No switch changes that .*: it is your code. Python code is executed once"),
        (
            Seen(APART, Verdict.EQUIVALENT, None, ("oneDNN off",), ("one thread",)),
            Attribution(),
            "with oneDNN off, in a process of its own, it is bit for bit equal: .* oneDNN's kernels, not your code",
        ),
        (
            Seen(APART, Verdict.DIVERGED, None, (), ("oneDNN off", "one thread")),
            Attribution(),
            "nor all of them, nor oneDNN off or one thread.: it is your code",
        ),
        (
            Seen(APART, Verdict.EQUIVALENT, None, ("one thread and Grappler off",)),
            Attribution(),
            "the order in which threads sum, not your code",
        ),
    ],
)
def test_the_sentence_says_what_made_it_vanish(seen, found, said):
    sentence = of_grappler(CANDIDATE, seen, found)
    assert re.search(said, sentence), sentence


def test_a_difference_beyond_the_budget_that_the_tolerance_allows_is_told_as_that():
    assert Seen(APART, Verdict.EQUIVALENT, 0.0).size == "1.9e-06 (noise budget 0, but within the tolerance)"
    assert BEYOND.size == "1.9e-06 (noise budget 1e-09)"


def test_the_references_session_is_not_called_your_code():
    assert "not its code" in of_grappler(REFERENCE, WITHIN, Attribution(alone=("remapping",)))


def test_xla_is_told_apart_from_what_tf_function_does_already():
    assert "XLA fuses operations" in of_xla(WITHIN, Verdict.EQUIVALENT)
    assert "it is XLA, not your code" in of_xla(BEYOND, Verdict.EQUIVALENT)
    assert "so it does in tf.function without XLA" in of_xla(BEYOND, Verdict.DIVERGED)
    assert "hides any answer" in of_xla(Seen(APART, Verdict.UNDECIDED), Verdict.EQUIVALENT)


def test_calls_that_differ():
    assert "it is your code" in of_second_call(APART, SAME)
    assert "its second call differs by 1.9e-06 from its first" in of_second_call(APART, APART)
    assert "in each call, or a kernel" in of_repeated_calls(APART, ())
    assert "not with one thread: the order in which threads sum" in of_repeated_calls(APART, ("one thread",))


def test_a_setting_that_moves_both_sides_alike():
    assert "there they are bit for bit equal" in of_moved_process("oneDNN off", APART, SAME)
    assert "that hides any answer" in of_moved_process("oneDNN off", APART, APART)


def test_the_reference_and_the_candidate_run_eagerly():
    assert of_reference(Seen(SAME, Verdict.EQUIVALENT), "") == "the candidate run eagerly is bit for bit the reference."
    assert "what is left is 1 against 2" in of_reference(Seen(SAME, Verdict.EQUIVALENT), "1 against 2")
    both = of_reference(Seen(APART, Verdict.EQUIVALENT, None, ("oneDNN off",)), "")
    assert "With oneDNN off on both sides they are bit for bit equal" in both
    assert "`lockstep check` names the operation" in of_reference(BEYOND, "")
    assert of_reference(WITHIN, "").endswith("the operations are written otherwise.")


# ---- judging


HIDDEN = Finding(Verdict.UNDECIDED, "hides any answer", (), {"output_hidden_by_noise": True})
UNKNOWN = Finding(Verdict.UNDECIDED, "the outputs differ in structure")
WRONG = Finding(Verdict.DIVERGED, "1 of 1 outputs differ, up to 5")


def test_noise_hides_nothing_where_a_switch_gives_equal_bits():
    assert settled([HIDDEN], Verdict.EQUIVALENT) is Verdict.EQUIVALENT
    assert settled([HIDDEN], None) is Verdict.UNDECIDED


def test_but_what_is_undecided_for_another_reason_stays_so_and_what_diverged_too():
    assert settled([UNKNOWN], Verdict.EQUIVALENT) is Verdict.UNDECIDED
    assert settled([HIDDEN, WRONG], Verdict.EQUIVALENT) is Verdict.DIVERGED


def test_a_structure_that_differs_is_never_bit_equal():
    equal = Finding(Verdict.EQUIVALENT, "", (), {"largest_output_error": 0.0, "output_bit_equal": True})
    state = Finding(Verdict.DIVERGED, "", (), {"largest_state_error": 0.5, "state_bit_equal": False})
    assert distance([equal]) == SAME
    assert distance([equal, state]) == Distance(0.0, 0.5, bit_equal=False)
    assert str(distance([equal, state])) == "0.5 in state"
    extra = Finding(Verdict.UNDECIDED, UNKNOWN.phrase, (), equal.figures)
    assert not distance([extra]).bit_equal
    assert distance([Finding(Verdict.UNDECIDED, "no output at all")]).outputs == float("inf")


def test_why_leaves_out_what_the_table_has():
    assert why([WRONG]) == ""
    assert why([WRONG, Finding(Verdict.DIVERGED, "loss 1 against 2")]) == "loss 1 against 2"
    assert why([UNKNOWN, Finding(Verdict.EQUIVALENT, "fine")]) == UNKNOWN.phrase


def test_draws_of_another_number_or_order_cannot_be_aligned():
    def drew(*seeds, **more):
        return Trace((), {}, {}, forward_draws=seeds, **more)

    assert misaligned(drew(1, 2), drew(1, 2)) == ""
    assert "draws twice, traced once" in misaligned(drew(1, 2), drew(1))
    assert "SeedGenerator" in misaligned(drew(), drew(unaligned_draws=True))


def test_a_reason_is_one_line_without_the_advice():
    error = SubjectError(
        "m.py:build failed while running (mode): no such\nthing; do that", side="x", doing="running (mode)"
    )
    assert reason(error) == "no such"
    assert reason(InputError("It has none of V. 2 (or so). Make one. See there.")) == "It has none of V. 2 (or so)"


# ---- the report


def report(verdict=Verdict.DIVERGED):
    rows = (
        SettingReport("inference", "candidate", "eager", None, SAME, None, Verdict.EQUIVALENT),
        SettingReport("inference", "candidate", "tf.function", APART, APART, 2e-5, verdict, "why"),
        SettingReport("inference", "candidate", "tf.function, remapping off", SAME, SAME, None, Verdict.EQUIVALENT),
        SettingReport("inference", "reference", "session, rewriting", SAME, None, None, Verdict.EQUIVALENT),
    )
    return SwitchReport(verdict, rows, ("inference: it is so.",), {"reference": {"subject": "r"}}, 1.0)


def test_the_report_raises_with_the_settings_and_what_they_come_to():
    with pytest.raises(DivergedError, match=r"inference, tf.function: diverged\ninference: it is so\."):
        report().raise_if_diverged()
    with pytest.raises(UndecidedError):
        report(Verdict.UNDECIDED).raise_if_diverged()
    report(Verdict.EQUIVALENT).raise_if_diverged()


def test_json_is_strict_and_holds_everything():
    unknown = Distance(float("inf"), float("nan"), bit_equal=False)
    row = SettingReport("training", "candidate", "eager", None, unknown, None, Verdict.UNDECIDED)
    tree = json.loads(to_json(SwitchReport(Verdict.UNDECIDED, (*report().settings, row), (), {}, 1.0)))
    assert [entry["setting"] for entry in tree["settings"]][:2] == ["eager", "tf.function"]
    assert tree["settings"][1]["as_written"]["largest_output_error"] == 1.9e-6
    assert tree["settings"][-1]["from_reference"] == {
        "largest_output_error": "Infinity",
        "largest_state_error": "NaN",
        "bit_equal": False,
    }


def test_the_table_names_each_pass_below_its_function():
    import io

    from rich.console import Console

    stream = io.StringIO()
    show(report(), Console(file=stream, width=100, color_system=None))
    lines = stream.getvalue().splitlines()
    assert any(line.startswith("  remapping off") and "bit for bit" in line for line in lines)
    assert any(line.startswith("reference, inference mode") and "from unrewritten" in line for line in lines)
    assert lines[-2:] == ["- inference: it is so.", "verdict  diverged   1.0 s"]
