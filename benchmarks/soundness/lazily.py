"""Frameworks that are imported when something of them is used: a module that lists cases shall import none."""

from __future__ import annotations

import importlib
from typing import Any


class Lazily:
    """A module that is imported when an attribute of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


tf: Any = Lazily("tensorflow.compat.v1")
"""What TF1 code that has not been migrated calls `tf`: `import tensorflow.compat.v1 as tf`."""

keras: Any = Lazily("keras")
slim: Any = Lazily("tf_slim")
lockstep: Any = Lazily("lockstep")
