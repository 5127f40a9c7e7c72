"""tf1.layers against real TF 1.15: 130 configurations recorded by tests/data/record_tf115_layers.py."""

from __future__ import annotations

import ast
import copy
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1 import VariableStore, layers, private

v1 = tf.compat.v1
DATA = Path(__file__).resolve().parents[1] / "data"
# What an eager call cannot give back: losses of outputs are in no collection, see test_activity_loss_in_eager.
LOSSES_OF_OUTPUTS = {
    "conv2d_regularized",
    "dense_activity_regularized",
    "dense_instance_used_twice",
    "own_layer_with_losses_in_call",
}


def _load_recorded():
    spec = importlib.util.spec_from_file_location("recorded", DATA / "recorded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recorded_data = _load_recorded()
layer_cases = recorded_data.load("layer_cases")


@pytest.fixture(scope="module")
def recording():
    return recorded_data.Recording("tf115_layers.npz")


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


# --- what a recording cannot show


def test_a_changed_epsilon_is_noticed(recording, aligned_seeds, control_flow_of_tf1, monkeypatch):
    case = next(c for c in layer_cases.CASES if c.name == "batch_norm_fused")
    changed = lambda x, **given: layers.BatchNormalization(epsilon=0.00101)(x, **given)  # noqa: E731
    monkeypatch.setattr(layers, "batch_normalization", changed)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        test_graph_equals_tf115(recording, aligned_seeds, control_flow_of_tf1, case, training=False)


@pytest.mark.parametrize(
    ("case", "training"),
    [run for run in RUNS if run.id.startswith(("batch_norm", "whole_net", "dense_reuse", "separable_conv2d"))],
)
def test_graph_with_reference_variables_equals_tf115(recording, aligned_seeds, control_flow_of_tf1, case, training):
    v1.disable_resource_variables()
    try:
        test_graph_equals_tf115(recording, aligned_seeds, control_flow_of_tf1, case, training)
    finally:
        v1.enable_resource_variables()


def test_activity_loss_in_eager_is_the_layers_own():
    layer = layers.Dense(2, kernel_initializer="ones", activity_regularizer=tf.reduce_sum)
    for factor in (1.0, 2.0):
        layer(factor * tf.ones((4, 3)))
        assert [float(loss) for loss in layer.losses] == [6.0 * factor]  # per example, of the last call


def test_weight_loss_follows_the_weight():
    store = VariableStore()
    with store.scope():
        layers.dense(tf.ones((1, 2)), 2, kernel_initializer="ones", kernel_regularizer=tf.reduce_sum, name="d")
    (loss,) = store.regularizers.values()
    assert float(loss()) == 4.0
    store.variables[0].assign(tf.fill((2, 2), 0.5))
    assert float(loss()) == 2.0


@pytest.mark.parametrize(
    ("function", "shape", "arguments", "message"),
    [
        (
            "conv2d",
            (3, 4),
            {"filters": 2, "kernel_size": 1},
            r"expected ndim=4, found ndim=2. Full shape received: \[3, 4",
        ),
        ("dense", (3,), {"units": 2}, "expected min_ndim=2, found ndim=1"),
        (
            "conv2d",
            (1, 2, 2, 1),
            {"filters": 2, "kernel_size": (1, 2, 3)},
            "`kernel_size` argument must be a tuple",
        ),
        ("conv2d", (1, 2, 2, 1), {"filters": 2, "kernel_size": 1, "padding": "causal"}, "Causal padding is only"),
        ("conv2d", (1, 2, 2, 1), {"filters": 2, "kernel_size": 1, "padding": "sam"}, "`padding` argument"),
        ("flatten", (1, 2), {"data_format": "NHWC"}, "`data_format` argument"),
        ("max_pooling2d", (1, 2, 2, 1), {"pool_size": 2, "strides": None}, "`strides` must not be None"),
        ("dense", (3, 4), {"units": 2, "activation": "relo"}, "activation identifier: 'relo'; did you mean 'relu'"),
        ("batch_normalization", (3, 4), {"axis": 2}, "Invalid axis: 2"),
        ("batch_normalization", (3, 4), {"axis": [0, 0]}, "Duplicate axis"),
        ("batch_normalization", (3, 4), {"virtual_batch_size": 0}, "positive integer"),
        ("batch_normalization", (3, 4), {"renorm": True, "renorm_clipping": {"max": 1}}, "keys not in"),
    ],
)
def test_mistakes_are_named(function, shape, arguments, message):
    with pytest.raises(InputError, match=message):
        getattr(layers, function)(tf.ones(shape), **arguments)


def test_shape_mistakes_of_graphs_and_instances_are_named():
    with tf.Graph().as_default():
        with pytest.raises(InputError, match="channel dimension of the inputs should be defined"):
            layers.conv2d(v1.placeholder(tf.float32, [None, 4, 4, None]), 2, 1)
        with pytest.raises(InputError, match="its rank is undefined"):
            layers.conv2d(v1.placeholder(tf.float32), 2, 1)
    layer = layers.Dense(2)
    with pytest.raises(InputError, match="has not been used yet"):
        _ = layer.scope_name
    with pytest.raises(InputError, match="isn't built"):
        layer.count_params()
    layer(tf.ones((1, 3)))
    with pytest.raises(InputError, match="expected axis -1 of input shape to have value 3 but received"):
        layer(tf.ones((1, 4)))
    with pytest.raises(TypeError, match="non-floating point dtype int32"):
        layers.dense(tf.ones((1, 4), tf.int32), 2)
    with pytest.raises(TypeError, match="does not take the argument unit"):
        layers.Dense(2, unit=3)


def test_scope_is_left_when_a_call_fails():
    class Failing(layers.Layer):
        def call(self, inputs):
            raise ArithmeticError

    before = v1.get_variable_scope()
    with pytest.raises(ArithmeticError):
        Failing()(tf.ones(1))
    assert v1.get_variable_scope() is before


def test_function_updates_the_averages_at_every_call():
    layer = layers.BatchNormalization(momentum=0.5)
    step = tf.function(lambda x: layer(x, training=True))
    means = []
    for _ in range(3):
        step(tf.ones((4, 2)))
        means.append(float(layer.moving_mean[0]))
    assert means == [0.5, 0.75, 0.875]


@pytest.mark.parametrize("name", ["batch_norm_fused_from_zero", "batch_norm_rank_2_from_zero"])
def test_decay_is_rounded_as_tf115_rounds_it(recording, name):
    case = next(c for c in layer_cases.CASES if c.name == name)
    layer = layers.BatchNormalization(momentum=0.9997, moving_variance_initializer="zeros")
    layer(tf.constant(layer_cases.input_of(case)), training=True)
    after = {v["name"].split("/")[-1]: v["after"] for v in recorded(recording, case, training=True)["variables"]}
    # The two roundings of 1 - 0.9997 are 3e-5 apart.
    np.testing.assert_allclose(layer.moving_variance, recording.array(after["moving_variance:0"]), rtol=3e-6)


@pytest.mark.parametrize("renorm", [False, True])
def test_frozen_batch_norm_never_moves_in_eager(renorm):
    layer = layers.BatchNormalization(trainable=False, renorm=renorm)
    x = tf.constant([[1.0], [3.0]])
    normalized = layer(x, training=True)
    np.testing.assert_allclose(normalized, [[-1.0], [1.0]], atol=1e-3 if not renorm else 3.0)
    assert [float(layer.moving_mean[0]), float(layer.moving_variance[0])] == [0.0, 1.0]
    if renorm:
        assert [float(layer.renorm_mean[0]), float(layer.renorm_stddev[0])] == [0.0, 1.0]


def test_gradients_reach_every_trainable_variable():
    store = VariableStore()
    with tf.GradientTape() as tape, store.scope():
        x = layers.conv2d(tf.random.normal((2, 5, 5, 2)), 3, 2, activation=tf.nn.relu)
        x = layers.batch_normalization(x, training=True)
        loss = tf.reduce_sum(layers.dense(layers.flatten(x), 2) ** 2)
    trainable = [v for v in store.variables if v.trainable]
    assert len(trainable) == 6
    assert all(g is not None for g in tape.gradient(loss, trainable))


def test_autograph_reaches_the_users_own_call():
    class Branching(layers.Layer):
        def call(self, inputs):
            return inputs if tf.reduce_sum(inputs) > 0 else -inputs

    layer = Branching()
    function = tf.function(lambda x: layer(x))
    assert [float(function(tf.constant(value))) for value in (3.0, -2.0)] == [3.0, 2.0]


def test_checkpoint_holds_the_layers_variables(tmp_path):
    def built(value):
        layer = layers.Dense(2, kernel_initializer=v1.constant_initializer(value))
        layer(tf.ones((1, 3)))
        return layer

    path = tf.train.Checkpoint(layer=built(4.0)).save(str(tmp_path / "checkpoint"))
    assert ("layer/kernel/.ATTRIBUTES/VARIABLE_VALUE", [3, 2]) in tf.train.list_variables(path)
    layer = built(0.0)
    tf.train.Checkpoint(layer=layer).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(layer.kernel, np.full((3, 2), 4.0))


def test_copy_shares_the_variables():
    layer = layers.Dense(2)
    layer(tf.ones((1, 3)))
    twin = copy.deepcopy(layer)
    assert twin.kernel is layer.kernel
    assert twin.weights is not layer.weights
    twin.units = 5
    assert layer.units == 2


def test_layers_need_no_keras():
    sources = sorted(Path(layers.__file__).parent.glob("*.py"))
    assert len(sources) > 10
    for source in sources:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [m for m in modules if "keras" in m or m.startswith("tensorflow.")], source.name
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and "keras" in n.attr], source.name


def test_layers_run_where_tf_keras_cannot_be_imported():
    code = (
        "import sys; sys.modules['tf_keras'] = None\n"
        "import tensorflow as tf; from lockstep.tf1 import layers\n"
        "print(layers.batch_normalization(layers.dense(tf.ones((1, 2)), 3), training=True).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(1, 3)"
