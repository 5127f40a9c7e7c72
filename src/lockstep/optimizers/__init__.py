"""Optimizers as what they are told to do, and the update rules of each in NumPy."""

from lockstep.optimizers.description import Description
from lockstep.optimizers.rules import KINDS, Replay, replay

__all__ = ["KINDS", "Description", "Replay", "replay"]
