"""Stands between a candidate and TensorFlow: sees every eager operation of its `call`, and may do one otherwise."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import core

from lockstep.tf1 import private

RAW = pywrap_tfe.TFE_Py_FastPathExecute
"""What runs an operation: `(context, type, name, *inputs, *attribute names and values) -> its outputs`."""

_MAKES_VARIABLES = frozenset({"build_wrapper", "add_weight", "_init_from_args", "_adopt", "_create"})
"""Functions of Keras, TensorFlow and the shim. What runs inside them runs in a model's first call alone."""


class CannotMutateError(Exception):
    """A mutation does not fit the operation that it is made for."""


@dataclass
class Operation:
    """One operation about to run.

    Attributes:
        kind: Its type.
        inputs: What it is given; a list where it takes a list.
        attributes: Name -> value.
        execute: Runs an operation: `execute(kind, inputs, attributes)`.
        weights: The candidate's variables, in order.
        given: The inputs before they were made tensors: a variable that an operation is handed is one there.
    """

    kind: str
    inputs: list[Any]
    attributes: dict[str, Any]
    execute: Callable[[str, Sequence[Any], dict[str, Any]], Any]
    weights: Sequence[Any] = ()
    given: Sequence[Any] = ()

    def run(
        self, *, kind: str | None = None, inputs: Sequence[Any] | None = None, attributes: dict[str, Any] | None = None
    ) -> Any:
        """Runs it as it is, but for what is given."""
        return self.execute(
            kind or self.kind,
            self.inputs if inputs is None else inputs,
            self.attributes if attributes is None else attributes,
        )


Act = Callable[[Operation], Any]
"""Runs an operation otherwise: returns what TensorFlow would return of it."""


@dataclass(frozen=True)
class Key:
    """Where an operation is: the `number`-th one of its type in its scope, within one call.

    Attributes:
        scope: Without the scope that the call began in.
        mode: `"inference"` or `"training"` where it is there in one of them alone; empty where it is in both.
    """

    scope: str
    kind: str
    number: int
    mode: str = ""

    def __str__(self) -> str:
        return f"{self.scope}:{self.kind}:{self.number}" + (f"@{self.mode}" if self.mode else "")


@dataclass
class Mutation:
    """What is done otherwise.

    Attributes:
        key: Which operation; None where none is.
        act: What is done in its place.
        output: Changes what the call returns.
        initial: Changes the initial value of the variable of a number, in order of creation.
        loss: Changes the regularizer, or None, of the variable of a number, in the order of the model's weights.
        applied: How often it was.
    """

    key: Key | None = None
    act: Act | None = None
    output: Callable[[Any], Any] | None = None
    initial: tuple[int, Callable[[Any], Any]] | None = None
    loss: tuple[int, Callable[[Any], Any]] | None = None
    applied: int = 0


@dataclass
class Seen:
    """One operation that ran, as `Watch.note` is told of it."""

    key: Key
    operation: Operation
    outputs: list[Any]


@dataclass
class Watch:
    """What is done while a candidate's `call` runs.

    Attributes:
        mutation: What is done otherwise.
        below: Runs operations; TensorFlow's own function, or one that carries float64 values too.
        note: Told of each operation that ran.
        created: The variables that calls made, in order.
    """

    mutation: Mutation = field(default_factory=Mutation)
    below: Callable[..., Any] = RAW
    note: Callable[[Seen], None] | None = None
    created: list[Any] = field(default_factory=list)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _inside: bool = False
    _base: str = ""
    _mode: str = ""
    _layer: Any = None
    _regularized: Any = None

    def call(self, layer: Any, function: Callable[..., Any], arguments: Any, options: Any) -> Any:
        """Runs a candidate's `call` under watch; a symbolic one, or one within another, runs as it is."""
        if not tf.executing_eagerly() or pywrap_tfe.TFE_Py_FastPathExecute is not RAW:
            return function(layer, *arguments, **options)
        self._counts.clear()
        self._inside, self._layer = False, layer
        self._base = private.eager_scope()
        self._mode = "training" if options.get("training") else "inference"
        pywrap_tfe.TFE_Py_FastPathExecute = self._execute
        try:
            return self._returned(function(layer, *arguments, **options))
        finally:
            pywrap_tfe.TFE_Py_FastPathExecute = RAW
            self._layer = None

    def _returned(self, returned: Any) -> Any:
        if self.mutation.output is None:
            return returned
        self.mutation.applied += 1
        self._inside = True
        return self.mutation.output(returned)

    def creating(self) -> AbstractContextManager[None]:
        """Notes the variables that are made meanwhile, and lets one start from other values."""
        if self.note is None and self.mutation.initial is None:
            return contextlib.nullcontext()
        count = 0

        def make(next_creator: Callable[..., Any], **options: Any) -> Any:
            nonlocal count
            number, count = count, count + 1
            if self.mutation.initial is not None and number == self.mutation.initial[0]:
                value = options["initial_value"]
                value = tf.convert_to_tensor(value() if callable(value) else value)
                inside, self._inside = self._inside, True
                options["initial_value"] = self.mutation.initial[1](value)
                self._inside = inside
                self.mutation.applied += 1
            self.created.append(next_creator(**options))
            return self.created[-1]

        scope: AbstractContextManager[None] = tf.variable_creator_scope(make)
        return scope

    def regularize(self, layer: Any) -> None:
        """Changes a regularizer, once for each model; a variable is there after the first call."""
        if self.mutation.loss is None or self._regularized is layer:
            return
        number, change = self.mutation.loss
        if number < len(layer.weights):
            variable = layer.weights[number]
            variable.regularizer = change(variable.regularizer)
            self._regularized = layer
            self.mutation.applied += 1

    def _execute(self, context: Any, kind: str, name: Any, *given: Any) -> Any:
        if self._inside or _makes_a_variable(sys._getframe(1)):
            return self.below(context, kind, name, *given)
        scope = private.eager_scope().removeprefix(self._base).rstrip("/")
        number = self._counts[scope, kind]
        self._counts[scope, kind] += 1
        key = Key(scope, kind, number)
        self._inside = True
        try:
            operation = self._operation(context, kind, name, given)
            if self.mutation.act is not None and self._is_meant(key):
                self.mutation.applied += 1
                outputs = self._mutated(operation)
            else:
                outputs = operation.run()
            if self.note is not None:
                self.note(Seen(Key(scope, kind, number, self._mode), operation, listed(outputs)))
        finally:
            self._inside = False
        return outputs

    def _is_meant(self, key: Key) -> bool:
        meant = self.mutation.key
        if meant is None or meant.mode not in ("", self._mode):
            return False
        return (meant.scope, meant.kind, meant.number) == (key.scope, key.kind, key.number)

    def _mutated(self, operation: Operation) -> Any:
        assert self.mutation.act is not None
        try:
            return self.mutation.act(operation)
        except core._FallbackException as error:
            # Passed on, it would make TensorFlow run the operation another way, and as it was.
            raise CannotMutateError(f"{operation.kind} cannot run so: {error}") from error

    def _operation(self, context: Any, kind: str, name: Any, given: Sequence[Any]) -> Operation:
        before, attributes = taken_apart(kind, given)
        inputs = converted(kind, before)

        def execute(kind: str, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
            flat = [item for pair in attributes.items() for item in pair]
            return self.below(context, kind, name, *inputs, *flat)

        return Operation(kind, inputs, attributes, execute, list(getattr(self._layer, "weights", ())), before)


@functools.cache
def definition(kind: str) -> Any:
    """Returns what TensorFlow knows of a type of operation."""
    return private.op_def(kind)


def taken_apart(kind: str, given: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the inputs and the attributes of an operation as TensorFlow's function is given them."""
    count = len(definition(kind).input_arg)
    flat = given[count:]
    return list(given[:count]), dict(zip(flat[::2], map(_plain, flat[1::2]), strict=True))


def _plain(value: Any) -> Any:
    """Returns an attribute's value without NumPy: TensorFlow's function refuses its arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [int(one) if isinstance(one, np.integer) else one for one in value]
    return value


def converted(kind: str, inputs: Sequence[Any]) -> list[Any]:
    """Makes tensors of inputs that are none: TensorFlow's function refuses some, and runs them where nobody sees it."""
    arguments = definition(kind).input_arg
    known = _default_dtypes(kind) | {
        argument.type_attr: _first_dtype(given)
        for argument, given in zip(arguments, inputs, strict=True)
        if argument.type_attr and _first_dtype(given) is not None
    }
    made = []
    for argument, given in zip(arguments, inputs, strict=True):
        dtype = tf.as_dtype(argument.type) if argument.type else known.get(argument.type_attr)
        if dtype == tf.resource or argument.type_list_attr:
            made.append(given)
        elif argument.number_attr:
            made.append([_tensor(one, dtype) for one in given])
        else:
            made.append(_tensor(given, dtype))
    return made


@functools.cache
def _default_dtypes(kind: str) -> dict[str, Any]:
    """Returns the dtypes that an empty list, or whole numbers, are given in an operation: of a shape, or of axes."""
    found = {a.name: tf.as_dtype(a.default_value.type) for a in definition(kind).attr if a.default_value.type}
    return {name: dtype for name, dtype in found.items() if dtype.is_integer}


def _first_dtype(given: Any) -> Any:
    for one in given if isinstance(given, (list, tuple)) else (given,):
        if _is_tensor(one):
            return tf.as_dtype(one.dtype).base_dtype
    return None


def _is_tensor(given: Any) -> bool:
    return isinstance(given, (tf.Tensor, tf.Variable)) or private.is_keras_variable(given)


def _tensor(given: Any, dtype: Any) -> Any:
    return tf.convert_to_tensor(given) if _is_tensor(given) else tf.convert_to_tensor(given, dtype)


def watched(build: Callable[[], Any], watch: Watch) -> Callable[[], Any]:
    """Returns a function that makes the same layer or model, whose `call` is under watch."""

    @functools.wraps(build)
    def made() -> Any:
        layer = build()
        assert isinstance(layer, keras.layers.Layer), "the candidates of the pairs are Keras layers"
        kind = type(layer)

        @functools.wraps(kind.call)
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            return watch.call(self, kind.call, arguments, options)

        def from_outside(self: Any, *arguments: Any, **options: Any) -> Any:
            with watch.creating():
                returned = kind.__call__(self, *arguments, **options)
            watch.regularize(self)
            return returned

        # Keras reads the signature of the instance's own class, which `wraps` keeps.
        body = {"call": call, "__call__": from_outside}
        body |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        object.__setattr__(layer, "__class__", type(kind.__name__, (kind,), body))
        return layer

    return made


def listed(outputs: Any) -> list[Any]:
    """Returns the tensors that an operation gave, one after the other."""
    if outputs is None:
        return []
    if not isinstance(outputs, (list, tuple)):
        return [outputs]
    return [tensor for output in outputs for tensor in listed(output)]


def _makes_a_variable(frame: FrameType | None) -> bool:
    return any(frame.f_code.co_name in _MAKES_VARIABLES for frame in _frames(frame))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yields the frames up to the candidate's `call`."""
    own = Watch.call.__code__
    while frame is not None and frame.f_code is not own:
        yield frame
        frame = frame.f_back
