"""Runs single operations of a program on this TensorFlow, as they are or in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import KernelError
from lockstep.program import Operation, Program, Spec
from lockstep.tf1 import private

_IRRELEVANT = frozenset({"use_cudnn_on_gpu", "validate_shape", "grad_a", "grad_b", "use_locking", "seed", "seed2"})
_SINGLE = frozenset({tf.float32})
_HALF = frozenset({tf.float16, tf.bfloat16})
_OF_BITS = frozenset({"Bitcast"})
"""What reads the bits of a number, and of float64's would give twice as many: it is asked of the number as it was."""


@dataclass(frozen=True)
class Call:
    """What it takes to run an operation again: its type, attributes as TensorFlow wants them, number of outputs."""

    type: str
    attributes: tuple[Any, ...]
    outputs: int

    @cached_property
    def double(self) -> Call:
        """The same in float64."""
        return self._widened(_SINGLE)

    @cached_property
    def double_for_halves(self) -> Call:
        """The same in float64, where it is in half precision too."""
        return self._widened(_SINGLE | _HALF)

    def _widened(self, narrow: frozenset[Any]) -> Call:
        flat = self.attributes
        widened = (_widened(value, narrow) for value in flat[1::2])
        return Call(self.type, tuple(x for pair in zip(flat[::2], widened, strict=True) for x in pair), self.outputs)


def call(kind: str, given: Mapping[str, Any], inputs: Sequence[Any], outputs: int) -> Call:
    """Completes the attributes of an operation by what its inputs imply and by the defaults of its definition.

    Args:
        kind: Its type.
        given: Attributes as the graph or the eager runtime tells them; None for one that it does not tell.
        inputs: The tensors that it reads, in order.
        outputs: How many tensors it gives.

    Raises:
        KernelError: TensorFlow's definition of the operation has no such attribute. The eager runtime would pass over
            it, and compute something else than was asked for.

    >>> call("Sigmoid", {"alpha": 0.5}, [tf.constant([1.0])], 1)
    Traceback (most recent call last):
    lockstep.common.errors.KernelError: TensorFlow's Sigmoid has no attribute alpha; it has T.
    """
    unknown = [n for n, value in given.items() if value is not None and not _is_known(kind, n)]
    if unknown:
        known = ", ".join(_definition(kind)) or "none"
        raise KernelError(f"TensorFlow's {kind} has no attribute {', '.join(sorted(unknown))}; it has {known}.")
    implied = _implied(kind, given, inputs)
    flat: list[Any] = []
    for name, default in _definition(kind).items():
        value = given.get(name)
        value = implied.get(name, default) if value is None else value
        if value is not None:
            flat += [name, _typed(value) if name in _dtypes(kind) else _eager(value)]
    return Call(kind, tuple(flat), outputs)


def plain_attributes(kind: str, complete: Call) -> dict[str, Any]:
    """Returns what an operation is parametrised by: no dtypes and counts, which its inputs imply, and no seeds."""
    types = _type_attributes(kind)
    pairs = zip(complete.attributes[::2], complete.attributes[1::2], strict=True)
    return {n: _plain(v) for n, v in pairs if n not in types and n not in _IRRELEVANT and not n.startswith("_")}


class TensorFlowKernels:
    """Runs operations of both programs; see `lockstep.program.kernels.Kernels`."""

    def run(self, operation: Operation, inputs: Sequence[Any]) -> list[Any]:
        """Runs an operation as it is.

        Raises:
            KernelError: TensorFlow cannot run it on these inputs.
        """
        try:
            return self._run(operation, inputs)
        except _REFUSALS as error:
            raise _refused(operation, error) from error

    def run_double(self, operation: Operation, inputs: Sequence[Any], *, halves: bool = False) -> list[Any]:
        """Runs an operation in float64, with `halves` what is in half precision too.

        Raises:
            KernelError: TensorFlow has no such kernel, or cannot run it on these inputs.
        """
        try:
            return self._run_double(operation, inputs, halves=halves)
        except _REFUSALS as error:
            raise _refused(operation, error) from error

    def execute(self, call: Call, inputs: list[Any]) -> list[Any]:
        """Runs what an operation comes to."""
        return _execute(call, inputs)

    def _run(self, operation: Operation, inputs: Sequence[Any]) -> list[Any]:
        given = [_tensor(value) for value in inputs]
        if operation.type == "Reshape":
            return [tf.reshape(given[0], operation.attributes["shape"])]
        return self.execute(_call_of(operation, given), given)

    def _run_double(self, operation: Operation, inputs: Sequence[Any], *, halves: bool) -> list[Any]:
        if operation.type in _OF_BITS:
            return self._run(operation, [_as_it_was(operation, value) for value in inputs])
        narrow = _SINGLE | _HALF if halves else _SINGLE
        given = [self._double(value, narrow) for value in inputs]
        if operation.type == "Reshape":
            return [tf.reshape(given[0], operation.attributes["shape"])]
        if operation.family == "FusedBatchNorm":
            return _batch_norm(operation, given)
        if operation.type == "LRN":
            return [_local_response(operation, given[0])]
        own = _call_of(operation, given)
        return self.execute(own.double_for_halves if halves else own.double, given)

    def _double(self, value: Any, narrow: frozenset[Any]) -> Any:
        """Casts a value by an operation of its own, as `tf.cast` takes ten times as long as what it runs."""
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            return tf.constant(value.astype(np.float64))
        given = _tensor(value)
        return self.execute(_to_double(given.dtype), [given])[0] if given.dtype in narrow else given

    def derivatives(self, program: Program) -> dict[int, np.ndarray]:
        """Differentiates all floating outputs; see `lockstep.program.kernels.Kernels`."""
        from lockstep.frameworks.tensorflow.derivatives import derivatives  # which derives from this class

        return derivatives(program)

    def numpy(self, value: Any) -> np.ndarray:
        """Returns a value as an array."""
        return np.asarray(value)

    def changed(self, operation: Operation, attributes: Mapping[str, Any]) -> Operation:
        """Returns the operation with other plain attributes."""
        flat = list(operation.call.attributes)
        for place in range(0, len(flat), 2):
            if flat[place] in attributes:
                flat[place + 1] = _eager(attributes[flat[place]])
        other = Call(operation.call.type, tuple(flat), operation.call.outputs)
        merged = {**operation.attributes, **attributes}
        return Operation(
            operation.index, operation.type, merged, operation.inputs, operation.outputs, operation.place, other
        )


def _call_of(operation: Operation, given: Sequence[Any]) -> Call:
    """Returns how an operation is run; what was put into a program, as it was relaid, has no call of its own."""
    if operation.call is None:
        return call(operation.type, operation.attributes, given, len(operation.outputs))
    known: Call = operation.call
    return known


_REFUSALS = (tf.errors.OpError, TypeError, ValueError)
"""A kernel refuses by an `OpError`, an attribute or an input that does not fit by a `TypeError` or a `ValueError`."""


def _refused(operation: Operation, error: Exception) -> KernelError:
    """Turns what TensorFlow raises about one operation into an error of ours."""
    return KernelError(f"TensorFlow cannot run {operation.type}: {error}")


def _tensor(value: Any) -> Any:
    """Returns a value as a tensor; of what is one already the conversion would take longer than most operations."""
    if isinstance(value, tf.Tensor):
        return value
    return tf.constant(value) if isinstance(value, np.ndarray) else tf.convert_to_tensor(value)


def has_state(kind: str) -> bool:
    """Tells whether an operation does or remembers something besides what it returns."""
    found = private.op_def(kind)
    return found is None or bool(found.is_stateful)


def spec_of(value: Any) -> Spec:
    """Describes a tensor."""
    return Spec(tf.as_dtype(value.dtype).base_dtype.name, tuple(int(size) for size in value.shape))


def execute(complete: Call, inputs: Sequence[Any]) -> list[Any]:
    """Runs an operation eagerly."""
    return _execute(complete, list(inputs))


def _execute(complete: Call, inputs: list[Any]) -> list[Any]:
    return list(private.execute(complete.type, complete.outputs, inputs, complete.attributes))


@cache
def _to_double(dtype: Any) -> Call:
    """Returns the operation that casts a dtype to float64."""
    types = TypeNumber(dtype.as_datatype_enum), TypeNumber(tf.float64.as_datatype_enum)
    return Call("Cast", ("SrcT", types[0], "DstT", types[1], "Truncate", False), 1)


def _as_it_was(operation: Operation, value: Any) -> Any:
    """Returns an input of an operation in the dtype that it has in its program."""
    attributes = dict(zip(operation.call.attributes[::2], operation.call.attributes[1::2], strict=True))
    given = tf.convert_to_tensor(value)
    return tf.cast(given, tf.as_dtype(int(attributes["T"]))) if given.dtype == tf.float64 else given


def _widened(value: Any, narrow: frozenset[Any]) -> Any:
    if isinstance(value, list):
        return [_widened(item, narrow) for item in value]
    is_narrow = type(value) is TypeNumber and tf.as_dtype(int(value)) in narrow
    return TypeNumber(tf.float64.as_datatype_enum) if is_narrow else value


def _batch_norm(operation: Operation, given: Sequence[Any]) -> list[Any]:
    """Fused batch normalisation has no float64 kernel: by its formula (as of TensorFlow's op documentation)."""
    x, scale, offset, mean, variance = given[:5]
    attributes = operation.attributes
    channels_last = attributes.get("data_format", "NHWC").endswith("C")
    axes = [axis for axis in range(len(x.shape)) if axis != (len(x.shape) - 1 if channels_last else 1)]
    shape = [1 if axis in axes else -1 for axis in range(len(x.shape))]
    if attributes.get("is_training", True):
        mean = tf.reduce_mean(x, axes)
        variance = tf.reduce_mean(tf.math.squared_difference(x, tf.reshape(mean, shape)), axes)
        count = float(np.prod([int(x.shape[axis]) for axis in axes]))
        told = variance * (count / max(count - 1.0, 1.0))
    else:
        told = variance
    wide = [tf.reshape(value, shape) for value in (mean, variance, scale, offset)]
    y = (x - wide[0]) * tf.math.rsqrt(wide[1] + np.float64(attributes["epsilon"])) * wide[2] + wide[3]
    unused = [tf.zeros((), tf.float64)] * (operation.call.outputs - 3)
    return [y, mean, told, *unused]


def _local_response(operation: Operation, x: Any) -> Any:
    """Local response normalisation has no float64 kernel: by its formula (as of TensorFlow's op documentation)."""
    attributes = operation.attributes
    radius, channels = int(attributes["depth_radius"]), int(x.shape[-1])
    padded = tf.pad(tf.square(x), [[0, 0]] * (len(x.shape) - 1) + [[radius, radius]])
    squares = tf.add_n([padded[..., first : first + channels] for first in range(2 * radius + 1)])
    bias, alpha, beta = (np.float64(attributes[name]) for name in ("bias", "alpha", "beta"))
    return x / tf.pow(bias + alpha * squares, beta)


class TypeNumber(int):
    """A dtype among attributes, which are plain numbers to the eager runtime."""


def _eager(value: Any) -> Any:
    """Turns an attribute's value into what the eager runtime takes."""
    if isinstance(value, tf.DType):
        return TypeNumber(value.base_dtype.as_datatype_enum)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, tf.TensorShape):
        return None if value.rank is None else value.as_list()
    if type(value).__name__ == "TensorShapeProto":
        return _eager(tf.TensorShape(value))
    if isinstance(value, (list, tuple)):
        return [_eager(item) for item in value]
    return value


def _typed(value: Any) -> Any:
    """A dtype among attributes, which the eager runtime itself tells as a plain number."""
    if isinstance(value, (list, tuple)):
        return [_typed(item) for item in value]
    return TypeNumber(tf.as_dtype(value).base_dtype.as_datatype_enum)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    return value if isinstance(value, (bool, int, str)) or value is None else str(value)


@cache
def _definition(kind: str) -> dict[str, Any]:
    """Attribute's name -> its default, None for one without."""
    found = private.op_def(kind)
    return {} if found is None else {a.name: _default(a) for a in found.attr}


def _default(attribute: Any) -> Any:
    if not attribute.HasField("default_value"):
        return None
    value, kind = attribute.default_value, attribute.type
    if kind.startswith("list("):
        items = value.list
        return (
            [tf.as_dtype(t) for t in items.type] if kind == "list(type)" else [*items.i, *items.f, *items.s, *items.b]
        )
    if kind == "type":
        return tf.as_dtype(value.type)
    if kind == "shape":
        return tf.TensorShape(value.shape)
    return {"int": value.i, "float": value.f, "bool": value.b, "string": value.s}.get(kind)


def _is_known(kind: str, name: str) -> bool:
    """Whether an operation has an attribute; what begins with an underscore is a note of TensorFlow's."""
    return name.startswith("_") or name in _definition(kind) or private.op_def(kind) is None


@cache
def _dtypes(kind: str) -> frozenset[str]:
    """Names of the attributes that are dtypes, or lists of them."""
    found = private.op_def(kind)
    return frozenset() if found is None else frozenset(a.name for a in found.attr if "type" in a.type)


@cache
def _type_attributes(kind: str) -> frozenset[str]:
    found = private.op_def(kind)
    if found is None:
        return frozenset()
    counts = {a.number_attr for a in (*found.input_arg, *found.output_arg) if a.number_attr}
    return frozenset(a.name for a in found.attr if "type" in a.type) | counts


def _implied(kind: str, given: Mapping[str, Any], inputs: Sequence[Any]) -> dict[str, Any]:
    """What an operation's inputs say about its attributes: dtypes and how many there are."""
    found = private.op_def(kind)
    implied: dict[str, Any] = {}
    if found is None:
        return implied
    left = list(inputs)
    for place, argument in enumerate(found.input_arg):
        behind = len(found.input_arg) - place - 1
        if argument.number_attr:
            count = given.get(argument.number_attr) or len(left) - behind
            implied[argument.number_attr] = count
        elif argument.type_list_attr:
            count = len(left) - behind
            implied[argument.type_list_attr] = [tf.as_dtype(value.dtype) for value in left[:count]]
        else:
            count = 1
        if argument.type_attr and left:
            implied[argument.type_attr] = tf.as_dtype(left[0].dtype).base_dtype
        left = left[count:]
    return implied
