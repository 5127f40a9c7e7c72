"""Name-based TF1 checkpoints: what they hold, which entry belongs to which variable, and how they are converted."""

from lockstep.files.checkpoints.entries import Checkpoint, Entry, Kind
from lockstep.files.checkpoints.settings import CheckpointSettings

__all__ = ["Checkpoint", "CheckpointSettings", "Entry", "Kind"]
