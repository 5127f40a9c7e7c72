"""What JUnit's XML says of a report: its verdict, those of its steps, and the first culprit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lockstep.common.errors import VerdictError
from lockstep.report.headline import culprit_sentence, headline
from lockstep.results.model import Report, Verdict

if TYPE_CHECKING:
    import pytest


def properties(report: Report, number: int = 1) -> Iterator[tuple[str, object]]:
    """Yields name and value of each property.

    Args:
        report: The report.
        number: The how manieth of the test it is; from the second on the names say so.

    Example:
        >>> from lockstep.results.model import StepReport
        >>> steps = (StepReport("variables-match", Verdict.EQUIVALENT, "3 = 3"),)
        >>> dict(properties(Report(Verdict.EQUIVALENT, steps, (), {}, 0.0)))["lockstep.variables-match"]
        'equivalent'
    """
    prefix = "lockstep" if number == 1 else f"lockstep{number}"
    yield f"{prefix}.verdict", str(report.verdict)
    yield f"{prefix}.reason", headline(report)
    for step in report.steps:
        if step.verdict is not Verdict.NOT_ASKED:
            yield f"{prefix}.{step.name}", str(step.verdict)
    for side, environment in report.environments.items():
        yield f"{prefix}.{side}", ", ".join(f"{name} {value}" for name, value in environment.items())
    if report.culprits:
        yield f"{prefix}.culprits", len(report.culprits)
        yield f"{prefix}.culprit", culprit_sentence(report.culprits[0])


def failed_report(call: pytest.CallInfo[None]) -> Report | None:
    """Returns the report that a test failed with, where it raised it itself; None of any other failure."""
    error = call.excinfo.value if call.excinfo is not None else None
    report = error.report if isinstance(error, VerdictError) else None
    return report if isinstance(report, Report) else None
