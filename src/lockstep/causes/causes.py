"""Why two places differ: hypotheses, each tested by computing the place anew under it.

A hypothesis is a change of the candidate's part that would make it the reference's: the reference's value of an
attribute or of a constant, a factor, a missing operation, another order of blocks. It is told as the cause only if with
it the difference vanishes within the noise budget. Each cause has a page in `docs/pitfalls/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from lockstep.causes.hypotheses import arguments, arithmetic, layout, lookups, rewiring, statistics, structure
from lockstep.causes.hypotheses.case import Case, Cause, listed
from lockstep.common.errors import told_as_fault
from lockstep.localise.findings import Blame
from lockstep.program import Program
from lockstep.program.kernels import Kernels

_ORDER: tuple[Callable[[Case], Iterator[Cause]], ...] = (
    arithmetic.complement,
    lookups.other_rows,
    structure.one_side_only,
    structure.order_of_inputs,
    structure.missing_variable,
    arguments.attributes,
    arguments.constants,
    arguments.inverse_constants,
    arithmetic.input_range,
    arguments.constant_for_tensor,
    arguments.initial_state,
    arithmetic.precision,
    arithmetic.known_activation,
    arguments.slope,
    layout.rearranged,
    layout.other_axis,
    rewiring.left_out,
    rewiring.moved,
    layout.transposed_variable,
    layout.upside_down,
    structure.other_kind,
    layout.dilation,
    arguments.scalars,
    arguments.momentum,
    statistics.frozen,
    statistics.batch,
    arithmetic.scaled_inside,
    structure.surplus,
    arithmetic.relation,
    structure.masked,
)
"""Hypotheses, the simplest first."""


def cause_of(blame: Blame, reference: Program, candidate: Program, kernels: Kernels) -> Cause:
    """Tests the hypotheses that fit a place, the simplest first.

    Args:
        blame: The place.
        reference: The reference's program.
        candidate: The candidate's.
        kernels: Runs operations.
    """
    case = Case(blame, reference, candidate, kernels)
    found = next((cause for hypothesis in _ORDER for cause in _tested(hypothesis, case)), None) or Cause(said(blame))
    return replace(found, attributes=found.attributes or case.differing())


def untested(blame: Blame, reference: Program, candidate: Program, kernels: Kernels) -> Cause:
    """Tells what differs at a place, for which there is no time to test hypotheses."""
    return Cause(said(blame), attributes=Case(blame, reference, candidate, kernels).differing())


def _tested(hypothesis: Callable[[Case], Iterator[Cause]], case: Case) -> Iterator[Cause]:
    try:
        yield from hypothesis(case)
    except Exception as error:  # a bug in one hypothesis takes nothing from the others, nor from the place
        told_as_fault(error)


def said(blame: Blame) -> str:
    """Tells what differs, without a cause."""
    ours, theirs = listed(blame.reference), listed(blame.candidate)
    if not blame.reference and not blame.candidate:
        return "it reads another tensor than in the reference"
    if not blame.candidate:
        return f"the candidate lacks {ours}"
    if not blame.reference:
        return f"only the candidate computes {theirs}"
    if ours == theirs:
        return f"{ours} gives other values on the same inputs"
    return f"{ours} in the reference, {theirs} in the candidate: other values on the same inputs"
