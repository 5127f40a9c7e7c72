"""The steps of a check by name, in their order, and what a choice among them leaves to be done."""

from __future__ import annotations

from collections.abc import Iterable

from lockstep.common.errors import InputError, nearest
from lockstep.common.values import shown

NAMES = (
    "variables-created-once",
    "variables-match",
    "inference-fixed",
    "inference-random",
    "training-random",
    "checkpoint",
    "gradients",
    "optimizer",
    "trajectory",
    "metrics",
)
BEYOND = ("gradients", "optimizer", "trajectory")
"""Those that need more of training than a forward pass."""
TRAINING = ("training-random", *BEYOND)
"""Those for which both sides are built in training mode."""


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names in the order of the steps, each once.

    Raises:
        InputError: There is no such step.

    Example:
        >>> checked(["inference-fixed", "variables-match"])
        ('variables-match', 'inference-fixed')
    """
    chosen = list(names)
    for name in chosen:
        if name not in NAMES:
            hint = nearest(name, NAMES) or f"; there are {', '.join(NAMES)}."
            raise InputError(f"there is no step {shown(name)}{hint}")
    return tuple(name for name in NAMES if name in chosen)
