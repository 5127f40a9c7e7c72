"""Lockstep proves that a migrated model computes what the original computed, and names what does not.

Importing it imports no framework; each public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep import tf1
    from lockstep.errors import (
        DivergedError,
        InputError,
        LockstepError,
        SubjectError,
        UndecidedError,
        UnsupportedVersionError,
    )
    from lockstep.guards import assert_no_variable_creations, catch_and_raise_created_variables
    from lockstep.randomness import DeterministicRandomTestTool
    from lockstep.subjects import keras, load, tf1_graph
    from lockstep.switching.asking import switches
    from lockstep.verification import verify

__version__ = "0.1.0.dev0"

__all__ = [
    "DeterministicRandomTestTool",
    "DivergedError",
    "InputError",
    "LockstepError",
    "SubjectError",
    "UndecidedError",
    "UnsupportedVersionError",
    "assert_no_variable_creations",
    "catch_and_raise_created_variables",
    "keras",
    "load",
    "switches",
    "tf1",
    "tf1_graph",
    "verify",
]

_HOMES = {
    "DeterministicRandomTestTool": "lockstep.randomness",
    "DivergedError": "lockstep.errors",
    "InputError": "lockstep.errors",
    "LockstepError": "lockstep.errors",
    "SubjectError": "lockstep.errors",
    "UndecidedError": "lockstep.errors",
    "UnsupportedVersionError": "lockstep.errors",
    "assert_no_variable_creations": "lockstep.guards",
    "catch_and_raise_created_variables": "lockstep.guards",
    "keras": "lockstep.subjects",
    "load": "lockstep.subjects",
    "switches": "lockstep.switching.asking",
    "tf1_graph": "lockstep.subjects",
    "verify": "lockstep.verification",
}


def __getattr__(name: str) -> Any:
    if name == "tf1":
        return importlib.import_module("lockstep.tf1")
    if name not in _HOMES:
        raise AttributeError(f"module 'lockstep' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
