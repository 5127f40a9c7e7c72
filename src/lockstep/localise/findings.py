"""What forced lockstep finds, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from lockstep.localise.budget import Judged, Part
from lockstep.program import Operation


@dataclass(frozen=True)
class Blame:
    """One place where the candidate computes something else.

    Attributes:
        reference: The reference's operations there; empty where the candidate has one too many.
        candidate: The candidate's; empty where it lacks what the reference does.
        judged: Error and budget.
        ours: The reference's part, for causes to be tested on.
        theirs: The candidate's part, on the reference's values.
        wanted: The reference's tensor.
        reads: The candidate's operation, and its input, that should have got it; None for an output.
        partner: The reference's operation that reads it.
        drawn: Whether random numbers go in that the other side does not draw.
        updates: The reference's variable that all this leads to, where it leads to no output.
    """

    reference: tuple[Operation, ...]
    candidate: tuple[Operation, ...]
    judged: Judged
    ours: Part
    theirs: Part
    wanted: int
    reads: tuple[Operation, int] | None = None
    partner: Operation | None = None
    drawn: bool = False
    updates: str | None = None


Together = tuple[tuple[Blame, ...], Blame]
"""Some places, and what they are together, nothing being mended between them."""


@dataclass(frozen=True)
class Unchanged:
    """A variable that one side alone updates.

    Attributes:
        reference: Its key in the reference.
        candidate: Its key in the candidate.
        by: The side that updates it: `"reference"` or `"candidate"`.
    """

    reference: str
    candidate: str
    by: str


@dataclass
class Localisation:
    """What forced lockstep found.

    Attributes:
        blames: In the order of the candidate's run.
        unchanged: Variables that one side alone updates.
        identical: Operations of the candidate that compute what the reference computes, by construction.
        compared: Places that were compared by value.
        ratios: Error over budget of those that are right.
        unmatched: What was asked of one side and has no counterpart.
        limits: What could not be followed.
        notes: What was not done for those that are to blame.
        known: Candidate's tensor -> the reference's tensor that it is, or should be.
        ends: `(candidate's tensor, reference's tensor)` of what both return and leave behind.
        unions: Index of one that is to blame -> what it is together with the one before it, nothing being mended
            between them, for when the same is written otherwise there and something is wrong in it. It is not judged:
            few are asked for.
        wholes: Those to blame that one operation reads, some with the place before them, and what it computes of them
            as they are: one mistake, if one cause explains it.
        numbers: Reference's tensor -> the first one of the reference that is computed alike from the same.
        same: Indices of the candidate's operations that compute what the reference computes, by construction.
        judged: Candidate's tensor -> what came of its comparison.
    """

    blames: list[Blame] = field(default_factory=list)
    unchanged: list[Unchanged] = field(default_factory=list)
    identical: int = 0
    compared: int = 0
    ratios: list[float] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bit_equal: bool = True
    known: dict[int, int] = field(default_factory=dict)
    ends: list[tuple[int, int]] = field(default_factory=list)
    unions: dict[int, Blame] = field(default_factory=dict)
    wholes: list[Together] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    same: set[int] = field(default_factory=set)
    judged: dict[int, Judged] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all that both programs return and leave behind was judged."""
        return not self.unmatched and not self.limits
