"""Runs forced lockstep on two built subjects, at whatever values are asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.causes.culprits import culprits
from lockstep.check.compared_before import Compared, ComparedBefore
from lockstep.check.proof import thresholds, whole
from lockstep.check.steps.forced import Located
from lockstep.common.arrays import Arrays
from lockstep.common.errors import KernelError, LockstepError, ProgramError, SubjectError, told_as_fault
from lockstep.common.search_time import SEARCH_TIME_S, SearchTime
from lockstep.compare import filling
from lockstep.compare.align import Alignment
from lockstep.frameworks import runtimes
from lockstep.localise.findings import Localisation
from lockstep.localise.forcing import Observe, localise
from lockstep.localise.matching import alike_draws, reads_all, with_draws_shaped_alike, without_duplicates
from lockstep.localise.observed import observed
from lockstep.localise.values import MAX_MEMORY, Values
from lockstep.program import Program
from lockstep.program.kernels import Kernels, Runtime
from lockstep.program.relaying import relaid
from lockstep.results.evidence import ProgramPair
from lockstep.subjects import TRAINING_LOSS, Followed, Objective, Setting
from lockstep.traces.trace import ForwardDraw, Trace


class ForcedRuns:
    """Both sides in one mode.

    Args:
        reference: The reference, or its graph on this runtime; None where there is no program of it.
        candidate: The candidate, likewise.
        alignment: Which variable is which.
        base: What the reference's variables were before its first run.
        say: Told what is being done.
        max_memory: Bytes of the reference's values to hold in memory.
        training: Whether what the run leaves in variables counts. In inference nobody runs a graph's updates, which
            eager code does at once.
        kernels: Makes what runs single operations, once there are any; by default it knows nothing of other modes.
        search_time_s: How long causes are looked for in each comparison.
        compared: What other modes compared, which is not compared again; None: nothing.

    Attributes:
        draws: What the reference's forward pass draws; by these the candidate may decide which operations run.
        watch: Is given both programs, operation by operation, each time that they were compared; None: nobody looks.
    """

    def __init__(  # noqa: PLR0913 - both sides, and how they are run
        self,
        reference: Followed | None,
        candidate: Followed | None,
        alignment: Alignment,
        base: Mapping[str, np.ndarray],
        say: Callable[[str], None],
        max_memory: int = MAX_MEMORY,
        *,
        training: bool = True,
        kernels: Callable[[], Runtime] = runtimes.remembering_kernels,
        search_time_s: float = SEARCH_TIME_S,
        compared: ComparedBefore | None = None,
    ) -> None:
        self._training = training
        self._make_kernels = kernels
        self._searching = SearchTime(search_time_s, say)
        self._compared = compared or ComparedBefore()
        self.draws: Sequence[ForwardDraw] | None = None
        self.watch: Callable[[ProgramPair], None] | None = None
        self._reference, self._candidate, self._alignment = reference, candidate, alignment
        self._base, self._say, self._max_memory = base, say, max_memory
        self._done: list[tuple[Trace, Located]] = []
        self._whole: list[tuple[Trace, whole.Whole | None]] = []
        self._positive: frozenset[str] = frozenset()
        self._of_distinct: list[Located | None] = []
        self._kept: tuple[Program, Program] | None = None

    @functools.cached_property
    def _kernels(self) -> Runtime:
        """What runs single operations; a check of two recordings has none, and needs no framework."""
        return self._make_kernels()

    def positive(self, keys: Collection[str]) -> None:
        """Says which of the reference's variables have to be positive among the distinct values."""
        if set(keys) != set(self._positive):
            self._positive = frozenset(keys)
            self._of_distinct.clear()
            self._kept = None

    @property
    def distinct(self) -> Located | None:
        """With distinct values in every variable: no mistake hides behind a zero or a one."""
        if not self._of_distinct:
            ours, theirs = filling.filled("distinct", self._alignment, self._positive)
            self._of_distinct.append(self._at({**self._base, **ours.values}, theirs.values, kept=self._kept))
            self._kept = None
        return self._of_distinct[0]

    def programs_at_distinct(self) -> tuple[Program, Program] | None:
        """Returns both programs at distinct values, and keeps them until `distinct` has been asked for.

        Raises:
            ProgramError: One cannot be followed.
        """
        if self._kept is None:
            found = self.programs_from(*filling.filled("distinct", self._alignment, self._positive))
            self._kept = None if self._of_distinct else found
            return found
        return self._kept

    def explain(self, base: Trace, inputs: Arrays | None = None) -> Located | None:
        """Returns what is to blame for a difference from a trace: at distinct values first, then at its own.

        Args:
            base: The trace.
            inputs: What it ran on, where that is not what both sides were built for.
        """
        found = self.distinct
        if found is None or found.culprits:
            return found
        for known, before in self._done:
            if known is base:
                return before
        theirs = filling.copied(base, self._alignment)[1].values
        located = self._at(base.before, theirs, inputs)
        if located is not None:
            self._done.append((base, located))
        return located

    def of_loss(self, reference: Objective, candidate: Objective) -> Located | None:
        """Returns what is to blame for another training loss, at distinct values; None where it cannot be followed.

        Args:
            reference: The reference's loss.
            candidate: The candidate's.
        """
        if reference.loss is None or candidate.loss is None:
            return None
        ours, theirs = filling.filled("distinct", self._alignment, self._positive)
        losses = reference, candidate
        return self._at({**self._base, **ours.values}, theirs.values, losses=losses)

    def on(self, inputs: Arrays) -> OnInputs:
        """Returns the same about runs on other inputs."""
        return OnInputs(self, inputs)

    def in_double(self, base: Trace, inputs: Arrays | None = None) -> whole.Whole | None:
        """Runs both programs in float64 from the values of a trace, once for each trace.

        Args:
            base: The trace.
            inputs: As of `explain`.

        Returns:
            What came of it; None where there is no program of a side, where one cannot be followed or run in float64,
            or where the candidate draws what the reference does not.
        """
        if not self._has_both:
            return None
        if not any(known is base for known, _ in self._whole):
            self._say("both sides from start to end in float64")
            self._whole[:] = [(base, self._in_double(base, inputs))]
        return self._whole[0][1]

    def _in_double(self, base: Trace, inputs: Arrays | None) -> whole.Whole | None:

        try:
            reference, candidate, _ = self._programs(
                base.before, filling.copied(base, self._alignment)[1].values, inputs
            )
            drawn = alike_draws(reference, candidate)
            if drawn is None or reference.limits or candidate.limits:
                return None
            sources = {theirs: reference.sources[ours].value for theirs, ours in drawn.items()}
            names = {c.key: r.key for r, c in self._alignment.pairs if c.key not in self._alignment.transforms}
            return whole.compare(reference, candidate, runtimes.kernels(), sources=sources, names=names)
        except (ProgramError, KernelError, SubjectError):
            return None

    def _at(
        self,
        ours: Mapping[str, np.ndarray],
        theirs: Mapping[str, np.ndarray],
        inputs: Arrays | None = None,
        *,
        kept: tuple[Program, Program] | None = None,
        losses: tuple[Objective, Objective] | None = None,
    ) -> Located | None:
        if self._reference is None or self._candidate is None:
            return None

        self._say("forced lockstep: taking down both sides, operation by operation")
        try:
            return self._located(*self._programs(ours, theirs, inputs, kept=kept, losses=losses))
        except LockstepError as error:
            return Located(Localisation(limits=[str(error)]), ())
        except Exception as error:  # whatever a framework refuses is one of ours by now: this one is a bug
            return Located(Localisation(limits=[told_as_fault(error)]), ())

    def _located(self, reference: Program, candidate: Program, partners: Mapping[str, str]) -> Located:
        kernels = self._kernels
        known = None if self.watch is not None else self._compared.find(reference, candidate, partners, kernels)
        if known is not None:
            return known
        self._say(f"forced lockstep: {len(candidate.operations):,} operations on the reference's values")
        observe = self._observer(reference, candidate, kernels)
        found = localise(reference, candidate, partners, kernels, max_memory=self._max_memory, observe=observe)
        if found.blames:
            self._say(f"looking for causes of {len(found.blames):,} differences")
        named = culprits(found, reference, candidate, kernels, self._searching)
        compared = () if named else thresholds.thresholds(reference, candidate, found, kernels)
        located = Located(
            found,
            named or thresholds.culprits(compared),
            tuple(thresholds.unproved(compared)),
            other_numbers={} if named else thresholds.other_numbers(reference, candidate, found),
            notes=() if named else thresholds.least_epsilons(reference, candidate, found),
        )
        self._compared.keep(Compared(reference, candidate, partners, located))
        return located

    def _observer(self, reference: Program, candidate: Program, kernels: Kernels) -> Observe | None:
        if (watch := self.watch) is None:
            return None
        mode = "training" if self._training else "inference"

        def observe(found: Localisation, values: Values) -> None:
            self._say(f"{mode}: both programs side by side, running freely")
            try:
                seen = observed(mode, reference, candidate, found, values, kernels)
            except Exception as error:  # a bug of ours in what is only looked at takes no verdict away; it is told
                seen = ProgramPair(mode, (), (told_as_fault(error),))
            watch(seen)

        return observe

    def programs(self) -> tuple[Program, Program, dict[str, str]] | None:
        """Returns both programs at distinct values, and which variable of the candidate is which of the reference.

        Raises:
            ProgramError: One cannot be followed.
        """
        ours, theirs = filling.filled("distinct", self._alignment, self._positive)
        return self._programs({**self._base, **ours.values}, theirs.values) if self._has_both else None

    def programs_from(self, ours: Setting, theirs: Setting) -> tuple[Program, Program] | None:
        """Returns both programs at the values and the inputs of two settings; None where there is none of a side.

        Raises:
            ProgramError: One cannot be followed.
        """
        if not self._has_both:
            return None
        assert self._reference is not None
        assert self._candidate is not None
        reference = self._reference.program({**self._base, **ours.values}, inputs=ours.inputs)
        candidate = self._candidate.program(theirs.values, self.draws, inputs=theirs.inputs)
        return self._used(reference), self._used(candidate)

    def _used(self, program: Program) -> Program:
        counted = program if self._training else dataclasses.replace(program, writes={})
        return counted.without_the_unused()

    @property
    def _has_both(self) -> bool:
        return self._reference is not None and self._candidate is not None

    def _programs(
        self,
        ours: Mapping[str, np.ndarray],
        theirs: Mapping[str, np.ndarray],
        inputs: Arrays | None = None,
        *,
        kept: tuple[Program, Program] | None = None,
        losses: tuple[Objective, Objective] | None = None,
    ) -> tuple[Program, Program, dict[str, str]]:
        assert self._reference is not None
        assert self._candidate is not None
        of = losses or (None, None)
        reference, candidate = kept or (
            self._used(_of_loss(self._reference.program(ours, inputs=inputs, objective=of[0]), of[0])),
            self._used(_of_loss(self._candidate.program(theirs, self.draws, inputs=inputs, objective=of[1]), of[1])),
        )
        candidate = with_draws_shaped_alike(candidate, reference)
        candidate, turned = self._relaid(candidate, ours)
        # What a transform makes of other numbers, or of a part, is no partner.
        made = self._alignment.transforms.keys() - turned
        partners = {c.key: r.key for r, c in filling.alike(self._alignment) if c.key not in made}
        if reads_all(reference, candidate, partners):
            candidate = without_duplicates(candidate, reference)
        return reference, candidate, partners

    def _relaid(self, candidate: Program, ours: Mapping[str, np.ndarray]) -> tuple[Program, set[str]]:
        """Returns the candidate's program as it reads the reference's variables, and the keys of those it turns."""
        moves = {}
        for r, c in filling.alike(self._alignment):
            transform = self._alignment.transforms.get(c.key)
            found = None if transform is None else transform.moves(tuple(r.shape))
            if found is not None and r.key in ours:
                moves[c.key] = found
        values = {c.key: ours[r.key] for r, c in self._alignment.pairs if c.key in moves}
        return relaid(candidate, moves, values), set(moves)


def _of_loss(program: Program, objective: Objective | None) -> Program:
    """Returns what leads to the training loss alone, where that is what is asked for."""
    if objective is None:
        return program
    return dataclasses.replace(program, outputs={TRAINING_LOSS: program.outputs[TRAINING_LOSS]}, writes={})


@dataclass(frozen=True)
class OnInputs:
    """What is known of both sides on other inputs than they were built for."""

    forced: ForcedRuns
    inputs: Arrays

    def explain(self, base: Trace) -> Located | None:
        """See `ForcedRuns.explain`."""
        return self.forced.explain(base, self.inputs)

    def in_double(self, base: Trace) -> whole.Whole | None:
        """See `ForcedRuns.in_double`."""
        return self.forced.in_double(base, self.inputs)
