"""What GitHub shows of a report: annotations beside the lines at fault, and a summary of the job's step.

The forms are those of GitHub's "workflow commands" and "job summaries".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.common.shown import shown, shown_in_a_line
from lockstep.report.headline import culprit_sentence, headline
from lockstep.results.model import Culprit, Report, Verdict

_LINE = re.compile(r"^(?P<file>[^\n]+?\.py):(?P<line>\d+)\b")
_MOST = 10
"""GitHub shows ten errors of a step and drops the rest."""


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Tells whether this process runs in a GitHub action."""
    return environment.get("GITHUB_ACTIONS") == "true"


def error_lines(report: Report, *, title: str = "Lockstep") -> Iterator[str]:
    """Yields a workflow command for each culprit, at most ten; one for the whole where there is no culprit.

    Args:
        report: The report; one that is equivalent has no annotation.
        title: What the annotation is headed by.

    Yields:
        Lines such as `::error file=model.py,line=3,title=Lockstep::operation net/mul: ...`.
    """
    if report.verdict is Verdict.EQUIVALENT:
        return
    if not report.culprits or report.verdict is not Verdict.DIVERGED:
        yield _command({"title": title}, headline(report))
        return
    for culprit in report.culprits[:_MOST]:
        yield _command({**_place(culprit), "title": title}, culprit_sentence(culprit))


def step_summary(report: Report, *, title: str) -> str:
    """Returns the report as Markdown for a job's page.

    Args:
        report: The report.
        title: What was checked.
    """
    lines = [f"### {_cell(title)}: {report.verdict}", "", _cell(headline(report)), ""]
    lines += ["| step | verdict | what was seen |", "| --- | --- | --- |"]
    lines += [f"| {step.name} | {step.verdict} | {_cell(step.summary)} |" for step in report.steps]
    if report.culprits:
        lines += ["", "| culprit | reference | candidate | cause | fix |", "| --- | --- | --- | --- | --- |"]
    for number, culprit in enumerate(report.culprits[:_MOST], 1):
        sides = (
            " ".join(part for part in (name or "(none)", _relative(source or "")) if part)
            for name, source in ((culprit.reference, culprit.reference_source), (culprit.candidate, culprit.source))
        )
        cells = [str(number), *sides, culprit.cause, culprit.fix]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    left = len(report.culprits) - _MOST
    if left > 0:
        lines += ["", f"... and {left:,} more culprits."]
    return "\n".join(lines) + "\n\n"


def add_step_summary(text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Appends to the file that `GITHUB_STEP_SUMMARY` names; does nothing where it names none.

    Raises:
        InputError: The file cannot be written to.
    """
    file = environment.get("GITHUB_STEP_SUMMARY")
    if not file:
        return
    try:
        with Path(file).open("a", encoding="utf-8") as summary:
            summary.write(text)
    except OSError as error:
        raise InputError(f"GITHUB_STEP_SUMMARY names {file}, which cannot be written: {error.strerror}.") from error


def _place(culprit: Culprit) -> dict[str, str]:
    """Where a culprit's annotation belongs: the candidate's line, else the reference's; nowhere without either."""
    for source in (culprit.source, culprit.reference_source):
        found = _LINE.match(source or "")
        if found:
            return {"file": _relative(found["file"]), "line": found["line"]}
    return {}


def _relative(path: str) -> str:
    """A path as GitHub knows it, from the top of the checkout."""
    top = os.environ.get("GITHUB_WORKSPACE") or str(Path.cwd())
    absolute = Path(path) if Path(path).is_absolute() else Path.cwd() / path
    return absolute.relative_to(top).as_posix() if path and absolute.is_relative_to(top) else path


def _command(properties: Mapping[str, str], message: str) -> str:
    told = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
    return f"::error {told}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    r"""Escapes what a workflow command would end at.

    >>> _escaped("100 %: a\nb"), _escaped("a:b", ":,")
    ('100 %25: a%0Ab', 'a%3Ab')
    """
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for character in also:
        escaped = escaped.replace(character, f"%{ord(character):02X}")
    return shown(escaped)


def _cell(text: str) -> str:
    """A text that stays in its cell: names from a model are shown, and are neither Markdown nor HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", shown_in_a_line(text.replace("\n", " ")))
