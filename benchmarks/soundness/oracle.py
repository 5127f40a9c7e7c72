"""Tells harmless mutations from harmful ones: both candidates in float64, at several sets of values, in both modes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from benchmarks.soundness.interception import RAW, Mutation, Watch, watched
from benchmarks.soundness.oracle_limits import CLEAR, HARMLESS
from benchmarks.soundness.shadow import Shadow
from benchmarks.soundness.sites import SEED, drawn, tensors, training

from lockstep.tf1 import private

_SMALL = 1e-4
"""A tensor this much smaller than the largest of its kind counts as that large: a gradient may be rounding alone."""
MODES = ("inference", "training")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Values:
    """One set of values.

    Attributes:
        name: What it is called.
        inputs: How large floating inputs are; None: as they are given.
        weights: How large variables are; None: as they are at first.
        positive: How large variables are that start as ones.
    """

    name: str
    inputs: float | None = None
    weights: float | None = None
    positive: float = 1.0


AS_GIVEN = "as given"
SETS = (
    Values("generic", 1.0, 1.0),
    Values(AS_GIVEN),
    Values("large", 10.0, 3.0),
    Values("small", 0.1, 0.3, 0.01),
    Values("huge", 100.0, 10.0, 3.0),
    Values("inputs of zero", 0.0, 1.0),
)


@dataclass
class Run:
    """What one call of a candidate gave.

    Attributes:
        results: What -> array; floating ones in float64.
        facts: Dtypes and shapes of what it returned.
        single: Operations that ran in float32.
    """

    results: dict[str, Array] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    single: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Judgement:
    """What an evaluation shows of a mutant.

    Attributes:
        harmless: Whether nothing changed.
        effect: The largest relative difference.
        where: What it is of: `"training, generic: output:0"`.
        noise: What was allowed where float64 is impossible; 0 where it is possible.
    """

    harmless: bool
    effect: float
    where: str
    noise: float = 0.0


class Oracle:
    """Judges the mutants of one candidate, which it evaluates once.

    Args:
        build: Makes the candidate.
        inputs: What it is given.
    """

    def __init__(self, build: Callable[[], Any], inputs: Any) -> None:
        self._build, self._inputs = build, inputs
        self._overflow: set[tuple[str, str]] = set()
        self.original = {(mode, name): run for mode in MODES for name, run in self._runs(Mutation(), mode)}
        self._overflow = {key for key, run in self.original.items() if not _all_finite(run.results)}
        for mode in MODES:
            usable = [values.name for values in SETS if (mode, values.name) not in self._overflow]
            assert len(usable) >= 2, f"{mode}: results are finite at {usable} alone"
        self.single = set().union(*(run.single for run in self.original.values()))
        self._noise = self._measured() if self.single else {}
        again, _ = self.judge(Mutation)
        assert again.harmless, f"the candidate differs from itself: {again}"

    def judge(self, make: Callable[[], Mutation]) -> tuple[Judgement, int]:
        """Returns what a mutation does, and how often it was applied; a clear effect ends the search for a larger one.

        Raises:
            Exception: What TensorFlow or Keras raise where the mutated candidate does not run.
        """
        mutation = make()
        worst = Judgement(harmless=True, effect=0.0, where="")
        for mode in reversed(MODES):
            for name, found in self._runs(mutation, mode):
                for judged in self._compared(mode, name, found):
                    worst = max(worst, judged, key=lambda one: one.effect)
                if worst.effect > CLEAR:
                    return worst, mutation.applied
        return worst, mutation.applied

    def _compared(self, mode: str, name: str, found: Run) -> Iterator[Judgement]:
        first = self.original[mode, name]
        if first.facts != found.facts:
            changed = [f"{a}, not {b}" for a, b in zip(found.facts, first.facts, strict=False) if a != b]
            yield Judgement(harmless=False, effect=math.inf, where=(changed or ["another number of outputs"])[0])
        for what, difference in _differences(first.results, found.results, started=name == AS_GIVEN).items():
            allowed = max(HARMLESS, self._noise.get((mode, name, what), 0.0))
            if difference > allowed:
                yield Judgement(harmless=False, effect=difference, where=f"{mode}, {name}: {what}", noise=allowed)

    def _measured(self) -> dict[tuple[str, str, str], float]:
        """How far results move by one unit of float32 in the last place, times four."""
        noise = {}
        for mode in MODES:
            for name, moved in self._runs(Mutation(), mode, jitter=2.0**-23):
                for what, difference in _differences(self.original[mode, name].results, moved.results).items():
                    noise[mode, name, what] = 4 * difference
        return noise

    def _runs(self, mutation: Mutation, mode: str, jitter: float = 0.0) -> Iterator[tuple[str, Run]]:
        """Makes a candidate and runs it at each set of values, but for those that are known to overflow."""
        watch = Watch(mutation)
        private.reset_automatic_names()
        with drawn():
            layer = watched(self._build, watch)()
            arguments = training(layer, mode)
            layer(tensors(self._inputs), **arguments)
        initial = [np.array(private.raw_variable(v)) for v in layer.weights]
        start = {f"initial {v.path}": array for v, array in zip(layer.weights, initial, strict=True)}
        for values in SETS:
            if (mode, values.name) in self._overflow:
                continue
            for variable, array in zip(layer.weights, _weights(values, layer.weights, initial), strict=True):
                variable.assign(_jittered(array, jitter))
            inputs = [_jittered(array, jitter) for array in tf.nest.flatten(_inputs(values, self._inputs))]
            given = tensors(tf.nest.pack_sequence_as(self._inputs, inputs))
            found = _run(watch, layer, given, arguments, seed=SEED + SETS.index(values))
            if values.inputs is None and not jitter:
                found.results |= start
            yield values.name, found


def _run(watch: Watch, layer: Any, inputs: Any, arguments: Mapping[str, bool], seed: int) -> Run:
    """Calls a candidate once, with float64 values beside."""
    found = Run()
    results = found.results
    with drawn(seed):
        shadow = Shadow(layer.weights, tf.nest.flatten(inputs))
        watch.below = shadow
        with tf.GradientTape() as tape:
            tape.watch(shadow.leaves)
            returned = tf.nest.flatten(layer(inputs, **arguments))
            doubles = [shadow.of(tf.convert_to_tensor(one)) for one in returned]
            floating = [(n, double) for n, double in enumerate(doubles) if double.dtype == tf.float64]
            loss = tf.add_n([tf.constant(0.0, tf.float64), *(tf.reduce_sum(_weighted(n, d)) for n, d in floating)])
        # Nobody trains a model in inference mode, and Lockstep promises nothing of gradients there.
        differentiated = arguments.get("training", True)
        gradients = tape.gradient(loss, shadow.leaves) if differentiated else [None] * len(shadow.leaves)
        watch.below = RAW
    found.single = shadow.single
    for number, (one, double) in enumerate(zip(returned, doubles, strict=True)):
        results[f"output:{number}"] = np.asarray(double)
        found.facts.append(f"output:{number} {one.dtype} {tuple(one.shape)}")
    for number, term in enumerate(layer.losses):
        results[f"loss:{number}"] = np.asarray(shadow.of(tf.convert_to_tensor(term)))
    for variable, after, gradient in zip(layer.weights, shadow.after(), gradients, strict=True):
        results[f"state {variable.path}"] = np.asarray(after)
        if differentiated and variable.trainable and after.dtype == tf.float64:
            dense = tf.zeros_like(after) if gradient is None else tf.convert_to_tensor(gradient)
            results[f"gradient {variable.path}"] = np.asarray(dense)
    return found


def _weighted(number: int, double: Any) -> Any:
    return double * tf.constant(np.random.default_rng(number).normal(size=double.shape))


def _differences(first: Mapping[str, Array], second: Mapping[str, Array], *, started: bool = False) -> dict[str, float]:
    """Returns what -> largest difference, relative to the largest magnitude there.

    Where both have `started` from what their first call in float32 left in variables, one unit of it in the last place
    of the largest variable is no difference: the mean of what is normalised is such rounding alone.
    """
    largest: dict[str, float] = {}
    for what, array in first.items():
        kind = what.partition(" ")[0]
        largest[kind] = max(largest.get(kind, 0.0), _magnitude(array))
    # What one of them alone has, as a loss that is one too many, is as different as can be.
    found = {what: math.inf for what in second if what not in first}
    for what, array in first.items():
        other = second.get(what)
        if other is None or other.shape != array.shape:
            found[what] = float("inf")
            continue
        if array.dtype.kind != "f":
            found[what] = 0.0 if np.array_equal(array, other) else 1.0
            continue
        difference = np.abs(array - other)
        same = (array == other) | (np.isnan(array) & np.isnan(other))
        difference = np.where(same, 0.0, np.where(np.isfinite(difference), difference, np.inf))
        if started and what.partition(" ")[0] in ("state", "initial"):
            difference = np.maximum(difference - 2.0**-23 * largest[what.partition(" ")[0]], 0.0)
        scale = max(_magnitude(array), _SMALL * largest[what.partition(" ")[0]])
        found[what] = float(difference.max(initial=0.0)) / scale if scale else float(difference.max(initial=0.0))
    return found


def _magnitude(array: Array) -> float:
    if array.dtype.kind != "f" or not array.size:
        return 0.0
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))


def _all_finite(found: Mapping[str, Array]) -> bool:
    return all(np.isfinite(array).all() for array in found.values() if array.dtype.kind == "f")


def _generator(*of: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(of).encode()))


def _inputs(values: Values, given: Any) -> Any:
    """Returns inputs of the same sort: what is a mask stays one, whole numbers stay within their bounds."""
    size = values.inputs
    if size is None:
        return given
    flat = []
    for place, array in enumerate(tf.nest.flatten(given)):
        random = _generator(values.name, "input", place)
        if array.dtype.kind == "f" and not np.isin(array, (0, 1)).all():
            shift = 0.5 * float(np.sign(array.min())) if array.min() * array.max() > 0 else 0.0
            flat.append(
                (
                    size * (np.abs(random.normal(size=array.shape)) if shift > 0 else random.normal(size=array.shape))
                    + shift
                ).astype(array.dtype)
            )
        elif array.dtype.kind in "iu" and array.size:
            flat.append(random.integers(array.min(), array.max() + 1, size=array.shape).astype(array.dtype))
        else:
            flat.append(array)
    return tf.nest.pack_sequence_as(given, flat)


def _weights(values: Values, variables: Sequence[Any], initial: Sequence[Array]) -> list[Array]:
    """Returns values for variables: of about 1 / sqrt(fan in); positive where a variable starts as ones."""
    if values.weights is None:
        return list(initial)
    made = []
    for variable, array in zip(variables, initial, strict=True):
        random = _generator(values.name, variable.path)
        if array.dtype.kind != "f":
            made.append(array)
        elif array.size and (array == 1).all():
            made.append((values.positive * random.uniform(0.5, 1.5, array.shape)).astype(array.dtype))
        else:
            fan_in = max(int(np.prod(array.shape[:-1])), 1) if array.ndim > 1 else 1
            made.append((values.weights * random.normal(size=array.shape) / np.sqrt(fan_in)).astype(array.dtype))
    return made


def _jittered(array: Array, relative: float) -> Array:
    """Moves each number up or down by a relative amount; `relative` 0 leaves it."""
    if not relative or array.dtype.kind != "f":
        return array
    signs = _generator("jitter", array.shape).choice([-1.0, 1.0], size=array.shape)
    return (array * (1 + relative * signs)).astype(array.dtype)
