"""A graph as a program: run again operation by operation, it gives the session's numbers, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_slim as slim

import lockstep
from lockstep import tf1
from lockstep.adapters import kernels
from lockstep.adapters.graph_program import program_of
from lockstep.adapters.kernels import TensorFlowKernels
from lockstep.errors import ProgramError
from lockstep.recorder import graph
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


def convolutional(inputs, training):
    with slim.arg_scope([slim.batch_norm], is_training=training, decay=0.9):
        net = slim.conv2d(inputs["x"], 4, 3, normalizer_fn=slim.batch_norm, scope="conv")
    return slim.flatten(slim.max_pool2d(net, 2))


@pytest.mark.parametrize("fused", [True, False])
def test_updates_of_moving_averages_are_writes(fused):
    def forward(inputs, training):
        with slim.arg_scope([slim.batch_norm], fused=fused):
            return convolutional(inputs, training)

    tf1.enable()
    program = followed(forward, {"x": some((2, 6, 6, 3))})
    assert sorted(program.writes) == ["conv/BatchNorm/moving_mean", "conv/BatchNorm/moving_variance"]
    assert [program.producers[tensor].type for tensor in program.writes.values()] == ["Sub", "Sub"]
    assert any(operation.family == "FusedBatchNorm" for operation in program.operations) == fused


def lstm(inputs, training):
    cell = v1.nn.rnn_cell.LSTMCell(4, name="cell")
    outputs, state = v1.nn.dynamic_rnn(cell, inputs["x"], dtype=tf.float32, sequence_length=[3, 5])
    return {"outputs": outputs, "state": state.h}


def static_lstm(inputs, training):
    cell = v1.nn.rnn_cell.LSTMCell(4, name="cell")
    outputs, state = v1.nn.static_rnn(cell, tf.unstack(inputs["x"], axis=1), dtype=tf.float32)
    return {"outputs": tf.stack(outputs, 1), "state": state.h}


def branches(inputs, training):
    x, steep = inputs["x"], inputs["steep"]
    once = tf.cond(steep, lambda: x * 3.0, lambda: tf.sin(x) + 1.0)
    # A loop on a branch, and a branch on a branch.
    loop = lambda: tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 1.5), (0, x))[1]
    inner = tf.cond(steep, loop, lambda: tf.cond(tf.reduce_sum(x) > 1e3, lambda: x, lambda: tf.cos(x)))
    return {"once": once, "inner": inner}


def nested_loops(inputs, training):
    w = v1.get_variable("w", (3, 3))

    def outer(i, x):
        _, inner = tf.while_loop(
            lambda j, _: j <= i, lambda j, y: (j + 1, tf.tanh(tf.matmul(y, w)) * tf.cast(i, tf.float32)), (0, x)
        )
        return i + 1, inner + x

    return tf.while_loop(lambda i, _: i < 3, outer, (tf.constant(1), inputs["x"]))[1]


def drawing_loop(inputs, training):
    def body(i, x):
        drawn = v1.random_normal(x.shape, seed=5)
        return i + 1, x * 0.5 + drawn + v1.nn.dropout(x, rate=0.5, seed=6)

    once = v1.random_uniform((3,), seed=5)
    return once + tf.while_loop(lambda i, _: i < 4, body, (0, inputs["x"]), parallel_iterations=1)[1]


def arrays(inputs, training):
    x = inputs["x"]
    given = tf.TensorArray(tf.float32, 0, dynamic_size=True, clear_after_read=False, infer_shape=False).unstack(x)
    made = tf.TensorArray(tf.float32, 6, element_shape=(3,), clear_after_read=False)
    made = made.write(1, given.read(0)).write(0, given.read(1) * 2.0)
    parts = tf.TensorArray(tf.float32, 2, infer_shape=False).split(x, [1, x.shape[0] - 1])
    given = given.write(given.size(), x[0])
    return {
        "gathered": given.gather([1, 0]),
        "all": given.stack(),
        "unwritten": made.stack(),
        "joined": parts.concat(),
        "chosen": made.gather([1, 4]),
    }


def embedded(inputs, training):
    table = v1.get_variable("table", (7, 3))
    return tf.nn.embedding_lookup(table, inputs["ids"]) + tf.gather(table, tf.reverse(inputs["ids"], [0]))


def counted(inputs, training):
    """Assignments of all kinds, in an order that control dependencies give.

    What is read is used before it is overwritten: TensorFlow overwrites variables of the old kind in place, and what was
    read before may show that.
    """
    w = v1.get_variable("w", (4, 3))
    read = w.read_value() * 1.0
    with tf.control_dependencies([read]):
        with tf.control_dependencies([v1.assign_add(w, inputs["x"])]):
            added = w.read_value() * 1.0
        with tf.control_dependencies([added]):
            with tf.control_dependencies([v1.scatter_sub(w, [0, 2], inputs["x"][:2])]):
                scattered = w.read_value() * 1.0
        with tf.control_dependencies([scattered]):
            with tf.control_dependencies([v1.assign(w, tf.exp(scattered))]):
                last = w.read_value() * 1.0
    v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, last.op)
    return {"read": read, "added": added, "scattered": scattered, "last": last, "picked": tf.gather(last, [1, 1])}


def chain(inputs, training):
    x = inputs["x"]
    for _ in range(8000):
        x = tf.negative(x + 1.0)
    return x


CASES = {
    "lstm": (lstm, {"x": some((2, 5, 3))}),
    "static_lstm": (static_lstm, {"x": some((2, 5, 3))}),
    "steep": (branches, {"x": some((2, 3)), "steep": np.array(True)}),
    "flat": (branches, {"x": some((2, 3)), "steep": np.array(False)}),
    "nested_loops": (nested_loops, {"x": some((3, 3))}),
    "drawing_loop": (drawing_loop, {"x": some((3,))}),
    "arrays": (arrays, {"x": some((4, 3))}),
    "embedded": (embedded, {"ids": np.array([3, 1, 3], np.int32)}),
    "counted": (counted, {"x": some((4, 3))}),
    "convolutional": (convolutional, {"x": some((2, 6, 6, 3))}),
    "mlp": (mlp, {"x": some((4, 5))}),
}
FLAVOURS = ("control_flow_v1", "control_flow_v2", "ref_variables")


def follow_all(flavour):
    """Follows all cases; runs in a process of its own for each flavour, as the switches are of the process."""
    tf1.enable()
    v1.enable_control_flow_v2() if flavour == "control_flow_v2" else v1.disable_control_flow_v2()
    if flavour == "ref_variables":
        v1.disable_resource_variables()
    return {name: followed(*case) for name, case in CASES.items()}
