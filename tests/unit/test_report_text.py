"""The report for a person: readable at any width, plain in a pipe, nothing cut off, nothing missing."""

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from lockstep.report.text import as_text, show
from lockstep.results.model import Culprit, Report, StepReport, Verdict

NAMES = ("variables-created-once", "variables-match", "inference-fixed", "inference-random", "training-random")
LONG = "InceptionResnetV2/Repeat_1/block17_7/Branch_0/Conv2d_1x1/BatchNorm/a_rather_long_name/moving_variance"
ENVIRONMENTS = {
    "reference": {"subject": "legacy_model.py:forward", "python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1"},
    "candidate": {"subject": "migrated_model.py:build", "python": "3.11.7", "tensorflow": "2.21.0", "numpy": "2.4"},
}


def report(verdict=Verdict.EQUIVALENT, **changes) -> Report:
    steps = tuple(
        StepReport(name, Verdict.EQUIVALENT, "loss 0.00118297 = 0.00118297; 18 outputs bit-equal", judged_by="exact")
        for name in NAMES
    )
    return dataclasses.replace(Report(verdict, steps, (), ENVIRONMENTS, 3.25), **changes)


def diverged(lines: int = 3, culprits: int = 1) -> Report:
    details = tuple(f"line [{i}] of the diff" for i in range(lines))
    step = StepReport("inference-fixed", Verdict.DIVERGED, "1 of 18 outputs differ", details=details)
    blamed = tuple(Culprit(f"{LONG}{i}", None, "variable", "it is missing") for i in range(culprits))
    return report(Verdict.DIVERGED, steps=(step,), culprits=blamed)


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_asked_for_and_nothing_is_cut_off(width):
    for given in (report(), diverged()):
        text = as_text(given, width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for step in given.steps:
            assert f"{step.name} " in text
            assert step.judged_by in text
        joined = "".join(text.split())
        for culprit in given.culprits:
            assert culprit.reference in joined


@pytest.mark.parametrize("width", [80, 120])
def test_plain_text_has_neither_colour_codes_nor_blanks_at_the_end_of_a_line(width):
    text = as_text(diverged(), width=width)
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_colours():
    stream = io.StringIO()
    show(report(), Console(file=stream, width=100, force_terminal=True, color_system="standard"))
    assert "\x1b[32mequivalent" in stream.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_header_names_both_subjects_and_what_they_run_on(width):
    text = words(as_text(report(), title="lockstep check", width=width))
    assert "lockstep check" in text
    assert "reference legacy_model.py:forward TensorFlow 2.21.0, Keras 3.15.1, Python 3.11.7" in text
    assert "candidate migrated_model.py:build TensorFlow 2.21.0, Python 3.11.7, numpy 2.4" in text


@pytest.mark.parametrize("verdict", [Verdict.EQUIVALENT, Verdict.DIVERGED, Verdict.UNDECIDED])
def test_the_last_line_is_the_verdict_and_where_the_report_is(verdict):
    stream = io.StringIO()
    show(report(verdict), Console(file=stream, width=100, color_system=None), written_to="out.json")
    assert stream.getvalue().splitlines()[-1] == f"verdict  {verdict}   3.2 s   report: out.json"
    assert "report:" not in as_text(report(verdict)).splitlines()[-1]


def test_details_are_shown_for_steps_that_are_not_equivalent_alone():
    steps = (
        StepReport("variables-match", Verdict.EQUIVALENT, "", details=("of an equivalent step",)),
        StepReport("inference-fixed", Verdict.UNDECIDED, "", details=("of an undecided step",)),
        StepReport("training-random", Verdict.DIVERGED, "", details=("of a diverged step",)),
    )
    text = as_text(report(Verdict.DIVERGED, steps=steps))
    assert "of an undecided step" in text
    assert "of a diverged step" in text
    assert "of an equivalent step" not in text


def test_what_was_seen_is_a_line_for_each_run_and_names_it_once():
    summary = "constant: loss 1 = 1; constant: 1 output bit-equal; distinct: loss 2 = 2; 3 values; 4 values"
    text = as_text(report(steps=(StepReport("inference-fixed", Verdict.EQUIVALENT, summary),)), width=120)
    seen = ["constant: loss 1 = 1; 1 output bit-equal", "distinct: loss 2 = 2", "3 values", "4 values"]
    lines = iter(text.splitlines())
    assert [phrase for phrase in seen if not any(phrase in line for line in lines)] == []
    assert text.count("constant:") == 1


def test_words_in_the_column_of_rules_stay_whole():
    rule = "exact; initial distributions: Kolmogorov-Smirnov"
    steps = (StepReport("variables-match", Verdict.EQUIVALENT, "3 = 3", judged_by=rule),)
    assert "Kolmogorov-Smirnov" in as_text(report(steps=steps), width=120)


def test_brackets_in_details_are_no_markup():
    assert "line [0] of the diff" in as_text(diverged())


@pytest.mark.parametrize(("lines", "more"), [(20, None), (21, "... and 1 more"), (1500, "... and 1,480 more")])
def test_long_details_end_with_how_many_more_there_are(lines, more):
    text = as_text(diverged(lines, culprits=0))
    assert text.count("of the diff") == min(lines, 20)
    assert ("... and" in text) == (more is not None)
    assert (more or "") in text


@pytest.mark.parametrize(("culprits", "more"), [(10, None), (290, "... and 280 more culprits")])
def test_many_culprits_end_with_how_many_more_there_are(culprits, more):
    text = as_text(diverged(culprits=culprits))
    assert f"culprit 10 of {culprits}" in text
    assert "culprit 11" not in text
    assert ("more culprits" in text) == (more is not None)
    assert (more or "") in text


def test_a_culprit_shows_all_that_is_known_of_it():
    culprit = Culprit("a/weights", "a/kernel", "state", "it moves on", 2.6e-2, 9.0e-8, f"{Path.cwd() / 'model.py'}:31")
    text = words(as_text(report(Verdict.DIVERGED, culprits=(culprit,))))
    assert "culprit 1 of 1 state reference a/weights candidate a/kernel model.py:31" in text  # relative to this folder
    assert "error 0.026, allowed 9e-08, ratio 288,889" in text
    assert "cause it moves on" in text


def test_a_culprit_without_figures_shows_none():
    culprit = Culprit(None, "a/kernel", "variable", "the reference has none")
    text = words(as_text(report(Verdict.DIVERGED, culprits=(culprit,))))
    assert "reference (none) candidate a/kernel cause the reference has none" in text


def test_mistakes_of_one_kind_are_told_once_though_each_has_its_own_figure():
    told = "the candidate has no regularization loss for it (reference: {})"
    blamed = [
        Culprit(f"w{i}", f"v{i}", "regularizer", told.format(i), pitfall="missing-regularizer") for i in range(20)
    ]
    blamed += [Culprit(f"norm{i}", None, "operation", f"epsilon: 1 against {i}", pitfall="epsilon") for i in range(2)]
    text = words(as_text(report(Verdict.DIVERGED, culprits=tuple(blamed)), width=200))
    assert "culprit 1 of 22" in text
    assert "the same of 19 more: w1, w2, w3, w4, and 15 more" in text
    assert text.count("culprit ") == 3  # an epsilon's figure is the mistake itself
    assert "epsilon: 1 against 1" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_steps_that_were_not_asked_for_are_one_line(width):
    left_out = (
        StepReport("checkpoint", Verdict.NOT_ASKED, "no checkpoint was given", judged_by=""),
        StepReport("optimizer", Verdict.NOT_ASKED, "no optimizers were given", judged_by=""),
    )
    text = as_text(report(steps=(*report().steps, *left_out)), width=width)
    assert "\nnot asked for  checkpoint, optimizer\n" in text
    assert "no checkpoint was given" not in text
    why = StepReport("gradients", Verdict.NOT_ASKED, "the candidate gives none", judged_by="")
    assert "gradients (the candidate gives none)" in as_text(report(steps=(why,)), width=width)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_empty_or_says_by_whom_nothing_was_judged(width):
    steps = (StepReport("inference-fixed", Verdict.EQUIVALENT, "", judged_by=""),)
    lines = as_text(report(steps=steps), width=width).splitlines()
    assert all(line.strip() for line in lines)
    assert not any(line.strip() == "by:" for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_words_that_fit_on_a_line_stay_whole(width):
    words = (
        "distinct values: 1 of 1 outputs differ, Kolmogorov-Smirnov, InceptionResnetV2/Logits/biases, deterministically"
    )
    rule = "exact; initial distributions: Kolmogorov-Smirnov"
    step = StepReport("training-random", Verdict.DIVERGED, words, judged_by=rule, details=(words,))
    text = as_text(report(Verdict.DIVERGED, steps=(step,)), width=width)
    assert [word for word in f"{words} {rule}".split() if word not in text.split()] == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_first_line_is_the_verdict_and_the_reason(width):
    text = as_text(diverged(), width=width)
    assert text.startswith("diverged: the candidate does not compute what the reference")
    assert as_text(report(), width=width).startswith("equivalent: the candidate computes what the reference")
