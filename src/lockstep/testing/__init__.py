"""Lockstep in tests: `assert_equivalent`, goldens, and the pytest plugin.

Each name is loaded when it is first used, as pytest imports this package at every start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep.testing.equivalence import assert_equivalent
    from lockstep.testing.goldens import assert_golden

__all__ = ["assert_equivalent", "assert_golden"]

_HOMES = {"assert_equivalent": "lockstep.testing.equivalence", "assert_golden": "lockstep.testing.goldens"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lockstep.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
