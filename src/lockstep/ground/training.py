"""Training steps: a differentiated run, then an update of the optimizer, over and over. No framework.

Every step runs the model anew from given values, so that its random draws are those of the first run: all steps have
one batch and one set of masks, on both sides and whatever their state was.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

import numpy as np

from .fill import jittered

Arrays = Mapping[str, np.ndarray]
Shapes = Dict[str, Tuple[Tuple[int, ...], Any]]

GLOBAL_STEP = "global_step"
"""What TF1 calls the step counter where the model itself reads it."""


MEMORY_BYTES = 4 << 30
"""How much the training steps of a check may hold in memory."""
_COPIES = 15
"""How often each step holds the model's variables: before, after, gradients, update and values, of three courses."""


def OWN_LOSS(outputs: Any, batch: Any) -> Any:  # noqa: N802 - a constant that stands where a function may stand
    """Stands for the training loss that a program itself states; it is looked up, and never called."""
    raise NotImplementedError


class TrainingStep(NamedTuple):
    """One training step.

    Attributes:
        run: The differentiated run of the model, with what it left in its variables (moving averages).
        update: What the optimizer left.
        values: Variable key -> value after the step.
    """

    run: Any
    update: Any
    values: Dict[str, np.ndarray]


def affordable(values: Arrays, count: int) -> int:
    """Returns how many of `count` steps fit into `MEMORY_BYTES`, but at least one."""
    size = sum(int(np.asarray(values[key]).nbytes) for key in values)
    return max(min(count, MEMORY_BYTES // max(size * _COPIES, 1)), 1)


def shapes_of(gradients: Arrays) -> Shapes:
    """Returns key -> shape and dtype of the variables that there are gradients for."""
    return {key: (value.shape, value.dtype) for key, value in gradients.items()}


def train(
    run: Callable[[Arrays], Any], make_optimizer: Callable[[Shapes], Any], values: Arrays, count: int
) -> List[TrainingStep]:
    """Trains for some steps.

    Args:
        run: Runs the model from given values: `before`, `after` and `gradients` are what is looked at.
        make_optimizer: Makes the optimizer of the variables that there are gradients for.
        values: Variable key -> value to start from.
        count: How many steps.
    """
    steps: List[TrainingStep] = []
    optimizer = None
    for _ in range(count):
        done = run(values)
        gradients = {key: np.asarray(done.gradients[key]) for key in done.gradients}
        if optimizer is None:
            optimizer = make_optimizer(shapes_of(gradients))
        state = state_after(done)
        update = optimizer.apply({key: state[key] for key in gradients}, gradients)
        values = after_update(state, update)
        steps.append(TrainingStep(done, update, dict(values)))
    if optimizer is not None:
        optimizer.close()
    return steps


def state_after(done: Any) -> Dict[str, np.ndarray]:
    """Returns all variables as a run left them."""
    state = {key: done.before[key] for key in done.before}
    state.update({key: done.after[key] for key in done.after})
    return state


def after_update(state: Arrays, update: Any) -> Dict[str, np.ndarray]:
    """Returns all variables after an update, the step counter included."""
    values = dict(state)
    values.update({key: update.variables[key] for key in update.variables})
    if GLOBAL_STEP in values:
        values[GLOBAL_STEP] = np.asarray(update.step, values[GLOBAL_STEP].dtype)
    return values


def moved(values: Arrays, number: int = 1) -> Dict[str, np.ndarray]:
    """Returns values with every floating number moved by one unit in the last place."""
    return {key: jittered(np.asarray(values[key]), "%d/%s" % (number, key)) for key in values}


def drift(reference: Arrays, other: Arrays) -> float:
    """Returns the distance of two states: the Euclidean norm of their difference over that of the reference.

    Args:
        reference: Variable key -> value.
        other: The same of the other state.
    """
    difference = size = 0.0
    for key in reference:
        a = np.asarray(reference[key])
        if a.dtype.kind != "f":
            continue
        wide = a.astype(np.float64)
        difference += float(np.sum(np.square(wide - np.asarray(other[key]))))
        size += float(np.sum(np.square(wide)))
    return float(np.sqrt(difference / size)) if size else 0.0
