import threading

import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.tf1 import private

v1 = tf.compat.v1
Tool = lockstep.DeterministicRandomTestTool

# What the guide prints.
FIRST = [[2.5063772], [2.7488918], [1.4839486]]
B_IN_ORDER = [[0.45038545, 1.9197761, 2.4536333], [1.0371652, 2.9898582, 1.924583], [0.25679827, 1.6579313, 2.8418403]]
C_IN_ORDER = [[2.9634383, 1.0862181, 2.6042497], [0.70099247, 2.3920312, 1.0470468], [0.18173039, 0.8359269, 1.0508587]]


def draw():
    return [tf.random.uniform(shape) * 3 for shape in ((3, 1), (3, 3), (3, 3))]


def in_graph():
    with tf.Graph().as_default(), v1.Session() as session:
        return session.run(draw())


def eagerly():
    return [t.numpy() for t in draw()]


def in_function():
    return [t.numpy() for t in tf.function(draw)()]


@pytest.mark.parametrize("run", [in_graph, eagerly, in_function])
def test_num_random_ops_gives_the_guides_figures(run):
    with Tool(mode="num_random_ops").scope():
        a, b, c = run()
    np.testing.assert_allclose(a, FIRST, rtol=1e-6)
    np.testing.assert_allclose(b, B_IN_ORDER, rtol=1e-6)
    np.testing.assert_allclose(c, C_IN_ORDER, rtol=1e-6)


@pytest.mark.parametrize("run", [in_graph, eagerly, in_function])
def test_constant_gives_the_guides_figures_and_equal_shapes_equal_values(run):
    with Tool().scope():
        a, b, c = run()
    np.testing.assert_allclose(a, FIRST, rtol=1e-6)
    np.testing.assert_array_equal(b, c)


@pytest.mark.parametrize("mode", ["constant", "num_random_ops"])
def test_graph_eager_and_function_are_bit_equal_for_every_kind_of_draw(mode):
    def everything():
        x = tf.ones([4, 5])
        return [
            tf.random.normal([3]),
            tf.random.truncated_normal([3]),
            tf.random.shuffle(tf.range(9)),
            tf.nn.dropout(x, rate=0.4),
            v1.truncated_normal_initializer(stddev=0.1)([3, 3]),
            v1.glorot_uniform_initializer()([3, 3]),
            tf.random.uniform([4], maxval=100, dtype=tf.int32),
        ]

    results = []
    for run in (
        lambda: v1.Session().run(everything()),
        lambda: [t.numpy() for t in everything()],
        lambda: [t.numpy() for t in tf.function(everything)()],
    ):
        with Tool(mode=mode).scope():
            if not results:
                with tf.Graph().as_default():
                    results.append(run())
            else:
                results.append(run())
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_operation_seed_counts_and_can_be_set():
    tool = Tool(mode="num_random_ops")
    with tool.scope():
        seen = [tool.operation_seed]
        a = tf.random.uniform([3])
        seen.append(tool.operation_seed)
        b = tf.random.uniform([3])
        seen.append(tool.operation_seed)
    assert seen == [0, 1, 2]
    other = Tool(mode="num_random_ops")
    with other.scope():
        other.operation_seed = 1
        np.testing.assert_array_equal(tf.random.uniform([3]), b)
        other.operation_seed = 0
        np.testing.assert_array_equal(tf.random.uniform([3]), a)
        with pytest.raises(ValueError, match="re-use the already-used operation seed 1"):
            tf.random.uniform([3])


def test_an_unknown_mode_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'num_random_ops'"):
        Tool(mode="num_random_op")


def test_what_is_patched_is_restored_after_an_exception():
    module = private.random_seed_module()
    original = module.get_seed
    with pytest.raises(ZeroDivisionError), Tool().scope():
        _ = 1 / (module.get_seed is original)
    assert module.get_seed is original


def test_scopes_left_in_another_order_restore_the_original_at_the_end():
    module = private.random_seed_module()
    original = module.get_seed
    first, second = Tool().scope(), Tool().scope()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert module.get_seed is not original
    second.__exit__(None, None, None)
    assert module.get_seed is original


def test_each_thread_draws_from_the_tool_that_it_entered():
    drawn = {}
    ready = threading.Barrier(2)

    def work(name, tool):
        with tool.scope():
            ready.wait()
            for _ in range(20):
                tf.random.uniform([1])
            ready.wait()
            drawn[name] = tool.operation_seed

    tools = {"a": Tool(mode="num_random_ops"), "b": Tool(mode="num_random_ops")}
    threads = [threading.Thread(target=work, args=item) for item in tools.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == {"a": 20, "b": 20}


def test_a_symbolic_build_does_not_count():
    import keras

    class Noise(keras.layers.Layer):
        def call(self, x):
            return x + tf.random.uniform([3])

    tool = Tool(mode="num_random_ops")
    with tool.scope():
        layer = Noise()
        layer(keras.Input((3,)))
        assert tool.operation_seed == 0
        layer(tf.zeros([1, 3]))
        assert tool.operation_seed == 1
