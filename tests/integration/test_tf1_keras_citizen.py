"""A Keras layer of TF1-style code does all that a native Keras 3 layer does, or says why it cannot."""

import copy
import gc
import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1
from lockstep.common.errors import InputError

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("citizen_nets", HERE / "citizen_nets.py")
nets = sys.modules["citizen_nets"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(nets)
v1 = tf.compat.v1

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, nets.FEATURES)).astype(np.float32)
Y = (X @ RNG.normal(size=(nets.FEATURES, 1))).astype(np.float32)
kinds = pytest.mark.parametrize("kind", nets.KINDS)
# Keras reads NumPy's `__array__` and h5py's attributes in ways that their own later versions warn about.
# Where a layer cannot be loaded, Keras looks for it once more in every list that holds it, and warns.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Skipping nested container")


def values(layer):
    return {v.name: v.numpy().copy() for v in layer.variables if hasattr(v, "_adopted")}


def differing(left, right):
    assert left.keys() == right.keys()
    return [name for name in left if not np.array_equal(left[name], right[name])]


def scramble(layer, seed=1):
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        variable.assign(rng.uniform(0.5, 1.5, size=variable.shape))


def compiled(model, jit_compile=False):
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=jit_compile)
    return model


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


# --- calling and training


@kinds
def test_eager_and_tf_function_compute_the_same_also_when_called_first_inside_it(kind):
    layer = nets.Net(kind)
    function = tf.function(layer)
    inside = function(X)
    made = [v.name for v in layer.variables]
    assert made
    np.testing.assert_allclose(layer(X), inside, rtol=1e-5, atol=1e-6)
    with lockstep.assert_no_variable_creations():
        layer(X, training=True)
        function(X)
    assert [v.name for v in layer.variables] == made
    assert differing(values(layer), {n: v + 1 for n, v in values(layer).items()}) == list(values(layer))


@pytest.mark.parametrize("build", nets.MODELS)
@kinds
def test_fit_evaluate_and_predict(kind, build):
    model = compiled(nets.MODELS[build](kind))
    first = model.fit(X, Y, epochs=1, batch_size=8, verbose=0).history["loss"][-1]
    start = values(model)
    last = model.fit(X, Y, epochs=15, batch_size=8, verbose=0).history["loss"][-1]
    assert last < 0.9 * first
    # Weights by gradient and moving averages by TF1's update operations: all of them moved.
    assert differing(start, values(model)) == list(start)
    assert any(not v.trainable for v in model.weights)
    before = values(model)
    evaluated = model.evaluate(X, Y, verbose=0)
    penalty = sum(float(loss) for loss in model.losses)
    assert evaluated == pytest.approx(float(np.mean((model.predict(X, verbose=0) - Y) ** 2)) + penalty, rel=1e-4)
    assert penalty > 0
    assert differing(before, values(model)) == []


@kinds
def test_train_on_batch_counts_regularization_once_and_with_its_gradient(kind):
    model = compiled(nets.functional(kind))
    (regularized,) = [v for v in model.trainable_variables if v.regularizer is not None]
    model.train_on_batch(X, Y)
    assert len(model.losses) == 1
    # With an error of zero the regularizer alone moves its variable: w - 0.05 * 0.01 * w.
    zero = nets.functional(kind)
    zero.compile(keras.optimizers.SGD(0.05), loss=lambda y, p: 0.0 * tf.reduce_sum(p, -1), jit_compile=False)
    (weights,) = [v for v in zero.trainable_variables if v.regularizer is not None]
    before = weights.numpy().copy()
    loss = zero.train_on_batch(X, Y)
    assert float(loss) == pytest.approx(0.005 * float(np.sum(before**2)), rel=1e-5)
    np.testing.assert_allclose(weights, before * (1 - 0.05 * 0.01), rtol=1e-6)
    assert not np.array_equal(weights, before)
    assert regularized.name == weights.name


def test_a_train_step_of_the_users_own():
    class Own(nets.NetModel):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2) + tf.add_n(self.losses)
            variables = self.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return {"own": loss}

    history = compiled(Own("layers_net")).fit(X, Y, epochs=10, verbose=0).history["own"]
    assert history[-1] < history[0]


@kinds
def test_jit_compile(kind):
    model = compiled(nets.functional(kind), jit_compile=True)
    history = model.fit(X, Y, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    plain = model(X)
    np.testing.assert_allclose(model.predict(X, verbose=0), plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tf.function(model, jit_compile=True)(X), plain, rtol=1e-4, atol=1e-5)


# --- weight files


@kinds
@pytest.mark.parametrize("build", nets.MODELS)
def test_weight_files_round_trip(kind, build, tmp_path):
    model = compiled(nets.MODELS[build](kind))
    model.fit(X, Y, verbose=0)
    expected = model(X)
    saved = values(model)
    model.save_weights(tmp_path / "w.weights.h5")
    model.save(tmp_path / "m.keras")
    scramble(model)
    assert differing(saved, values(model)) == list(saved)
    model.load_weights(tmp_path / "w.weights.h5")
    assert differing(saved, values(model)) == []
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert differing(saved, values(loaded)) == []
    np.testing.assert_array_equal(loaded(X), expected)
    # Optimizer and all, it goes on training.
    assert int(loaded.optimizer.iterations.numpy()) == 1
    loaded.fit(X, Y, verbose=0)
    assert differing(saved, values(loaded)) == list(saved)


def test_weights_are_found_by_name_whatever_the_order_of_creation(tmp_path):
    saved, other = nets.functional("twin_net"), nets.functional("swapped_twin_net")
    scramble(saved)
    assert [v.name for v in saved.weights] == [v.name for v in other.weights[2:] + other.weights[:2]]
    saved.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other(X), saved(X))
    # By order, as Keras would, the branches change places.
    for variable, value in zip(other.weights, saved.get_weights(), strict=True):
        variable.assign(value)
    assert not np.allclose(other(X), saved(X))


def test_native_weights_of_the_same_layer_are_saved_too(tmp_path):
    model = nets.functional("twin_net", native=True)
    scramble(model)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.layers[-1].gain.numpy() == model.layers[-1].gain.numpy() != 1.0
    np.testing.assert_array_equal(loaded(X), model(X))


def test_an_override_of_the_users_own_is_left_alone(tmp_path):
    class Own(nets.Net):
        def save_own_variables(self, store):
            store["mine"] = np.float32([1.0, 2.0])

        def load_own_variables(self, store):
            self.found = np.array(store["mine"])

    inputs = keras.Input((nets.FEATURES,))
    layer = Own("twin_net")
    model = keras.Model(inputs, layer(inputs))
    model.save_weights(tmp_path / "w.weights.h5")
    model.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(layer.found, [1.0, 2.0])


class NetOf(nets.Net):
    """Runs a function that a test changes."""

    @tf1.track_tf1_style_variables
    def call(self, x, training=False):
        return self.kind(x)


def functional_of(function):
    inputs = keras.Input((nets.FEATURES,))
    return keras.Model(inputs, NetOf(function)(inputs))


def test_a_file_that_does_not_fit_is_told_by_names_and_shapes(tmp_path):
    path = tmp_path / "w.weights.h5"
    functional_of(lambda x: x * v1.get_variable("scale", [6]) + v1.get_variable("old", [])).save_weights(path)
    with pytest.raises(ValueError, match=r"no entry for 1 of 2 variables: new:0 \(\).*entries without a variable: old"):
        functional_of(lambda x: x * v1.get_variable("scale", [6]) + v1.get_variable("new", [])).load_weights(path)
    clashing = functional_of(lambda x: x * v1.get_variable("scale", []) + v1.get_variable("old", []))
    before = values(clashing)
    with pytest.raises(ValueError, match=r"scale:0 is \(\) in the layer, \(6,\) in the file"):
        clashing.load_weights(path)
    assert differing(before, values(clashing)) == []


def test_entries_for_variables_not_made_yet_wait_for_them(tmp_path):
    path = tmp_path / "w.weights.h5"
    saved = nets.functional("auxiliary_net")
    saved(X, training=True)
    scramble(saved)
    saved.save_weights(path)
    fresh = nets.functional("auxiliary_net")
    with pytest.warns(UserWarning, match="2 variables that layer .* has not made yet: net/auxiliary/"):
        fresh.load_weights(path)
    np.testing.assert_array_equal(fresh(X), saved(X))
    fresh.save_weights(tmp_path / "again.weights.h5")
    np.testing.assert_array_equal(fresh(X, training=True), saved(X, training=True))
    assert differing(values(saved), values(fresh)) == []
    again = nets.functional("auxiliary_net")
    again(X, training=True)
    again.load_weights(tmp_path / "again.weights.h5")
    assert differing(values(saved), values(again)) == []


@pytest.mark.filterwarnings("ignore:The weight file holds")
def test_weights_loaded_into_a_layer_never_called_wait_but_not_for_other_code(tmp_path):
    path = tmp_path / "w.weights.h5"
    saved = nets.NetModel("layers_net")
    saved(X)
    scramble(saved)
    saved.save_weights(path)
    fresh = nets.NetModel("layers_net")
    fresh.built = True  # Keras refuses to load into a model that does not say so.
    fresh.load_weights(path)
    np.testing.assert_array_equal(fresh(X), saved(X))
    other = nets.NetModel("slim_net")
    other.built = True
    other.load_weights(path)
    with pytest.raises(ValueError, match=r"makes variable hidden/weights:0 .* holds no value"):
        other(X)


def numbered_file(model, path):
    """What Keras itself, and Lockstep before it named variables, wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nets.Net, "save_own_variables", keras.layers.Layer.save_own_variables)
        patch.setattr(NetOf, "save_own_variables", keras.layers.Layer.save_own_variables)
        model.save_weights(path)


def test_files_that_number_their_variables_load_where_that_is_unambiguous(tmp_path):
    path = tmp_path / "old.weights.h5"

    def one(x):
        return x * v1.get_variable("a", [6]) + v1.get_variable("b", [])

    def reordered(x):
        b = v1.get_variable("b", [])
        return x * v1.get_variable("a", [6]) + b

    old = functional_of(one)
    scramble(old)
    numbered_file(old, path)
    for function in (one, reordered):
        model = functional_of(function)
        model.load_weights(path)
        assert differing(values(old), values(model)) == []
    twins = nets.functional("twin_net")
    scramble(twins)
    numbered_file(twins, path)
    model = nets.functional("twin_net")
    with pytest.warns(UserWarning, match="numbers the variables .* Save again to key by name"):
        model.load_weights(path)
    assert differing(values(twins), values(model)) == []
    with pytest.raises(ValueError, match="they do not fit: it holds 4"):
        functional_of(one).layers[-1].load_own_variables({str(i): w for i, w in enumerate(twins.get_weights())})
    with pytest.raises(ValueError, match="no entry for this layer at all"):
        functional_of(one).load_weights(path)


def test_an_ambiguous_numbered_file_is_refused(tmp_path):
    path = tmp_path / "old.weights.h5"
    old = functional_of(lambda x: sum(x * v1.get_variable(n, s) for n, s in (("a", []), ("b", [6]), ("c", []))))
    numbered_file(old, path)
    new = functional_of(lambda x: sum(x * v1.get_variable(n, s) for n, s in (("b", [6]), ("a", []), ("c", []))))
    with pytest.raises(ValueError, match=r"several have the shape \(\), so nobody can tell them apart"):
        new.load_weights(path)


def test_layers_made_by_name_are_saved_by_name(tmp_path):
    inputs = keras.Input((nets.FEATURES,))
    model = keras.Model(inputs, nets.Holder()(inputs))
    scramble(model)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(X), model(X))
    model.save_weights(tmp_path / "w.weights.h5")
    swapped = keras.Model(inputs, nets.Holder(("b", "a"))(inputs))
    swapped.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(swapped(X), model(X))
    bare = nets.Holder()
    bare.built = True
    with pytest.raises(InputError, match="has not made yet with get_or_create_layer: scope/a, scope/b"):
        bare.load_own_variables({"scope|a:layer": 0, "scope|b:layer": 0})


def in_a_fresh_process(code, tmp_path, prelude=""):
    code = prelude + f"import sys; sys.path.insert(0, {str(HERE)!r})\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_archives_load_in_a_fresh_process_into_layers_never_called(tmp_path):
    made = {
        "functional": nets.functional("layers_net"),
        "sequential": keras.Sequential([nets.Net("slim_net")]),
        "subclassed": nets.NetModel("auxiliary_net"),
        "holding": nets.Outer("slim_net"),
        "integers": nets.NetModel("embedding_net"),
        "auxiliary": nets.functional("auxiliary_net"),
        "convolutions": nets.functional("conv_net", (16, 16, 3)),
    }
    ids = np.arange(20).reshape(4, 5) % 10
    images = RNG.normal(size=(4, 16, 16, 3)).astype(np.float32)
    expected = {}
    for name, model in made.items():
        x = {"integers": ids, "convolutions": images}.get(name, X)
        model(tf.constant(x))  # Keras 3.3 makes a NumPy array of integers one of floats
        model(tf.constant(x), training=True)
        scramble(model)
        np.save(tmp_path / f"{name}-x.npy", x)
        expected[name] = model.predict(x, verbose=0)
        model.save(tmp_path / f"{name}.keras")
    ran = in_a_fresh_process(
        f"""
        import keras, numpy as np, citizen_nets
        for name in {list(made)!r}:
            model = keras.models.load_model(name + ".keras")
            assert model.weights, name
            np.save(name + ".npy", model.predict(np.load(name + "-x.npy"), verbose=0))
            np.savez(name + ".npz", **{{v.name: v.numpy() for v in model.weights}})
        """,
        tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    for name, model in made.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected[name], rtol=1e-6)
        loaded = np.load(tmp_path / f"{name}.npz")
        assert differing(values(model), {key: loaded[key] for key in loaded}) == []


def test_a_loaded_layer_that_no_longer_runs_is_told_with_its_inputs(tmp_path):
    model = nets.NetModel("twin_net")
    model(X)
    model.save(tmp_path / "m.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(nets.NETS, "twin_net", lambda x, training: 1 / 0)
        with pytest.raises(Exception, match=r"NetModel.call on float32 \(32, 6\).* raised ZeroDivisionError"):
            keras.models.load_model(tmp_path / "m.keras")


@kinds
def test_checkpoints_restored_before_and_after_the_first_call(kind, tmp_path):
    model = nets.functional(kind)
    scramble(model)
    path = tf.train.Checkpoint(model=model).save(tmp_path / "c")
    other = nets.functional(kind)
    tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    assert differing(values(model), values(other)) == []
    path = tf.train.Checkpoint(layer=model.layers[-1]).save(tmp_path / "l")
    fresh = nets.Net(kind)
    status = tf.train.Checkpoint(layer=fresh).restore(path)
    with pytest.raises(AssertionError):
        status.assert_consumed()
    np.testing.assert_array_equal(fresh(X), model(X))
    status.assert_consumed()


@kinds
def test_export_and_saved_model(kind, tmp_path):
    model = nets.functional(kind)
    scramble(model)
    expected = model(X)
    model.export(str(tmp_path / "exported"))
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(X), expected, rtol=1e-5)
    tf.saved_model.save(model, tmp_path / "saved")
    saved = tf.saved_model.load(tmp_path / "saved")
    outputs = saved.signatures["serving_default"](tf.constant(X))
    np.testing.assert_allclose(next(iter(outputs.values())), expected, rtol=1e-5)


@kinds
def test_clones_and_copies_have_variables_of_their_own(kind):
    model = nets.functional(kind)
    scramble(model)
    before = values(model)
    clone = keras.models.clone_model(model)
    copied = copy.deepcopy(model.layers[-1])
    assert differing(before, values(copied)) == []
    for other in (clone, copied):
        assert values(other).keys() == before.keys()
        scramble(other, 2)
        assert differing(before, values(model)) == []
        other(X, training=True)
        assert not np.allclose(other(X), model(X))
    assert values(model).keys() == before.keys()


# --- precision


@kinds
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_computes_low_and_trains_float32_variables(kind, policy):
    model = compiled(nets.functional(kind, dtype=policy))
    assert {v.dtype for v in model.trainable_weights} == {"float32"}
    assert model(X).dtype == policy.removeprefix("mixed_")
    if policy == "mixed_float16":
        model.compile(
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), initial_scale=8.0), "mse", jit_compile=False
        )
    start = values(model)
    history = model.fit(X, Y, epochs=10, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    assert differing(start, values(model)) == list(start)


# tf_slim's batch normalization is fused, which TF1 computes in no float64 either.
@pytest.mark.parametrize("kind", ["layers_net", "variable_net"])
def test_a_float64_policy_reaches_the_variables(kind):
    layer = nets.Net(kind, dtype="float64")
    with tf.GradientTape() as tape:
        outputs = layer(X, training=True)
        # Not fit: Keras 3.15 cannot add a float64 regularization loss to its float32 loss, native layer or not.
        loss = tf.reduce_mean((outputs - Y) ** 2) + tf.add_n(layer.losses)
    assert outputs.dtype == tf.float64
    assert {v.dtype for v in layer.weights} == {"float64"}
    assert {g.dtype for g in tape.gradient(loss, layer.trainable_weights)} == {tf.float64}


def test_a_dtype_that_the_code_asks_for_is_what_it_gets():
    seen = []

    def net(x):
        seen.extend([v1.get_variable("asked", [], tf.float32).dtype, v1.get_variable("default", []).dtype])
        seen.append(v1.get_variable("count", [], tf.int64).dtype)
        return x

    layer = NetOf(net, dtype="mixed_bfloat16")
    layer(X)
    assert seen[-3:] == [tf.float32, tf.bfloat16, tf.int64]
    assert [v.dtype for v in layer.weights] == ["float32", "float32", "int64"]


# --- frozen layers


@kinds
def test_a_frozen_layer_keeps_its_regularization_losses_and_its_training_argument_as_in_tf1(kind):
    model = compiled(nets.functional(kind))
    model.fit(X, Y, verbose=0)
    losses = [float(loss) for loss in model.losses]
    layer = model.layers[-1]
    layer.trainable = False
    assert model.trainable_weights == []
    assert [float(loss) for loss in model.losses] == losses != []
    start = values(model)
    averages = [v.name for v in layer._non_trainable_variables]
    model(X)
    assert differing(start, values(model)) == []
    model(X, training=True)
    assert differing(start, values(model)) == averages != []
    layer.trainable = True
    assert [float(loss) for loss in model.losses] == losses
    assert len(model.trainable_weights) == len(layer._trainable_variables)


def test_a_variable_that_tf1_code_does_not_train_keeps_its_loss():
    layer = NetOf(lambda x: x * v1.get_variable("w", [], trainable=False, regularizer=nets.l2(1.0)))
    layer(X)
    layer.weights[0].assign(2.0)
    assert [float(loss) for loss in layer.losses] == [2.0]


def test_the_losses_of_frozen_variables_are_those_of_a_graph():
    with tf.Graph().as_default():
        v1.get_variable("w", [], trainable=False, regularizer=nets.l2(1.0))
        assert len(v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES)) == 1


# --- what cannot work


def test_stateless_call_is_refused_with_advice():
    model = nets.functional("twin_net")
    zeros = [tf.zeros_like(v) for v in model.trainable_variables]
    for holder in (model, model.layers[-1]):
        with pytest.raises(tf1.StatelessCallError, match="would ignore the values given"):
            holder.stateless_call(zeros, [], X)


def test_a_variable_born_after_the_optimizer_was_built_is_named_with_its_line_and_a_remedy():
    model = compiled(nets.functional("auxiliary_net"))
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(ValueError, match="net/auxiliary/kernel:0") as caught:
        model.fit(X, Y, verbose=0)
    assert "citizen_nets.py" in str(caught.value)
    assert "call the layer once on a batch in every mode" in str(caught.value)
    # The remedy.
    model = compiled(nets.functional("auxiliary_net"))
    model(X, training=True)
    model.optimizer.build(model.trainable_variables)
    start = values(model)
    model.fit(X, Y, verbose=0)
    assert differing(start, values(model)) == list(start)


def test_variables_born_in_training_only_are_trained_by_fit_without_further_ado():
    model = compiled(nets.functional("auxiliary_net"))
    assert len(model.weights) == 4
    model.fit(X, Y, verbose=0)  # not under a strategy: there Keras builds the optimizer before the first step
    assert len(model.weights) == 6
    start = values(model)
    model.fit(X, Y, verbose=0)
    assert differing(start, values(model)) == list(start)


# --- looking at it


def test_summary_counts_paths_and_weight_lists(capsys):
    model = keras.Sequential([keras.Input((nets.FEATURES,)), nets.Net("layers_net", name="one")])
    model.summary()
    printed = capsys.readouterr().out
    assert "97 (388.00 B)" in printed
    assert model.count_params() == 6 * 8 + 8 + 4 * 8 + 8 + 1 == 97
    pair = keras.Sequential([keras.Input((6,)), nets.Net("twin_net"), keras.layers.Dense(6), nets.Net("twin_net")])
    paths = [v.path for v in pair.weights]
    assert len(set(paths)) == len(paths) == 10
    # Trainable variables first, each kind in order of creation.
    assert [v.name.split("/")[-1] for v in model.weights] == [
        "kernel:0", "bias:0", "gamma:0", "beta:0", "kernel:0", "bias:0", "moving_mean:0", "moving_variance:0",
    ]  # fmt: skip
    weights = [w + 1 for w in model.get_weights()]
    model.set_weights(weights)
    for ours, given in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, given)
    layer = model.layers[-1]
    assert nets.Net.from_config(layer.get_config()).get_config() == layer.get_config()


def test_the_decorated_method_stays_a_plain_function_of_its_class():
    assert type(vars(nets.Net)["call"]) is type(differing)

    class Late(keras.layers.Layer):
        pass

    Late.call = tf1.track_tf1_style_variables(lambda self, x: x * v1.get_variable("scale", []))
    layer = Late()
    layer(X)
    assert [v.name for v in layer.weights] == ["scale:0"]
    saved = {}
    layer.save_own_variables(saved)
    assert list(saved) == ["scale:0"]


def test_tf_function_may_stand_outside_the_decorator():
    class Net(keras.layers.Layer):
        @tf.function
        @tf1.track_tf1_style_variables
        def call(self, x):
            return x * v1.get_variable("scale", [])

    layer = Net()
    np.testing.assert_allclose(layer(X), X * layer.weights[0])
    saved = {}
    layer.save_own_variables(saved)
    assert list(saved) == ["scale:0"]


# --- memory


@kinds
def test_nothing_grows_over_many_calls(kind):
    layer = nets.Net(kind)
    function = tf.function(layer)
    for _ in range(3):
        layer(X, training=True)
        function(X)

    def counts():
        gc.collect()
        graph = v1.get_default_graph()
        collections = {key: len(graph.get_collection(key)) for key in graph.get_all_collection_keys()}
        return len(gc.get_objects()), collections, len(layer.weights), function.experimental_get_tracing_count()

    before = counts()
    for _ in range(200):
        layer(X, training=True)
        function(X)
        layer.losses  # noqa: B018
    after = counts()
    assert after[1:] == before[1:]
    # A leak of one object a call would be 200.
    assert after[0] - before[0] < 100


# --- devices


@pytest.mark.slow
def test_two_mirrored_devices(tmp_path):
    ran = in_a_fresh_process(
        """
        import keras, numpy as np, citizen_nets as nets
        x = np.random.default_rng(0).normal(size=(32, nets.FEATURES)).astype(np.float32)
        y = x[:, :1]
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        for kind in ["layers_net", "variable_net", "auxiliary_net"]:
            with strategy.scope():
                model = nets.functional(kind)
                # Under a strategy Keras builds the optimizer before the first step, so all variables must be there.
                model(x, training=True)
                # An error of zero: the loss is the regularization alone.
                none = lambda y, p: 0.0 * tf.reduce_sum(p, -1)
                model.compile(keras.optimizers.SGD(0.1), none, jit_compile=False)
            penalty = sum(float(v.regularizer(v)) for v in model.weights if v.regularizer is not None)
            loss = model.fit(x, y, batch_size=32, epochs=1, verbose=0).history["loss"][0]
            print(kind, loss, penalty, loss / penalty)
            names = [v.name for v in model.weights]
            assert len(names) == len(set(names)), names
            for v in model.weights:
                assert len(v._value.values) == 2, v.name
                # Moving averages are aggregated when they are read, as in TF1; until then each device has its own.
                if v.trainable:
                    np.testing.assert_array_equal(*v._value.values, err_msg=v.name)
            np.testing.assert_allclose(loss, penalty, rtol=1e-5)
            with strategy.scope():
                model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
            history = model.fit(x, y, batch_size=8, epochs=4, verbose=0).history["loss"]
            assert history[-1] < history[0], history
        """,
        tmp_path,
        "import tensorflow as tf\n"
        "tf.config.set_logical_device_configuration(\n"
        "    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)\n",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
