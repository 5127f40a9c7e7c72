"""A model as a program: the operations that ran, in order, in one dialect whatever made them."""

from lockstep.program.model import (
    COMMUTATIVE,
    HANDING_ON,
    Operation,
    Place,
    Program,
    ProgramBuilder,
    Source,
    Spec,
)

__all__ = ["COMMUTATIVE", "HANDING_ON", "Operation", "Place", "Program", "ProgramBuilder", "Source", "Spec"]
