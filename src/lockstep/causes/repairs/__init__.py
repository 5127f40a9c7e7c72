"""Repairs: one edit of the candidate's program after which everything that it returns agrees with the reference."""

from lockstep.causes.repairs.search import Repair, sought

__all__ = ["Repair", "sought"]
