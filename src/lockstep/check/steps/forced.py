"""What forced lockstep says about a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockstep.localise.findings import Localisation
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict


@dataclass(frozen=True)
class Located:
    """What forced lockstep found in one run.

    Attributes:
        found: The places.
        culprits: The same, named.
        unproved: What both sides do otherwise, sentence by sentence, and no value that was tried shows.
        other_numbers: The candidate's operations that are right, and read another number than their partner: name ->
            a sentence.
        notes: What is otherwise by nature, sentence by sentence, and no fault of either side.
    """

    found: Localisation
    culprits: tuple[Culprit, ...]
    unproved: tuple[str, ...] = ()
    other_numbers: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def explains(self) -> bool:
        """Whether all that both sides compute was judged, and nothing is wrong."""
        return not self.culprits and not self.unproved and self.found.complete


def judge(located: Located) -> Finding:
    """Returns the finding: a place beyond its budget is a difference in the code, whatever the outputs show of it."""
    found, culprits = located.found, located.culprits
    figures: dict[str, object] = {
        "operations_identical": found.identical,
        "places_compared": found.compared,
        "largest_ratio_within_budget": max(found.ratios, default=0.0),
        "culprits": len(culprits),
    }
    seen = f"{found.identical:,} operations identical"
    if found.compared > len(found.blames):
        seen += f", {found.compared - len(found.blames):,} places within their noise budget"
    gaps = tuple(dict.fromkeys((*found.unmatched, *found.limits)))
    if culprits:
        phrase = f"forced lockstep: {len(culprits):,} of {len(culprits) + found.identical:,} operations to blame"
        details = tuple(f"forced lockstep: {note}" for note in found.notes)
        return Finding(Verdict.DIVERGED, phrase, details, figures, culprits)
    if located.unproved:
        return Finding(Verdict.UNDECIDED, f"forced lockstep: {located.unproved[0]}", located.unproved, figures)
    if gaps:
        return Finding(Verdict.NOT_ASKED, "", tuple(f"forced lockstep: {gap}" for gap in gaps), figures)
    told = "; ".join((f"forced lockstep: {seen}", *located.notes))
    return Finding(Verdict.EQUIVALENT, told, (), figures)
