"""tf_slim on today's TensorFlow: same names, values, gradients and updates as on TensorFlow 1.15, in a graph and eagerly."""

import importlib.metadata
import importlib.util
import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tf_slim")

from lockstep.errors import UnsupportedVersionError  # noqa: E402
from lockstep.tf1 import VariableStore  # noqa: E402
from lockstep.tf1 import slim as slim_support  # noqa: E402

HERE = pathlib.Path(__file__).parent
RECORDED = json.loads((HERE / "recorded_slim_cases.json").read_text())
# Between TensorFlow 1.15 and today's, one such net differs by rounding alone: measured 2e-6 in outputs and 3e-5 in
# gradients.
OUTPUT_RTOL, GRADIENT_RTOL, ATOL = 5e-6, 3e-5, 1e-6


@pytest.fixture(scope="module")
def cases():
    specification = importlib.util.spec_from_file_location("slim_cases", HERE / "slim_cases.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def slim():
    """tf_slim, enabled for one test."""
    import tf_slim

    was_enabled = slim_support.enabled()
    slim_support.enable()
    yield tf_slim
    if not was_enabled:
        slim_support.disable()


def assert_figures_equal(actual, expected, rtol, what):
    assert actual["shape"] == expected["shape"], what
    np.testing.assert_allclose(actual["head"], expected["head"], rtol=rtol, atol=ATOL, err_msg=what)
    np.testing.assert_allclose(actual["magnitude"], expected["magnitude"], rtol=rtol, atol=ATOL, err_msg=what)


def assert_as_recorded(actual, case):
    expected = RECORDED[case]
    assert actual["variables"] == expected["variables"]
    assert_figures_equal(actual["output"], expected["output"], OUTPUT_RTOL, "output")
    for kind, rtol in (("gradients", GRADIENT_RTOL), ("after", OUTPUT_RTOL)):
        assert actual[kind].keys() == expected[kind].keys()
        for name, figures in expected[kind].items():
            assert_figures_equal(actual[kind][name], figures, rtol, f"{kind} {name}")
    np.testing.assert_allclose(actual["penalty"], expected["penalty"], rtol=OUTPUT_RTOL)


def full_name(variable):
    return variable.name.removesuffix(":0")


def run_eagerly(cases, case, decorate=lambda function: function):
    """What `slim_cases.run_in_graph` does, under a variable store; `decorate` may make it a `tf.function`."""
    net, x, store = cases.CASES[case][1], tf.constant(cases.input_of(case)), VariableStore()
    with store.scope():
        net(x)
    for variable in store.variables:
        variable.assign(cases.starting_value(full_name(variable), variable.shape.as_list()))

    @decorate
    def step():
        with store.scope(), tf.GradientTape() as tape:
            output = net(x)
            target = tf.reduce_sum(output * output)
        trainable = [variable for variable in store.variables if variable.trainable]
        return output, tape.gradient(target, trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    output, gradients = step()
    trainable = [variable for variable in store.variables if variable.trainable]
    return {
        "output": cases.figures(output),
        "variables": [full_name(variable) for variable in store.variables],
        "gradients": {full_name(v): cases.figures(g) for v, g in zip(trainable, gradients, strict=True)},
        "penalty": sum(float(loss()) for loss in store.regularizers.values()),
        "after": {full_name(v): cases.figures(v.numpy()) for v in store.variables},
    }


def test_every_case_is_recorded(cases):
    assert sorted(cases.CASES) == sorted(RECORDED)


@pytest.mark.parametrize("case", sorted(RECORDED))
def test_graph_computes_what_tensorflow_1_15_computed(slim, cases, case):
    assert_as_recorded(cases.run_in_graph(case), case)


@pytest.mark.parametrize("case", sorted(RECORDED))
def test_eager_call_computes_what_tensorflow_1_15_computed(slim, cases, case):
    assert_as_recorded(run_eagerly(cases, case), case)


@pytest.mark.parametrize("case", sorted(RECORDED))
def test_tf_function_computes_what_tensorflow_1_15_computed(slim, cases, case):
    assert_as_recorded(run_eagerly(cases, case, tf.function), case)
