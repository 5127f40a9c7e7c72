"""The batches that metrics are asked with: the reference's outputs cut into batches, and what tells metrics apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lockstep.causes.streaming_causes import EDGES, GENERIC, GIVEN, UNWEIGHTED
from lockstep.ground.streaming import Batch, Course
from lockstep.subjects.streaming import Roles

NOTHING = "nothing positive"
_SIZES = (8, 8, 5, 2)
_SEED = 17
_LABELS = ("label", "labels", "y", "y_true", "target", "targets")
_WEIGHTS = ("weight", "weights", "sample_weight", "sample_weights")


class UncutError(Exception):
    """The outputs and the inputs cannot be cut into batches; the text says why."""


def roles(outputs: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], said: Roles, known: str | None) -> Roles:
    """Returns which output and which inputs metrics are about, as far as it is said or leaves no choice.

    Args:
        outputs: Path -> what the reference returned.
        inputs: Name -> what it was given.
        said: What the user said.
        known: The input that a side's user called its labels; None where nobody did.
    """
    only = next(iter(outputs)) if len(outputs) == 1 else None
    predictions = only if said.predictions is None else said.predictions
    named = said.labels or known or next((name for name in _LABELS if name in inputs), None)
    return Roles(predictions, named, said.weights)


def courses(outputs: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], given: Roles) -> list[Course]:
    """Returns what metrics are updated with.

    The outputs as they are, in batches of which the last is shorter; 23 rows made of them, in batches of 8, 8, 5 and 2,
    each with another row's labels, and with distinct weights where those given are all one; the same with weights of
    one; where the model has one floating output, predictions that are exactly a threshold, and a batch in which nothing
    is positive.

    Raises:
        UncutError: Outputs and inputs have no rows in common.
    """
    rows = _rows(outputs, inputs, given)
    random = np.random.default_rng(_SEED)
    whole = Batch(dict(outputs), dict(inputs))
    made = [Course(GIVEN, _cut(whole, _thirds(rows)))]
    weights = _weights(inputs, given, rows)
    generic = _generic(whole, given, weights, random)
    made.append(Course(GENERIC, _cut(generic, _SIZES)))
    for name in weights:
        ones = Batch(generic.outputs, {**generic.inputs, name: np.ones_like(generic.inputs[name])})
        made.append(Course(UNWEIGHTED.format(name), _cut(ones, _SIZES)))
    path, labels = given.predictions, given.labels
    if path is None or len(outputs) != 1 or outputs[path].dtype.kind != "f" or _is_distribution(outputs[path]):
        return made
    thresholds = [0.5] if _is_probability(outputs[path]) else [0.0, 0.5]
    near = np.asarray([t + d for t in thresholds for d in (0.0, -0.25, 0.25)], outputs[path].dtype)
    edges = np.resize(near, generic.outputs[path].shape)
    made.append(Course(EDGES, _cut(Batch({path: edges}, generic.inputs), _SIZES)))
    if labels is not None and _is_probability(outputs[path]) and _is_binary(inputs[labels]):
        low = np.asarray(0.25 * generic.outputs[path], outputs[path].dtype)
        none = {**generic.inputs, labels: np.zeros_like(generic.inputs[labels])}
        made.append(Course(NOTHING, _cut(Batch({path: low}, none), _SIZES)))
    return made


def _rows(outputs: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], given: Roles) -> int:
    first = given.predictions if given.predictions is not None else next(iter(outputs))
    shape = np.shape(outputs[first])
    if not shape or not shape[0]:
        raise UncutError(f"the output {first or 'of the model'} has no examples along its first axis")
    for what, values in (("output", outputs), ("input", inputs)):
        for name, value in values.items():
            if np.ndim(value) and len(value) != shape[0]:
                raise UncutError(
                    f"the {what} {name} has {len(value)} rows, and the predictions have {shape[0]}: they cannot be cut "
                    "into batches"
                )
    return int(shape[0])


def _thirds(rows: int) -> tuple[int, ...]:
    """Returns the sizes of at most three batches, the last the smallest.

    >>> _thirds(16), _thirds(3), _thirds(2), _thirds(9)
    ((6, 6, 4), (2, 1), (1, 1), (4, 4, 1))
    """
    size = -(-rows // 3)
    while rows % size == 0 and size + 1 < rows:
        size += 1
    sizes = [min(size, rows - start) for start in range(0, rows, size)]
    return tuple(sizes)


def _cut(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    ends = np.cumsum(sizes)

    def part(values: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
        return {key: value[start:end] if np.ndim(value) else value for key, value in values.items()}

    return [
        Batch(part(batch.outputs, end - size, end), part(batch.inputs, end - size, end))
        for size, end in zip(sizes, ends, strict=True)
    ]


def _weights(inputs: Mapping[str, np.ndarray], given: Roles, rows: int) -> list[str]:
    """Returns the inputs that are sample weights: what the user calls so, or what is named so."""
    return [
        name
        for name, value in inputs.items()
        if (name == given.weights or name.rpartition("/")[2] in _WEIGHTS)
        and name != given.labels
        and np.shape(value) in ((rows,), (rows, 1))
        and value.dtype.kind == "f"
    ]


def _generic(whole: Batch, given: Roles, weights: Sequence[str], random: np.random.Generator) -> Batch:
    rows, count = len(whole.outputs[_first(whole, given)]), sum(_SIZES)
    ours, theirs = _drawn(random, rows, count), _drawn(random, rows, count)

    def taken(value: np.ndarray, places: np.ndarray) -> np.ndarray:
        return value[places] if np.ndim(value) else value

    outputs = {path: taken(value, ours) for path, value in whole.outputs.items()}
    apart = {*weights, given.labels}
    inputs = {name: taken(value, theirs if name in apart else ours) for name, value in whole.inputs.items()}
    for name in weights:
        if np.ptp(inputs[name]) == 0:
            inputs[name] = random.uniform(0.25, 2.0, inputs[name].shape).astype(inputs[name].dtype)
    path = given.predictions
    if len(outputs) == 1 and path is not None and outputs[path].dtype.kind == "f" and outputs[path].ndim <= 2:
        outputs[path] = _spread(whole.outputs[path], outputs[path].shape, random)
    return Batch(outputs, inputs)


def _first(whole: Batch, given: Roles) -> str:
    return given.predictions if given.predictions is not None else next(iter(whole.outputs))


def _drawn(random: np.random.Generator, rows: int, count: int) -> np.ndarray:
    """Returns places among the rows, each as often as the others, in an order of their own."""
    return random.permutation(np.resize(np.arange(rows), count))


def _spread(values: np.ndarray, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Returns predictions of the same kind, which a model that is not trained would not give."""
    made: np.ndarray
    if _is_distribution(values):
        made = random.dirichlet(np.full(shape[1], 0.8), shape[0])
    elif _is_probability(values):
        made = random.uniform(0.01, 0.99, shape)
    else:
        made = random.normal(float(np.mean(values)), max(float(np.std(values)), 1e-3), shape)
    return made.astype(values.dtype)


def _is_probability(values: np.ndarray) -> bool:
    return bool(np.all((values >= 0) & (values <= 1)))


def _is_distribution(values: np.ndarray) -> bool:
    """Tells whether each row is a softmax's."""
    if values.ndim != 2 or values.shape[1] < 2 or not _is_probability(values):
        return False
    sums: np.ndarray = np.abs(values.astype(np.float64).sum(axis=1) - 1.0)
    return bool(np.all(sums < 1e-3))


def _is_binary(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "biuf" and set(np.unique(labels).tolist()) <= {0, 1}


def one_sided(batches: Sequence[Batch], labels: str | None) -> bool:
    """Tells whether binary labels are all of one class, where areas and rates are quotients of nothing."""
    if labels is None:
        return False
    seen = np.concatenate([np.ravel(batch.inputs[labels]) for batch in batches])
    return _is_binary(seen) and len(np.unique(seen)) < 2
