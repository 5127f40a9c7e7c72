"""What a search for the release that changed something comes to, as frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockstep.results.model import Report, Verdict


@dataclass(frozen=True)
class Release:
    """One release that was run.

    Attributes:
        version: As in `"2.19.1"`.
        verdict: What the check of it against the reference came to; of the reference, against itself.
        largest_difference: The largest absolute difference of an output in that check; infinite where outputs cannot be
            compared, None where none was.
        duration_s: Seconds that it took, its environment included.
        note: Why it is not equivalent, in one sentence; empty where it is.
        environment: What it ran on; empty where it did not.
        ran: Whether the model ran under it.
    """

    version: str
    verdict: Verdict
    largest_difference: float | None
    duration_s: float
    note: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    ran: bool = True


@dataclass(frozen=True)
class Bisection:
    """Which release changed it.

    Attributes:
        model: The entry.
        package: Whose releases they are.
        versions: All releases that were asked about, the reference first.
        releases: Those that were run, in the order of `versions`.
        first_that_differs: A release; None where none of those that were run does.
        last_alike: The last one before it that is like the reference.
        passed_over: Those between these two, none of which could be judged: the change can be in them as well.
        neighbours: The check of `last_alike` against `first_that_differs`, operation by operation; None without.
        neighbours_note: Why there is none though there is a difference; empty otherwise.
        duration_s: Seconds that all of it took.
    """

    model: str
    package: str
    versions: tuple[str, ...]
    releases: tuple[Release, ...]
    first_that_differs: str | None
    last_alike: str
    passed_over: tuple[str, ...]
    neighbours: Report | None
    neighbours_note: str
    duration_s: float

    @property
    def verdict(self) -> Verdict:
        """`diverged` if a release differs; then `undecided` if one could not be judged, or none was run."""
        others = [release.verdict for release in self.releases[1:]]
        if self.first_that_differs is not None:
            return Verdict.DIVERGED
        return Verdict.EQUIVALENT if others and set(others) == {Verdict.EQUIVALENT} else Verdict.UNDECIDED

    @property
    def not_run(self) -> tuple[str, ...]:
        """The releases that nobody looked at."""
        ran = {release.version for release in self.releases}
        return tuple(version for version in self.versions if version not in ran)


def largest_difference(report: Report) -> float | None:
    """Returns the largest absolute difference of an output in any step; None where no output was compared."""
    found = [
        number
        for step in report.steps
        for figures in (step.figures, *_batches(step.figures.get("batches")))
        for name, value in figures.items()
        if name.endswith("largest_output_error") and (number := _number(value)) is not None
    ]
    return max(found, default=None)


def _batches(told: object) -> Sequence[dict[str, object]]:
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float("inf") if value != value else float(value)  # noqa: PLR0124 - NaN is no distance
