"""Keras 3's own random functions under the random tool draw what TF1 draws."""

import ast
import contextlib
import importlib.util
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1
from lockstep.tf1 import private

DATA = Path(__file__).parents[1] / "data"


def _random_cases():
    spec = importlib.util.spec_from_file_location("random_cases", DATA / "random_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


random_cases = _random_cases()
v1 = tf.compat.v1
Tool = lockstep.DeterministicRandomTestTool
MODES = pytest.mark.parametrize("mode", random_cases.MODES)


def recorded():
    """`mode/run/case` -> what TF 1.15 drew."""
    arrays, used = {}, {}
    with np.load(DATA / "tf115_random.npz") as data:
        for line in str(data["names"][0]).split("\n"):
            name, dtype, shape = line.split("|")
            start, shape = used.get(dtype, 0), ast.literal_eval(shape)
            used[dtype] = start + int(np.prod(shape))
            arrays[name] = data[dtype][start : used[dtype]].reshape(shape)
    return arrays


def in_graph(mode, runs=2):
    with tf.Graph().as_default(), Tool(mode=mode).scope(), v1.Session() as session:
        drawn = {name: draw(v1) for name, (draw, _) in random_cases.CASES.items()}
        return [session.run(drawn) for _ in range(runs)]


def by_keras(mode, *, runs, traced, **options):
    """Every case drawn by Keras, once per run."""
    draws = {name: make(keras) for name, (_, make) in random_cases.CASES.items()}

    def draw():
        return {name: draw() for name, draw in draws.items()}

    run = tf.function(draw, autograph=False) if traced else draw
    with Tool(mode=mode, **options).scope():
        return [{name: np.asarray(value) for name, value in run().items()} for _ in range(runs)]


def different(ours, theirs):
    assert ours.keys() == theirs.keys() == random_cases.CASES.keys()
    return {n for n in ours if (ours[n].dtype, ours[n].tobytes()) != (theirs[n].dtype, np.asarray(theirs[n]).tobytes())}


@MODES
def test_eager_keras_draws_bit_for_bit_what_a_tf1_graph_draws(mode):
    assert different(by_keras(mode, runs=1, traced=False)[0], in_graph(mode)[0]) == set()


@MODES
def test_a_traced_function_goes_on_drawing_as_a_session_does(mode):
    first, second = by_keras(mode, runs=2, traced=True)
    sessions = in_graph(mode)
    assert different(first, sessions[0]) == set()
    assert different(second, sessions[1]) == set()
    assert different(first, second) == random_cases.CASES.keys()


@MODES
def test_keras_draws_what_real_tensorflow_1_15_drew(mode):
    arrays = recorded()
    for run, ours in enumerate(by_keras(mode, runs=2, traced=True)):
        theirs = {name: arrays[f"{mode}/{run}/{name}"] for name in ours}
        # The decomposition behind an orthogonal matrix sums in an order that depends on the processor.
        orthogonal = {name for name in ours if name.startswith("orthogonal")}
        assert len(orthogonal) == len(random_cases.SHAPES)
        for name in orthogonal:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-6, atol=2e-7, err_msg=name)
        assert different(ours, theirs) <= orthogonal


def test_without_keras_no_case_agrees():
    ours = by_keras("num_random_ops", runs=1, traced=False, keras=False)[0]
    assert different(ours, in_graph("num_random_ops")[0]) == random_cases.CASES.keys()


def test_slims_truncated_normal_initializers_are_wider_than_those_of_keras_by_the_factor_in_the_docs():
    import tf_slim as slim

    pairs = (
        (slim.variance_scaling_initializer(), keras.initializers.HeNormal()),
        (slim.xavier_initializer(uniform=False), keras.initializers.GlorotNormal()),
        (slim.xavier_initializer(), keras.initializers.GlorotUniform()),
    )
    with tf.Graph().as_default(), Tool().scope(), v1.Session() as session:
        theirs = session.run([initializer([30, 20]) for initializer, _ in pairs])
    with Tool().scope():
        ours = [initializer([30, 20]).numpy() for _, initializer in pairs]
    np.testing.assert_allclose(theirs[0] / ours[0], 1.0029, atol=1e-4)
    np.testing.assert_allclose(theirs[1] / ours[1], 1.0029, atol=1e-4)
    np.testing.assert_array_equal(theirs[2], ours[2])


def test_alpha_dropout_keeps_what_tf1s_uniform_numbers_say():
    with tf.Graph().as_default(), Tool().scope(), v1.Session() as session:
        kept = session.run(tf.random.uniform([6, 5]) >= 0.4)
    layer = keras.layers.AlphaDropout(0.4)
    with Tool().scope():
        dropped = layer(tf.ones([6, 5]), training=True).numpy()
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(dropped == dropped.max(), kept)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_draw_as_tf1_too(dtype):
    with tf.Graph().as_default(), Tool().scope(), v1.Session() as session:
        drawn = session.run([tf.random.normal([5], dtype=dtype), tf.nn.dropout(tf.ones([20], dtype), rate=0.5)])
    layer = keras.layers.Dropout(0.5, dtype=dtype)
    with Tool().scope():
        ours = [keras.random.normal([5], dtype=dtype), layer(tf.ones([20], dtype), training=True)]
        gamma = keras.random.gamma([3], 2.0, dtype=dtype)
    for a, b in zip(ours, drawn, strict=True):
        np.testing.assert_array_equal(np.asarray(a).astype(float), b.astype(float))
    assert gamma.dtype == dtype


def test_binomial_is_repeatable_and_goes_on_from_call_to_call():
    draw = tf.function(lambda: keras.random.binomial([8], 20.0, 0.5))
    runs = []
    for _ in range(2):
        with Tool().scope():
            runs.append([draw().numpy().tolist() for _ in range(2)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    assert all(0 <= value <= 20 for value in runs[0][0])


def test_rates_at_which_nothing_is_random_take_no_seed():
    tool = Tool(mode="num_random_ops")
    with tool.scope():
        np.testing.assert_array_equal(keras.random.dropout(tf.ones([3]), 0.0), [1, 1, 1])
        np.testing.assert_array_equal(keras.random.dropout(tf.ones([3]), 1.0), [0, 0, 0])
        keras.layers.Dropout(0.5)(tf.ones([3]), training=False)
    assert tool.draws == 0


@MODES
def test_augmentation_layers_draw_the_same_eagerly_and_traced(mode):
    images = tf.constant(np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32))
    made = [
        keras.layers.RandomFlip(), keras.layers.RandomTranslation(0.3, 0.3), keras.layers.RandomBrightness(0.5),
        keras.layers.RandomContrast(0.5), keras.layers.RandomZoom(0.4), keras.layers.RandomRotation(0.4),
    ]  # fmt: skip

    def augment():
        return [layer(images, training=True) for layer in made]

    def drawn(run, keras_too):
        with Tool(mode=mode, keras=keras_too).scope():
            return [t.numpy() for t in run()]

    traced = tf.function(augment, autograph=False)
    for a, b in zip(drawn(augment, True), drawn(traced, True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
    pairs = zip(drawn(augment, False), drawn(augment, False), strict=True)
    assert not all(np.array_equal(a, b) for a, b in pairs)


class TestTheGuidesTool:
    """What tf_keras's own tests of the tool ask, of Keras's draws."""

    @staticmethod
    def draw(seeds=(None, None, None)):
        shapes = ((3, 1), (3, 3), (3, 3))
        return [keras.random.uniform(shape, seed=seed) * 3 for shape, seed in zip(shapes, seeds, strict=True)]

    @staticmethod
    def graph(mode):
        with tf.Graph().as_default(), Tool(mode=mode).scope(), v1.Session() as session:
            return session.run([tf.random.uniform(shape) * 3 for shape in ((3, 1), (3, 3), (3, 3))])

    def test_constant_mode_gives_equal_shapes_equal_numbers_with_and_without_seeds(self):
        expected = self.graph("constant")
        for seeds in ((None, None, None), (1234, 5, keras.random.SeedGenerator(2))):
            with Tool().scope():
                drawn = self.draw(seeds)
            for ours, theirs in zip(drawn, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(drawn[1], drawn[2])

    def test_num_random_ops_gives_the_guides_figures_and_starts_anew_with_each_tool(self):
        expected = self.graph("num_random_ops")
        for _ in range(2):
            with Tool(mode="num_random_ops").scope():
                drawn = self.draw()
            np.testing.assert_allclose(drawn[1][0], [0.45038545, 1.9197761, 2.4536333], rtol=1e-6)
            for ours, theirs in zip(drawn, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            assert not np.array_equal(drawn[1], drawn[2])

    def test_another_order_of_the_program_draws_other_numbers_until_the_seed_is_set(self):
        with Tool(mode="num_random_ops").scope():
            a, b = keras.random.uniform([2, 2]), keras.random.normal([2, 2])
        swapped = Tool(mode="num_random_ops")
        with swapped.scope():
            b_first, a_second = keras.random.normal([2, 2]), keras.random.uniform([2, 2])
        assert not np.array_equal(a, a_second)
        assert not np.array_equal(b, b_first)
        mended = Tool(mode="num_random_ops")
        with mended.scope():
            mended.operation_seed = 1
            np.testing.assert_array_equal(keras.random.normal([2, 2]), b)
            mended.operation_seed = 0
            np.testing.assert_array_equal(keras.random.uniform([2, 2]), a)
            with pytest.raises(ValueError, match="re-use the already-used operation seed 1"):
                keras.random.uniform([2, 2])


class TestSymbolicBuilds:
    def test_shapes_are_learned_without_taking_seeds_and_variables_take_theirs_once(self):
        tool = Tool(mode="num_random_ops")
        with tool.scope():
            dropout = keras.layers.Dropout(0.5)
            assert dropout.compute_output_spec(keras.Input((4,)), training=True).shape == (None, 4)
            assert tool.draws == 0
            inputs = keras.Input((4,))
            outputs = keras.layers.Dense(2)(dropout(keras.layers.Dense(3)(inputs), training=True))
            model = keras.Model(inputs, outputs)
            assert tool.draws == 2  # the two kernels
            model(tf.ones([2, 4]))
            assert tool.draws == 3  # and the dropout
        with tf.Graph().as_default(), Tool(mode="num_random_ops").scope(), v1.Session() as session:
            kernels = session.run([v1.glorot_uniform_initializer()(shape) for shape in ((4, 3), (3, 2))])
        for ours, theirs in zip((model.weights[0], model.weights[2]), kernels, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs)

    def test_layers_inside_layers_are_built_before_the_first_draw(self):
        class Net(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.first, self.drop, self.second = keras.layers.Dense(3), keras.layers.Dropout(0.5), Inner()

            def call(self, x, training=None):
                return self.second(self.drop(self.first(x), training=training), training=training)

        class Inner(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.drop, self.dense = keras.layers.Dropout(0.25), keras.layers.Dense(2)

            def call(self, x, training=None):
                return self.dense(self.drop(x, training=training))

        x = np.ones([4, 5], np.float32)
        net, tool = Net(), Tool(mode="num_random_ops")
        with tool.scope():
            ours = net(x, training=True)
        with tf.Graph().as_default(), Tool(mode="num_random_ops").scope(), v1.Session() as session:
            kernels = [v1.glorot_uniform_initializer()(shape) for shape in ((5, 3), (3, 2))]
            hidden = tf.nn.dropout(tf.nn.dropout(tf.matmul(x, kernels[0]), rate=0.5), rate=0.25)
            theirs = session.run(tf.matmul(hidden, kernels[1]))
        assert tool.draws == 4
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)

    def test_the_first_call_may_be_inside_a_function(self):
        def run(wrap):
            layers = [keras.layers.Dense(3), keras.layers.Dropout(0.5)]
            tool = Tool(mode="num_random_ops")

            def call(x):
                return layers[1](layers[0](x), training=True)

            with tool.scope():
                return wrap(call)(tf.ones([4, 5])).numpy(), tool.draws

        eager, traced = run(lambda f: f), run(lambda f: tf.function(f, autograph=False))
        np.testing.assert_allclose(eager[0], traced[0], rtol=1e-6)
        assert eager[1] == traced[1] == 2


def test_the_first_call_of_tf1_code_may_be_inside_a_function():
    class Legacy(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x):
            return tf.nn.dropout(x @ v1.get_variable("weights", [5, 3]), rate=0.5)

    def run(wrap):
        layer, tool = Legacy(), Tool(mode="num_random_ops")
        with tool.scope():
            return wrap(lambda x: layer(x))(tf.ones([4, 5])).numpy(), tool.draws

    eager, traced = run(lambda f: f), run(lambda f: tf.function(f, autograph=False))
    np.testing.assert_allclose(eager[0], traced[0], rtol=1e-6)
    assert eager[1] == traced[1] == 2


@MODES
def test_a_layer_called_several_times_draws_each_time(mode):
    layer = keras.layers.Dropout(0.5)
    with Tool(mode=mode).scope():
        ours = [layer(tf.ones([30]), training=True).numpy() for _ in range(3)]
    with tf.Graph().as_default(), Tool(mode=mode).scope(), v1.Session() as session:
        theirs = session.run([tf.nn.dropout(tf.ones([30]), rate=0.5) for _ in range(3)])
    np.testing.assert_array_equal(ours, theirs)
    assert np.array_equal(ours[0], ours[1]) == (mode == "constant")


class TestFit:
    """`fit` with Keras's layers against the same training in a TF1 graph: the same losses, step by step."""

    X = np.random.default_rng(5).normal(size=(24, 6)).astype(np.float32)
    Y = np.random.default_rng(6).normal(size=(24, 2)).astype(np.float32)

    def by_keras(self, mode, *, rate=0.5, **compiled):
        losses = []
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
        with Tool(mode=mode).scope():
            model = keras.Sequential([
                keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dropout(rate), keras.layers.Dense(2)
            ])  # fmt: skip
            model.compile(keras.optimizers.SGD(0.1), "mse", **compiled)
            # One batch an epoch: the loss that Keras tells is a mean over the epoch so far.
            model.fit(self.X, self.Y, batch_size=24, epochs=6, shuffle=False, verbose=0, callbacks=[note])
        return losses

    def in_graph(self, mode):
        with tf.Graph().as_default(), Tool(mode=mode).scope(), v1.Session() as session:
            kernels = [tf.Variable(v1.glorot_uniform_initializer()(shape)) for shape in ((6, 8), (8, 2))]
            biases = [tf.Variable(tf.zeros([units])) for units in (8, 2)]
            hidden = tf.nn.dropout(tf.nn.relu(self.X @ kernels[0] + biases[0]), rate=0.5)
            loss = tf.reduce_mean((hidden @ kernels[1] + biases[1] - self.Y) ** 2)
            train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
            session.run(v1.global_variables_initializer())
            return [session.run([loss, train])[0] for _ in range(6)]

    @MODES
    def test_the_train_function_draws_what_the_graph_draws_in_every_step(self, mode):
        ours = self.by_keras(mode)
        assert len(ours) == 6
        np.testing.assert_allclose(ours, self.in_graph(mode), rtol=2e-6)

    def test_another_rate_is_seen(self):
        assert not np.allclose(self.by_keras("constant", rate=0.4), self.in_graph("constant"), rtol=1e-2)

    def test_eagerly_constant_mode_draws_the_same_in_every_step_as_it_does_in_eager_tensorflow(self):
        eager, traced = self.by_keras("constant", run_eagerly=True), self.by_keras("constant")
        np.testing.assert_allclose(eager[0], traced[0], rtol=2e-6)
        assert not np.allclose(eager[1:], traced[1:], rtol=1e-3)

    @pytest.mark.parametrize(("shuffle", "draws"), [(False, 1), (True, 2)])
    def test_shuffling_takes_a_seed(self, shuffle, draws):
        tool = Tool(mode="num_random_ops")
        with tool.scope():
            model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
            model.compile("sgd", "mse")
            model.fit(self.X, self.Y, batch_size=8, shuffle=shuffle, verbose=0)
        assert tool.draws == draws

    def test_a_second_tool_starts_the_same_train_function_anew(self):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        first, second, outside = (
            self.losses_of(model, Tool(mode="num_random_ops").scope()),
            self.losses_of(model, Tool(mode="num_random_ops").scope()),
            self.losses_of(model, contextlib.nullcontext()),
        )
        assert first == second
        assert first[0] != first[1]
        assert outside[0] not in first

    def losses_of(self, model, scope):
        with scope:
            return model.fit(self.X, self.Y, batch_size=24, epochs=2, shuffle=False, verbose=0).history["loss"]

    def test_compiled_by_xla_is_refused_with_what_to_do(self):
        with pytest.raises(lockstep.InputError, match=r"ignores every seed.*model\.compile\(\.\.\., jit_compile=False"):
            self.by_keras("constant", jit_compile=True)
        with pytest.raises(lockstep.InputError, match="compiled by XLA"), Tool().scope():
            tf.function(lambda: tf.random.uniform([2]), jit_compile=True)()

    def test_what_needs_no_numbers_may_be_compiled(self):
        dense = keras.layers.Dense(2)
        with Tool().scope():
            tf.function(lambda: dense(tf.ones([1, 3])), jit_compile=True)()


class TestRestoring:
    @staticmethod
    def functions():
        module, variable_class = private.keras_random_module(), private.keras_variable_class()
        functions = {name: value for name, value in vars(module).items() if callable(value)}
        return {**functions, "initializes": vars(variable_class).get("__init__")}

    def test_after_an_exception_everything_is_keras_own_again(self):
        before = self.functions()
        with pytest.raises(ZeroDivisionError), Tool().scope():
            _ = 1 / (self.functions() == before)
        assert self.functions() == before

    def test_a_keras_whose_function_cannot_be_replaced_leaves_nothing_behind(self, monkeypatch):
        from lockstep.frameworks.tensorflow import keras_randomness

        def fail(original, aligned, reaches):
            if original.__name__ == "gamma":  # not the first that is replaced
                raise LookupError(original.__name__)
            return aligned

        before, get_seed = self.functions(), private.random_seed_module().get_seed
        monkeypatch.setattr(keras_randomness, "_switch", fail)
        with pytest.raises(LookupError), Tool().scope():
            pass
        assert self.functions() == before
        assert private.random_seed_module().get_seed is get_seed

    def test_scopes_left_in_another_order_restore_at_the_end(self):
        before = self.functions()
        first, second = Tool(keras=False).scope(), Tool().scope()
        first.__enter__()
        assert self.functions() == before
        second.__enter__()
        first.__exit__(None, None, None)
        assert self.functions() != before
        second.__exit__(None, None, None)
        assert self.functions() == before

    def test_the_innermost_scope_decides_whether_keras_is_reached(self):
        outer, inner, innermost = Tool(), Tool(keras=False), Tool()
        with outer.scope(), inner.scope():
            keras.random.normal([1])
            tf.random.normal([1])
            with innermost.scope():
                keras.random.normal([1])
            keras.random.normal([1])
        assert (outer.draws, inner.draws, innermost.draws) == (0, 1, 1)

    def test_each_thread_has_its_own_tool_and_its_own_choice(self):
        tools = [Tool(mode="num_random_ops"), Tool(mode="num_random_ops", keras=False), Tool(mode="num_random_ops")]
        ready = threading.Barrier(len(tools))
        failed = []

        def work(tool):
            try:
                with tool.scope():
                    ready.wait(timeout=60)
                    for _ in range(20):
                        keras.random.uniform([1])
                    ready.wait(timeout=60)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=[tool]) for tool in tools]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert [tool.draws for tool in tools] == [20, 0, 20]

    def test_a_model_draws_after_the_scope_what_it_would_have_drawn_without(self):
        def draws(scoped):
            layer = keras.layers.Dropout(0.5, seed=11)
            if scoped:
                with Tool().scope():
                    layer(tf.ones([9]), training=True)
            return layer(tf.ones([9]), training=True).numpy(), layer.seed_generator.state.numpy()

        for ours, untouched in zip(draws(True), draws(False), strict=True):
            np.testing.assert_array_equal(ours, untouched)
