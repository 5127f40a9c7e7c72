"""TF1-style code in Keras 3 layers, models and modules: the variables belong, are reused, train and are saved."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1

v1 = tf.compat.v1
X = tf.ones([2, 3])


def l2(scale):
    return lambda weights: scale * tf.nn.l2_loss(weights)


def net(x, regularizer=None):
    with v1.variable_scope("net", regularizer=regularizer):
        h = tf1.layers.dense(x, 4, name="hidden")
        with v1.variable_scope("inner"):
            return tf.matmul(h, v1.get_variable("weights", [4, 2]))


NAMES = ["net/hidden/kernel:0", "net/hidden/bias:0", "net/inner/weights:0"]


def make(base, function=net):
    class Owner(base):
        @tf1.track_tf1_style_variables
        def call(self, x):
            return function(x)

        if base is tf.Module:
            __call__ = call

    return Owner()


@pytest.mark.parametrize("base", [keras.layers.Layer, keras.Model, tf.Module])
def test_variables_belong_to_their_owner_under_their_tf1_names(base):
    owner = make(base)
    first = owner(X)
    np.testing.assert_array_equal(owner(X), first)
    assert sorted(v.name for v in owner.variables) == sorted(NAMES)
    assert sorted(v.name for v in owner.trainable_variables) == sorted(NAMES)
    with lockstep.assert_no_variable_creations():
        owner(X)


def test_the_guides_comparison_of_names_and_shapes_holds_in_both_directions():
    with tf.Graph().as_default():
        net(tf.ones([2, 3]))
        graph = {v.name: (v.trainable, v.shape) for v in v1.global_variables()}
    layer = make(keras.layers.Layer)
    layer(X)
    ours = {v.name: (v.trainable, v.shape) for v in layer.variables}
    assert graph == ours
    assert ours == graph


def test_each_regularized_variable_gives_one_loss_fresh_after_every_assign():
    layer = make(keras.layers.Layer, lambda x: net(x, l2(0.5)))
    layer(X)
    layer(X)
    assert len(layer.losses) == 3
    for variable in layer.variables:
        variable.assign(tf.ones_like(variable))
    assert float(tf.add_n(layer.losses)) == pytest.approx(0.25 * (12 + 4 + 8))


def test_a_regularizer_that_answers_none_leaves_no_loss():
    layer = make(keras.layers.Layer, lambda x: net(x, lambda weights: None))
    layer(X)
    assert layer.losses == []


@pytest.mark.parametrize("how", ["subclassed", "functional"])
def test_fit_trains_the_variables(how):
    layer = make(keras.layers.Layer)
    if how == "functional":
        inputs = keras.Input((3,))
        model = keras.Model(inputs, layer(inputs))
    else:
        model = keras.Sequential([layer])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype(np.float32)
    y = x @ rng.normal(size=(3, 2)).astype(np.float32)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    losses = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]
    assert len(model.trainable_variables) == 3


def test_gradients_reach_them_eagerly_and_inside_tf_function():
    layer = make(keras.layers.Layer)

    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    layer(X)
    for ours, theirs in zip(gradients(X), tf.function(gradients)(X), strict=True):
        assert float(tf.reduce_max(tf.abs(ours))) > 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_first_call_may_be_inside_tf_function():
    layer = make(keras.layers.Layer)
    function = tf.function(lambda x: layer(x))
    np.testing.assert_allclose(function(X), layer(X), rtol=1e-6)
    assert [v.name for v in layer.variables] == NAMES


def test_weights_and_checkpoints_round_trip(tmp_path):
    layer = make(keras.layers.Layer)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layer(inputs))
    expected = model(X).numpy()
    model.save_weights(tmp_path / "w.weights.h5")
    checkpoint = tf.train.Checkpoint(layer=layer).save(tmp_path / "c")
    for variable in layer.variables:
        variable.assign(tf.zeros_like(variable))
    model.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(model(X), expected)
    for variable in layer.variables:
        variable.assign(tf.zeros_like(variable))
    tf.train.Checkpoint(layer=layer).restore(checkpoint).assert_consumed()
    np.testing.assert_array_equal(model(X), expected)


def test_a_checkpoint_holds_the_tf1_names_and_may_be_restored_before_the_first_call(tmp_path):
    saved = make(keras.layers.Layer)
    expected = saved(X)
    path = tf.train.Checkpoint(layer=saved).save(tmp_path / "c")
    keys = [name for name, _ in tf.train.list_variables(path)]
    assert any("net.Shidden.Skernel" in key for key in keys)
    fresh = make(keras.layers.Layer)
    status = tf.train.Checkpoint(layer=fresh).restore(path)
    np.testing.assert_array_equal(fresh(X), expected)
    status.assert_consumed()


def test_default_names_start_anew_at_each_call():
    layer = make(keras.layers.Layer, lambda x: tf1.layers.dense(tf1.layers.dense(x, 4), 2))
    layer(X)
    layer(X)
    assert [v.name for v in layer.variables] == ["dense/kernel:0", "dense/bias:0", "dense_1/kernel:0", "dense_1/bias:0"]


def test_two_decorated_methods_share_variables():
    class Owner(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def encode(self, x):
            return x * v1.get_variable("scale", [])

        @tf1.track_tf1_style_variables
        def call(self, x):
            return self.encode(x) + v1.get_variable("scale", [])

    owner = Owner()
    owner(X)
    assert [v.name for v in owner.variables] == ["scale:0"]


def test_raw_variables_in_attributes_are_owned_too():
    class Owner(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.scale = None
            self.more = []

        @tf1.track_tf1_style_variables
        def call(self, x):
            if self.scale is None:
                self.scale = tf.Variable(2.0, name="scale")
                self.more.append(tf.Variable(1.0, name="more"))
            return x * self.scale + self.more[0]

    owner = Owner()
    owner(X)
    owner(X)
    assert len(owner.trainable_variables) == 2


def test_get_or_create_layer_makes_one_and_owns_it():
    class Owner(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x):
            with v1.variable_scope("a"):
                return tf1.get_or_create_layer("d", lambda: keras.layers.Dense(2, kernel_regularizer="l2"))(x)

    owner = Owner()
    owner(X)
    with lockstep.assert_no_variable_creations():
        owner(X)
    assert len(owner.trainable_variables) == 2
    assert len(owner.losses) == 1


def test_a_module_owns_the_weights_of_the_keras_layers_made_in_it():
    class Owner(tf.Module):
        @tf1.track_tf1_style_variables
        def __call__(self, x):
            # Two names that a careless attribute name would make one.
            made = [tf1.get_or_create_layer(name, lambda: keras.layers.Dense(2)) for name in ("a/b", "a_b")]
            return made[0](x) + made[1](x) * v1.get_variable("scale", [])

    owner = Owner()
    owner(X)
    owner(X)
    assert len(owner.trainable_variables) == 5
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(owner(X))
    assert all(gradient is not None for gradient in tape.gradient(loss, owner.trainable_variables))


def test_variable_scope_layer_runs_its_forward_pass():
    class Net(tf1.VariableScopeLayer):
        def forward_pass(self, x):
            return net(x)

    layer = Net()
    layer(X)
    assert [v.name for v in layer.variables] == NAMES


def test_reuse_and_conflicts():
    def reuse(x):
        with v1.variable_scope("a"):
            w = v1.get_variable("w", [3, 2])
        with v1.variable_scope("a", reuse=True):
            assert v1.get_variable("w") is w
            with pytest.raises(ValueError, match=r"specified shape \(3, 5\) and found shape \(3, 2\)"):
                v1.get_variable("w", [3, 5])
            with pytest.raises(ValueError, match="specified dtype float64 and found dtype float32"):
                v1.get_variable("w", [3, 2], tf.float64)
        return tf.matmul(x, w)

    layer = make(keras.layers.Layer, reuse)
    layer(X)
    assert len(layer.variables) == 1


def test_scope_defaults_and_custom_getters_apply():
    def renamed(getter, name, *args, **kwargs):
        return getter(name.replace("kernel", "weights"), *args, **kwargs)

    def function(x):
        with v1.variable_scope("s", initializer=v1.ones_initializer(), custom_getter=renamed, dtype=tf.float64):
            return tf.cast(x, tf.float64) @ v1.get_variable("kernel", [3, 2])

    layer = make(keras.layers.Layer, function)
    np.testing.assert_array_equal(layer(X), np.full((2, 2), 3.0))
    assert [(v.name, v.dtype) for v in layer.variables] == [("s/weights:0", "float64")]


def test_a_partitioned_variable_is_refused_with_advice():
    def function(x):
        return tf.matmul(x, v1.get_variable("w", [3, 2], partitioner=v1.fixed_size_partitioner(2)))

    with pytest.raises(ValueError, match="Take the partitioner off"):
        make(keras.layers.Layer, function)(X)


def test_eager_code_leaves_no_growing_collections():
    def function(x):
        return tf1.layers.batch_normalization(tf1.layers.dense(x, 4, kernel_regularizer=l2(0.1)), training=True)

    layer = make(keras.layers.Layer, function)
    layer(X)
    graph = v1.get_default_graph()
    before = {key: len(graph.get_collection(key)) for key in graph.get_all_collection_keys()}
    for _ in range(3):
        layer(X)
    assert {key: len(graph.get_collection(key)) for key in graph.get_all_collection_keys()} == before


def test_two_threads_do_not_mix_their_stores():
    layers = [make(keras.layers.Layer, lambda x, n=n: x * v1.get_variable(f"v{n}", [])) for n in range(4)]

    def work(layer):
        for _ in range(20):
            layer(X)

    threads = [threading.Thread(target=work, args=(layer,)) for layer in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[v.name for v in layer.variables] for layer in layers] == [[f"v{n}:0"] for n in range(4)]


def test_misuse_gets_a_sentence():
    with pytest.raises(TypeError, match="decorates a method"):
        tf1.track_tf1_style_variables(keras.layers.Dense(1))

    class NoOwner:
        @tf1.track_tf1_style_variables
        def call(self, x):
            return x

    with pytest.raises(TypeError, match="a NoOwner as its first argument, which does not extend"):
        NoOwner().call(X)
    with pytest.raises(ValueError, match="outside a method decorated"):
        tf1.get_or_create_layer("d", lambda: None)


def test_a_variable_that_is_not_tracked_is_never_silent(monkeypatch):
    from lockstep.tf1 import private

    monkeypatch.setattr(private, "track_variable", lambda layer, variable: None)
    monkeypatch.setattr(private, "track_for_checkpoints", lambda layer, name, trackable: None)
    with pytest.raises(tf1.UntrackedVariablesError, match="3 of 3 variables"):
        make(keras.layers.Layer)(X)


def test_enable_puts_the_guides_names_back_and_disable_takes_them_away():
    import tensorflow.compat.v1 as by_name

    tf1.disable()
    with pytest.raises(AttributeError):
        tf.compat.v1.keras.utils.track_tf1_style_variables  # noqa: B018
    tf1.enable()
    tf1.enable()
    for module in (tf.compat.v1, by_name):
        assert module.keras.utils.track_tf1_style_variables is tf1.track_tf1_style_variables
        assert module.keras.utils.DeterministicRandomTestTool is lockstep.DeterministicRandomTestTool
        assert module.keras.layers.Dense is keras.layers.Dense
        assert module.layers.dense is tf1.layers.dense
    assert not hasattr(keras.utils, "track_tf1_style_variables")
    tf1.disable()
    with pytest.raises(AttributeError):
        tf.compat.v1.layers.dense  # noqa: B018
