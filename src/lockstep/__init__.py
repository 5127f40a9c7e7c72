"""Lockstep proves that a migrated model computes what the original computed, and names what does not.

Importing it imports no framework; each public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep import testing, tf1
    from lockstep.check.verification import verify
    from lockstep.common.errors import (
        DivergedError,
        InputError,
        LockstepError,
        SubjectError,
        UndecidedError,
        UnsupportedVersionError,
    )
    from lockstep.compare.outputs import OutputRules
    from lockstep.elsewhere.loading import load
    from lockstep.frameworks.keras2.subjects import keras2
    from lockstep.frameworks.tensorflow.guards import (
        VariableCreationError,
        assert_no_variable_creations,
        catch_and_raise_created_variables,
    )
    from lockstep.frameworks.tensorflow.randomness import DeterministicRandomTestTool
    from lockstep.frameworks.tensorflow.subjects import keras, tf1_graph
    from lockstep.frameworks.torch.subjects import torch
    from lockstep.switching.asking import switches

__version__ = "0.1.0.dev0"

__all__ = [
    "DeterministicRandomTestTool",
    "DivergedError",
    "InputError",
    "LockstepError",
    "OutputRules",
    "SubjectError",
    "UndecidedError",
    "UnsupportedVersionError",
    "VariableCreationError",
    "assert_no_variable_creations",
    "catch_and_raise_created_variables",
    "keras",
    "keras2",
    "load",
    "switches",
    "testing",
    "tf1",
    "tf1_graph",
    "torch",
    "verify",
]

_HOMES = {
    "DeterministicRandomTestTool": "lockstep.frameworks.tensorflow.randomness",
    "DivergedError": "lockstep.common.errors",
    "InputError": "lockstep.common.errors",
    "LockstepError": "lockstep.common.errors",
    "OutputRules": "lockstep.compare.outputs",
    "SubjectError": "lockstep.common.errors",
    "UndecidedError": "lockstep.common.errors",
    "UnsupportedVersionError": "lockstep.common.errors",
    "VariableCreationError": "lockstep.frameworks.tensorflow.guards",
    "assert_no_variable_creations": "lockstep.frameworks.tensorflow.guards",
    "catch_and_raise_created_variables": "lockstep.frameworks.tensorflow.guards",
    "keras": "lockstep.frameworks.tensorflow.subjects",
    "keras2": "lockstep.frameworks.keras2.subjects",
    "load": "lockstep.elsewhere.loading",
    "switches": "lockstep.switching.asking",
    "tf1_graph": "lockstep.frameworks.tensorflow.subjects",
    "torch": "lockstep.frameworks.torch.subjects",
    "verify": "lockstep.check.verification",
}


def __getattr__(name: str) -> Any:
    if name in ("testing", "tf1"):
        return importlib.import_module(f"lockstep.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'lockstep' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
