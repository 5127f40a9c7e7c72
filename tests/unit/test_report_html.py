"""The page is made of the report alone; what others wrote in it is shown, and never obeyed."""

import dataclasses
import html.parser
import json
import math
import re
import subprocess
import sys

import pytest

from lockstep.report import charts, view
from lockstep.report import html as page
from lockstep.report.switches import Distance, SettingReport, SwitchReport
from lockstep.results.evidence import Computed, Evidence, Excerpt, ProgramPair, Row, UlpHistogram, VariablePair
from lockstep.results.model import Culprit, Report, StepReport, Verdict, merged
from lockstep.results.pitfalls import SLUGS

HOSTILE = '</script><script>window.obeyed = 1</script><img src=x onerror="window.obeyed = 1">\'\u202e\x1b[2J'


class Elements(html.parser.HTMLParser):
    """All elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._within = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag == "script"
        if self._within:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._within = self._within and tag != "script"

    def handle_data(self, data):
        if self._within:
            self.scripts[-1] += data


def computed(name, line=3, file="model.py"):
    return Computed(name, name.rpartition("/")[0], "Mul", f"{file}:{line}", (2, 3), "float32")


def report(verdict=Verdict.DIVERGED, name="net/a/mul", collected=True, **changes):
    """A report in which one operation is to blame, and is found in both programs."""
    rows = (
        Row(computed("net/in"), computed("model/net/in"), "identical", 0.0, None, 0.0, 0.0, 1e-8),
        Row(computed(name), computed(f"model/{name}"), "beyond", 0.1, 2e-7, 64528.2, 0.1, 2e-8),
        Row(computed("net/b/add"), computed("model/net/b/add"), "within", 1e-8, 2e-7, 0.05, 0.3, 3e-8),
        Row(None, computed("model/net/b/Cast"), "inside"),
    )
    culprit = Culprit(
        name, f"model/{name}", "operation", "the constant factor is 0.11", 0.1, 2e-7, "model.py:3", "model.py:3",
        "constant-factor", "use 0.1", (("Mul",), ("Mul",)), ("constant factor: 0.1 against 0.11",), ("net/w",),
    )  # fmt: skip
    kept = Evidence(
        programs=(ProgramPair("inference", rows),),
        ulps=(UlpHistogram("inference-fixed", (80, 0, 3)),),
        variables=(
            VariablePair("net/w", "model/net/w", ((2,), (2,)), "float32", True, "^net → model/net", "", 0.0),
            VariablePair("net/v", None, ((3,), None), "float32", False, note="nearest: model/net/u (same shape)"),
        ),
        settings={"reference": {"tensorflow": "1.15.5"}, "candidate": {"tensorflow": "2.21.0"}},
        inputs={"image": "(1, 2) float32"},
        excerpts={"model.py": Excerpt({1: "def f(net):", 2: "", 3: "    return net * 0.11  # scaled"})},
    )
    steps = (
        StepReport("inference-fixed", verdict, "1 of 2 outputs differ", {}, "exact", ("logits: far off",), 1.0),
        StepReport("checkpoint", Verdict.NOT_ASKED, "no checkpoint was given"),
    )
    environments = {
        "reference": {"subject": "legacy.py:forward", "tensorflow": "1.15.5"},
        "candidate": {"subject": "migrated.py:build", "tensorflow": "2.21.0"},
    }
    made = Report(verdict, steps, (culprit,), environments, 2.0, evidence=kept if collected else None)
    return dataclasses.replace(made, **changes)


# --- what the page shows


def test_the_page_says_verdict_reason_and_what_to_write_instead():
    text = report().to_html()
    assert "operation model/net/a/mul: the constant factor is 0.11" in text
    assert "use 0.1" in text
    assert "64,528" not in text  # the ratio of the culprit is error over budget where no larger one is known
    assert "500,000 ×" in text
    assert "1 of 2 outputs differ" in text
    assert "Not asked for" in text


def test_both_source_lines_are_shown_with_their_surroundings_and_highlighted():
    shown = view.view_of(report(), title="t")
    for side in shown.culprits[0].sides:
        assert [(line.number, line.named) for line in side.code] == [(1, False), (2, False), (3, True)]
    assert '<span class="k">return</span>' in report().to_html()


def test_the_text_of_the_pitfall_is_on_the_page_without_the_report_that_its_page_begins_with():
    text = report().to_html()
    assert "Residual scales" in text
    assert "culprit 1 of 1" not in text


@pytest.mark.parametrize("slug", SLUGS)
def test_every_pitfall_has_a_page_that_says_why(slug):
    assert "**Why.**" in page.pitfall_page(slug)


def test_an_unknown_pitfall_has_no_page_and_the_nearest_is_named():
    with pytest.raises(ValueError, match=r"no pitfall 'epsilom'.*epsilon"):
        page.pitfall_page("epsilom")


def test_a_pitfall_of_a_later_version_is_named_without_a_text():
    culprit = dataclasses.replace(report().culprits[0], pitfall="from-the-future")
    assert "from-the-future" in report(culprits=(culprit,)).to_html()


def test_a_culprit_leads_to_its_operation_in_the_map():
    assert view.view_of(report(), title="t").culprits[0].operation == "inference/net/a/mul"
    text = report().to_html()
    assert 'data-operation="inference/net/a/mul"' in text


def test_the_map_holds_every_operation_with_its_state_and_figures():
    packed = view.view_of(report(), title="t").map
    strings, (mode,) = packed["strings"], packed["modes"]
    assert [row[0] for row in mode["rows"]] == ["identical", "beyond", "within", "inside"]
    assert [row[1] for row in mode["rows"]] == [0, 1, 0, 0]
    blamed = mode["rows"][1]
    assert strings[blamed[2][0]] == "net/a/mul"
    assert strings[blamed[3][0]] == "model/net/a/mul"
    assert blamed[4:] == [64528.2, 0.1, 2e-7, 0.1, 2e-8]
    assert mode["rows"][3][2] == 0  # the reference has nothing there


def test_what_differs_in_the_settings_comes_before_what_does_not():
    sides = {"numpy": "2.0", "tensorflow": "1.15.5"}, {"numpy": "2.0", "tensorflow": "2.21.0"}
    rows = view.settings_of(dict(zip(("reference", "candidate"), sides, strict=True)))
    assert [(row.name, row.differs) for row in rows] == [("TensorFlow", True), ("NumPy", False)]


def test_a_flag_that_one_side_has_is_not_set_on_the_other_and_what_nobody_tells_is_no_difference():
    rows = view.settings_of(
        {"reference": {"TF_ENABLE_ONEDNN_OPTS": "0"}, "candidate": {"data format": "channels_last"}}
    )
    assert [(row.name, row.reference, row.candidate, row.differs) for row in rows] == [
        ("TF_ENABLE_ONEDNN_OPTS", "0", "not set", True),
        ("data format", "not told", "channels_last", False),
    ]


def test_a_variable_without_a_partner_comes_first_and_a_rule_is_counted():
    shown = view.view_of(report(), title="t")
    assert [variable.reference for variable in shown.variables] == ["net/v", "net/w"]
    assert shown.rules == (("^net → model/net", 1),)


def test_a_report_without_evidence_is_a_page_without_map_and_figures():
    text = report(collected=False).to_html()
    assert 'id="programs"' not in text
    assert 'id="depth"' not in text
    assert "use 0.1" in text


def test_where_no_program_was_followed_the_page_says_what_was_compared():
    kept = dataclasses.replace(report().evidence, programs=())
    assert "There is none: no operation was compared" in report(evidence=kept).to_html()


def test_the_shares_of_runtime_and_code_are_drawn_against_the_larger():
    figures = {"output_error_of_runtime": 1e-5, "output_error_of_code": 2.5e-6}
    step = dataclasses.replace(report().steps[0], figures=figures)
    (share,) = view.view_of(report(steps=(step,)), title="t").shares
    assert (share.runtime, share.code, share.runtime_width, share.code_width) == ("1e-05", "2.5e-06", 100.0, 25.0)


def test_drift_is_drawn_beside_the_reference_s_own():
    figures = {"drift": [1e-7, 2e-7], "own_drift": [1e-8, 2e-8]}
    step = dataclasses.replace(report().steps[0], name="trajectory", figures=figures)
    drift = view.view_of(report(steps=(step,)), title="t").drift
    assert [line.kind for line in drift.lines] == ["own", "free"]


@pytest.mark.parametrize(
    ("verdict", "ends"),
    [
        (Verdict.EQUIVALENT, "in the one step that was asked for; what differs is within tolerance."),
        (Verdict.UNDECIDED, "whether both compute the same: inference-fixed: 1 of 2 outputs differ."),
    ],
)
def test_the_sentence_says_why(verdict, ends):
    assert view.sentence(report(verdict, culprits=())).endswith(ends)


def test_a_difference_of_the_runtimes_alone_is_told_as_that():
    step = dataclasses.replace(report(Verdict.EQUIVALENT).steps[0], figures={"output_error_of_code": 0.0})
    told = view.sentence(report(Verdict.EQUIVALENT, steps=(step,)))
    assert "TensorFlow 1.15.5 against 2.21.0, and your code is bit for bit the same" in told


def test_the_evidence_of_several_batches_is_that_of_one_that_diverged():
    fine = report(Verdict.EQUIVALENT, culprits=())
    assert merged([fine, report()]).evidence == report().evidence
    assert merged([report(collected=False), report(collected=False)]).evidence is None


# --- what others wrote is inert


def test_hostile_names_end_no_element_and_begin_none():
    harmless = Elements(report().to_html())
    culprit = dataclasses.replace(
        report().culprits[0], candidate=HOSTILE, cause=HOSTILE, fix=HOSTILE, attributes=(HOSTILE,), variables=(HOSTILE,)
    )
    steps = tuple(dataclasses.replace(step, summary=HOSTILE, details=(HOSTILE,)) for step in report().steps)
    kept = report(name=HOSTILE).evidence
    kept = dataclasses.replace(
        kept,
        settings={"reference": {HOSTILE: HOSTILE}, "candidate": {HOSTILE: "b"}},
        inputs={HOSTILE: HOSTILE},
        excerpts={"model.py": Excerpt({3: HOSTILE})},
        variables=(VariablePair(HOSTILE, HOSTILE, ((), ()), HOSTILE, True, HOSTILE, HOSTILE, 0.0),),
    )
    text = report(
        name=HOSTILE,
        culprits=(culprit,),
        steps=steps,
        evidence=kept,
        environments={"reference": {"subject": HOSTILE}, "candidate": {"subject": HOSTILE, "tensorflow": HOSTILE}},
    ).to_html(title=HOSTILE)
    hostile = Elements(text)
    assert len(hostile.scripts) == len(harmless.scripts) == 2
    assert hostile.scripts[-1] == harmless.scripts[-1]
    assert not any(tag == "img" for tag, _ in hostile.elements)
    assert not any(name.startswith("on") or name == "style" for _, attrs in hostile.elements for name in attrs)
    assert "\x1b" not in text
    assert "\u202e" not in text
    strings = json.loads(hostile.scripts[0])["strings"]
    assert any("<script>window.obeyed" in string for string in strings)
    assert not any("\u202e" in string or "\x1b" in string for string in strings)


def test_the_fragment_of_a_notebook_is_inert_too():
    culprit = dataclasses.replace(report().culprits[0], candidate=HOSTILE, cause=HOSTILE, fix=HOSTILE)
    elements = Elements(report(culprits=(culprit,))._repr_html_()).elements
    assert not any(tag in {"script", "img"} for tag, _ in elements)
    assert len(report()._repr_html_()) < 20_000


def test_only_this_page_s_own_script_and_style_may_run():
    text = report().to_html()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert "://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text)  # nothing is fetched, nothing is linked to


def test_json_in_a_script_survives_what_would_end_it():
    value = {"a": "</script><!--\u2028&"}
    text = str(page.json_for_script(value))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


# --- figures


def test_a_chart_puts_zero_on_the_floor_and_what_is_infinite_at_the_edge():
    scale = charts.Scale.of([charts.Series("free", "", [1e-6, 1e-2])])
    assert scale.y(0.0) == scale.floor
    assert scale.y(1e-6) < scale.floor
    assert scale.y(math.inf) == scale.y(1e-2)
    assert scale.y(1e-6) > scale.y(1e-4) > scale.y(1e-2)


def test_a_chart_of_nothing_but_zeros_and_of_one_place_can_be_drawn():
    chart = charts.line_chart([charts.Series("free", "f", [0.0])], (), "x")
    assert "nan" not in repr(chart)
    assert chart.lines[0].path.startswith("M")


def test_a_value_that_is_no_number_is_left_out_of_a_line():
    chart = charts.line_chart([charts.Series("free", "f", [1e-3, math.nan, None, 1e-2])], (), "x")
    assert "nan" not in chart.lines[0].path
    assert chart.lines[0].path.count("L") == 1


def test_a_histogram_says_what_its_bars_are():
    drawn = charts.histogram("inference-fixed", (90, 5, 0, 5), 0)
    assert drawn.note == "100 elements, 90 % equal; the furthest are 4 to 7 ULP apart"
    heights = [bar.height for bar in drawn.bars]
    assert heights[0] > heights[1] == heights[3] > heights[2] == 0.0
    assert charts.histogram("inference-fixed", (7,), 0).note == "7 elements, all equal"


# --- switches


def switches(**changes):
    rows = (
        SettingReport("inference", "candidate", "eager", None, Distance(0.0, None, True), None, Verdict.EQUIVALENT),
        SettingReport(
            "inference", "candidate", "tf.function", Distance(1e-3, None, False), Distance(math.inf, None, False), 1e-5,
            Verdict.DIVERGED, HOSTILE,
        ),
    )  # fmt: skip
    made = SwitchReport(Verdict.DIVERGED, rows, ("tf.function differs",), {"candidate": {"subject": "m.py:build"}}, 1.0)
    return dataclasses.replace(made, **changes)


def test_the_page_of_switches_names_what_diverges_and_is_inert():
    text = switches().to_html()
    assert "1 of 2 ways of running the candidate diverges: tf.function." in text
    assert "bit for bit" in text
    assert "cannot be compared" in text
    assert len(Elements(text).scripts) == 1


def test_importing_the_report_imports_no_template_engine():
    code = "import sys, lockstep.report; print([m for m in ('jinja2', 'pygments', 'markdown_it') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
