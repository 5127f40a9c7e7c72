"""Where a candidate can be mutated: what one call of it runs, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from benchmarks.soundness.interception import Key, Mutation, Seen, Watch, watched

from lockstep.frameworks.tensorflow.randomness import DeterministicRandomTestTool
from lockstep.tf1 import private

SEED = 11
"""Never 0: TensorFlow takes two seeds of 0 for none, and draws at random."""


@dataclass(frozen=True)
class Operand:
    """One tensor that an operation reads.

    Attributes:
        origin: `"constant"`, `"variable"`, `"input"` or `"computed"`; `"list"` for several at once, `"handle"` for a
            variable itself.
        dtype: Its name.
        shape: Its sizes.
        value: Of a constant.
        weight: Of a variable's value: which one, in the order of the model's weights.
        producer: Of a computed one: the type of the operation that gave it.
        same: Of several: whether all have one shape and dtype.
    """

    origin: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    value: Any = None
    weight: int = -1
    producer: str = ""
    same: bool = False

    @property
    def floating(self) -> bool:
        """Whether it holds floating numbers."""
        return self.dtype in ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Site:
    """One operation of a candidate, as a call ran it.

    Attributes:
        key: Where it is.
        operands: What it reads.
        attributes: Its attributes.
        outputs: `(dtype, shape)` of each tensor that it gives.
        weights: `(dtype, shape)` of each variable of the model.
    """

    key: Key
    operands: tuple[Operand, ...]
    attributes: dict[str, Any]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    weights: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def kind(self) -> str:
        """Its type."""
        return self.key.kind


@dataclass(frozen=True)
class Survey:
    """What a candidate is made of.

    Attributes:
        sites: Its operations: those of both modes first, then those of one mode alone.
        outputs: `(dtype, shape)` of what it returns, in order.
        weights: The names of its variables.
        regularized: For each of them whether it has a regularization loss; None where it is not trained.
        created: Name and shape of the variables that its first call makes, in order; those of floating type count.
    """

    sites: tuple[Site, ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    weights: tuple[str, ...]
    regularized: tuple[bool | None, ...]
    created: tuple[tuple[str, tuple[int, ...]] | None, ...]


def drawn(seed: int = SEED) -> Any:
    """Returns a scope in which draws are the same each time."""
    return DeterministicRandomTestTool(seed=seed, mode="num_random_ops").scope()


def tensors(inputs: Any) -> Any:
    """Makes tensors of the inputs."""
    return tf.nest.map_structure(tf.convert_to_tensor, inputs)


def survey(build: Callable[[], Any], inputs: Any) -> Survey:
    """Calls a candidate in both modes and notes what it runs.

    Raises:
        AssertionError: It does not run the same operations in each call.
    """
    found: dict[str, list[Site]] = {}
    for mode in ("inference", "training"):
        seen: list[Seen] = []
        watch = Watch(note=seen.append)
        private.reset_automatic_names()
        with drawn():
            layer = watched(build, watch)()
            given = tensors(inputs)
            returned = layer(given, **training(layer, mode))
            first = [one.key for one in seen]
            seen.clear()
            returned = layer(given, **training(layer, mode))
        assert first == [one.key for one in seen], f"the second call in {mode} runs other operations"
        found[mode] = _sites(seen, layer, tf.nest.flatten(given))
        created = [_made(variable, layer) for variable in watch.created]
    outputs = tuple(_spec(tf.convert_to_tensor(one)) for one in tf.nest.flatten(returned))
    regularized = tuple(v.regularizer is not None if v.trainable else None for v in layer.weights)
    return Survey(_of_both(found), outputs, tuple(str(v.path) for v in layer.weights), regularized, tuple(created))


def _made(variable: Any, layer: keras.layers.Layer) -> tuple[str, tuple[int, ...]] | None:
    """Returns name and shape of a weight of floating type; None of another variable."""
    dtype, shape = _spec(variable)
    found = [v for v in layer.weights if private.raw_variable(v) is variable]
    return (str(found[0].path), shape) if found and dtype.startswith("float") else None


def training(layer: Any, mode: str) -> dict[str, bool]:
    """Returns the argument that puts a layer in a mode; none where it takes none."""
    return {"training": mode == "training"} if takes_training(layer) else {}


def takes_training(layer: Any) -> bool:
    """Tells whether a layer's `call` knows a training mode."""
    import inspect

    parameters = inspect.signature(layer.call).parameters
    return "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _of_both(found: dict[str, list[Site]]) -> tuple[Site, ...]:
    """Puts the modes together: a site is in both where its scope has as many operations of its type in each."""
    counts = {mode: _counts(sites) for mode, sites in found.items()}

    def alike(site: Site) -> bool:
        place = site.key.scope, site.key.kind
        return counts["inference"].get(place) == counts["training"].get(place)

    both = [replace(s, key=replace(s.key, mode="")) for s in found["training"] if alike(s)]
    alone = [site for sites in found.values() for site in sites if not alike(site)]
    return (*both, *alone)


def _counts(sites: Sequence[Site]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for site in sites:
        place = site.key.scope, site.key.kind
        counts[place] = counts.get(place, 0) + 1
    return counts


def _sites(seen: Sequence[Seen], layer: keras.layers.Layer, inputs: Sequence[Any]) -> list[Site]:
    origins = _Origins([private.raw_variable(variable) for variable in layer.weights], inputs)
    sites = []
    for one in seen:
        operands = tuple(map(origins.operand, one.operation.inputs, one.operation.given))
        specs = tuple(_spec(tensor) for tensor in one.outputs)
        sites.append(Site(one.key, operands, one.operation.attributes, specs, origins.weights))
        origins.note(one, operands)
    return sites


class _Origins:
    """Where the tensors of one call come from."""

    def __init__(self, weights: Sequence[Any], inputs: Sequence[Any]) -> None:
        self.weights = tuple(_spec(variable) for variable in weights)
        self._handles = {private.tensor_id(v.handle): number for number, v in enumerate(weights)}
        self._inputs = {private.tensor_id(tensor) for tensor in inputs}
        self._read: dict[int, int] = {}
        self._producers: dict[int, str] = {}

    def operand(self, value: Any, given: Any = None) -> Operand:
        """Describes what an operation reads; `given` is what it was before it was made a tensor."""
        if isinstance(value, (list, tuple)):
            known = [self.operand(one) for one in value]
            same = len({(one.dtype, one.shape) for one in known}) == 1
            return Operand("list", known[0].dtype if known else "", known[0].shape if known else (), same=same)
        if isinstance(value, tf.Variable) or value.dtype == tf.resource:
            return Operand("handle", weight=self._weight(value))
        return self._tensor(value, given)

    def _tensor(self, value: Any, given: Any) -> Operand:
        dtype, shape = _spec(value)
        number = private.tensor_id(value)
        if isinstance(given, tf.Variable) or private.is_keras_variable(given):
            return Operand("variable", dtype, shape, weight=self._weight(private.raw_variable(given)))
        if number in self._read:
            return Operand("variable", dtype, shape, weight=self._read[number])
        if number in self._inputs:
            return Operand("input", dtype, shape)
        if number in self._producers:
            return Operand("computed", dtype, shape, producer=self._producers[number])
        return Operand("constant", dtype, shape, value=np.asarray(value))

    def _weight(self, handle: Any) -> int:
        handle = handle.handle if isinstance(handle, tf.Variable) else handle
        return self._handles.get(private.tensor_id(handle), -1)

    def note(self, one: Seen, operands: Sequence[Operand]) -> None:
        """Follows what an operation gave: a variable's value, or one that was computed."""
        source = operands[0] if operands else Operand("constant")
        reads = one.key.kind == "ReadVariableOp" or (one.key.kind == "Identity" and source.origin == "variable")
        for tensor in one.outputs:
            number = private.tensor_id(tensor)
            if reads and source.weight >= 0:
                self._read[number] = source.weight
            else:
                self._producers[number] = one.key.kind


def _spec(tensor: Any) -> tuple[str, tuple[int, ...]]:
    return tf.as_dtype(tensor.dtype).base_dtype.name, tuple(int(size) for size in tensor.shape)


def mutated(build: Callable[[], Any], mutation: Mutation) -> Callable[[], Any]:
    """Returns a function that makes a candidate with a mutation."""
    return watched(build, Watch(mutation))
