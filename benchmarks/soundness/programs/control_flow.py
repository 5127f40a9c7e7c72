"""Conditionals, loops, scans and what else decides which operations run."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("control-flow")
program = PROGRAMS.program


@program(x=floats(3, 4))
def cond_on_a_sum(x):
    w = tf.get_variable("w", [4, 4])
    y = tf.matmul(x, w)
    return tf.cond(tf.reduce_sum(x) > 0.0, lambda: tf.nn.relu(y), lambda: tf.tanh(y))


@program(x=floats(3, 4))
def cond_on_a_python_value(x, training):
    kernel = tf.get_variable("kernel", [4, 4])
    return tf.cond(tf.constant(training), lambda: tf.matmul(x, kernel), lambda: tf.matmul(x, kernel) + 1.0)


@program(x=floats(3, 4))
def cond_on_a_placeholder(x, training):
    flag = tf.placeholder_with_default(training, [])
    h = tf.layers.dense(x, 5)
    return tf.cond(flag, lambda: tf.layers.dropout(h, 0.4, training=True), lambda: h)


@program(x=floats(3, 4))
def cond_of_two_layers_made_before(x):
    left, right = tf.layers.Dense(3, name="left"), tf.layers.Dense(3, name="right")
    left.build([None, 4])
    right.build([None, 4])
    return tf.cond(tf.reduce_mean(x) < 0.0, lambda: left(x), lambda: right(x))


@program(x=floats(3, 4))
def cond_returns_a_structure(x):
    scale = tf.get_variable("scale", [4], initializer=tf.ones_initializer())
    return tf.cond(
        tf.reduce_max(x) > 0.5,
        lambda: {"y": x * scale, "n": tf.constant(1)},
        lambda: {"y": x - scale, "n": tf.constant(2)},
    )


@program(x=floats(3, 4))
def cond_in_a_cond(x):
    w = tf.get_variable("w", [4])

    def inner():
        return tf.cond(tf.reduce_min(x) < -0.5, lambda: x * w, lambda: x + w)

    return tf.cond(tf.reduce_sum(x) < 1e6, inner, lambda: x - w)


@program(x=floats(3, 4), choice=integers(1, high=3))
def case_of_predicates(x, choice):
    w = tf.get_variable("w", [4])
    picked = choice[0]
    return tf.case(
        [(tf.equal(picked, 0), lambda: x * w), (tf.equal(picked, 1), lambda: x - w)],
        default=lambda: tf.nn.softplus(x + w),
        exclusive=True,
    )


@program(x=floats(3, 4), choice=integers(1, high=3, seed=5))
def switch_case(x, choice):
    w = tf.get_variable("w", [4])
    return tf.switch_case(choice[0], [lambda: x * w, lambda: x / (2.0 + w), lambda: tf.sin(x + w)])


@program(x=floats(2, 3))
def while_counts(x):
    w = tf.get_variable("w", [3, 3])

    def body(step, state):
        return step + 1, tf.tanh(tf.matmul(state, w))

    steps, state = tf.while_loop(lambda step, _: step < 4, body, [tf.constant(0), x])
    return {"steps": steps, "state": state}


@program(x=floats(2, 3))
def while_the_data_say_so(x):
    w = tf.get_variable("w", [3], initializer=tf.constant_initializer(0.4))
    return tf.while_loop(
        lambda y: tf.reduce_max(tf.abs(y)) > 0.05, lambda y: y * (0.5 + 0.1 * tf.sin(w)), [x], maximum_iterations=20
    )


@program(x=floats(3, 5))
def while_with_a_tensor_array(x):
    gain = tf.get_variable("gain", [3], initializer=tf.random_normal_initializer())
    columns = tf.unstack(x, axis=1)
    source = tf.TensorArray(tf.float32, 5).unstack(tf.stack(columns))
    target = tf.TensorArray(tf.float32, 5)

    def body(step, state, written):
        state = 0.5 * state + gain * source.read(step)
        return step + 1, state, written.write(step, state)

    _, last, written = tf.while_loop(lambda step, *_: step < 5, body, [0, tf.zeros([3]), target])
    return written.stack(), last


@program(x=floats(2, 3))
def while_in_a_while(x):
    w = tf.get_variable("w", [3])

    def outer(i, y):
        _, y = tf.while_loop(lambda j, _: j <= i, lambda j, z: (j + 1, z + w * tf.cast(j, tf.float32)), [0, y])
        return i + 1, tf.tanh(y)

    return tf.while_loop(lambda i, _: i < 3, outer, [0, x])[1]


@program(x=floats(2, 3))
def while_that_grows(x):
    w = tf.get_variable("w", [3])

    def body(i, rows):
        return i + 1, tf.concat([rows, rows[-1:] * w], 0)

    shapes = [tf.TensorShape([]), tf.TensorShape([None, 3])]
    return tf.while_loop(lambda i, _: i < 3, body, [tf.constant(0), x], shape_invariants=shapes)[1]


@program(x=floats(2, 3))
def cond_in_a_while(x):
    w = tf.get_variable("w", [3])

    def body(i, y):
        return i + 1, tf.cond(tf.equal(i % 2, 0), lambda: y * w, lambda: tf.exp(y) + w)

    return tf.while_loop(lambda i, _: i < 4, body, [tf.constant(0), x])[1]


@program(x=floats(2, 3))
def while_makes_its_variables(x):
    def body(i, y):
        with tf.variable_scope("step", reuse=tf.AUTO_REUSE):
            return i + 1, tf.tanh(tf.layers.dense(y, 3, name="d"))

    return tf.while_loop(lambda i, _: i < 3, body, [tf.constant(0), x])[1]


@program(x=floats(4, 3))
def map_fn_over_rows(x):
    w = tf.get_variable("w", [3])
    return tf.map_fn(lambda row: tf.nn.softmax(row * w), x)


@program(x=floats(4, 3), y=floats(4, 3, seed=3))
def map_fn_over_two(x, y):
    w = tf.get_variable("w", [3])
    return tf.map_fn(lambda pair: tf.reduce_sum(pair[0] * pair[1] * w), (x, y), dtype=tf.float32)


@program(x=floats(5, 3))
def scan_of_sums(x):
    w = tf.get_variable("w", [3])
    return tf.scan(lambda carried, row: 0.9 * carried + w * row, x)


@program(x=floats(5, 3))
def scan_backwards_with_a_structure(x):
    w = tf.get_variable("w", [3, 3])

    def step(carried, row):
        h, n = carried
        return tf.tanh(row + tf.linalg.matvec(w, h)), n + 1

    return tf.scan(step, x, initializer=(tf.zeros([3]), tf.constant(0)), reverse=True)


@program(x=floats(5, 3))
def folds(x):
    w = tf.get_variable("w", [3])
    return {
        "left": tf.foldl(lambda a, row: a * 0.7 + row * w, x),
        "right": tf.foldr(lambda a, row: a * 0.7 - row * w, x, initializer=tf.zeros([3])),
    }


@program(x=floats(3, 4))
def group_and_tuple(x):
    w = tf.get_variable("w", [4])
    first, second = tf.tuple([x * w, x + w])
    with tf.control_dependencies([tf.group(first, second)]):
        return tf.identity(first) * second


@program(x=floats(3, 4))
def assertions(x):
    w = tf.get_variable("w", [4])
    checks = [tf.assert_less(x, 2.0), tf.Assert(tf.reduce_all(tf.is_finite(x)), [x]), tf.assert_rank(x, 2)]
    with tf.control_dependencies([c for c in checks if c is not None]):
        return tf.check_numerics(x * w, "x * w")


@program(x=floats(3, 4))
def python_loops_over_a_static_shape(x):
    total = tf.zeros([3])
    for column in range(x.shape.as_list()[1]):
        w = tf.get_variable(f"w{column}", [])
        total += w * x[:, column]
    return total


@program(x=floats(3, 4))
def loop_over_a_dynamic_shape(x):
    w = tf.get_variable("w", [3])
    size = tf.shape(x)[1]
    return tf.while_loop(lambda i, _: i < size, lambda i, s: (i + 1, s + w * x[:, i]), [0, tf.zeros([3])])[1]


@program(x=floats(3, 4))
def loop_that_runs_no_round(x):
    w = tf.get_variable("w", [4])
    return tf.while_loop(lambda i, _: i < 0, lambda i, y: (i + 1, y * 2.0), [tf.constant(0), x * w])[1]


@program(x=floats(2, 6))
def adaptive_computation(x):
    """Halts each row by itself, as adaptive computation time does."""
    w = tf.get_variable("w", [6, 6])
    halt = tf.get_variable("halt", [6, 1])

    def goes_on(_, __, halted, n):
        return tf.logical_and(tf.reduce_any(halted < 0.9), n < 5)

    def body(state, total, halted, n):
        running = tf.cast(halted < 0.9, tf.float32)
        state = tf.tanh(tf.matmul(state, w) + x)
        p = tf.sigmoid(tf.matmul(state, halt))
        return state, total + running * p * state, halted + running * p, n + 1

    return tf.while_loop(goes_on, body, [x, tf.zeros_like(x), tf.zeros([2, 1]), 0])[1]
