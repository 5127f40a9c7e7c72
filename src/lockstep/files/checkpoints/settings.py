"""Which checkpoint both sides are run from, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CheckpointSettings:
    """A checkpoint as the configuration describes it.

    Attributes:
        path: The original's: see `lockstep.files.checkpoints.locating.located`, or a file of weights; None where there
            is only the candidate's.
        moving_averages: Whether a variable's value is that of its moving average, where there is one.
        allow_missing: Regular expressions: variables of the reference that the checkpoint may lack; both sides start
            from the reference's initial values for them.
        candidate: The candidate's own weights; None where it has those of `path`, by the rules.
        loaded: The sides whose own code loads their file; None: that is found out.
    """

    path: Path | None
    moving_averages: bool = False
    allow_missing: tuple[str, ...] = ()
    candidate: Path | None = None
    loaded: tuple[str, ...] | None = None
