"""Schedules of PyTorch: what is stepped beside an optimizer, how often, and before or after its updates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from lockstep.common.errors import InputError

Rates = tuple[float, ...]
"""The learning rates of an optimizer's groups."""

_FURTHEST = 100_000
"""The last update that a rate is told for: a schedule of PyTorch has to be stepped there."""
_KEYS = ("optimizer", "scheduler", "every", "before")
_EXPECTED = (
    "it must return a torch.optim.Optimizer, `(optimizer, scheduler)`, or a dict of optimizer, scheduler, every (after "
    "how many updates the scheduler is stepped, 1 if left out) and before (whether that comes before optimizer.step())"
)


@dataclass(frozen=True)
class Scheduled:
    """An optimizer, and what changes its learning rate.

    Attributes:
        optimizer: The optimizer.
        scheduler: What is stepped; None where the rate is constant.
        every: How many updates are made for each step of it: 1, or those of an epoch.
        before: Whether it is stepped before the update, as code for PyTorch 1.0 does.
    """

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
    every: int = 1
    before: bool = False

    @property
    def rates(self) -> Rates:
        """The learning rates as they are now."""
        return tuple(float(group["lr"]) for group in self.optimizer.param_groups)

    def update(self, number: int) -> None:
        """Makes the update of a number, counted from 0, and steps the scheduler where its turn is."""
        turn = (number if self.before else number + 1) % self.every == 0
        if self.before and turn:
            self._step()
        self.optimizer.step()
        if turn and not self.before:
            self._step()

    def rates_at(self, updates: Sequence[int]) -> dict[int, Rates]:
        """Returns the rates that some updates are made with, and steps the scheduler as far as that takes."""
        if self.scheduler is None:
            return dict.fromkeys(updates, self.rates)
        stepped, found = 0, {}
        for number in sorted(one for one in updates if one <= _FURTHEST):
            while stepped < number // self.every + self.before:
                self._step()
                stepped += 1
            found[number] = self.rates
        return found

    def described(self) -> dict[str, Any]:
        """Returns the schedule's class, its numbers in updates, and when it is stepped; nothing without one."""
        if self.scheduler is None:
            return {}
        numbers = sorted({each for value in self.scheduler.state_dict().values() for each in _whole(value)})
        return {
            "class": type(self.scheduler).__name__,
            "turning_points": [number * self.every for number in numbers],
            "every": self.every,
            "before": self.before,
        }

    def _step(self) -> None:
        if self.scheduler is not None:
            with quiet():
                self.scheduler.step()


def scheduled(returned: Any, label: str) -> Scheduled:
    """Returns what the user's `optimizer(parameters)` returned.

    Raises:
        InputError: It is nothing that is known, or a scheduler that needs a metric.
    """
    found: Mapping[str, Any]
    if isinstance(returned, Mapping):
        found = returned
    elif isinstance(returned, tuple) and len(returned) == 2:
        found = {"optimizer": returned[0], "scheduler": returned[1]}
    else:
        found = {"optimizer": returned}
    unknown = [str(key) for key in found if key not in _KEYS]
    optimizer, scheduler = found.get("optimizer"), found.get("scheduler")
    every = found.get("every", 1)
    if unknown or not isinstance(optimizer, torch.optim.Optimizer):
        what = f"a dict with {', '.join(unknown)}" if unknown else f"a {type(returned).__name__}"
        raise InputError(f"{label}: optimizer(parameters) returned {what}; {_EXPECTED}.")
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise InputError(
            f"{label}: ReduceLROnPlateau goes by a metric of validation, of which a check of updates knows nothing; "
            "leave it out, and compare the two rules by eye."
        )
    if scheduler is not None and not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
        raise InputError(f"{label}: the scheduler is a {type(scheduler).__name__}; {_EXPECTED}.")
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise InputError(f"{label}: every is {every!r}; it must be a whole number of updates, 1 at least.")
    if scheduler is not None and getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise InputError(f"{label}: the scheduler belongs to another optimizer than the one that was returned with it.")
    return Scheduled(optimizer, scheduler, every, bool(found.get("before", False)))


@contextmanager
def quiet() -> Iterator[None]:
    """Leaves to the check what PyTorch remarks about the order of steps."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        yield


def _whole(value: Any) -> Iterator[int]:
    if isinstance(value, (list, tuple, Mapping)):
        for each in value:
            yield from _whole(each)
    elif isinstance(value, int) and not isinstance(value, bool) and value > 1:
        yield value
