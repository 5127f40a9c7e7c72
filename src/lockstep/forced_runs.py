"""Runs forced lockstep on two built subjects, at whatever values are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lockstep.align import Alignment
from lockstep.errors import LockstepError
from lockstep.localise.culprits import culprits
from lockstep.localise.findings import Localisation
from lockstep.localise.forcing import localise
from lockstep.localise.matching import reads_all, with_draws_shaped_alike, without_duplicates
from lockstep.localise.values import MAX_MEMORY
from lockstep.program import Program
from lockstep.steps import filling
from lockstep.steps.forced import Located
from lockstep.trace import ForwardDraw, Trace


class Programmed(Protocol):
    """An instance whose run can be told operation by operation."""

    def program(self, values: Mapping[str, np.ndarray], draws: Sequence[ForwardDraw] | None = None) -> Program:
        """Runs it once from these values and returns what it computed; `draws` are as of `Instance.run`."""
        ...


class ForcedRuns:
    """Both sides in one mode.

    Args:
        reference: The reference, or its graph on this runtime; None where there is no program of it.
        candidate: The candidate, likewise.
        alignment: Which variable is which.
        base: What the reference's variables were before its first run.
        say: Told what is being done.
        max_memory: Bytes of the reference's values to hold in memory.
        draws: What the reference's forward pass draws; by these the candidate may decide which operations run.
    """

    def __init__(
        self,
        reference: Programmed | None,
        candidate: Programmed | None,
        alignment: Alignment,
        base: Mapping[str, np.ndarray],
        say: Callable[[str], None],
        max_memory: int = MAX_MEMORY,
        draws: Sequence[ForwardDraw] | None = None,
    ) -> None:
        self._draws = draws
        self._reference, self._candidate, self._alignment = reference, candidate, alignment
        self._base, self._say, self._max_memory = base, say, max_memory
        self._done: list[tuple[Trace, Located]] = []

    @functools.cached_property
    def distinct(self) -> Located | None:
        """With distinct values in every variable: no mistake hides behind a zero or a one."""
        ours, theirs = filling.filled("distinct", self._alignment)
        return self._at({**self._base, **ours.values}, theirs.values)

    def explain(self, base: Trace) -> Located | None:
        """Returns what is to blame for a difference from a trace: at distinct values first, then at its own."""
        found = self.distinct
        if found is None or found.culprits:
            return found
        for known, before in self._done:
            if known is base:
                return before
        theirs = filling.copied(base, self._alignment)[1].values
        located = self._at(base.before, theirs)
        if located is not None:
            self._done.append((base, located))
        return located

    def _at(self, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> Located | None:
        if self._reference is None or self._candidate is None:
            return None
        from lockstep.adapters.kernels import TensorFlowKernels

        kernels = TensorFlowKernels()
        self._say("forced lockstep: taking down both sides, operation by operation")
        try:
            reference, candidate, partners = self._programs(ours, theirs)
            self._say(f"forced lockstep: {len(candidate.operations):,} operations on the reference's values")
            found = localise(reference, candidate, partners, kernels, max_memory=self._max_memory)
            return Located(found, culprits(found, reference, candidate, kernels))
        except LockstepError as error:
            return Located(Localisation(limits=[str(error)]), ())
        except Exception as error:  # of the framework, which was asked for what no model asks for
            said = (str(error).strip().splitlines() or ["(no message)"])[0]
            return Located(Localisation(limits=[f"it could not be done: {type(error).__name__}: {said}"]), ())

    def programs(self) -> tuple[Program, Program, dict[str, str]] | None:
        """Returns both programs at distinct values, and which variable of the candidate is which of the reference.

        Raises:
            ProgramError: One cannot be followed.
        """
        ours, theirs = filling.filled("distinct", self._alignment)
        return self._programs({**self._base, **ours.values}, theirs.values) if self._has_both else None

    @property
    def _has_both(self) -> bool:
        return self._reference is not None and self._candidate is not None

    def _programs(
        self, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
    ) -> tuple[Program, Program, dict[str, str]]:
        assert self._reference is not None
        assert self._candidate is not None
        reference = self._reference.program(ours).without_the_unused()
        candidate = self._candidate.program(theirs, self._draws).without_the_unused()
        candidate = with_draws_shaped_alike(candidate, reference)
        # What a transform makes has another value, and is no partner.
        made = self._alignment.transforms
        partners = {c.key: r.key for r, c in filling.alike(self._alignment) if c.key not in made}
        if reads_all(reference, candidate, partners):
            candidate = without_duplicates(candidate, reference)
        return reference, candidate, partners


def programmed(instances: Sequence[Any]) -> Programmed | None:
    """Returns the first of some instances of which there is a program."""
    found: Programmed | None = next((i for i in instances if hasattr(i, "program")), None)
    return found
