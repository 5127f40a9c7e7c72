"""tf_slim on today's TensorFlow: names, values, gradients and updates of TensorFlow 1.15, in a graph and eagerly."""

import importlib.metadata
import importlib.util
import inspect
import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from lockstep.common.errors import UnsupportedVersionError
from lockstep.tf1 import VariableStore
from lockstep.tf1 import slim as slim_support

HERE = pathlib.Path(__file__).parent
RECORDED = json.loads((HERE / "recorded_slim_cases.json").read_text())
# Between TensorFlow 1.15 and today's, rounding alone moved outputs by up to 2e-6 of a tensor's largest magnitude, and
# gradients by 3e-5: a sum in which terms cancel has no relative precision of its own.
OUTPUT_RTOL, GRADIENT_RTOL = 5e-6, 3e-5


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
    scale = max(1e-3, *np.abs(expected["head"]))
    np.testing.assert_allclose(actual["head"], expected["head"], rtol=0, atol=rtol * scale, err_msg=what)
    np.testing.assert_allclose(actual["magnitude"], expected["magnitude"], rtol=rtol, atol=1e-6, err_msg=what)


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


@pytest.mark.parametrize("autograph", [True, False])
@pytest.mark.parametrize("eagerly_first", [True, False])
def test_zero_debiased_averages_are_made_and_found_in_a_trace(slim, cases, eagerly_first, autograph):
    x = tf.constant(cases.input_of("batch_norm"))

    def states(calls):
        store = VariableStore()

        def call():
            with store.scope():
                return slim.batch_norm(x, decay=0.5, zero_debias_moving_mean=True)

        for kind in calls:
            (tf.function(call, autograph=autograph) if kind == "traced" else call)()
        return {full_name(variable): variable.numpy() for variable in store.variables}

    expected = states(["eager"] * 3)
    found = states(["eager" if eagerly_first else "traced", "traced", "traced"])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_averages_move_once_per_call_whatever_the_collection(slim, cases):
    """Updates put off to a collection run at once eagerly; nothing may run them a second time."""
    x = tf.constant(cases.input_of("batch_norm"))
    for updates_collections in ("update_ops", None, "own"):
        store, means = VariableStore(), []
        for _ in range(3):
            with store.scope():
                slim.batch_norm(x, decay=0.5, updates_collections=updates_collections)
            means.append(store.variables[1].numpy())
        batch_mean = tf.reduce_mean(x, [0, 1, 2]).numpy()
        for calls, mean in enumerate(means, start=1):
            np.testing.assert_allclose(mean, batch_mean * (1 - 0.5**calls), rtol=1e-5, atol=1e-7)


def test_eager_calls_leave_collections_as_they_were(slim, cases):
    store = VariableStore()
    x = tf.constant(cases.input_of("collections"))

    def sizes():
        graph = tf.compat.v1.get_default_graph()
        keys = set(graph.get_all_collection_keys()) - {("__variable_store",), ("__varscope",)}
        return {key: len(graph.get_collection_ref(key)) for key in keys if graph.get_collection_ref(key)}

    before = sizes()
    for _ in range(3):
        with store.scope():
            slim.batch_norm(slim.conv2d(x, 3, 1, outputs_collections="ends", variables_collections=["mine"]))
    assert sizes() == before


def test_eager_variables_can_be_chosen_by_scope(slim, cases):
    x = tf.constant(cases.input_of("conv2d"))
    store = VariableStore()
    with store.scope():
        slim.conv2d(slim.conv2d(x, 3, 1, scope="first"), 3, 1, scope="second")
        names = [full_name(variable) for variable in slim.get_variables_to_restore(exclude=["first"])]
        slim.add_model_variable(store.variables[0])
        model_variables = slim.get_model_variables()
    assert names == ["second/weights", "second/biases"]
    assert sum(variable is store.variables[0] for variable in model_variables) == 1
    with store.scope(), pytest.raises(TypeError, match="exclude"):
        slim.get_variables_to_restore(exclude="first")


def test_short_getter_does_what_tf_slims_own_does(slim, cases, monkeypatch):
    slim_layers = sys.modules["tf_slim.layers.layers"]
    assert slim_layers._build_variable_getter.__module__ == "lockstep.tf1.slim.getters"
    short = run_eagerly(cases, "arg_scopes_and_the_usual_layers")

    def long_getter(rename=None):
        return lambda getter, *args, **kwargs: slim_layers._model_variable_getter(
            getter, *args, rename=rename, **kwargs
        )

    monkeypatch.setattr(slim_layers, "_build_variable_getter", long_getter)
    assert run_eagerly(cases, "arg_scopes_and_the_usual_layers") == short


def test_argument_scope_of_variables_takes_the_long_way(slim, monkeypatch):
    slim_layers = sys.modules["tf_slim.layers.layers"]
    scopes_seen, own = [], slim_layers._model_variable_getter

    def spy(*args, **kwargs):
        scopes_seen.append(slim_layers.variables.arg_scope.current_arg_scope().values())
        return own(*args, **kwargs)

    monkeypatch.setattr(slim_layers, "_model_variable_getter", spy)
    for function in (slim.variable, slim.model_variable):
        scopes_seen.clear()
        with VariableStore().scope():
            slim.conv2d(tf.ones((1, 4, 4, 3)), 2, 3)
            assert not scopes_seen
            with slim.arg_scope([function], device="cpu:0"):
                slim.conv2d(tf.ones((1, 4, 4, 3)), 2, 3)
        assert [{"device": "cpu:0"}] in [list(scopes) for scopes in scopes_seen]


def test_autograph_leaves_tf_slim_alone(slim):
    files = []

    def activation(x):
        files.extend(frame.filename for frame in inspect.stack())
        return x

    store = VariableStore()

    def net(x):
        with store.scope():
            return slim.repeat(x, 1, slim.conv2d, 2, 3, activation_fn=activation)

    net(tf.ones((1, 4, 4, 3)))
    files.clear()
    tf.function(net)(tf.ones((1, 4, 4, 3)))
    # Of a function that AutoGraph rewrote, the frame is in a generated file.
    assert any("autograph_generated" in file for file in files)  # `net` itself
    assert sum(file.endswith("arg_scope.py") for file in files) == 2  # conv2d, convolution
    assert sum(file.endswith("layers.py") for file in files) == 3  # repeat, conv2d, convolution


def test_total_loss_has_the_regularization_losses(slim, cases):
    x = tf.constant(cases.input_of("losses"))

    def total():
        with slim.arg_scope([slim.fully_connected], weights_regularizer=slim.l2_regularizer(0.5)):
            net = slim.fully_connected(slim.fully_connected(slim.flatten(x), 3, scope="first"), 2, scope="second")
        slim.losses.mean_squared_error(net, tf.zeros_like(net))
        own = slim.losses.get_total_loss(add_regularization_losses=False)
        return slim.losses.get_total_loss() - own, len(slim.losses.get_regularization_losses("first"))

    store = VariableStore()
    with store.scope():
        penalty, of_first = total()
    kernels = [variable.numpy() for variable in store.variables if variable.shape.rank == 2]
    np.testing.assert_allclose(penalty, 0.25 * sum(np.square(kernel).sum() for kernel in kernels), rtol=1e-5)
    assert of_first == 1
    with tf.Graph().as_default():
        x = tf.constant(cases.input_of("losses"))
        assert total()[1] == 1
        assert len(slim.losses.get_regularization_losses()) == 2


def test_dropout_draws_and_scales(slim):
    x = tf.ones((100, 100))
    store = VariableStore()
    with store.scope():
        kept = slim.dropout(x, keep_prob=0.8, seed=1).numpy()
        passed = slim.dropout(x, keep_prob=0.8, is_training=False).numpy()
    assert set(np.unique(kept)) == {np.float32(0.0), np.float32(1.25)}
    assert abs(np.mean(kept > 0) - 0.8) < 0.02
    np.testing.assert_array_equal(passed, x.numpy())


def test_partitioned_variables_are_restored_in_parts(slim, tmp_path):
    whole = np.arange(12.0, dtype="float32").reshape(4, 3)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("whole", initializer=whole)
        session.run(variable.initializer)
        path = tf.compat.v1.train.Saver().save(session, str(tmp_path / "model"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        parts = slim.variable("whole", shape=[4, 3], partitioner=tf.compat.v1.fixed_size_partitioner(2))
        operation, feed = slim.assign_from_checkpoint(path, list(parts))
        session.run(operation, feed)
        first, second = session.run(list(parts))
        with pytest.raises(ValueError, match=r"missing variable \[absent\]"):
            slim.assign_from_checkpoint(path, {"absent": list(parts)})
        with pytest.raises(ValueError, match="Total size"):
            slim.assign_from_checkpoint(path, {"whole": slim.variable("other", shape=[5])})
    np.testing.assert_array_equal(first, whole[:2])
    np.testing.assert_array_equal(second, whole[2:])


def attributes(prefix):
    """Every attribute of every module below `prefix`, and of the classes and functions in them, by its full name."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name != prefix and not name.startswith(prefix + "."):
            continue
        if not isinstance(module, types.ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            found[name, attribute] = value
            if isinstance(value, type | types.FunctionType) and value.__module__ == name:
                found.update({(name, attribute, inner): kept for inner, kept in vars(value).items()})
    return found


def changed(before, after):
    return sorted(map(str, (key for key in before.keys() & after.keys() if before[key] is not after[key])))


def test_disable_restores_every_attribute():
    import tf_slim  # noqa: F401 - to be found in sys.modules

    was_enabled = slim_support.enabled()
    slim_support.disable()
    before = attributes("tf_slim")
    slim_support.enable()
    enabled = attributes("tf_slim")
    assert len(changed(before, enabled)) > 20  # this comparison can tell the difference
    slim_support.enable()
    assert enabled.keys() - before.keys()  # the marks on functions
    assert attributes("tf_slim").keys() == enabled.keys()
    assert not changed(enabled, attributes("tf_slim"))
    slim_support.disable()
    after = attributes("tf_slim")
    assert after.keys() == before.keys()
    assert not changed(before, after)
    slim_support.disable()
    if was_enabled:
        slim_support.enable()


def test_tensorflow_stays_untouched(cases, monkeypatch):
    was_enabled = slim_support.enabled()
    slim_support.disable()
    before = attributes("tensorflow")
    slim_support.enable()
    run_eagerly(cases, "arg_scopes_and_the_usual_layers")
    cases.run_in_graph("arg_scopes_and_the_usual_layers")
    assert not changed(before, attributes("tensorflow"))
    monkeypatch.setattr(sys.modules["tensorflow.python.ops.nn_ops"], "conv2d", None)
    assert changed(before, attributes("tensorflow"))  # this comparison can tell the difference
    if not was_enabled:
        slim_support.disable()


@pytest.mark.parametrize("found", ["1.0.0", "1.2.0"])
def test_another_version_is_refused(monkeypatch, found):
    was_enabled = slim_support.enabled()
    slim_support.disable()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found)
    with pytest.raises(UnsupportedVersionError, match=f"tf_slim is {found}, and Lockstep supports 1.1.0"):
        slim_support.enable()
    assert not slim_support.enabled()
    monkeypatch.undo()
    if was_enabled:
        slim_support.enable()


def test_without_tf_slim_nothing_happens(monkeypatch):
    was_enabled = slim_support.enabled()
    slim_support.disable()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not slim_support.slim_installed()
    slim_support.enable()
    assert not slim_support.enabled()
    monkeypatch.undo()
    if was_enabled:
        slim_support.enable()


@pytest.mark.slow
@pytest.mark.parametrize("order", ["import tf_slim as slim; enable()", "enable(); import tf_slim as slim"])
def test_either_order_of_import_works(order):
    program = (
        "import tensorflow as tf; from lockstep.tf1.slim import enable; from lockstep.tf1 import VariableStore\n"
        f"{order}\n"
        "with VariableStore().scope() as store:\n"
        "    slim.conv2d(tf.ones((1, 4, 4, 3)), 2, 3, normalizer_fn=slim.batch_norm)\n"
        "print(*[v.name for v in store.variables])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.split()[:2] == ["Conv/weights:0", "Conv/BatchNorm/beta:0"], result.stderr[-2000:]


def test_end_points_of_pools_bear_the_same_names_eagerly_as_in_a_graph(slim):
    def net(x):
        with tf.compat.v1.variable_scope("net") as scope:
            collection = scope.original_name_scope + "_end_points"
            with slim.arg_scope([slim.conv2d, slim.max_pool2d, slim.flatten], outputs_collections=collection):
                x = slim.conv2d(x, 2, [3, 3], scope="conv")
                x = slim.max_pool2d(x, [2, 2], scope="pool")
                slim.flatten(x, scope="flat")
            return list(slim.utils.convert_collection_to_dict(collection))

    expected = ["net/conv", "net/pool", "net/flat"]
    with tf.Graph().as_default():
        assert net(tf.ones([1, 8, 8, 1])) == expected
    with VariableStore().scope():
        assert net(tf.ones([1, 8, 8, 1])) == expected
