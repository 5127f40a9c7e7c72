"""A model as a program: the operations that ran, in order, in one dialect whatever made them."""

from lockstep.program.model import (
    Operation,
    Place,
    Program,
    ProgramBuilder,
    Source,
    Spec,
)

__all__ = ["Operation", "Place", "Program", "ProgramBuilder", "Source", "Spec"]
