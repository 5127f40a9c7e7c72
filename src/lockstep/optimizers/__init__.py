"""The update rules of optimizers in NumPy: what both sides should compute, and the ways in which they differ."""

from lockstep.optimizers.description import Description
from lockstep.optimizers.hypotheses import Explanation, explain
from lockstep.optimizers.rules import KINDS, Replay, replay

__all__ = ["KINDS", "Description", "Explanation", "Replay", "explain", "replay"]
