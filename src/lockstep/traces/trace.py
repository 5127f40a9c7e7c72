"""What one run of a subject did, as frozen values in NumPy terms: the seam between the two sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lockstep.ground.records import ForwardDraw, LossRecord, VariableRecord
from lockstep.ground.structure import changed, flatten, unique_keys

__all__ = ["ForwardDraw", "LossRecord", "Trace", "VariableRecord", "changed", "flatten", "unique_keys"]


@dataclass(frozen=True)
class Trace:
    """What one run of a subject did.

    Attributes:
        variables: The inventory, in order of creation.
        before: Variable key -> value before the run: what the run really starts from, read right before it, or where a
            variable is made within the run, when it is first read.
        outputs: Path in the returned structure (`0`, `1/logits`; empty for a single tensor) -> value.
        losses: The regularization losses.
        total_loss: Their sum as the framework computes it (0-d); None where there is none.
        after: Variable key -> value after the run, for the variables that the run changed.
        training_loss: What gradients were taken of (0-d), regularization included; None where none were taken.
        gradients: Variable key -> gradient of the training loss, in the variable's shape.
        unconnected: Keys of the trainable variables that the training loss does not depend on: their gradient is None.
        created: Descriptions of the variables that further calls made anew.
        calls: How often the subject was called.
        draws: How many seeds its random operations asked for, variable initializers included.
        forward_draws: What the forward pass alone drew, in order; None where it cannot be told from what initializers
            drew (a model that made its variables in this run).
        repeated_draws: How many random operations are within loops or branches of a graph, if nobody knows how often
            each of them drew; of an eager run, whether numbers of later rounds could not be drawn.
        native_initializers: Whether Keras's own initializers gave some initial values: Keras may build all variables
            before the forward pass draws, so their draws may have another order than a TF1 program's.
        native_draws: Whether the model holds Keras's own seed generators (its dropout, say).
        unaligned_draws: Whether the run drew from such a generator past the random tool.
        own_generator: The framework whose own generator gave the initial values, where no other side can draw from it.
        drew: Whether this call drew of NumPy's, of Python's global generator.
        drawn: How far the forward pass moved NumPy's and Python's global generators, as digests; empty: not at all.
        overwritten: Keys of the variables that were given another value after their initializers had run and before the
            run: by weights that are loaded or set.
        cut: Keys of the variables that are parts of a larger one, which its draws fill in another order.
        loads: What is to be said of files that were loaded while the model was made: one that changed nothing, say.
        skipped_updates: Names of the operations in `UPDATE_OPS` that the program's own training step does not run.
        notes: What a reader of the report has to know about this run.
        duration_s: Seconds that the run took.
    """

    variables: tuple[VariableRecord, ...]
    before: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    losses: tuple[LossRecord, ...] = ()
    total_loss: np.ndarray | None = None
    after: Mapping[str, np.ndarray] = field(default_factory=dict)
    training_loss: np.ndarray | None = None
    gradients: Mapping[str, np.ndarray] = field(default_factory=dict)
    unconnected: tuple[str, ...] = ()
    created: tuple[str, ...] = ()
    calls: int = 1
    draws: int = 0
    forward_draws: tuple[ForwardDraw, ...] | None = None
    repeated_draws: int = 0
    native_initializers: bool = False
    native_draws: bool = False
    unaligned_draws: bool = False
    own_generator: str = ""
    drawn: tuple[str, str] = ("", "")
    drew: tuple[bool, bool] = (False, False)
    overwritten: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()
    skipped_updates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    duration_s: float = 0.0
