"""How far the numbers of one subject move when nothing but rounding changes: the first, coarse noise budget.

The subject runs again with every floating variable and input moved by at most one unit in the last place, with another
number of threads, and on kernels that sum in another order (oneDNN's switched off, or on). What moves then moves
between any two correct computations, so a difference of that size says nothing about the code. Jitter alone is not
enough: the mean of constant activations errs by the order of its summation, which jitter averages away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lockstep.common.arrays import Arrays, is_rounded, largest_magnitude, named
from lockstep.common.errors import LockstepError
from lockstep.ground.fill import jittered
from lockstep.subjects import TRAINING_LOSS, Objective, Perturbed
from lockstep.traces.trace import Trace

JITTERS = 3
"""Runs with jittered values. The largest of three draws of a symmetric noise is below a fourth one's magnitude in one
case of four; `FACTOR` covers that with room for the tail."""

FACTOR = 4.0
"""How many times the largest movement a difference may have. Measured on Inception-ResNet-v2 in training mode, whose
batch norms over constant activations amplify rounding: see docs/design/noise.md."""

ROUNDING = 1e-5
"""Beside the largest of its kind: a tensor that small may be nothing but rounding; it is a hundred float32 spacings."""

HIDING = 0.1
"""A budget above this share of a tensor's largest magnitude hides any answer about the code."""

CLEAR = 1e-3
"""What the code may change of a tensor, relative to it, where the budget would hide more: far less than a mistake makes
of a gradient, and less than one unit in the last place makes of it in a model as chaotic as that."""


@dataclass(frozen=True)
class Noise:
    """How far each tensor moved, at most, in absolute terms.

    Attributes:
        outputs: Path -> movement.
        state: Variable key -> movement of its value after the run.
        gradients: Variable key -> movement of its gradient; `TRAINING_LOSS` -> that of the loss; of differentiated
            runs.
        runs: How many runs it comes from.
        failed: What is to be said of runs that could not be made.
        loss: How far the sum of the collected losses moved.
    """

    outputs: Mapping[str, float]
    state: Mapping[str, float]
    runs: int
    gradients: Mapping[str, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    loss: float = 0.0


def measure(
    instance: Perturbed,
    base: Trace,
    inputs: Arrays,
    say: Callable[[str], None],
    *,
    objective: Objective | None = None,
    other_kernels: bool = True,
) -> Noise:
    """Runs a subject again and again and returns how far it moves.

    Args:
        instance: The subject.
        base: What it did undisturbed.
        inputs: What it ran on; one that is no dict is named `input`.
        say: Told what is being done.
        objective: What gradients are taken of, where theirs is the noise that is asked for.
        other_kernels: Whether the run on other kernels is made, which takes a process of its own.
    """
    given = named(inputs)
    extra: dict[str, Any] = {} if objective is None else {"objective": objective}

    def jitter(number: int) -> Trace:
        values = {key: jittered(array, f"{number}/{key}") for key, array in base.before.items()}
        fed = {name: jittered(array, f"{number}/input/{name}") for name, array in given.items()}
        return instance.run_changed(values, fed, threads=0, **extra)

    runs: list[tuple[str, Callable[[], Trace]]] = [
        ("with other last places", functools.partial(jitter, number)) for number in range(1, JITTERS + 1)
    ]
    runs.append(("on one thread", lambda: instance.run_changed(dict(base.before), given, threads=1, **extra)))
    if other_kernels:
        runs.append(("on other kernels", lambda: instance.run_on_other_kernels(dict(base.before), given, **extra)))
    moved, failed = [], []
    for number, (how, run) in enumerate(runs, 1):
        say(f"how far rounding alone moves the reference: run {number} of {len(runs)}, {how}")
        try:
            moved.append(run())
        except LockstepError as error:
            # A graph that calls Python cannot run in another process, say: the budget is what the other runs give.
            failed.append(f"the reference could not be run {how}, so its noise budget may be too small: {error}")
    return Noise(
        outputs={
            path: _largest(_distance(base.outputs[path], run.outputs[path]) for run in moved) for path in base.outputs
        },
        state={key: _largest(_distance(_after(base, key), _after(run, key)) for run in moved) for key in base.after},
        gradients={} if objective is None else _gradients(base, moved),
        runs=len(moved),
        failed=tuple(failed),
        loss=_largest(_distance(_loss(base), _loss(run)) for run in moved),
    )


def sharpened(
    budgets: Mapping[str, float], hidden: Iterable[str], tensors: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns budgets within which the code's share is an answer, also of tensors whose own budget hides any.

    Args:
        budgets: Tensor -> budget, in absolute terms.
        hidden: The tensors whose budget is too large beside them.
        tensors: Tensor -> value.

    >>> sharpened({"a": 0.5, "b": 0.001}, ["a"], {"a": np.array([-1.0]), "b": np.array([2.0])})
    {'a': 0.001, 'b': 0.001}
    """
    return {**budgets, **{name: min(budgets[name], CLEAR * largest_magnitude(tensors[name])) for name in hidden}}


def of_peers(budgets: Mapping[str, float], tensors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns budgets for what two runtimes make of one graph: as large, relatively, as that of any of its tensors.

    Where rounding takes a value to the other side of a kink (a ReLU, the largest of a pooling window), a gradient or
    an output changes by a finite amount, in another layer in each run. A few runs do not show where two runtimes do;
    they show how much comes of it.

    Args:
        budgets: Tensor -> budget, in absolute terms.
        tensors: Tensor -> value.

    >>> of_peers({"a": 0.5, "b": 0.001}, {"a": np.array([-5.0]), "b": np.array([2.0])})
    {'a': 0.5, 'b': 0.2}
    """
    sizes = {name: largest_magnitude(tensors[name]) for name in budgets if name in tensors}
    # What is itself nothing but rounding, as the gradient of a bias in front of a normalisation, moves by all of it.
    floor = ROUNDING * max(sizes.values(), default=0.0)
    largest = max((budgets[name] / of for name, of in sizes.items() if of > floor), default=0.0)
    return {name: max(budgets[name], largest * of) for name, of in sizes.items()}


def _gradients(base: Trace, moved: Iterable[Trace]) -> dict[str, float]:
    def values(trace: Trace) -> dict[str, np.ndarray]:
        loss = {} if trace.training_loss is None else {TRAINING_LOSS: trace.training_loss}
        return {**loss, **trace.gradients}

    runs = [values(run) for run in moved]
    return {key: _largest(_distance(value, run[key]) for run in runs) for key, value in values(base).items()}


def _loss(trace: Trace) -> np.ndarray:
    return np.zeros(0) if trace.total_loss is None else trace.total_loss


def _largest(distances: Iterable[float]) -> float:
    return max(distances, default=0.0)


def _after(trace: Trace, key: str) -> np.ndarray:
    return trace.after[key] if key in trace.after else trace.before[key]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape or not is_rounded(a.dtype) or not a.size:
        return 0.0
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    with np.errstate(invalid="ignore"):
        difference = np.abs(a.astype(wide) - b.astype(wide))
    finite = difference[np.isfinite(difference)]
    return float(finite.max()) if finite.size else 0.0
