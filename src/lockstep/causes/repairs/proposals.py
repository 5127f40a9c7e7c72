"""All edits that may repair a candidate, the simplest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lockstep.causes.repairs import functions, indices, numbers, wiring
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region

PROPOSALS: tuple[Callable[[Region], Iterator[Edit]], ...] = (
    indices.other_buckets,  # these two are for few models, and tried for no other
    indices.other_blank,
    numbers.other_numbers,
    numbers.other_paces,
    functions.other_functions,
    wiring.complements,
    wiring.masks_turned_over,
    wiring.zeros_where_masked,
    wiring.masks_along_another_axis,
    wiring.softmaxes_along_another_axis,
    wiring.exchanged_tensors,
    functions.left_out,
)


def all_of_them(region: Region) -> Iterator[Edit]:
    """Yields every edit that is worth a run."""
    for propose in PROPOSALS:
        yield from propose(region)
