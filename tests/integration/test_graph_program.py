"""A graph as a program: run again operation by operation, it gives the session's numbers, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

import lockstep
from lockstep.adapters import kernels
from lockstep.adapters.kernels import TensorFlowKernels
from lockstep.subjects import Mode, Setting

v1 = tf.compat.v1


def instance(forward, inputs, *, training=True):
    mode = Mode(training=training, randomness="num_random_ops")
    return lockstep.tf1_graph(forward).build(mode, inputs)


def some(shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def values_of(built):
    """A value away from the initial one for every floating variable, the same for every run."""
    return {r.key: some(r.shape, len(r.key)) * 0.5 if r.dtype == "float32" else np.ones(r.shape, r.dtype)
            for r in built.variables}  # fmt: skip


def rerun(program):
    """Runs the operations of a program from its sources; returns all tensors."""
    tensors = {tensor: tf.convert_to_tensor(source.value) for tensor, source in program.sources.items()}
    for operation in program.operations:
        given = [tensors[tensor] for tensor in operation.inputs]
        for tensor, value in zip(operation.outputs, TensorFlowKernels().run(operation, given), strict=True):
            assert kernels.spec_of(value) == program.specs[tensor]
            tensors[tensor] = value
    return tensors


def same(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def followed(forward, inputs, *, training=True, values=None, loose=()):
    """Follows a graph, runs the program again, compares with the session, and returns the program."""
    built = instance(forward, inputs, training=training)
    values = values_of(built) if values is None else values
    program = built.program(values)
    assert [limit for limit in program.limits if not any(word in limit for word in loose)] == []
    trace = built.run(Setting("given", values))
    tensors = rerun(program)
    assert list(program.outputs) == list(trace.outputs)
    for path, tensor in program.outputs.items():
        assert same(trace.outputs[path], tensors[tensor]), path
    for key, tensor in program.writes.items():
        assert same(trace.after.get(key, trace.before[key]), tensors[tensor]), key
    assert set(trace.after) <= set(program.writes)
    places = {tensor: operation.index for operation in program.operations for tensor in operation.outputs}
    for operation in program.operations:
        assert all(places.get(tensor, -1) < operation.index for tensor in operation.inputs)
    return program


def types(program):
    return [operation.type for operation in program.operations]


def mlp(inputs, training):
    net = v1.layers.dense(inputs["x"], 8, activation=tf.nn.relu, name="one")
    net = v1.layers.dropout(net, 0.5, training=training)
    return {"logits": v1.layers.dense(net, 3, name="two")}


def test_an_mlp_with_dropout_is_followed_as_it_was_written():
    program = followed(mlp, {"x": some((4, 5))})
    drawn = program.sources[program.draws[0]]
    assert (drawn.kind, drawn.name, drawn.value.shape) == ("draw", "RandomUniform", (4, 8))
    assert types(program) == ["MatMul", "BiasAdd", "Relu", "Mul", "GreaterEqual", "SelectV2", "MatMul", "BiasAdd"]
    first = program.operations[0]
    assert program.variables_read(first) == ("one/kernel",)
    assert (first.place.name, first.place.scope) == ("one/MatMul", "one")
    assert first.place.source.endswith(f"{Path(__file__).name}:{mlp.__code__.co_firstlineno + 1}")


def test_inference_draws_nothing():
    assert followed(mlp, {"x": some((4, 5))}, training=False).draws == []
