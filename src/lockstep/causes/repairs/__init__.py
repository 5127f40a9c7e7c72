"""Repairs: the fewest edits of the candidate's program after which everything that it returns is the reference's."""

from lockstep.causes.repairs.search import sought
from lockstep.causes.repairs.together import Repair, Repairs

__all__ = ["Repair", "Repairs", "sought"]
