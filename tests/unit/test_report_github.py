"""What GitHub is told of a report: forms that it reads, on files that it knows, and nothing that it would obey."""

import dataclasses

import pytest

from lockstep.common.errors import InputError
from lockstep.report import github
from lockstep.results.model import Culprit, Report, StepReport, Verdict

STEP = StepReport("inference-fixed", Verdict.DIVERGED, "1 of 2 outputs | differ")
CULPRIT = Culprit(
    "a/mul", "b/Mul", "operation", "10 % more", source="sub/model.py:7, in call: x * 2", reference_source="old.py:3"
)
REPORT = Report(Verdict.DIVERGED, (STEP,), (CULPRIT,), {}, 1.0)


def lines(report=REPORT, **options):
    return list(github.error_lines(report, **options))


def test_an_annotation_lies_on_the_candidates_line(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    assert lines() == ["::error file=sub/model.py,line=7,title=Lockstep::operation b/Mul: 10 %25 more"]
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert "file=inner/sub/model.py," in lines()[0]
    absolute = dataclasses.replace(CULPRIT, source=f"{tmp_path}/inner/m.py:1")
    assert "file=inner/m.py,line=1," in lines(dataclasses.replace(REPORT, culprits=(absolute,)))[0]


def test_without_a_line_of_the_candidate_on_the_references_and_without_both_on_none():
    theirs = dataclasses.replace(CULPRIT, source=None)
    assert "file=old.py,line=3," in lines(dataclasses.replace(REPORT, culprits=(theirs,)))[0]
    neither = dataclasses.replace(theirs, reference_source=None)
    assert lines(dataclasses.replace(REPORT, culprits=(neither,)))[0].startswith("::error title=Lockstep::")


def test_what_is_equivalent_has_none_and_what_is_undecided_one():
    assert lines(dataclasses.replace(REPORT, verdict=Verdict.EQUIVALENT, culprits=())) == []
    (only,) = lines(dataclasses.replace(REPORT, verdict=Verdict.UNDECIDED, culprits=()))
    assert only.startswith("::error title=Lockstep::undecided: ")


def test_there_are_ten_at_most():
    assert len(lines(dataclasses.replace(REPORT, culprits=(CULPRIT,) * 11))) == 10
    assert "... and 1 more culprits" in github.step_summary(
        dataclasses.replace(REPORT, culprits=(CULPRIT,) * 11), title="x"
    )


def test_a_name_from_a_model_begins_no_command_of_its_own():
    odd = dataclasses.replace(CULPRIT, candidate="a\n::set-output name=x::y", cause="\x1b[31mred")
    (line,) = lines(dataclasses.replace(REPORT, culprits=(odd,)), title="a,b:c")
    assert "\n" not in line
    assert "\x1b" not in line
    assert "title=a%2Cb%3Ac::" in line


def test_a_cell_of_the_summary_stays_one():
    odd = dataclasses.replace(CULPRIT, candidate="<img src=x>|`a`")
    summary = github.step_summary(dataclasses.replace(REPORT, culprits=(odd,)), title="check")
    assert "1 of 2 outputs \\| differ" in summary
    assert "<img" not in summary.replace("\\<img", "")
    rows = [line for line in summary.splitlines() if line.startswith("| 1 ")]
    assert len(rows) == 1


def test_the_summary_is_added_to_its_file(tmp_path):
    file = tmp_path / "summary.md"
    for _ in range(2):
        github.add_step_summary("text\n", {"GITHUB_STEP_SUMMARY": str(file)})
    assert file.read_text() == "text\ntext\n"
    github.add_step_summary("text\n", {})
    with pytest.raises(InputError, match="cannot be written"):
        github.add_step_summary("text\n", {"GITHUB_STEP_SUMMARY": str(tmp_path)})
