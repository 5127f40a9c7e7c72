"""What TF1-style code may do with scopes, variables and layers in a decorated method, and what it is told if not."""

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1
from lockstep.frameworks.tensorflow.guards import VariableCreationError

v1 = tf.compat.v1
X = tf.ones([2, 3])
OWNERS = [keras.layers.Layer, keras.Model, tf.Module]
every_owner = pytest.mark.parametrize("base", OWNERS, ids=lambda base: base.__name__)
every_mode = pytest.mark.parametrize("mode", ["eager", "function"])


def make(base, function):
    class Owner(base):
        @tf1.track_tf1_style_variables
        def call(self, x):
            result = function(x)
            return x if result is None else result

        if base is tf.Module:
            __call__ = call

    return Owner()


def call(owner, mode, x=X):
    return owner(x) if mode == "eager" else tf.function(lambda x: owner(x))(x)


def run(function, base=keras.layers.Layer, mode="eager"):
    owner = make(base, function)
    call(owner, mode)
    call(owner, mode)
    return owner


def get(name="w", shape=(), **kwargs):
    return v1.get_variable(name, shape, **kwargs)


# --- initial values


@every_owner
@every_mode
def test_a_tensor_made_in_the_method_is_an_initial_value(base, mode):
    def body(x):
        constant = v1.get_variable("constant", initializer=tf.constant([1.0, 2.0]))
        v1.get_variable("random", initializer=tf.random.stateless_normal([3], [1, 2]) + 1.0)
        v1.get_variable("integer", initializer=tf.range(3))
        return x * constant[0]

    values = {v.name: np.array(v) for v in run(body, base, mode).variables}
    np.testing.assert_array_equal(values["constant:0"], [1, 2])
    np.testing.assert_array_equal(values["random:0"], tf.random.stateless_normal([3], [1, 2]) + 1.0)
    np.testing.assert_array_equal(values["integer:0"], [0, 1, 2])
    assert values["integer:0"].dtype == np.int32


def test_an_initial_value_that_depends_on_the_input_needs_an_eager_call():
    def body(x):
        v1.get_variable("w", initializer=2.0 * x)

    with pytest.raises(ValueError, match=r"w depends on an input of the tf.function.*eagerly first"):
        run(body, tf.Module, "function")
    np.testing.assert_array_equal(run(body).variables[0], 2 * np.ones((2, 3)))


def test_forms_of_initializers():
    told = []

    def initializer(shape, dtype=None, partition_info="not given"):
        told.append((list(shape), dtype, partition_info))
        return tf.ones(shape, dtype)

    def body(x):
        get("by_class", [2], initializer=v1.ones_initializer)
        get("by_function", [2], initializer=initializer, dtype=tf.float64)
        get("by_keras", [2], initializer=keras.initializers.Constant(3.0))
        v1.get_variable("string", initializer="zeros")  # a string is a value, as in TF 1.15
        get("scalar")

    owner = run(body)
    assert told == [([2], tf.float64, None)]
    values = {v.name: v.value.numpy() for v in owner.variables}
    assert values["string:0"] == b"zeros"
    np.testing.assert_array_equal(values["by_keras:0"], [3, 3])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"shape": [None, 2]}, "Shape of a new variable .w. must be fully defined"),
        ({"initializer": v1.ones_initializer()}, "Shape of a new variable .w. must be fully defined"),
        ({"shape": [2], "dtype": tf.complex64}, "An initializer for variable w of complex64 is required"),
        ({"shape": [3], "initializer": [1.0, 2.0, 3.0]}, "if initializer is a constant, do not specify shape"),
        ({"shape": [3], "initializer": "zeros"}, "if initializer is a constant, do not specify shape"),
    ],
)
def test_what_cannot_be_initialized_is_told(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        run(lambda x: v1.get_variable("w", **arguments))


def test_a_variable_read_once_per_step_is_not_trainable():
    on_read = tf.VariableSynchronization.ON_READ

    def body(x):
        get("counter", synchronization=on_read, aggregation=tf.VariableAggregation.SUM)
        get("plain", synchronization=None, aggregation=None)

    assert [v.name for v in run(body).trainable_variables] == ["plain:0"]


# --- scopes


@every_owner
@every_mode
def test_scopes_may_be_re_entered_jumped_to_and_left_for_the_root(base, mode):
    def body(x):
        root = v1.get_variable_scope()
        with v1.variable_scope("a") as a, v1.variable_scope("b") as b:
            get()
        with v1.variable_scope("c"):
            with v1.variable_scope(a):
                assert get("v").name == "a/v:0"
                with v1.variable_scope(b):
                    assert get("v").name == "a/b/v:0"
            with v1.variable_scope(root):
                assert get("v").name == "v:0"
                with v1.variable_scope(None, "d"):
                    assert get("v").name == "d/v:0"
            with v1.variable_scope(""):
                assert get("v").name == "c//v:0"  # as in TF 1.15
            assert get("v").name == "c/v:0"

    assert len(run(body, base, mode).variables) == 7


def test_reuse_true_of_a_missing_variable_raises_where_tensorflow_tells():
    def body(x):
        with v1.variable_scope("a", reuse=True):
            get()

    with pytest.raises(ValueError, match="Variable a/w does not exist"):
        run(body, tf.Module, "function")
    # TensorFlow forgets in eager execution what `reuse` was: there everything acts as AUTO_REUSE.
    assert len(run(body, tf.Module).variables) == 1


def test_the_scope_around_a_call_is_part_of_the_names():
    inner = make(keras.layers.Layer, lambda x: x * get())
    outer = make(keras.layers.Layer, lambda x: x)

    def body(x):
        with v1.variable_scope("outer"):
            return inner(x)

    outer = run(body)
    assert [v.name for v in inner.variables] == ["outer/w:0"]
    assert outer.variables == []  # nobody told Keras of the inner layer: it is in no attribute


def test_getters_nest_the_inner_one_first_and_may_cache():
    def renamed(suffix):
        return lambda getter, name, *args, **kwargs: getter(f"{name}_{suffix}", *args, **kwargs)

    cache = {}

    def caching(getter, name, *args, **kwargs):
        if name not in cache:
            cache[name] = getter(name, *args, **kwargs)
        return cache[name]

    def doubled(getter, *args, **kwargs):
        return 2.0 * getter(*args, **kwargs)

    def body(x):
        with (
            v1.variable_scope("s", custom_getter=renamed("outer")),
            v1.variable_scope("t", custom_getter=renamed("in")),
        ):
            assert get().name == "s/t/w_in_outer:0"
        with v1.variable_scope("c", custom_getter=caching):
            assert get() is get()
        with v1.variable_scope("d", custom_getter=doubled):
            assert float(get(initializer=v1.ones_initializer())) == 2.0

    with lockstep.assert_no_variable_creations(), pytest.raises(VariableCreationError):
        run(body)
    cache.clear()
    owner = run(body)
    assert [v.name for v in owner.variables] == ["s/t/w_in_outer:0", "c/w:0", "d/w:0"]
    assert list(cache) == ["c/w"]


def test_partitioners_of_one_part_pass_and_others_are_refused():
    one, two = v1.fixed_size_partitioner(1), v1.fixed_size_partitioner(2)
    run(lambda x: get("w", [4, 2], partitioner=one))
    with pytest.raises(ValueError, match=r"w would be split into .* parts by .*Take the partitioner off"):
        run(lambda x: get("w", [4, 2], partitioner=two))

    def scoped(x):
        with v1.variable_scope("p", partitioner=two):
            get("w", [4, 2])

    for mode in ("eager", "function"):
        with pytest.raises(ValueError, match="p/w would be split"):
            run(scoped, tf.Module, mode)


def test_a_caching_device_of_a_scope_is_refused_and_of_a_variable_ignored():
    run(lambda x: get("w", [2], caching_device="/cpu:0"))

    def scoped(x):
        with v1.variable_scope("a", caching_device="/cpu:0"):
            get()

    # TensorFlow's own refusal, which it follows up with a complaint about its own nesting.
    with pytest.raises((NotImplementedError, RuntimeError)):
        run(scoped, tf.Module)
    assert v1.get_variable_scope().name == ""
    assert tf.get_current_name_scope() == ""


# --- collections


@every_mode
def test_collections_hold_what_this_call_used(mode):
    seen = []

    def inner(x):
        return x * get("inner", regularizer=tf.square)

    layer = make(keras.layers.Layer, inner)

    def body(x):
        get("a")
        get("b", trainable=False)
        v1.get_local_variable("local", [])
        get("mine", collections=["mine"])
        get("a")
        layer(x)
        seen.append([[v.name for v in names] for names in (
            v1.global_variables(), v1.trainable_variables(), v1.local_variables(), v1.get_collection("mine"),
        )])  # fmt: skip

    graph = v1.get_default_graph()
    before = {key: len(graph.get_collection(key)) for key in graph.get_all_collection_keys()}
    run(body, tf.Module, mode)
    assert [sorted(names) for names in seen[0]] == [
        ["a:0", "b:0", "inner:0"], ["a:0", "inner:0", "mine:0"], ["local:0"], ["mine:0"],
    ]  # fmt: skip
    assert [sorted(names) for names in seen[-1]] == [sorted(names) for names in seen[0]]
    after = {key: len(graph.get_collection(key)) for key in graph.get_all_collection_keys()}
    assert {key: size for key, size in after.items() if size} == {key: size for key, size in before.items() if size}


@every_owner
@every_mode
def test_the_code_itself_may_add_up_its_regularization_losses(base, mode):
    def body(x):
        ones = v1.ones_initializer()
        with v1.variable_scope("net", regularizer=lambda v: 0.5 * tf.reduce_sum(v)):
            get("a", [3], initializer=ones)
            get("a", [3], initializer=ones)  # once, though it is asked for twice
            tf1.layers.dense(x, 4, kernel_initializer=ones, bias_initializer=ones, name="d")
        assert len(v1.losses.get_regularization_losses()) == 3
        assert [loss.name.split("/R")[0] for loss in v1.losses.get_regularization_losses("net/d")] == [
            "net/d/kernel",
            "net/d/bias",
        ]
        v1.losses.add_loss(tf.constant(100.0))
        total = v1.losses.get_total_loss()
        by_hand = 100.0 + sum(v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES))
        return tf.stack([total, by_hand, v1.losses.get_regularization_loss()])

    owner = make(base, body)
    for _ in range(2):
        np.testing.assert_allclose(call(owner, mode), [109.5, 109.5, 9.5])


# --- threads and replicas


@every_owner
def test_one_owner_called_from_many_threads_makes_each_variable_once(base):
    def body(x):
        for number in range(20):
            x = x + get(f"v{number}", regularizer=tf.square)
        return x

    owner, errors = make(base, body), []
    if base is not tf.Module:
        owner.build(None)  # Keras itself builds a layer once per thread, or fails
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        try:
            owner(X)
        except Exception as error:  # a thread's own exceptions are lost
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(owner.variables) == len(tf1.store_of(owner)) == 20
    assert len(tf1.store_of(owner).regularizers) == 20


REPLICAS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from lockstep import tf1
import keras
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for base in (tf.Module, keras.layers.Layer):
    class Owner(base):
        @tf1.track_tf1_style_variables
        def call(self, x):
            x = tf1.layers.dense(x, 2, kernel_regularizer="l2", name="a")
            return tf1.layers.dense(x, 2, name="b")
        if base is tf.Module:
            __call__ = call
    with strategy.scope():
        owner = Owner()
    for function in (tf.function(lambda x: owner(x)), lambda x: owner(x)):
        outputs = strategy.run(function, (tf.ones([2, 3]),))
    assert sorted(v.name for v in owner.variables) == ["a/bias:0", "a/kernel:0", "b/bias:0", "b/kernel:0"]
    values = strategy.experimental_local_results(outputs)
    assert len(values) == 2
    assert (values[0].numpy() == values[1].numpy()).all()
    stored = tf1.store_of(owner).variables[0]
    assert len(strategy.experimental_local_results(stored)) == 2, stored
    assert len(tf1.store_of(owner).regularizers) == 1
print("done")
"""


@pytest.mark.slow
def test_replicas_make_each_variable_once():
    # In a process of its own: TensorFlow takes the number of its devices before anything else only.
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == "done", done.stderr


# --- methods


@every_owner
def test_decorated_on_both_levels_of_a_class(base):
    class Parent(base):
        @tf1.track_tf1_style_variables
        def call(self, x):
            with v1.variable_scope("parent"):
                return x * get(regularizer=tf.square)

    class Child(Parent):
        @tf1.track_tf1_style_variables
        def call(self, x):
            with v1.variable_scope("child"):
                return super().call(x) * get(regularizer=tf.square)

        if base is tf.Module:
            __call__ = call

    owner = Child()
    owner(X)
    owner(X)
    assert sorted(v.name for v in owner.variables) == ["child/parent/w:0", "child/w:0"]
    assert len(tf1.store_of(owner).regularizers) == 2
    if base is not tf.Module:
        assert len(owner.losses) == 2


class Net(tf1.VariableScopeLayer):
    def forward_pass(self, x, training=None):
        x = tf1.layers.dense(x, 4, name="hidden")
        return tf1.layers.batch_normalization(x, training=bool(training), momentum=0.5)


NET_NAMES = [
    "hidden/kernel:0",
    "hidden/bias:0",
    "batch_normalization/gamma:0",
    "batch_normalization/beta:0",
    "batch_normalization/moving_mean:0",
    "batch_normalization/moving_variance:0",
]


def test_build_makes_the_variables_so_that_weights_can_be_loaded_before_the_first_call(tmp_path):
    trained = Net()
    model = keras.Sequential([keras.Input((3,)), trained])
    expected = model(X)
    model.save_weights(tmp_path / "w.weights.h5")
    fresh = Net()
    fresh.build((None, 3))
    assert [v.name for v in fresh.variables] == NET_NAMES
    with lockstep.assert_no_variable_creations():
        loaded = keras.Sequential([keras.Input((3,)), fresh])
        loaded.load_weights(tmp_path / "w.weights.h5")
        np.testing.assert_array_equal(loaded(X), expected)


def test_variable_scope_layer_gets_training_in_fit_and_draws_at_its_first_call_as_tf1_does():
    layer = Net()
    model = keras.Sequential([layer])
    model.compile("sgd", "mse")
    model.fit(np.random.default_rng(0).normal(size=(8, 3)), np.zeros((8, 4)), verbose=0)
    moved = next(v for v in layer.variables if "moving_variance" in v.name)
    assert not np.array_equal(moved, np.ones(4))

    def draw(x):
        return (x * get("a", [3]) + tf.random.normal([3])) * get("b", [3])

    class Drawing(tf1.VariableScopeLayer):
        def forward_pass(self, x):
            return draw(x)

    def draws(function):
        with lockstep.DeterministicRandomTestTool(mode="num_random_ops").scope():
            return function(X).numpy()

    store = tf1.VariableStore()

    def plain(x):
        with store.scope():
            return draw(x)

    np.testing.assert_array_equal(draws(Drawing()), draws(plain))
    built = Drawing()
    built.build((None, 3))
    assert not np.array_equal(draws(built), draws(plain))


def test_tf1_build_makes_the_variables_of_any_decorated_layer():
    layer = make(keras.layers.Layer, lambda x: tf1.layers.dense(x["a"], 4, name="d") * x["b"])
    tf1.build(layer, {"a": (None, 3), "b": tf.TensorSpec([None, 1], tf.float32)})
    assert [(v.name, tuple(v.shape)) for v in layer.variables] == [("d/kernel:0", (3, 4)), ("d/bias:0", (4,))]
    with lockstep.assert_no_variable_creations():
        layer({"a": X, "b": tf.ones([2, 1])})
    with pytest.raises(TypeError, match="a Keras 3 layer or model"):
        tf1.build(tf.Module(), (None, 3))
    with pytest.raises(TypeError, match=r"expected a shape, a tf.TensorSpec"):
        tf1.build(layer, "3")


def test_the_check_sees_the_losses_of_keras_layers_in_a_module():
    def subject(regularizer):
        def dense():
            return keras.layers.Dense(2, kernel_initializer="ones", kernel_regularizer=regularizer, name="dense")

        return lockstep.keras(lambda: make(tf.Module, lambda x: tf1.get_or_create_layer("dense", dense)(x["x"])))

    inputs = {"x": np.ones((2, 3), np.float32)}
    same = lockstep.verify(subject("l2"), subject("l2"), inputs)
    other = lockstep.verify(subject("l2"), subject(None), inputs)
    assert (same.verdict, other.verdict) == ("equivalent", "diverged"), (str(same), str(other))
    figures = next(step.figures for step in same.steps if step.name == "inference-fixed")
    assert any("loss" in name for name in figures), figures


# --- misuse


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (staticmethod, "a staticmethod. It has no object"),
        (classmethod, "a classmethod. It has no object"),
        (property, "a property. Put the decorator below @property"),
        (lambda f: type("C", (), {"call": f}), "Decorate the method that runs TF1-style code"),
        (lambda f: type("C", (), {"call": f})().call, "Decorate the function in its class"),
        (tf.function, "Put @tf.function above"),
        (lambda f: 3, "a int. Put the decorator on the method"),
    ],
)
def test_what_cannot_be_decorated_is_told(wrap, expected):
    with pytest.raises(TypeError, match=expected):
        tf1.track_tf1_style_variables(wrap(lambda self, x: x))


@every_owner
def test_a_tf1_graph_around_the_call_is_refused(base):
    owner = make(base, lambda x: x * get())
    method = owner if base is tf.Module else owner.call
    with tf.Graph().as_default(), pytest.raises(tf1.TF1GraphError, match="while a TF1 graph is being built"):
        method(tf.ones([1]))
    assert len(owner.variables) == 0
    call(owner, "function")
    assert len(owner.variables) == 1
