"""What a single operation may do otherwise: each mutator looks at a site and gives what can be done there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from benchmarks.soundness.interception import Act, CannotMutateError, Mutation, Operation, definition, listed
from benchmarks.soundness.sites import Operand, Site, Survey
from tensorflow.python import pywrap_tfe

from lockstep.tf1 import private

Change = tuple[str, Act]
Mutator = Callable[[Site], Iterator[Change]]
MUTATORS: dict[str, Mutator] = {}
"""Family -> what gives its changes of a site."""

_STATELESS_COPIES = frozenset({"Identity", "ReadVariableOp", "NoOp", "Shape", "VariableShape", "Assert"})
_FIXED = frozenset({"Reshape", "Transpose", "Pad", "PadV2", "StridedSlice", "Slice", "ExpandDims", "Squeeze", "Tile"})
_ORDERED = frozenset({
    "Sub", "RealDiv", "Div", "DivNoNan", "FloorDiv", "FloorMod", "Mod", "Pow", "Atan2", "MatMul", "BatchMatMulV2",
    "BatchMatMul", "Less", "LessEqual", "Greater", "GreaterEqual", "SelectV2", "Select", "Xlogy", "Complex",
})  # fmt: skip
_SIBLINGS = {
    "Relu": ("Relu6", "Elu", "Softplus", "Abs"), "Relu6": ("Relu",), "Tanh": ("Sigmoid", "Softsign", "Atan"),
    "Sigmoid": ("Tanh",), "Elu": ("Selu", "Relu"), "Selu": ("Elu",), "Softplus": ("Relu", "Softsign"),
    "Softsign": ("Tanh",), "MaxPool": ("AvgPool",), "AvgPool": ("MaxPool",), "Sum": ("Mean", "Max"),
    "Mean": ("Sum", "Max"), "Max": ("Min", "Mean"), "Min": ("Max",), "Prod": ("Sum",), "AddV2": ("Sub", "Maximum"),
    "Add": ("Sub",), "Sub": ("AddV2",), "Mul": ("RealDiv", "Minimum"), "RealDiv": ("Mul",),
    "Greater": ("GreaterEqual",), "GreaterEqual": ("Greater", "Less"),
    "Less": ("LessEqual", "Greater"), "LessEqual": ("Less",), "Floor": ("Ceil",),
    "Ceil": ("Floor",), "Round": ("Floor",), "Rint": ("Floor",), "Maximum": ("Minimum",), "Minimum": ("Maximum",),
    "Exp": ("Expm1",), "Log": ("Log1p",), "Sin": ("Cos",), "Cos": ("Sin",), "Sqrt": ("Rsqrt",), "Rsqrt": ("Sqrt",),
    "Square": ("Abs",), "SquaredDifference": ("Sub",), "ArgMax": ("ArgMin",), "LogicalAnd": ("LogicalOr",),
    "LogicalOr": ("LogicalAnd",), "Equal": ("NotEqual",), "NotEqual": ("Equal",), "LogicalNot": ("Identity",),
    "ResizeBilinear": ("ResizeBicubic",), "ResizeNearestNeighbor": ("ResizeBilinear",), "Softmax": ("LogSoftmax",),
    "LogSoftmax": ("Softmax",), "Erf": ("Tanh",), "Abs": ("Relu", "Square"), "Sign": ("Tanh",),
}  # fmt: skip
_AXES = {
    "Sum": 1, "Mean": 1, "Max": 1, "Min": 1, "Prod": 1, "All": 1, "Any": 1, "ConcatV2": 1, "GatherV2": 2, "ArgMax": 1,
    "ArgMin": 1, "Cumsum": 1, "Split": 0, "ReverseV2": 1, "Roll": 2,
}  # fmt: skip
_WRITES = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})


def mutator(family: str) -> Callable[[Mutator], Mutator]:
    """Registers what gives the changes of a family."""

    def register(function: Mutator) -> Mutator:
        MUTATORS[family] = function
        return function

    return register


@dataclass(frozen=True)
class Mutant:
    """One mutation of a candidate.

    Attributes:
        place: Where: a site's key, `output:0`, `initial:0:NAME` or `loss:0:NAME`.
        family: What sort of mutation.
        label: Which one of the sort.
        scope: The scope that it is in; None for outputs.
        kind: The type of the operation; empty for outputs, initial values and losses.
        whole: Whether its scope is that of the whole model, so that naming it says nothing.
        make: Makes the mutation.
    """

    place: str
    family: str
    label: str
    scope: str | None
    kind: str
    make: Callable[[], Mutation]
    whole: bool = False

    @property
    def name(self) -> str:
        """What tells it from the others of its pair."""
        return f"{self.place}|{self.family}:{self.label}"


def mutants(found: Survey) -> list[Mutant]:
    """Returns every mutation of a candidate that there is, in a fixed order."""
    made = []
    scopes = {site.key.scope for site in found.sites}
    outermost = {scope.partition("/")[0] for scope in scopes}
    whole = {"", *(outermost if len(outermost) == 1 and len(scopes) > 1 else ())}
    for site in found.sites:
        for family, function in MUTATORS.items():
            for label, act in function(site):
                key = site.key

                def make(key: Any = key, act: Act = act) -> Mutation:
                    return Mutation(key, act)

                made.append(Mutant(str(key), family, label, key.scope, key.kind, make, key.scope in whole))
    return [*made, *_of_outputs(found), *_of_initial_values(found), *_of_losses(found)]


# --- operands


def _with(operation: Operation, place: int, value: Any) -> list[Any]:
    inputs = list(operation.inputs)
    inputs[place] = value
    return inputs


def _changed_operand(place: int, change: Callable[[Any], Any]) -> Act:
    return lambda operation: operation.run(inputs=_with(operation, place, change(operation.inputs[place])))


@mutator("constant")
def _constants(site: Site) -> Iterator[Change]:
    """Another floating constant: by 1e-4, by a tenth, of the other sign."""
    for place, operand in _operands(site, "constant"):
        if operand.floating and np.any(operand.value):
            yield f"x1.0001[{place}]", _changed_operand(place, lambda x: x * tf.cast(1.0001, x.dtype))
            yield f"x1.1[{place}]", _changed_operand(place, lambda x: x * tf.cast(1.1, x.dtype))
            yield f"x-1[{place}]", _changed_operand(place, lambda x: -x)
        elif operand.floating and operand.value.size:
            yield f"+0.1[{place}]", _changed_operand(place, lambda x: x + tf.cast(0.1, x.dtype))


@mutator("index")
def _indices(site: Site) -> Iterator[Change]:
    """Another whole number: an index, a size or a bound that is off by one."""
    for place, operand in _operands(site, "constant"):
        if operand.dtype not in ("int32", "int64") or not operand.value.size or place == _AXES.get(site.kind):
            continue
        for step in (1, -1):
            yield f"{step:+d}[{place}]", _changed_operand(place, lambda x, step=step: x + tf.cast(step, x.dtype))
        if operand.shape and operand.shape[0] > 1:
            yield f"last+1[{place}]", _changed_operand(place, _last_plus_one)


def _last_plus_one(x: Any) -> Any:
    return x + tf.cast(tf.one_hot(x.shape[0] - 1, x.shape[0]), x.dtype)


@mutator("axis")
def _axes(site: Site) -> Iterator[Change]:
    """Another axis."""
    place = _AXES.get(site.kind)
    if place is not None and site.operands[place].origin == "constant" and site.operands[place].value.size:
        yield "+1", _changed_operand(place, lambda x: x + 1)
        yield "-1", _changed_operand(place, lambda x: x - 1)
        if site.operands[place].value.size > 1:
            yield "one less", _changed_operand(place, lambda x: x[1:])
    if site.kind == "Transpose" and site.operands[1].origin == "constant" and len(site.operands[0].shape) > 1:
        for place in range(len(site.operands[0].shape) - 1):
            yield f"exchanged[{place}]", _changed_operand(1, lambda p, place=place: _exchanged(p, place))


def _exchanged(order: Any, place: int) -> Any:
    new = np.array(order)
    new[[place, place + 1]] = new[[place + 1, place]]
    return tf.constant(new)


@mutator("swap")
def _swaps(site: Site) -> Iterator[Change]:
    """Two operands exchanged, where their order counts."""
    operands = site.operands
    if site.kind in _ORDERED and len(operands) >= 2 and operands[-1].dtype == operands[-2].dtype:
        yield "last two", lambda o: o.run(inputs=[*o.inputs[:-2], o.inputs[-1], o.inputs[-2]])
    if site.kind in ("ConcatV2", "Pack") and operands[0].origin == "list":
        yield "reversed", lambda o: o.run(inputs=[list(o.inputs[0])[::-1], *o.inputs[1:]])


@mutator("variable")
def _other_variables(site: Site) -> Iterator[Change]:
    """Another variable of the same shape and dtype."""
    for place, operand in [*_operands(site, "variable"), *_operands(site, "handle")]:
        if operand.weight < 0 or site.kind in ("ReadVariableOp", "Identity"):
            continue
        spec = site.weights[operand.weight]
        # One that is made earlier: in the first call the others are not there yet.
        others = [n for n, other in enumerate(site.weights[: operand.weight]) if other == spec]
        for other in others[:2]:

            def act(o: Operation, place: int = place, other: int = other) -> Any:
                if other >= len(o.weights):
                    raise CannotMutateError(f"variable {other} is not made yet")
                variable = private.raw_variable(o.weights[other])
                of_handle = isinstance(o.inputs[place], tf.Variable) or o.inputs[place].dtype == tf.resource
                value = variable.handle if of_handle else tf.convert_to_tensor(variable)
                return o.run(inputs=_with(o, place, value))

            yield f"{other}[{place}]", act


@mutator("transpose")
def _transposed(site: Site) -> Iterator[Change]:
    """A square operand transposed."""
    for place, operand in enumerate(site.operands):
        square = len(operand.shape) >= 2 and operand.shape[-1] == operand.shape[-2] > 1
        if operand.origin in ("variable", "computed", "input") and operand.floating and square:
            yield f"[{place}]", _changed_operand(place, tf.linalg.matrix_transpose)


@mutator("order")
def _reversed(site: Site) -> Iterator[Change]:
    """An operand whose elements are in another order along an axis."""
    for place, operand in enumerate(site.operands):
        if operand.origin in ("computed", "input") and operand.floating and operand.shape and operand.shape[-1] > 1:
            yield f"rolled[{place}]", _changed_operand(place, lambda x: tf.roll(x, 1, -1))
            yield f"reversed[{place}]", _changed_operand(place, lambda x: tf.reverse(x, tf.constant([-1])))


# --- the operation itself


@mutator("omit")
def _omitted(site: Site) -> Iterator[Change]:
    """The operation left out: what it gives is what it was given."""
    if site.kind in _STATELESS_COPIES or len(site.outputs) != 1:
        return
    for place, operand in enumerate(site.operands):
        if operand.origin in ("computed", "input", "variable") and (operand.dtype, operand.shape) == site.outputs[0]:
            yield f"[{place}]", lambda o, place=place: tf.identity(o.inputs[place])


@mutator("double")
def _doubled(site: Site) -> Iterator[Change]:
    """The operation done twice."""
    if site.kind in _STATELESS_COPIES or len(site.outputs) != 1 or not site.operands:
        return
    first = site.operands[0]
    if first.origin in ("computed", "input") and (first.dtype, first.shape) == site.outputs[0]:
        yield "", lambda o: o.run(inputs=[o.run(), *o.inputs[1:]])


@mutator("kind")
def _siblings(site: Site) -> Iterator[Change]:
    """Another operation of the same signature."""
    for kind in _SIBLINGS.get(site.kind, ()):
        if not site.outputs[0][0].startswith(("float", "bool", "int64")):
            continue
        yield kind, lambda o, kind=kind: o.run(kind=kind, attributes=_known(kind, o.attributes))
    if site.kind == "Relu":
        yield "leaky", lambda o: tf.nn.leaky_relu(o.inputs[0], 0.01)
    if site.kind in ("Sigmoid", "Tanh"):
        yield "hard", lambda o: tf.clip_by_value(0.2 * o.inputs[0] + 0.5, 0, 1)


def _known(kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
    names = {attribute.name for attribute in definition(kind).attr}
    return {name: value for name, value in attributes.items() if name in names}


@mutator("clip")
def _clipped(site: Site) -> Iterator[Change]:
    """A bound lost, or one more."""
    if site.kind in ("Minimum", "Maximum"):
        for place, operand in enumerate(site.operands):
            if operand.origin == "constant" and (site.operands[1 - place].shape == site.outputs[0][1]):
                yield "lost", lambda o, place=place: tf.identity(o.inputs[1 - place])
    if site.kind in ("ClipByValue", "Relu", "Relu6"):
        yield "lost", lambda o: tf.identity(o.inputs[0])
    if site.kind in ("MatMul", "BiasAdd", "Conv2D", "AddV2", "Exp", "Softplus") and site.outputs[0][0] == "float32":
        yield "at 6", lambda o: tf.minimum(o.run(), 6.0)
        yield "at -20", lambda o: tf.maximum(o.run(), -20.0)


@mutator("attribute")
def _attributes(site: Site) -> Iterator[Change]:
    """Another attribute."""
    types = {attribute.name: attribute.type for attribute in definition(site.kind).attr}
    for name, value in site.attributes.items():
        if value is None:  # what stands by default, and the runtime does not tell
            continue
        for label, other in _other_values(name, types.get(name, ""), value):

            def act(o: Operation, name: str = name, other: Any = other) -> Any:
                return o.run(attributes={**o.attributes, name: other})

            yield f"{name}={label}", act


def _other_values(name: str, kind: str, value: Any) -> Iterator[tuple[str, Any]]:
    if kind == "bool" and name not in (
        "use_cudnn_on_gpu",
        "validate_shape",
        "use_locking",
        "validate_indices",
        "grad_a",
        "grad_b",
    ):
        yield str(not value), not value
    elif kind == "float":
        yield from ((f"x{factor}", value * factor) for factor in (1.0001, 1.1) if value)
        yield from [("x10", value * 10)] if name == "epsilon" else []
        yield from [("0.1", 0.1)] if not value else []
    elif kind == "string" and name == "padding":
        text = value.decode() if isinstance(value, bytes) else value
        yield from [(other, other) for other in {"SAME": ("VALID",), "VALID": ("SAME",)}.get(text, ())]
    elif kind == "list(int)" and name in ("strides", "ksize", "dilations", "rates", "squeeze_dims"):
        yield from _other_sizes(list(value))
    elif kind == "int" and name in ("axis", "batch_dims", "depth_radius", "begin_mask", "end_mask", "shrink_axis_mask"):
        yield "+1", value + 1


def _other_sizes(value: list[int]) -> Iterator[tuple[str, list[int]]]:
    for place, size in enumerate(value):
        if len(value) != 4 or place in (1, 2):
            yield f"{place}+1", [*value[:place], size + 1, *value[place + 1 :]]
            if size > 1:
                yield f"{place}-1", [*value[:place], size - 1, *value[place + 1 :]]


@mutator("half")
def _half(site: Site) -> Iterator[Change]:
    """The result rounded to half precision."""
    if _gives_a_number(site):
        yield "float16", lambda o: tf.cast(tf.cast(o.run(), tf.float16), tf.float32)
        yield "bfloat16", lambda o: tf.cast(tf.cast(o.run(), tf.bfloat16), tf.float32)


@mutator("scale")
def _scaled(site: Site) -> Iterator[Change]:
    """The result off by a little."""
    if _gives_a_number(site):
        yield "x1.0001", lambda o: o.run() * 1.0001
        yield "x-1", lambda o: -o.run()


def _gives_a_number(site: Site) -> bool:
    """Tells whether a site gives one float32 tensor, and does more than read a variable or copy."""
    one = len(site.outputs) == 1 and site.outputs[0][0] == "float32"
    return one and site.kind not in _STATELESS_COPIES and bool(site.operands) and site.operands[0].origin != "handle"


@mutator("variance")
def _variances(site: Site) -> Iterator[Change]:
    """A biased variance for an unbiased one, or the other way."""
    if site.kind == "Mean" and site.operands[0].producer in ("SquaredDifference", "Square"):
        before, after = (int(np.prod(shape)) for shape in (site.operands[0].shape, site.outputs[0][1]))
        count = before // max(after, 1)
        if count > 1:
            yield "unbiased", lambda o: o.run() * (count / (count - 1))
    if site.kind.startswith("FusedBatchNorm") and site.attributes.get("is_training"):
        count = int(np.prod(site.operands[0].shape)) // max(site.operands[1].shape[0], 1)

        def biased(o: Operation) -> Any:
            outputs = list(listed(o.run()))
            outputs[2] = outputs[2] * ((count - 1) / count)
            return outputs

        yield "biased", biased


# --- state


@mutator("update")
def _updates(site: Site) -> Iterator[Change]:
    """A write of a variable left out, made with another pace, or twice as far."""
    if site.kind not in _WRITES or site.operands[0].weight < 0:
        return
    yield "lost", lambda _: None
    if site.weights[site.operands[0].weight][0] not in ("float32", "float64"):
        return
    for label, factor in (("x1.1", 1.1), ("x0.5", 0.5), ("x1.001", 1.001)):

        def act(o: Operation, factor: float = factor) -> Any:
            if o.kind != "AssignVariableOp":
                return o.run(inputs=[o.inputs[0], o.inputs[1] * factor])
            number = private.tensor_id(o.inputs[0].handle if isinstance(o.inputs[0], tf.Variable) else o.inputs[0])
            raw = [private.raw_variable(variable) for variable in o.weights]
            before = next(v for v in raw if private.tensor_id(v.handle) == number).read_value()
            return o.run(inputs=[o.inputs[0], before + (o.inputs[1] - before) * factor])

        yield f"pace {label}", act


# --- gradients


@mutator("gradient")
def _gradients(site: Site) -> Iterator[Change]:
    """A `stop_gradient` that is lost, or one more; a gradient of another size."""
    if site.kind == "StopGradient":
        yield "no stop", _without_stop
        return
    alive = any(one.origin in ("computed", "variable") and one.floating for one in site.operands)
    if alive and len(site.outputs) == 1 and site.outputs[0][0] == "float32" and site.kind not in _STATELESS_COPIES:
        yield "stopped", lambda o: tf.stop_gradient(o.run())
        yield "x1.1", _scaled_gradient


def _without_stop(o: Operation) -> Any:
    """Passes a value on; TensorFlow's `stop_gradient` runs its operation while tapes do not record."""
    stopped = pywrap_tfe.TFE_Py_TapeSetIsStopped()
    if stopped:
        pywrap_tfe.TFE_Py_TapeSetRestartOnThread()
    try:
        return tf.identity(o.inputs[0])
    finally:
        if stopped:
            pywrap_tfe.TFE_Py_TapeSetStopOnThread()


def _scaled_gradient(o: Operation) -> Any:
    value = o.run()
    # The value is the same bit for bit; a fraction of it flows back once more.
    further = value * 0.1
    return value + (further - tf.stop_gradient(further))


# --- draws


@mutator("draw")
def _draws(site: Site) -> Iterator[Change]:
    """Another draw: another seed, another distribution, other bounds."""
    if not site.kind.startswith(("Random", "TruncatedNormal")) or not site.outputs[0][0].startswith("float"):
        return
    if "seed2" in site.attributes:
        yield "seed", lambda o: o.run(attributes={**o.attributes, "seed2": int(o.attributes["seed2"]) + 1})
    yield "+0.1", lambda o: o.run() + 0.1
    yield "squared", lambda o: tf.square(o.run())
    yield "x1.0001", lambda o: o.run() * 1.0001


# --- what is no operation


def _of_outputs(found: Survey) -> Iterator[Mutant]:
    """An output of another dtype, shape or value."""
    for number, (dtype, shape) in enumerate(found.outputs):
        changes: list[tuple[str, str, Callable[[Any], Any]]] = []
        if dtype == "float32":
            changes += [("cast", "float64", lambda x: tf.cast(x, tf.float64))]
            changes += [("cast", "float16", lambda x: tf.cast(x, tf.float16))]
        if dtype == "int32":
            changes += [("cast", "int64", lambda x: tf.cast(x, tf.int64))]
        changes += [("shape", "one more axis", lambda x: tf.expand_dims(x, -1))]
        if len(shape) >= 2:
            changes += [("shape", "flat", lambda x: tf.reshape(x, [x.shape[0], -1]))] if len(shape) > 2 else []
            changes += [("order", "rolled", lambda x: tf.roll(x, 1, 0))]
        for family, label, change in changes:

            def make(number: int = number, change: Callable[[Any], Any] = change) -> Mutation:
                return Mutation(output=lambda returned: _one_changed(returned, number, change))

            yield Mutant(f"output:{number}", family, label, None, "", make)


def _one_changed(returned: Any, number: int, change: Callable[[Any], Any]) -> Any:
    flat = tf.nest.flatten(returned)
    flat[number] = change(tf.convert_to_tensor(flat[number]))
    return tf.nest.pack_sequence_as(returned, flat)


def _of_initial_values(found: Survey) -> Iterator[Mutant]:
    """A variable that starts from other values."""
    for number, made in enumerate(found.created):
        if made is None:
            continue
        name, shape = made
        for label, change in (("x1.0001", lambda x: x * 1.0001), ("+0.1", lambda x: x + 0.1), ("reversed", _backwards)):

            def make(number: int = number, change: Callable[[Any], Any] = change) -> Mutation:
                return Mutation(initial=(number, change))

            if label != "reversed" or shape:
                yield Mutant(f"initial:{number}:{name}", "initial", label, name.rpartition("/")[0], "", make)


class _Scaled(keras.regularizers.Regularizer):
    """A regularizer of another weight."""

    def __init__(self, regularizer: Any, factor: float) -> None:
        self._regularizer, self._factor = regularizer, factor

    def __call__(self, x: Any) -> Any:
        return self._factor * self._regularizer(x)


def _of_losses(found: Survey) -> Iterator[Mutant]:
    """A regularization loss that is lost, has another weight, or is one too many."""
    for number, (name, regularized) in enumerate(zip(found.weights, found.regularized, strict=True)):
        changes: list[tuple[str, Callable[[Any], Any]]] = []
        if regularized:
            changes = [
                ("lost", lambda _: None),
                ("x2", lambda r: _Scaled(r, 2.0)),
                ("x1.01", lambda r: _Scaled(r, 1.01)),
            ]
        elif regularized is False:
            changes = [("one more", lambda _: keras.regularizers.L2(1e-3))]
        for label, change in changes:

            def make(number: int = number, change: Callable[[Any], Any] = change) -> Mutation:
                return Mutation(loss=(number, change))

            yield Mutant(f"loss:{number}:{name}", "loss", label, name.rpartition("/")[0], "", make)


def _backwards(value: Any) -> Any:
    return tf.reverse(value, [0])


def _operands(site: Site, origin: str) -> Sequence[tuple[int, Operand]]:
    return [(place, operand) for place, operand in enumerate(site.operands) if operand.origin == origin]
