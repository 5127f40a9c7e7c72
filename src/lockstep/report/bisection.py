"""Which release changed it: as text and as strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lockstep.common.shown import shown_in_json
from lockstep.report import text
from lockstep.report.headline import culprit_sentence, headline
from lockstep.report.json import to_json as check_to_json
from lockstep.results.bisection import Bisection, Release
from lockstep.results.model import Report, Verdict

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SCHEMA_VERSION = 1
"""Of `docs/schemas/bisection.schema.json`."""


def to_json(found: Bisection) -> str:
    """Returns it as strict JSON; what is not finite becomes `"Infinity"`."""
    tree = {
        "schema_version": SCHEMA_VERSION,
        "verdict": str(found.verdict),
        "answer": answer(found),
        "model": found.model,
        "package": found.package,
        "versions": list(found.versions),
        "releases": [_release(release) for release in found.releases],
        "first_that_differs": found.first_that_differs,
        "last_alike": found.last_alike,
        "passed_over": list(found.passed_over),
        "not_run": list(found.not_run),
        "neighbours": None if found.neighbours is None else json.loads(check_to_json(found.neighbours)),
        "neighbours_note": found.neighbours_note,
        "duration_s": found.duration_s,
    }
    return shown_in_json(json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def show(found: Bisection, console: Console, *, written_to: str | None = None) -> None:
    """Prints it: the answer, the table, and the check of the two neighbours."""
    text.show_stripped(console, _blocks(found))
    if found.neighbours is not None:
        title = f"{found.package} {found.last_alike} against {found.first_that_differs}"
        text.show(found.neighbours, console, title=title)
    text.show_stripped(console, _ending(found, written_to))


def answer(found: Bisection) -> str:
    """Returns what it comes to, in one paragraph."""
    return " ".join(_sentences(found))


def _sentences(found: Bisection) -> Iterator[str]:
    reference, package = found.versions[0], found.package
    if found.first_that_differs is None:
        yield _without_a_difference(found)
        return
    if found.passed_over:
        yield (
            f"the first that differs is one of {package} {', '.join((*found.passed_over, found.first_that_differs))}: "
            f"{found.first_that_differs} differs, {found.last_alike} does not, and nothing between could be judged."
        )
    else:
        like = (
            f"{found.last_alike}, the reference, is the release before it"
            if found.last_alike == reference
            else f"{found.last_alike} computes what {reference} computes"
        )
        yield f"first that differs: {package} {found.first_that_differs}; {like}."
    if found.neighbours_note:
        yield f"{found.last_alike} against {found.first_that_differs}: {found.neighbours_note}"
    elif found.neighbours is not None:
        yield _blamed(found)


def _blamed(found: Bisection) -> str:
    assert found.neighbours is not None
    if found.neighbours.culprits:
        first, *more = found.neighbours.culprits
        where = f" ({first.source})" if first.source else ""
        others = f" And {len(more)} more, below." if more else ""
        return f"To blame: {culprit_sentence(first)}{where}.{others}"
    if found.neighbours.verdict is not Verdict.EQUIVALENT:
        return (
            "No operation is to blame: on the kernels of one TensorFlow the operations of both releases compute the "
            "same, or they could not be followed (the steps below say so). What is left are the releases' own kernels, "
            "and what they start from."
        )
    return (
        f"{found.last_alike} and {found.first_that_differs} by themselves are {found.neighbours.verdict}: the "
        f"difference from {found.versions[0]} has come about little by little."
    )


def _without_a_difference(found: Bisection) -> str:
    others = found.releases[1:]
    alike = [release.version for release in others if release.verdict is Verdict.EQUIVALENT]
    if not alike:
        return f"no release but the reference, {found.package} {found.versions[0]}, could be judged."
    said = f"no difference: {found.package} {', '.join(alike)} computes what {found.versions[0]} computes"
    if len(alike) > 1:
        said = said.replace(" computes what", " compute what")
    unjudged = [release.version for release in others if release.verdict is not Verdict.EQUIVALENT]
    if unjudged:
        said += f"; {', '.join(unjudged)} could not be judged"
    if found.not_run:
        said += f". {', '.join(found.not_run)} were not run: a difference can come and go, and --all runs every release"
    return f"{said}."


def _blocks(found: Bisection) -> Iterator[RenderableType]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    yield Text(f"lockstep bisect  {found.model}   {found.package} {found.versions[0]} to {found.versions[-1]}")
    table = Table("version", "verdict", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("largest difference", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("why")
    for place, release in enumerate(found.releases):
        table.add_row(
            release.version,
            Text("reference") if place == 0 else _verdict(release),
            _shown(release.largest_difference) if place else "-",
            f"{release.duration_s:.0f} s",
            Text(release.note, overflow="fold"),
        )
    yield table
    yield Text(answer(found))


def _ending(found: Bisection, written_to: str | None) -> Iterator[RenderableType]:
    from rich.text import Text

    where = f"   report: {written_to}" if written_to else ""
    yield Text.assemble("bisect   ", text.verdict_text(found.verdict), f"   {found.duration_s:.0f} s{where}")


def _verdict(release: Release) -> RenderableType:
    from rich.text import Text

    return text.verdict_text(release.verdict) if release.ran else Text("cannot run")


def _shown(difference: float | None) -> str:
    if difference is None:
        return "-"
    return "none" if difference == 0 else f"{difference:.2g}"


def _release(release: Release) -> dict[str, Any]:
    largest = release.largest_difference
    return {
        "version": release.version,
        "verdict": str(release.verdict),
        "ran": release.ran,
        "largest_difference": "Infinity" if largest is not None and math.isinf(largest) else largest,
        "duration_s": release.duration_s,
        "note": release.note,
        "environment": dict(release.environment),
    }


def why(report: Report) -> str:
    """Returns why a check is not equivalent, as a release's note; empty where it is."""
    if report.verdict is Verdict.EQUIVALENT:
        return ""
    return (
        headline(report).partition(": ")[2].removeprefix("the candidate does not compute what the reference computes: ")
    )
