"""Comparisons of two programs that were made in one mode and are not made again in another that computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockstep.check.steps.forced import Located
from lockstep.localise.budget import same_bits
from lockstep.program import Program, Source
from lockstep.program.kernels import Kernels


@dataclass(frozen=True)
class Compared:
    """Two programs and what came of their comparison.

    Attributes:
        reference: The reference's program.
        candidate: The candidate's.
        partners: Candidate's variable -> the reference's.
        located: What came of it.
    """

    reference: Program
    candidate: Program
    partners: Mapping[str, str]
    located: Located


@dataclass(frozen=True)
class ComparedBefore:
    """What was compared so far in a check. A model without draws computes one thing in both training modes."""

    _done: list[Compared] = field(default_factory=list)

    def find(
        self, reference: Program, candidate: Program, partners: Mapping[str, str], kernels: Kernels
    ) -> Located | None:
        """Returns what came of comparing the same programs on the same values; None where they are others."""
        for before in self._done:
            pairs = (before.reference, reference), (before.candidate, candidate)
            if before.partners == partners and all(_same(*pair, kernels) for pair in pairs):
                return before.located
        return None

    def keep(self, compared: Compared) -> None:
        """Remembers a comparison, in place of what was before: modes that compute the same follow each other."""
        self._done[:] = [compared]


def _same(one: Program, other: Program, kernels: Kernels) -> bool:
    """Whether two programs are the same operations, from the same places, on the same values bit for bit."""
    plain = ("specs", "outputs", "writes", "draws", "limits", "operations")
    return all(getattr(one, name) == getattr(other, name) for name in plain) and (
        one.sources.keys() == other.sources.keys()
        and all(_same_source(source, other.sources[tensor], kernels) for tensor, source in one.sources.items())
    )


def _same_source(one: Source, other: Source, kernels: Kernels) -> bool:
    if (one.kind, one.name) != (other.kind, other.name):
        return False
    if one.value is None or other.value is None:
        return one.value is other.value
    return one.value is other.value or same_bits(kernels.numpy(one.value), kernels.numpy(other.value))
