"""A training loop of the user's own: what is asked of it, and what it is seen to do in each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lockstep.traces.trace import ForwardDraw, VariableRecord

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Edit:
    """One change of a loop, made while it runs: a mistake is named where the loop is right with it.

    Attributes:
        training: Whether each call of the model is made in training mode.
        penalties: Whether the gradients of the model's penalties of weights are added to those that the loop takes.
        divisor: What the gradients that the loop takes are divided by.
    """

    training: bool = False
    penalties: bool = False
    divisor: float = 1.0


AS_IT_IS = Edit()


@dataclass(frozen=True)
class Taken:
    """What one call of `GradientTape.gradient` gave.

    Attributes:
        loss: What was differentiated, as a sum.
        gradients: Variable key -> its gradient.
        unconnected: Keys of the variables that were asked for and have no gradient.
    """

    loss: float
    gradients: Arrays
    unconnected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applied:
    """What one call of an optimizer did.

    Attributes:
        name: The optimizer's class, with the arguments that make it clip, decay, accumulate or average.
        gradients: Variable key -> the gradient that it was given.
        rate: Its learning rate then; None where it has none.
        left: Variable key -> value right after the call.
    """

    name: str
    gradients: Arrays
    rate: float | None
    left: Arrays


@dataclass(frozen=True)
class LoopStep:
    """What a loop did in one step.

    Attributes:
        before: Variable key -> value before it.
        after: Variable key -> value after it.
        returned: The loss that it returned; None where it returned nothing that is one.
        taken: The gradients that it took, in order.
        applied: The calls of optimizers, in order; of an optimizer within another the inner one is later.
        calls: For each call of the model: whether the loop said that it is in training mode; None: it said nothing.
        draws: How many seeds its random operations asked for.
        expected: How many a single call of the model in training mode asks for.
    """

    before: Arrays
    after: Arrays
    returned: float | None = None
    taken: tuple[Taken, ...] = ()
    applied: tuple[Applied, ...] = ()
    calls: tuple[bool | None, ...] = ()
    draws: int = 0
    expected: int = 0


@dataclass(frozen=True)
class Ways:
    """How a loop is run.

    Attributes:
        draws: What the reference's forward pass draws, to be drawn in each step anew.
        edit: What is changed of it.
        traced: Whether its `tf.function`s are traced as they are; else they run eagerly, and what they do is seen.
    """

    draws: Sequence[ForwardDraw] | None = None
    edit: Edit = field(default_factory=Edit)
    traced: bool = False


class OwnLoop(Protocol):
    """What trains by a loop of the user's own."""

    label: str
    """What reports call it: `training.py:train_step`."""

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The variables of its model."""
        ...

    def train(self, starts: Sequence[Arrays | None], ways: Ways) -> list[LoopStep]:
        """Makes a new model and runs one step after the other, all with one batch.

        Args:
            starts: For each step the values that variables are given before it; None: what the step before left.
            ways: How.

        Raises:
            SubjectError: The loop failed.
        """
        ...
