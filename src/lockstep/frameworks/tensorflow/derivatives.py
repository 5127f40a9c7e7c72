"""Derivatives of what a program returns, by everything that goes into it: operation by operation, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import KernelError
from lockstep.frameworks.tensorflow.kernels import Call, TensorFlowKernels, execute
from lockstep.ground.fill import cotangent
from lockstep.program import Operation, Program
from lockstep.program.evaluating import Ran, evaluate
from lockstep.tf1 import private

_NARROW = frozenset({"float16", "bfloat16", "float32"})


class _RecordingKernels(TensorFlowKernels):
    """Runs operations so that an open gradient tape sees them, those without a float64 kernel in float32."""

    def __init__(self, program: Program) -> None:
        self._specs = program.specs

    def run_double(self, operation: Operation, inputs: Sequence[Any], *, halves: bool = False) -> list[Any]:
        try:
            return super().run_double(operation, inputs, halves=halves)
        except KernelError:
            return self.run(operation, [self._narrow(*pair) for pair in zip(operation.inputs, inputs, strict=True)])

    def _narrow(self, tensor: int, value: Any) -> Any:
        """Casts a value as TensorFlow does, which the tape sees: an array would end every derivative here."""
        given, dtype = tf.convert_to_tensor(value), self._specs[tensor].dtype
        return tf.cast(given, dtype) if given.dtype == tf.float64 and dtype in _NARROW else given

    def execute(self, call: Call, inputs: list[Any]) -> list[Any]:
        outputs = execute(call, inputs)
        private.record_gradient(call.type, inputs, call.attributes, outputs)
        return outputs


def derivatives(program: Program) -> dict[int, np.ndarray]:
    """Differentiates all floating outputs, weighted with numbers that are a hash of their paths.

    Args:
        program: The program; what it leaves in variables is not differentiated.

    Returns:
        Source (variable or input, floating) -> derivative in its shape, float64; zeros where no path leads from it to
        an output.

    Raises:
        KernelError: An operation cannot be run, or has no derivative.
    """
    wanted = {
        tensor: source
        for tensor, source in program.sources.items()
        if source.kind in ("variable", "input") and program.specs[tensor].dtype.startswith(("float", "bfloat"))
    }
    given = {t: tf.cast(tf.convert_to_tensor(s.value), tf.float64) for t, s in wanted.items() if s.value is not None}
    ends: dict[int, Any] = dict(given)
    outputs = set(program.outputs.values())

    def keep(ran: Ran) -> None:
        ends.update({t: value for t, value in zip(ran.operation.outputs, ran.gave, strict=True) if t in outputs})

    with tf.GradientTape() as tape:
        tape.watch(list(given.values()))
        evaluate(program, _RecordingKernels(program), double=True, sources=given, observe=keep)
        terms = [
            tf.reduce_sum(tf.cast(ends[t], tf.float64) * cotangent(path, tuple(ends[t].shape), np.float64))
            for path, t in program.outputs.items()
            if t in ends and ends[t].dtype.is_floating
        ]
        total = tf.add_n(terms) if terms else tf.zeros((), tf.float64)
    try:
        found = tape.gradient(total, given, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    except (LookupError, NotImplementedError, ValueError, TypeError, tf.errors.OpError) as error:
        # An operation without a gradient is a LookupError; gradient functions refuse what they do not cover otherwise.
        raise KernelError(f"it cannot be differentiated: {error}") from error
    return {tensor: np.asarray(tf.convert_to_tensor(value)) for tensor, value in found.items()}
