"""tf1.rnn_cell against real TF 1.15: the configurations recorded by tests/data/record_tf115_rnn.py."""

from __future__ import annotations

import functools
import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lockstep import tf1
from lockstep.tf1 import VariableStore, private, rnn_cell

v1 = tf.compat.v1


def _recorded():
    path = Path(__file__).resolve().parents[1] / "data" / "recorded.py"
    spec = importlib.util.spec_from_file_location("recorded", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recorded = _recorded()
rnn_cases = recorded.load("rnn_cases")
BY_NAME = {case.name: case for case in rnn_cases.CASES}


def cases_of(mode):
    return [pytest.param(case, id=case.name) for case in rnn_cases.CASES if mode in case.modes]


@pytest.fixture(scope="module")
def recording():
    return recorded.Recording("tf115_rnn.npz")


@pytest.fixture(autouse=True)
def enabled():
    """The cases use `tf.compat.v1.nn.rnn_cell` and `tf.compat.v1.layers`, as TF1 code does."""
    tf1.enable()
    yield
    tf1.disable()


@pytest.fixture
def control_flow_of_tf1():
    v1.disable_control_flow_v2()
    yield
    v1.enable_control_flow_v2()


@pytest.fixture
def aligned_seeds(monkeypatch):
    """As in the recording: a random operation without a seed of its own gets the next number."""
    draws = []

    def get_seed(op_seed):
        if op_seed is not None:
            return 42, op_seed
        draws.append(op_seed)
        return 42, len(draws) - 1

    tf.random.set_seed(1)  # eager kernels keep their generators per seed: this throws them away
    monkeypatch.setattr(private.random_seed_module(), "get_seed", get_seed)
    return draws


def parted(result):
    items = tf.nest.flatten(result)
    return [i for i in items if tf.is_tensor(i)], [i for i in items if not tf.is_tensor(i)]


# float16 resolves 1e-3, and rounding goes on from step to step.
OUTPUTS = {"float16": {"rtol": 5e-3, "atol": 2e-3}, "float32": {"rtol": 1e-5, "atol": 2e-6}}
OUTPUTS["float64"] = {"rtol": 1e-13, "atol": 1e-14}
GRADIENTS = {"float16": {"rtol": 3e-2, "atol": 3e-2}, "float32": {"rtol": 1e-4, "atol": 1e-5}}
GRADIENTS["float64"] = {"rtol": 1e-12, "atol": 1e-13}


def assert_match(recording, places, values, tolerance):
    assert len(values) == len(places)
    for place, value in zip(places, values, strict=True):
        assert (value is None) == (place is None)
        if place is not None:
            expected = recording.array(place)
            assert value.shape == expected.shape
            assert value.dtype == expected.dtype
            np.testing.assert_allclose(value, expected, **tolerance)


def assert_initial(recording, expected, initial):
    for was, value in zip(expected["variables"], initial, strict=True):
        np.testing.assert_array_equal(value, recording.array(was["initial"]), err_msg=was["name"])


def compare_in_graph(recording, draws, case, *, with_operations=True):
    expected = recording.index["runs"][case.name]
    with tf.Graph().as_default() as graph:
        outputs, facts = parted(case.body(v1, tf.constant(rnn_cases.input_of(case))))
        kinds = {kind for kind, _ in expected["operations"]}
        operations = [[op.type, op.name] for op in graph.get_operations() if op.type in kinds]
        variables, trainable = v1.global_variables(), v1.trainable_variables()
        losses = v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES)
        gradients = tf.gradients(rnn_cases.loss_of(v1, outputs), trainable)
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        with v1.Session(config=v1.ConfigProto(inter_op_parallelism_threads=1)) as session:
            session.run(v1.global_variables_initializer())
            initial = session.run(variables)
            for variable, value in zip(variables, initial, strict=True):
                variable.load(rnn_cases.moved_value(variable.name, value), session)
            known = [g for g in gradients if g is not None]
            values, loss_values, found = session.run([outputs, losses, known])
    found = iter(found)
    assert [v.name for v in variables] == [v["name"] for v in expected["variables"]]
    is_trainable = [any(v is t for t in trainable) for v in variables]
    assert is_trainable == [v["trainable"] for v in expected["variables"]]
    assert_initial(recording, expected, initial)
    assert_match(recording, expected["outputs"], values, OUTPUTS[case.dtype])
    np.testing.assert_allclose(loss_values, expected["losses"], rtol=1e-5, atol=2e-6)
    gradient_values = [None if g is None else next(found) for g in gradients]
    assert_match(recording, expected["gradients"], gradient_values, GRADIENTS[case.dtype])
    assert facts == expected["facts"]
    assert len(draws) == expected["draws"]
    if with_operations:
        assert operations == expected["operations"]


@pytest.mark.parametrize("case", cases_of("graph"))
def test_graph_equals_tf115(recording, aligned_seeds, control_flow_of_tf1, case):
    compare_in_graph(recording, aligned_seeds, case)


# In control flow v2 a loop's body is a function, of whose name scopes Keras-style variables get their names.
@pytest.mark.parametrize("case", [c for c in cases_of("graph") if c.id != "keras_style_cells"])
def test_graph_with_control_flow_v2_equals_tf115(recording, aligned_seeds, case):
    compare_in_graph(recording, aligned_seeds, case, with_operations=False)


# Automatic names of objects count up as long as the program runs; a graph begins anew.
NAMES_OF_OBJECTS = {"facts", "multi_lstm", "names_count_up"}


def compare_under_store(recording, case, compiled):
    expected = recording.index["runs"][case.name]
    initial = []

    def move(variable, loss):
        with tf.init_scope():
            initial.append(variable.numpy())
            variable.assign(rnn_cases.moved_value(variable.name, initial[-1]))

    store = VariableStore(on_create=move)
    facts = []

    def forward(x):
        with tf.GradientTape() as tape:
            with store.scope():
                outputs, facts[:] = parted(case.body(v1, x))
            loss = rnn_cases.loss_of(v1, outputs)
        gradients = tape.gradient(loss, [v for v in store.variables if v.trainable])
        return outputs, [None if g is None else tf.convert_to_tensor(g) for g in gradients]

    outputs, gradients = compiled(forward)(tf.constant(rnn_cases.input_of(case)))
    assert [v.name for v in store.variables] == [v["name"] for v in expected["variables"]]
    assert [v.trainable for v in store.variables] == [v["trainable"] for v in expected["variables"]]
    assert_initial(recording, expected, initial)
    assert_match(recording, expected["outputs"], [v.numpy() for v in outputs], OUTPUTS[case.dtype])
    found = [None if g is None else g.numpy() for g in gradients]
    assert_match(recording, expected["gradients"], found, GRADIENTS[case.dtype])
    losses = [float(loss()) for loss in store.regularizers.values()]
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-5, atol=2e-6)
    if case.name not in NAMES_OF_OBJECTS:
        assert facts == expected["facts"]


@pytest.mark.parametrize("case", cases_of("eager"))
def test_eager_equals_tf115(recording, aligned_seeds, case):
    compare_under_store(recording, case, lambda forward: forward)


@pytest.mark.parametrize("case", cases_of("function"))
def test_function_equals_tf115(recording, aligned_seeds, case):
    compare_under_store(recording, case, tf.function)


# --- the comparison itself


def _signature(function):
    spec = inspect.getfullargspec(inspect.unwrap(function))
    defaults = [repr(value) for value in spec.defaults or ()]
    return {"args": spec.args, "defaults": defaults, "varkw": spec.varkw is not None}


def test_signatures_equal_tf115(recording):
    assert set(rnn_cell.__all__) == set(recording.index["signatures"])
    for name, expected in recording.index["signatures"].items():
        if expected is not None:  # a named tuple has no constructor of its own
            assert _signature(getattr(rnn_cell, name).__init__) == expected, name
    for name, expected in recording.index["functions"].items():
        assert _signature(getattr(v1.nn, name)) == expected, name


def test_recording_covers_every_case(recording):
    assert len(BY_NAME) >= 60
    assert set(BY_NAME) == set(recording.index["runs"])
    draws = sum(run["draws"] for run in recording.index["runs"].values())
    assert draws > 100


def without_forget_bias(monkeypatch):
    made = rnn_cell.BasicLSTMCell.__init__
    monkeypatch.setattr(rnn_cell.BasicLSTMCell, "__init__", functools.partialmethod(made, forget_bias=0.0))


def with_gates_of_keras(monkeypatch):
    split = tf.split

    def swapped(value, parts, axis):
        i, j, f, o = split(value, parts, axis=axis)
        return i, f, j, o

    monkeypatch.setattr(tf, "split", swapped)


def with_another_salt(monkeypatch):
    salted = rnn_cell.DropoutWrapper._gen_seed
    monkeypatch.setattr(rnn_cell.DropoutWrapper, "_gen_seed", lambda self, kind, place: salted(self, kind, place + 1))


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (without_forget_bias, "basic_lstm"),
        (with_gates_of_keras, "basic_lstm"),
        (with_gates_of_keras, "lstm"),
        (with_another_salt, "dropout_seeded"),
    ],
)
def test_planted_mistakes_are_noticed(recording, aligned_seeds, monkeypatch, plant, name):
    compare_under_store(recording, BY_NAME[name], lambda forward: forward)
    plant(monkeypatch)
    aligned_seeds.clear()
    tf.random.set_seed(1)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare_under_store(recording, BY_NAME[name], lambda forward: forward)
