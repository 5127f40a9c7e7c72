"""From what a check named to how often the right thing was named."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.zoo.catalogue import KINDS, Bug, Fault, Place


@dataclass(frozen=True)
class Named:
    """One culprit of a report.

    Attributes:
        kind: What it is, of `KINDS`.
        name: The operation or variable on the reference's side; where it has none, its scope, or the candidate's name.
        pitfall: The slug of the cause that was found, or an empty string.
    """

    kind: str
    name: str
    pitfall: str = ""

    @classmethod
    def of(cls, culprit: object) -> Named:
        """Reads a culprit of a report of this or an older Lockstep."""
        kind = str(getattr(culprit, "kind", "") or "operation")
        scopes = getattr(culprit, "scopes", None) or (getattr(culprit, "scope", None),)
        texts = (getattr(culprit, "reference", None), scopes[0], getattr(culprit, "candidate", None))
        text = next((str(text) for text in texts if text), "")
        word, _, rest = text.partition(" ")
        return cls(kind, rest if rest and word in KINDS else text, str(getattr(culprit, "pitfall", "") or ""))

    def is_at(self, place: Place) -> bool:
        """Tells whether this names the place."""
        return self.kind in place.kinds and place.matches(self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" ({self.pitfall})" if self.pitfall else "")


@dataclass(frozen=True)
class Outcome:
    """What one check came to.

    Attributes:
        family: The family's name.
        migration: `"shim"` or `"native"`.
        setting: What it ran under.
        verdict: The report's verdict, or `"error"`.
        named: The culprits, in order, each once.
        duration_s: How long it took.
        bug: What was planted; None for the right migration.
        note: The first step that was not equivalent with its summary, or the error's text.
    """

    family: str
    migration: str
    setting: str
    verdict: str
    named: tuple[Named, ...]
    duration_s: float
    bug: Bug | None = None
    note: str = ""

    @property
    def detected(self) -> bool:
        """Whether the verdict is `diverged`: an undecided or failed check proves nothing."""
        return self.verdict == "diverged"

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What was planted."""
        return self.bug.faults if self.bug else ()

    @property
    def places(self) -> tuple[Place, ...]:
        """Everything that should have been named."""
        return tuple(place for fault in self.faults for place in fault.places)

    @property
    def first_right(self) -> bool:
        """Whether the first culprit is one."""
        return bool(self.named) and any(self.named[0].is_at(place) for place in self.places)

    @property
    def places_named(self) -> int:
        """How many of the places were named."""
        return sum(any(named.is_at(place) for named in self.named) for place in self.places)

    @property
    def named_rightly(self) -> int:
        """How many of the culprits are some."""
        return sum(any(named.is_at(place) for place in self.places) for named in self.named)

    @property
    def every_fault_named(self) -> bool:
        """Whether each fault has a culprit; what a pair of faults is counted by."""
        return all(any(named.is_at(place) for named in self.named for place in fault.places) for fault in self.faults)

    def causes(self) -> list[str]:
        """Returns `"right"`, `"wrong"` or `"none"` for each fault: what the first culprit there with a cause says."""
        found = []
        for fault in self.faults:
            told = [n.pitfall for n in self.named if n.pitfall and any(n.is_at(place) for place in fault.places)]
            found.append("none" if not told else "right" if told[0] in (fault.pitfall, *fault.also) else "wrong")
        return found


@dataclass
class Score:
    """Sums over the checks of planted bugs.

    Attributes:
        bugs: How many were checked.
        detected: How many were found to diverge.
        first_right: In how many the first culprit is right.
        places: How many places should have been named.
        places_named: How many of them were.
        named: How many culprits were named.
        named_rightly: How many of them are some.
        pairs: How many bugs are two faults at once.
        pairs_named: In how many of them both were named.
        causes: `"right"`, `"wrong"`, `"none"` -> number of faults.
        durations_s: Of each check.
        told: Culprits for each fault, of each check.
    """

    bugs: int = 0
    detected: int = 0
    first_right: int = 0
    places: int = 0
    places_named: int = 0
    named: int = 0
    named_rightly: int = 0
    pairs: int = 0
    pairs_named: int = 0
    causes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("right", "wrong", "none"), 0))
    durations_s: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)

    @classmethod
    def over(cls, outcomes: Iterable[Outcome]) -> Score:
        """Adds up the outcomes of planted bugs; right migrations are left out."""
        score = cls()
        for outcome in outcomes:
            if outcome.bug is None:
                continue
            score.bugs += 1
            score.detected += outcome.detected
            score.first_right += outcome.first_right
            score.places += len(outcome.places)
            score.places_named += outcome.places_named
            score.named += len(outcome.named)
            score.named_rightly += outcome.named_rightly
            if len(outcome.faults) > 1:
                score.pairs += 1
                score.pairs_named += outcome.every_fault_named
            for cause in outcome.causes():
                score.causes[cause] += 1
            score.durations_s.append(outcome.duration_s)
            score.told.append(len(outcome.named) / len(outcome.faults))
        return score

    @property
    def seconds(self) -> float:
        """The median time of a check; 0 where there was none."""
        return statistics.median(self.durations_s) if self.durations_s else 0.0

    @property
    def per_mistake(self) -> float:
        """The median of culprits for each fault; 0 where there was none."""
        return statistics.median(self.told) if self.told else 0.0

    @property
    def most_per_mistake(self) -> float:
        """The most culprits for each fault; 0 where there was none."""
        return max(self.told, default=0.0)

    def as_json(self) -> dict[str, object]:
        """Returns the sums and the shares that they make."""
        return {
            "bugs": self.bugs,
            "detection_recall": share(self.detected, self.bugs),
            "top_1": share(self.first_right, self.bugs),
            "localisation_recall": share(self.places_named, self.places),
            "localisation_precision": share(self.named_rightly, self.named),
            "pairs": self.pairs,
            "pairs_both_named": share(self.pairs_named, self.pairs),
            "causes": dict(self.causes),
            "culprits_per_mistake": {"median": self.per_mistake, "most": self.most_per_mistake},
            "median_duration_s": round(self.seconds, 3),
        }


def share(part: int, whole: int) -> float | None:
    """Returns part / whole, or None of nothing."""
    return round(part / whole, 4) if whole else None


def false_alarms(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns the right migrations that were not found equivalent; one left undecided is no alarm, but no pass."""
    return [outcome for outcome in outcomes if outcome.bug is None and outcome.verdict != "equivalent"]
