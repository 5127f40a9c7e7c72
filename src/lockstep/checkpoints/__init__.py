"""Name-based TF1 checkpoints: what they hold, which entry belongs to which variable, and how they are converted."""

from lockstep.checkpoints.entries import Checkpoint, Entry, Kind
from lockstep.checkpoints.settings import CheckpointSettings

__all__ = ["Checkpoint", "CheckpointSettings", "Entry", "Kind"]
