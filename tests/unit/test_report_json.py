"""The JSON report: the keys that tools rely on, strict, and whole after a round trip."""

import dataclasses
import json
import math

import numpy as np
import pytest

from lockstep.report.json import from_json, to_json
from lockstep.results.model import Culprit, Report, StepReport, Verdict, merged

REPORT = Report(
    verdict=Verdict.DIVERGED,
    steps=(
        StepReport("variables-match", Verdict.EQUIVALENT, "3 = 3", {"reference_variables": 3}, duration_s=0.25),
        StepReport(
            "inference-fixed",
            Verdict.DIVERGED,
            "1 of 2 outputs differ",
            {"largest": math.inf, "lowest": -math.inf, "nested": {"values": [1.5, None, True]}, "text": "Übel"},
            judged_by="rtol 1e-06",
            details=("logits: 3 of 4",),
            duration_s=1.5,
        ),
        StepReport("gradients", Verdict.NOT_ASKED, "no loss"),
        StepReport("optimizer", Verdict.UNDECIDED, "nothing compared"),
    ),
    culprits=(
        Culprit("a/weights", "a/kernel", "state", "it moves", math.inf, 1e-6, "model.py:3"),
        Culprit("b", None, "variable", "the candidate has none"),
    ),
    environments={"reference": {"subject": "legacy.py:forward", "python": "3.7.1"}, "candidate": {"subject": "x"}},
    duration_s=2.0,
)


def refuse(constant: str):
    raise AssertionError(f"{constant} is not JSON")


def test_the_keys_of_the_contract_are_there():
    tree = json.loads(to_json(REPORT), parse_constant=refuse)
    assert {"verdict", "steps", "culprits", "environments", "duration_s"} <= tree.keys()
    assert {"name", "verdict", "summary", "figures"} <= tree["steps"][0].keys()
    keys = {"reference", "candidate", "kind", "error", "noise_budget", "ratio", "source"}
    assert keys <= tree["culprits"][0].keys()
    assert tree["verdict"] == "diverged"
    assert [step["verdict"] for step in tree["steps"]] == ["equivalent", "diverged", "not asked for", "undecided"]


def test_what_is_not_finite_becomes_a_string_and_the_text_stays_strict():
    tree = json.loads(to_json(REPORT), parse_constant=refuse)
    assert tree["steps"][1]["figures"]["largest"] == "Infinity"
    assert tree["steps"][1]["figures"]["lowest"] == "-Infinity"
    assert tree["culprits"][0]["ratio"] == "Infinity"
    assert tree["culprits"][1]["error"] is None


def test_a_round_trip_gives_the_same_report():
    assert from_json(to_json(REPORT)) == REPORT


@pytest.mark.parametrize("change", [{"verdict": Verdict.EQUIVALENT}, {"duration_s": 2.5}, {"culprits": ()}])
def test_a_round_trip_shows_what_was_changed(change):
    assert from_json(to_json(dataclasses.replace(REPORT, **change))) != REPORT


def test_nan_survives_a_round_trip():
    report = dataclasses.replace(REPORT, steps=(StepReport("x", Verdict.DIVERGED, "", {"loss": math.nan}),))
    assert math.isnan(from_json(to_json(report)).steps[0].figures["loss"])


def test_numpy_numbers_become_json_numbers():
    figures = {"count": np.int64(3), "loss": np.float32(0.5)}
    report = dataclasses.replace(REPORT, steps=(StepReport("x", Verdict.EQUIVALENT, "", figures),))
    assert json.loads(to_json(report))["steps"][0]["figures"] == {"count": 3, "loss": 0.5}


def test_a_figure_that_json_cannot_hold_is_refused():
    report = dataclasses.replace(REPORT, steps=(StepReport("x", Verdict.EQUIVALENT, "", {"array": np.ones(3)}),))
    with pytest.raises(TypeError, match="ndarray"):
        to_json(report)


def test_a_report_without_a_key_of_the_contract_is_refused():
    tree = json.loads(to_json(REPORT))
    del tree["steps"][0]["figures"]
    with pytest.raises(KeyError, match="figures"):
        from_json(json.dumps(tree))


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="perhaps"):
        from_json(to_json(REPORT).replace('"undecided"', '"perhaps"'))


def test_reports_of_several_batches_are_one_as_bad_as_its_worst():
    def report(verdict, summary, error):
        step = StepReport("inference-fixed", verdict, summary, {"error": error}, "a rule", (f"line {error}",), 1.0)
        return Report(verdict, (StepReport("variables-match", Verdict.EQUIVALENT, "6 = 6"), step), (), {}, 2.0)

    good, bad = report(Verdict.EQUIVALENT, "fine", 0.0), report(Verdict.DIVERGED, "wrong", 1.0)
    assert merged([good]) is good
    both = merged([good, bad])
    assert both.verdict is Verdict.DIVERGED
    assert [step.verdict for step in both.steps] == [Verdict.EQUIVALENT, Verdict.DIVERGED]
    assert both.steps[0].summary == "6 = 6"
    assert both.steps[1].summary == "batch 1: fine; batch 2: wrong"
    assert both.steps[1].details == ("batch 1: line 0.0", "batch 2: line 1.0")
    assert both.steps[1].figures["batches"] == [{"error": 0.0}, {"error": 1.0}]
    assert both.duration_s == 4.0
