"""What an eager call computes, taken down operation by operation: run again it gives the same bits."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
from lockstep.subjects import INITIAL, Mode, Setting

ROWS = np.random.default_rng(5).normal(size=(4, 6)).astype(np.float32)


class Net(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.first = keras.layers.Dense(8, "relu", name="first")
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.drop = keras.layers.Dropout(0.5)
        self.last = keras.layers.LSTM(3, name="last")

    def call(self, inputs, training=None):
        net = self.drop(self.norm(self.first(inputs["x"]), training=training), training=training)
        return self.last(tf.reshape(net, [4, 2, 4]))


@pytest.fixture(scope="module")
def taken_down():
    instance = lockstep.keras(Net).build(Mode(training=True, randomness="num_random_ops"), {"x": ROWS})
    before = instance.run(INITIAL).before
    program = instance.program(before)
    return program, instance.run(Setting("given", before))


def values_of(program, run):
    values = {tensor: source.value for tensor, source in program.sources.items()}
    for operation in program.operations:
        values.update(zip(operation.outputs, run(operation, [values[t] for t in operation.inputs]), strict=True))
    return values


def test_a_program_run_again_gives_the_same_bits_and_leaves_the_same_state(taken_down):
    program, trace = taken_down
    values = values_of(program, TensorFlowKernels().run)
    assert program.limits == []
    assert len(program.draws) == 1
    np.testing.assert_array_equal(values[program.outputs[""]], trace.outputs[""])
    assert set(program.writes) == {"net/norm/moving_mean", "net/norm/moving_variance"}
    for key, tensor in program.writes.items():
        np.testing.assert_array_equal(values[tensor], trace.after[key])


def test_variables_that_an_operation_reads_by_itself_are_no_constants(taken_down):
    program, _ = taken_down
    read = {source.name for source in program.sources.values() if source.kind == "variable"}
    assert {"net/first/kernel", "net/last/lstm_cell/kernel", "net/norm/gamma", "net/norm/moving_mean"} <= read


def test_each_floating_operation_has_its_float64_value(taken_down):
    program, trace = taken_down
    values = values_of(program, TensorFlowKernels().run_double)
    for operation in program.operations:
        for tensor in operation.outputs:
            if program.specs[tensor].dtype == "float32":
                assert tf.as_dtype(values[tensor].dtype) == tf.float64, operation.type
    np.testing.assert_allclose(values[program.outputs[""]], trace.outputs[""], rtol=1e-5)


def functional():
    x = keras.Input([6], name="x")
    first = keras.Sequential([keras.layers.Dense(6, name="dense"), Scaled(name="scaled")], name="first")
    second = keras.Sequential([keras.layers.Dense(6, name="dense"), Scaled(name="scaled")], name="second")
    return keras.Model({"x": x}, second(first(x)) * 2.0)


class Scaled(keras.layers.Layer):
    def __init__(self, name):
        super().__init__(name=name)
        self.inner = keras.layers.Dense(6, name="inner")

    def build(self, _):
        self.inner.build((4, 6))

    def call(self, inputs):
        return self.inner(inputs)


def test_operations_of_a_functional_model_have_the_line_that_made_their_layer():
    instance = lockstep.keras(functional).build(Mode(training=False, randomness="constant"), {"x": ROWS})
    program = instance.program(instance.run(INITIAL).before)
    lines = {operation.place.name.partition("/")[2]: operation.place.source for operation in program.operations}
    text = Path(__file__).read_text(encoding="utf-8").splitlines()
    told = {name: text[int(line.rpartition(":")[2]) - 1] for name, line in lines.items() if line.startswith(__file__)}
    for block in ("first", "second"):
        assert f"{block} = keras.Sequential(" in told[f"{block}/dense/MatMul"]
        assert "return self.inner(inputs)" in told[f"{block}/scaled/inner/MatMul"]  # a line that is run comes first
    assert "keras.Model(" in told["Mul"]  # of no layer but the model; this test's lines, which called it, are none
