"""Which checkpoint both sides are run from, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CheckpointSettings:
    """A checkpoint as the configuration describes it.

    Attributes:
        path: See `lockstep.files.checkpoints.locating.located`.
        moving_averages: Whether a variable's value is that of its moving average, where there is one.
        allow_missing: Regular expressions: variables of the reference that the checkpoint may lack; both sides start
            from the reference's initial values for them.
    """

    path: Path
    moving_averages: bool = False
    allow_missing: tuple[str, ...] = ()
