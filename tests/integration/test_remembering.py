"""Kernels that remember: the same values as without, computed once."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from lockstep.frameworks.tensorflow import kernels as plain
from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels, call
from lockstep.frameworks.tensorflow.remembering import RememberingKernels
from lockstep.program import Operation, Place

PLACE = Place("place", "", "")


def operation(kind, inputs, given=None):
    made = call(kind, given or {}, inputs, 1)
    attributes = plain.plain_attributes(kind, made)
    return Operation(0, kind, attributes, tuple(range(len(inputs))), (len(inputs),), PLACE, made)


@pytest.fixture
def executed(monkeypatch):
    """The types of the operations that TensorFlow ran, casts to float64 left out."""
    found, real = [], plain._execute

    def watched(complete, inputs):
        if complete.type != "Cast":
            found.append(complete.type)
        return real(complete, inputs)

    monkeypatch.setattr(plain, "_execute", watched)
    return found


def test_the_same_operation_on_the_same_values_runs_once(executed):
    x = np.linspace(-1, 1, 6, dtype=np.float32)
    kernels = RememberingKernels()
    first = kernels.run_double(operation("Tanh", [x]), [x])
    again = kernels.run_double(operation("Tanh", [x]), [tf.constant(x)])  # of another program, say
    assert executed == ["Tanh"]
    assert first[0].numpy().tobytes() == again[0].numpy().tobytes()
    assert (
        first[0].numpy().tobytes() == TensorFlowKernels().run_double(operation("Tanh", [x]), [x])[0].numpy().tobytes()
    )


@pytest.mark.parametrize("change", ["precision", "value", "sign of zero", "shape", "dtype", "attribute", "type"])
def test_what_differs_in_anything_is_computed(executed, change):
    x = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    other = x.copy()
    if change == "value":
        other[1, 1] = np.nextafter(np.float32(3), np.float32(4))
    elif change == "sign of zero":
        other[0, 0] = -0.0
    elif change == "shape":
        other = x.reshape(1, 4)
    elif change == "dtype":
        other = x.astype(np.float64)
    kernels = RememberingKernels()
    one = operation("LeakyRelu", [x], {"alpha": 0.2})
    two = operation("LeakyRelu", [other], {"alpha": 0.3 if change == "attribute" else 0.2})
    two = operation("Relu", [other]) if change == "type" else two
    kernels.run(one, [x])
    (found,) = (kernels.run_double if change == "precision" else kernels.run)(two, [other])
    assert len(executed) == 2
    assert np.array_equal(found.numpy(), TensorFlowKernels().run(two, [other])[0].numpy())


def test_a_reshape_that_an_edit_changed_is_another_one(executed):
    x = np.arange(4.0, dtype=np.float32)
    one = replace(operation("Reshape", [x, np.array([2, 2], np.int32)]), attributes={"shape": (2, 2)}, inputs=(0,))
    kernels = RememberingKernels()
    shapes = [kernels.run(o, [x])[0].shape for o in (one, replace(one, attributes={"shape": (1, 4)}))]
    assert shapes == [(2, 2), (1, 4)]


def test_draws_and_large_tensors_and_text_are_not_remembered(executed):
    kernels = RememberingKernels()
    shape, large, text = np.array([3], np.int32), np.zeros(5000, np.float32), tf.constant(["a"])
    drawn = [
        kernels.run(operation("RandomUniform", [shape], {"dtype": tf.float32, "seed": 1}), [shape])[0].numpy()
        for _ in range(2)
    ]
    assert not np.array_equal(*drawn)
    for _ in range(2):
        kernels.run(operation("Relu", [large]), [large])
        kernels.run(operation("StringLength", [text], {"unit": "BYTE"}), [text])
    assert executed == ["RandomUniform", "RandomUniform", "Relu", "StringLength", "Relu", "StringLength"]


def test_no_more_is_kept_than_allowed(monkeypatch, executed):
    monkeypatch.setattr("lockstep.frameworks.tensorflow.remembering._MOST_BYTES", 2000)
    kernels, values = RememberingKernels(), [np.full(4, n, np.float32) for n in range(4)]
    for value in (*values, values[-1], values[0]):
        kernels.run(operation("Relu", [value]), [value])
    assert len(executed) == 5, "the last one is known, the first one was let go"


def test_a_refusal_is_told_each_time():
    from lockstep.common.errors import KernelError

    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)
    kernels = RememberingKernels()
    for _ in range(2):
        with pytest.raises(KernelError, match="cannot run AddV2"):
            kernels.run(operation("AddV2", [x, y]), [x, y])
