"""tf1.layers against real TF 1.15: 128 configurations recorded by tests/data/record_tf115_layers.py."""

from __future__ import annotations

import importlib.util
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from lockstep.tf1 import VariableStore, layers, private  # noqa: E402

v1 = tf.compat.v1
DATA = Path(__file__).resolve().parents[1] / "data"
# What an eager call cannot give back: losses of outputs are in no collection, see test_activity_loss_in_eager.
LOSSES_OF_OUTPUTS = {
    "conv2d_regularized",
    "dense_activity_regularized",
    "dense_instance_used_twice",
    "own_layer_with_losses_in_call",
}


def _load_cases():
    spec = importlib.util.spec_from_file_location("layer_cases", DATA / "layer_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layer_cases = _load_cases()


class Recording:
    def __init__(self, path):
        with np.load(path, allow_pickle=False) as archive:
            self.index = json.loads(archive["index"].tobytes().decode())
            self.values = archive["values"].tobytes()

    def array(self, place):
        dtype, shape, start = place
        count = int(np.prod(shape))
        return np.frombuffer(self.values, dtype, count, start).reshape(shape)


@pytest.fixture(scope="module")
def recording():
    return Recording(DATA / "tf115_layers.npz")


@pytest.fixture
def control_flow_of_tf1():
    """Conditionals as TF 1.15 builds them, with their operations in the graph itself."""
    v1.disable_control_flow_v2()
    yield
    v1.enable_control_flow_v2()


@pytest.fixture
def aligned_seeds(monkeypatch):
    """Every random operation gets the seeds (42, n), n counting up: as in the recording."""
    draws = []

    def get_seed(op_seed):
        draws.append(op_seed)
        return 42, len(draws) - 1

    tf.random.set_seed(1)  # eager kernels keep their generators per seed: this throws them away
    monkeypatch.setattr(private.random_seed_module(), "get_seed", get_seed)
    return draws


RUNS = [
    pytest.param(case, training, id=f"{case.name}-{'training' if training else 'inference'}")
    for case in layer_cases.CASES
    for training in ((False, True) if case.trains else (False,))
]
EAGER_RUNS = [run for run in RUNS if "eager" in run.values[0].modes]
# A tf.function that makes variables is traced twice, and the seeds that its second trace draws have gone on.
DRAWS_AFTER_VARIABLES = {"dropout_between_dense-training", "whole_net-training"}
FUNCTION_RUNS = [run for run in EAGER_RUNS if run.id not in DRAWS_AFTER_VARIABLES]


def recorded(recording, case, training):
    return recording.index["runs"][f"{case.name}/{'training' if training else 'inference'}"]


def parted(result):
    items = result if isinstance(result, list) else [result]
    return [i for i in items if tf.is_tensor(i)], [i for i in items if not tf.is_tensor(i)]


def assert_values_match(recording, places, values, dtype):
    assert len(values) == len(places)
    for place, value in zip(places, values, strict=True):
        expected = recording.array(place)
        assert value.shape == expected.shape
        assert value.dtype == expected.dtype
        # float16 resolves 1e-3; two roundings of the last place may differ.
        tolerance = {"rtol": 2e-3, "atol": 1e-3} if dtype == "float16" else {"rtol": 1e-5, "atol": 2e-6}
        np.testing.assert_allclose(value, expected, **tolerance)


@pytest.mark.parametrize(("case", "training"), RUNS)
def test_graph_equals_tf115(recording, aligned_seeds, control_flow_of_tf1, case, training):
    expected = recorded(recording, case, training)
    with tf.Graph().as_default() as graph:
        outputs, facts = parted(case.body(v1, layers, tf.constant(layer_cases.input_of(case)), training))
        variables = v1.global_variables()
        losses = v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES)
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        trainable = [any(v is t for t in v1.trainable_variables()) for v in variables]
        with v1.Session(config=v1.ConfigProto(inter_op_parallelism_threads=1)) as session:
            session.run(v1.global_variables_initializer())
            initial = session.run(variables)
            for variable, value in zip(variables, initial, strict=True):
                variable.load(layer_cases.moved_value(variable.name, value), session)
            values, loss_values = layer_cases.run_updates(session, case, outputs, losses, updates)
            after = session.run(variables)
    assert [v.name for v in variables] == [v["name"] for v in expected["variables"]]
    assert trainable == [v["trainable"] for v in expected["variables"]]
    for was, value in zip(expected["variables"], initial, strict=True):
        np.testing.assert_array_equal(value, recording.array(was["initial"]), err_msg=was["name"])
    assert_values_match(recording, expected["outputs"], values, case.dtype)
    np.testing.assert_allclose(loss_values, expected["losses"], rtol=1e-5, atol=2e-6)
    assert len(updates) == len(expected["updates"])
    assert_values_match(recording, [v["after"] for v in expected["variables"]], after, "float32")
    assert facts == expected["facts"]
    assert len(aligned_seeds) == expected["draws"]
    kinds = {kind for kind, _ in expected["operations"]}
    assert [[op.type, op.name] for op in graph.get_operations() if op.type in kinds] == expected["operations"]


@pytest.mark.parametrize(("case", "training"), EAGER_RUNS)
def test_eager_equals_tf115(recording, aligned_seeds, case, training):
    run_under_store(recording, case, training, lambda forward: forward)


@pytest.mark.parametrize(("case", "training"), FUNCTION_RUNS)
def test_function_equals_tf115(recording, aligned_seeds, case, training):
    run_under_store(recording, case, training, tf.function)


def run_under_store(recording, case, training, compiled):
    expected = recorded(recording, case, training)
    initial = []

    def move(variable, loss):
        with tf.init_scope():
            initial.append(variable.numpy())
            variable.assign(layer_cases.moved_value(variable.name, initial[-1]))

    store = VariableStore(on_create=move)

    def forward(x):
        with store.scope():
            outputs, _ = parted(case.body(v1, layers, x, training))
            return outputs

    x = tf.constant(layer_cases.input_of(case))
    outputs = compiled(forward)(x)
    assert [v.name for v in store.variables] == [v["name"] for v in expected["variables"]]
    assert [v.trainable for v in store.variables] == [v["trainable"] for v in expected["variables"]]
    for was, value in zip(expected["variables"], initial, strict=True):
        np.testing.assert_array_equal(value, recording.array(was["initial"]), err_msg=was["name"])
    assert_values_match(recording, expected["outputs"], [v.numpy() for v in outputs], case.dtype)
    after = [v.numpy() for v in store.variables]
    assert_values_match(recording, [v["after"] for v in expected["variables"]], after, "float32")
    if case.name not in LOSSES_OF_OUTPUTS:
        losses = [float(loss()) for loss in store.regularizers.values()]
        np.testing.assert_allclose(sum(losses), sum(expected["losses"]), rtol=1e-5, atol=2e-6)


def test_recording_covers_every_case_and_function(recording):
    assert len(layer_cases.CASES) >= 60
    names = {run.id.replace("-", "/") for run in RUNS}
    assert names == set(recording.index["runs"])


def _default_name(value):
    plain = isinstance(value, type(None) | bool | int | float | str | tuple)
    return repr(value) if plain else type(value).__name__


def _signature(function):
    spec = inspect.getfullargspec(inspect.unwrap(function))
    defaults = [_default_name(value) for value in spec.defaults or ()]
    return {"args": spec.args, "defaults": defaults, "varkw": spec.varkw is not None}


def test_signatures_equal_tf115(recording):
    table = {
        name: _signature(getattr(layers, name).__init__ if name[0].isupper() else getattr(layers, name))
        for name in layers.__all__
    }
    renamed = {"Zeros": "zeros", "Ones": "ones"}
    assert set(table) == set(recording.index["signatures"])
    for name, signature in recording.index["signatures"].items():
        signature["defaults"] = [renamed.get(d, d) for d in signature["defaults"]]
        table[name]["defaults"] = [renamed.get(d, d) for d in table[name]["defaults"]]
        assert table[name] == signature, name
