"""What one check came to, as it is printed and kept in a JSON file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

PARTS = ("mutants", "identity", "rewrites")

FALSE_EQUIVALENT = "false equivalent"
HARMLESS, INVALID = "harmless", "invalid"
VERDICTS = ("equivalent", "diverged", "undecided")
FAILURES = ("error", "crash", "hang")
"""Lockstep raised something, the process died, the time limit was reached."""


@dataclass(frozen=True)
class Outcome:
    """One check.

    Attributes:
        part: One of `PARTS`.
        name: The case's, or the mutant's with its pair's in front.
        group: The row that it counts in: the case's kind, or the mutant's pair.
        outcome: For a mutant `false equivalent`, `detected`, `undecided`, `harmless` or `invalid`; for a case the
            verdict; for both one of `FAILURES`.
        duration_s: Seconds that Lockstep took.
        verdict: Lockstep's; empty where there is none.
        effect: How large a mutant's effect is in float64, relative.
        where: What it is largest in.
        noise: What was allowed, where float64 is impossible.
        first_right: Whether the first culprit is right; None where none is named or expected.
        culprit: The first culprit.
        note: What was seen, or the error.
        reason: Why `undecided` is right, where it is.
        oracle_s: Seconds that the float64 evaluation took.
    """

    part: str
    name: str
    group: str
    outcome: str
    duration_s: float = 0.0
    verdict: str = ""
    effect: float | None = None
    where: str = ""
    noise: float = 0.0
    first_right: bool | None = None
    culprit: str = ""
    note: str = ""
    reason: str = ""
    oracle_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Returns it as a JSON object, in which an infinite effect is a string."""
        found = asdict(self)
        return {**found, "effect": "infinite" if self.effect == float("inf") else self.effect}

    @classmethod
    def of_json(cls, record: Mapping[str, Any]) -> Outcome:
        """Reads what `as_json` gave."""
        effect = float("inf") if record.get("effect") == "infinite" else record.get("effect")
        return cls(**{**record, "effect": effect})

    @property
    def wrong(self) -> bool:
        """Whether the measure fails for it: a wrong verdict, or none where there has to be one."""
        if self.outcome in (FALSE_EQUIVALENT, *FAILURES):
            return True
        return (
            self.part != "mutants"
            and self.outcome != "equivalent"
            and not (self.outcome == "undecided" and bool(self.reason))
        )

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"python -m benchmarks.soundness --part {self.part} --only '{pattern(self.name)}'"


def pattern(name: str) -> str:
    """Returns a regular expression that matches one name alone, and may stand between single quotes."""
    return "^" + re.sub(r"([^\w/:@-])", r"\\\1", name) + "$"


def of_part(outcomes: Iterable[Outcome], part: str) -> list[Outcome]:
    """Returns those of one part."""
    return [outcome for outcome in outcomes if outcome.part == part]
