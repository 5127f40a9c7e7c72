"""What forced lockstep says about a step."""

from __future__ import annotations

from dataclasses import dataclass

from lockstep.localise.findings import Localisation
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict


@dataclass(frozen=True)
class Located:
    """What forced lockstep found in one run.

    Attributes:
        found: The places.
        culprits: The same, named.
    """

    found: Localisation
    culprits: tuple[Culprit, ...]

    @property
    def explains(self) -> bool:
        """Whether all that both sides compute was judged, and nothing is wrong."""
        return not self.culprits and self.found.complete


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
    if gaps:
        return Finding(Verdict.NOT_ASKED, "", tuple(f"forced lockstep: {gap}" for gap in gaps), figures)
    return Finding(Verdict.EQUIVALENT, f"forced lockstep: {seen}", (), figures)
