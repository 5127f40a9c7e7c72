"""Where a candidate can be mutated: what one call of it runs, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from benchmarks.soundness.interception import Key, Mutation, Seen, Watch, watched

from lockstep.randomness import DeterministicRandomTestTool
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
    weights = [private.raw_variable(variable) for variable in layer.weights]
    of_handle = {private.tensor_id(v.handle): number for number, v in enumerate(weights)}
    specs = tuple(_spec(v) for v in weights)
    given = {private.tensor_id(tensor) for tensor in inputs}
    read: dict[int, int] = {}
    producers: dict[int, str] = {}

    def operand(value: Any) -> Operand:
        if isinstance(value, (list, tuple)):
            known = [operand(one) for one in value]
            same = len({(one.dtype, one.shape) for one in known}) == 1
            return Operand("list", known[0].dtype if known else "", known[0].shape if known else (), same=same)
        if isinstance(value, tf.Variable) or value.dtype == tf.resource:
            handle = value.handle if isinstance(value, tf.Variable) else value
            return Operand("handle", weight=of_handle.get(private.tensor_id(handle), -1))
        dtype, shape = _spec(value)
        number = private.tensor_id(value)
        if number in read:
            return Operand("variable", dtype, shape, weight=read[number])
        if number in given:
            return Operand("input", dtype, shape)
        if number in producers:
            return Operand("computed", dtype, shape, producer=producers[number])
        return Operand("constant", dtype, shape, value=np.asarray(value))

    sites = []
    for one in seen:
        operands = tuple(operand(value) for value in one.operation.inputs)
        specs_out = tuple(_spec(tensor) for tensor in one.outputs)
        sites.append(Site(one.key, operands, one.operation.attributes, specs_out, specs))
        for tensor in one.outputs:
            number = private.tensor_id(tensor)
            source = operands[0] if operands else Operand("constant")
            reads = one.key.kind == "ReadVariableOp" or (one.key.kind == "Identity" and source.origin == "variable")
            if reads and source.weight >= 0:
                read[number] = source.weight
            else:
                producers[number] = one.key.kind
    return sites


def _spec(tensor: Any) -> tuple[str, tuple[int, ...]]:
    return tf.as_dtype(tensor.dtype).base_dtype.name, tuple(int(size) for size in tensor.shape)


def mutated(build: Callable[[], Any], mutation: Mutation) -> Callable[[], Any]:
    """Returns a function that makes a candidate with a mutation."""
    return watched(build, Watch(mutation))
