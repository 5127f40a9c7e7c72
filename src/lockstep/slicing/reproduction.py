"""Writes a part of both sides as a script that needs TensorFlow and NumPy alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import ProgramError
from lockstep.common.shown import shown_in_a_line
from lockstep.localise.budget import Part
from lockstep.program import Operation
from lockstep.slicing.slice_scope import Case
from lockstep.tf1 import private

_SCRIPT = '''"""{title}

Written by lockstep {version} on TensorFlow {tensorflow}; needs TensorFlow and NumPy. Exit status: 0 if both sides give
the same but for rounding, 1 if they differ.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

DATA = np.load(pathlib.Path(__file__).with_name("inputs.npz"), allow_pickle=False)


def data(name, dtype):
    return tf.bitcast(tf.constant(DATA[name]), dtype) if dtype == tf.bfloat16 else tf.constant(DATA[name], dtype)


def reference():
{reference}


def candidate():
{candidate}


ours, theirs = np.asarray(reference()), np.asarray(candidate())
print("reference", ours.dtype, ours.shape, "candidate", theirs.dtype, theirs.shape)
if [n for n in ours.shape if n != 1] != [n for n in theirs.shape if n != 1]:
    print("the shapes differ")
    sys.exit(1)
theirs = theirs.reshape(ours.shape)
if ours.dtype.kind in "OSUb":
    over = ours != theirs
    print(int(over.sum()), "of", over.size, "elements differ")
else:
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    error = np.abs(theirs.astype(wide) - ours.astype(wide))
    # NaN equals NaN, and infinity itself.
    error = np.where((ours == theirs) | ((ours != ours) & (theirs != theirs)), 0.0, error)
    over = ~(error <= DATA["allowed"])
    print("largest difference", error.max(initial=0.0), "allowed there", DATA["allowed"].flat[int(error.argmax())])
    print(int(over.sum()), "of", over.size, "elements differ beyond rounding")
if over.any():
    place = tuple(int(n) for n in np.argwhere(over)[0])
    print("first at", place, "reference", ours[place], "candidate", theirs[place])
sys.exit(1 if over.any() else 0)
'''


def written(case: Case, title: str, version: str) -> tuple[str, bytes]:
    """Returns the script and the content of `inputs.npz` that lies beside it.

    Args:
        case: What to show.
        title: The script's first line.
        version: Of Lockstep.

    Raises:
        ProgramError: An operation cannot be written down.
    """
    held = _Data()
    sides = {
        side: "\n".join(f"    {line}" for line in _lines(part, held))
        for side, part in (("reference", case.reference), ("candidate", case.candidate))
    }
    held.arrays["allowed"] = np.asarray(case.budget, np.float32)
    title = shown_in_a_line(title).replace("\\", "/").replace('"', "'")
    script = _SCRIPT.format(title=title, version=version, tensorflow=tf.__version__, **sides)
    return script, held.packed()


class _Data:
    """The arrays of a reproduction, equal ones once."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def name(self, value: Any) -> str:
        """Returns the expression that reads a value in the script."""
        array = np.asarray(value)
        dtype = tf.as_dtype(getattr(value, "dtype", array.dtype)).base_dtype
        if array.dtype.kind == "O":
            array = np.asarray(array.tolist(), "S")
        elif dtype == tf.bfloat16:
            array = array.view(np.uint16)
        elif array.size == 1 and not array.shape and array.dtype.kind in "bi":
            return f"tf.constant({array.item()!r}, tf.{dtype.name})"
        key = (dtype.name, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = f"a{len(self._names)}"
            self.arrays[self._names[key]] = array
        return f'data("{self._names[key]}", tf.{dtype.name})'

    def packed(self) -> bytes:
        """Returns the arrays as a compressed `.npz` without pickled objects, the same bytes for the same arrays."""
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in self.arrays.items():
                content = io.BytesIO()
                np.lib.format.write_array(content, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
        return target.getvalue()


def _lines(part: Part, held: _Data) -> Iterator[str]:
    made = {tensor for operation in part.operations for tensor in operation.outputs}
    needed = [t for operation in part.operations for t in operation.inputs] + [part.end]
    for tensor in dict.fromkeys(needed):
        if tensor not in made:
            yield f"t{tensor} = {held.name(_value(part, tensor))}"
    for operation in part.operations:
        place = operation.place
        told = place.name + (f" ({place.source.rpartition('/')[2]})" if place.source else "")
        yield f"# {shown_in_a_line(told)}"  # a line that a trace names must not end the comment
        yield from _statement(operation)
    yield f"return t{part.end}"


def _value(part: Part, tensor: int) -> Any:
    return part.start[tensor] if tensor in part.start else part.program.sources[tensor].value


def _statement(operation: Operation) -> Iterator[str]:
    names = [f"t{tensor}" for tensor in operation.outputs]
    if operation.type == "Reshape":
        shape = tuple(int(size) for size in operation.attributes["shape"])
        yield f"{names[0]} = tf.reshape(t{operation.inputs[0]}, {shape!r})"
        return
    call = f"tf.raw_ops.{operation.type}({', '.join(_arguments(operation))})"
    if len(names) == 1:
        definition = private.op_def(operation.type)
        listed = bool(definition.output_arg[0].number_attr or definition.output_arg[0].type_list_attr)
        yield f"{names[0]} = {call}" + ("[0]" if listed else "")
    else:
        yield f"{', '.join(names)} = {call}"


def _arguments(operation: Operation) -> Iterator[str]:
    function: Callable[..., Any] | None = getattr(tf.raw_ops, operation.type, None)
    definition = private.op_def(operation.type)
    if function is None or definition is None:
        raise ProgramError(
            f"{operation.type} {operation.place.name} has no function in tf.raw_ops, so no script can be written with "
            "it; isolate a smaller part.",
            operation=operation.place.name,
        )
    flat = operation.call.attributes
    attributes = dict(zip(flat[::2], flat[1::2], strict=True))
    left = [f"t{tensor}" for tensor in operation.inputs]
    implied = set()
    for argument in definition.input_arg:
        implied |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
        if argument.number_attr or argument.type_list_attr:
            behind = len(definition.input_arg) - list(definition.input_arg).index(argument) - 1
            count = len(left) - behind
            if argument.number_attr and argument.number_attr in attributes:
                count = int(attributes[argument.number_attr])
            yield f"{argument.name}=[{', '.join(left[:count])}]"
            left = left[count:]
        else:
            yield f"{argument.name}={left.pop(0)}"
    kinds = {attribute.name: attribute.type for attribute in definition.attr}
    for name, value in attributes.items():
        if name not in implied and not name.startswith("_") and name in kinds:
            yield f"{name}={_literal(value, kinds[name])}"


def _literal(value: Any, kind: str) -> str:
    if isinstance(value, (list, tuple)):
        inner = kind.removeprefix("list(").removesuffix(")")
        return f"[{', '.join(_literal(item, inner) for item in value)}]"
    if kind == "type":
        return f"tf.{tf.as_dtype(int(value)).name}"
    if isinstance(value, bytes):
        return repr(value.decode("utf-8", "replace"))
    return repr(value)
