"""The trial that the optimizers of both sides go through: equal variables, equal gradients.

No framework: an optimizer is whatever has `apply`, `learning_rates` and `turning_points`.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from . import fill
from .tensors import count

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, Tuple[Tuple[int, ...], Any]]

UPDATES = 5
"""How many updates are made in a row: as many as `fill.update_gradient` has scales."""

LARGEST = 4096
"""How many elements of a variable take part. Update rules go by elements, so that more of them tell nothing new."""


class Trial(NamedTuple):
    """What both optimizers are given: the variables that they start from, and one set of gradients for each update."""

    variables: Dict[str, np.ndarray]
    gradients: List[Dict[str, np.ndarray]]


def cut(shape: Tuple[int, ...]) -> Tuple[int, ...]:
    """Returns the shape that stands for a variable's in a trial: of the same rank, and of `LARGEST` elements at most.

    >>> cut((3, 3, 512, 512)), cut((10,))
    ((3, 3, 16, 16), (10,))
    """
    sizes = list(shape)
    while count(sizes) > LARGEST:
        largest = max(range(len(sizes)), key=lambda axis: sizes[axis])
        sizes[largest] = (sizes[largest] + 1) // 2
    return tuple(sizes)


def shapes_of(variables: Sequence[Any], numpy_dtype: Any) -> Dict[str, Tuple[Tuple[int, ...], Any]]:
    """Returns key -> shape and dtype in the trial of the variables that an optimizer trains.

    Args:
        variables: Records of a subject's variables.
        numpy_dtype: Turns the name of a dtype into the dtype.
    """
    return {
        record.key: (cut(record.shape), numpy_dtype(record.dtype))
        for record in variables
        if record.trainable and fill.takes_values(record.dtype)
    }


def trial(shapes: Shapes) -> Trial:
    """Returns the trial of variables: key -> shape and dtype."""
    return Trial(
        {key: fill.distinct(key, shape, dtype) for key, (shape, dtype) in shapes.items()},
        [
            {key: fill.update_gradient(key, number, shape, dtype) for key, (shape, dtype) in shapes.items()}
            for number in range(UPDATES)
        ],
    )


def probes(turning_points: Sequence[int]) -> List[int]:
    """Returns the steps that learning rates are compared at.

    The first updates, round numbers up to five million with their neighbours, and likewise the integers that a
    schedule is made of.
    """
    points: Set[int] = {factor * 10**power for power in range(1, 7) for factor in (1, 2, 5)} | set(turning_points)
    near = {max(point + away, 0) for point in points for away in (-1, 0, 1)}
    return sorted(near | set(range(UPDATES + 1)))


def updates(optimizer: Any, given: Trial, forced: Optional[Sequence[Arrays]] = None) -> List[Any]:
    """Makes an optimizer go through a trial, and returns what each update left.

    Args:
        optimizer: A fresh one.
        given: The trial.
        forced: For each update but the last, the variables that the next one starts from; by default its own.
    """
    values: Arrays = given.variables
    done: List[Any] = []
    for number, gradients in enumerate(given.gradients):
        if forced is not None and number:
            values = forced[number - 1]
        done.append(optimizer.apply(values, gradients))
        values = done[-1].variables
    return done
