"""All edits that may repair a candidate, the simplest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lockstep.causes.repairs import (
    arrangements,
    cones,
    functions,
    indices,
    losses,
    norms,
    numbers,
    recurrent,
    reductions,
    steps,
    wiring,
)
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region

PROPOSALS: tuple[Callable[[Region], Iterator[Edit]], ...] = (
    indices.other_buckets,  # these two are for few models, and tried for no other
    indices.other_blank,
    numbers.other_rates,
    numbers.other_numbers,
    numbers.other_paces,
    reductions.averaged_variances,
    functions.other_functions,
    numbers.missing_offsets,
    recurrent.pieces_in_another_order,
    recurrent.resets,
    wiring.complements,
    wiring.masks_turned_over,
    wiring.zeros_where_masked,
    wiring.masks_along_another_axis,
    wiring.softmaxes_along_another_axis,
    norms.over_other_elements,
    norms.centred_or_not,
    arrangements.otherwise_arranged,
    reductions.sums_for_means,
    reductions.sums_within_means,
    reductions.other_divisors,
    reductions.smoothed_labels,
    losses.other_smoothing,
    losses.ignored_labels,
    numbers.missing_factors,
    recurrent.unpacked_backwards,
    recurrent.turned_round,
    wiring.exchanged_tensors,
    numbers.fitted_numbers,
    cones.functions_as_the_reference_has_them,
    steps.missing_steps,
    steps.surplus_steps,
    functions.left_out,
)


def all_of_them(region: Region) -> Iterator[Edit]:
    """Yields every edit that is worth a run."""
    for propose in PROPOSALS:
        yield from propose(region)
