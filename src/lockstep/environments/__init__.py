"""Environments of a side's own: an interpreter with its own packages, made by uv, kept, and run as a child process."""

from lockstep.environments.children import Completed, run_child
from lockstep.environments.interpreters import Interpreter, find_interpreter
from lockstep.environments.kept import KeptChild
from lockstep.environments.providing import Environment, provide
from lockstep.environments.spec import EnvironmentSpec
from lockstep.environments.store import Listed, Record, clean, listed
from lockstep.environments.variables import inherited_variables

__all__ = [
    "Completed",
    "Environment",
    "EnvironmentSpec",
    "Interpreter",
    "KeptChild",
    "Listed",
    "Record",
    "clean",
    "find_interpreter",
    "inherited_variables",
    "listed",
    "provide",
    "run_child",
]
