"""Whether two runs started alike: from the same values, as the runs themselves read them."""

from __future__ import annotations

import numpy as np

from lockstep.compare.align import Alignment
from lockstep.ground.structure import same_bits
from lockstep.traces.trace import Trace


def apart(reference: Trace, candidate: Trace, alignment: Alignment) -> list[str]:
    """Returns the reference's variables whose partners started from other values, through transforms, bit for bit.

    Args:
        reference: A run of the reference.
        candidate: One of the candidate.
        alignment: Reference's variables -> candidate's.
    """
    found = []
    for r, c in alignment.pairs:
        ours, theirs = reference.before.get(r.key), candidate.before.get(c.key)
        if ours is None or theirs is None:
            found.append(r.key)
            continue
        if alignment.shape(r, c) != tuple(theirs.shape) or not same_bits(
            alignment.carried(c, ours), np.asarray(theirs)
        ):
            found.append(r.key)
    return list(dict.fromkeys(found))


def told(found: list[str], count: int) -> str:
    """Returns the sentence about variables that started from other values; empty where none did."""
    if not found:
        return ""
    some = ", ".join(found[:3]) + (f" and {len(found) - 3:,} more" if len(found) > 3 else "")
    return f"{len(found):,} of {count:,} variables start from other values ({some})"
