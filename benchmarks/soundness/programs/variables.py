"""Ways to make, name, share and wrap variables."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("variables")
program = PROGRAMS.program


@program(x=floats(3, 4))
def nested_scopes_with_defaults(x):
    with tf.variable_scope("a", initializer=tf.random_uniform_initializer(-0.2, 0.3), dtype=tf.float32):
        w = tf.get_variable("w", [4, 4])
        with tf.variable_scope("b", initializer=tf.glorot_normal_initializer()):
            v = tf.get_variable("v", [4, 2])
            b = tf.get_variable("b", [2], initializer=tf.zeros_initializer())
    return tf.matmul(tf.matmul(x, w), v) + b


@program(x=floats(3, 4))
def reuse_by_a_second_scope(x):
    with tf.variable_scope("shared"):
        y = tf.matmul(x, tf.get_variable("w", [4, 4]))
    with tf.variable_scope("shared", reuse=True):
        return tf.matmul(y, tf.get_variable("w", [4, 4])) + tf.get_variable("w")[0]


@program(x=floats(3, 4))
def reuse_variables_of_a_scope(x):
    with tf.variable_scope("net") as scope:
        y = tf.layers.dense(x, 4, name="d")
        scope.reuse_variables()
        return tf.layers.dense(y, 4, name="d")


@program(x=floats(3, 4))
def auto_reuse_in_a_function(x):
    def tower(y):
        with tf.variable_scope("tower", reuse=tf.AUTO_REUSE):
            return tf.layers.dense(tf.layers.dense(y, 4, tf.nn.relu, name="a"), 4, name="b")

    return tower(x) - tower(-x)


@program(x=floats(3, 4))
def default_names_are_made_unique(x):
    for _ in range(3):
        with tf.variable_scope(None, default_name="block"):
            x = tf.tanh(tf.matmul(x, tf.get_variable("w", [4, 4])))
    return x


@program(x=floats(3, 4))
def name_scopes_do_not_name_variables(x):
    with tf.name_scope("outer"), tf.variable_scope("vars"), tf.name_scope("inner"):
        return tf.multiply(x, tf.get_variable("w", [4]), name="product")


@program(x=floats(3, 4))
def variable_from_an_initial_tensor(x):
    w = tf.get_variable("w", initializer=tf.random_uniform([4, 3], -0.5, 0.5))
    c = tf.get_variable("c", initializer=np.float32([0.5, 0.25, -0.5]))
    return tf.matmul(x, w) * c


@program(x=floats(3, 4))
def all_initializers(x):
    total = tf.zeros([3, 4])
    for number, initializer in enumerate(
        [
            tf.zeros_initializer(),
            tf.ones_initializer(),
            tf.constant_initializer(0.3),
            tf.random_uniform_initializer(-0.1, 0.2),
            tf.random_normal_initializer(0.1, 0.2),
            tf.truncated_normal_initializer(stddev=0.3),
            tf.variance_scaling_initializer(2.0, "fan_avg", "uniform"),
            tf.orthogonal_initializer(gain=1.3),
            tf.glorot_uniform_initializer(),
            tf.initializers.identity(gain=0.5),
            tf.initializers.he_uniform(),
            tf.initializers.lecun_normal(),
        ]
    ):
        total += tf.matmul(x, tf.get_variable(f"w{number}", [4, 4], initializer=initializer))
    return total


@program(x=floats(3, 4))
def getter_that_renames(x):
    def getter(getter, name, *args, **kwargs):
        return getter(name + "_ours", *args, **kwargs)

    with tf.variable_scope("net", custom_getter=getter):
        return tf.layers.dense(x, 3)


@program(x=floats(3, 4))
def getter_that_normalizes_weights(x):
    def getter(getter, name, *args, **kwargs):
        variable = getter(name, *args, **kwargs)
        if not name.endswith("kernel"):
            return variable
        scale = getter(name + "_g", [variable.shape.as_list()[-1]], initializer=tf.ones_initializer())
        return tf.nn.l2_normalize(variable, [0]) * scale

    with tf.variable_scope("net", custom_getter=getter):
        kernel = tf.get_variable("kernel", [4, 5])
        bias = tf.get_variable("bias", [5], initializer=tf.zeros_initializer())
    return tf.matmul(x, kernel) + bias


@program(x=floats(3, 4))
def getter_that_casts(x):
    def getter(getter, name, shape, dtype, *args, **kwargs):
        wanted = dtype
        variable = getter(name, shape, tf.float32, *args, **kwargs)
        return tf.cast(variable, wanted) if wanted != tf.float32 else variable

    with tf.variable_scope("net", custom_getter=getter):
        w = tf.get_variable("w", [4, 3], tf.float16, initializer=tf.ones_initializer())
    return tf.cast(tf.matmul(tf.cast(x, tf.float16), w), tf.float32)


@program(x=floats(3, 4))
def getters_in_each_other(x):
    def doubles(getter, *args, **kwargs):
        return 2.0 * getter(*args, **kwargs)

    def shifts(getter, *args, **kwargs):
        return getter(*args, **kwargs) + 0.5

    with tf.variable_scope("a", custom_getter=doubles), tf.variable_scope("b", custom_getter=shifts):
        return x * tf.get_variable("w", [4])


@program(x=floats(3, 4))
def template(x):
    def scaled(y):
        return y * tf.get_variable("scale", [4], initializer=tf.random_normal_initializer())

    layer = tf.make_template("scaled", scaled)
    return layer(layer(x))


@program(x=floats(3, 4))
def two_templates_of_one_function(x):
    def affine(y, units):
        w = tf.get_variable("w", [y.shape.as_list()[-1], units])
        return tf.matmul(y, w) + tf.get_variable("b", [units])

    first = tf.make_template("affine", affine, units=4)
    second = tf.make_template("affine", affine, units=4)
    return second(first(first(x)))


@program(x=floats(3, 4))
def local_variables(x):
    seen = tf.get_local_variable("seen", [], initializer=tf.zeros_initializer())
    w = tf.get_variable("w", [4])
    return x * w + seen


@program(x=floats(3, 4))
def variables_in_collections_of_ones_own(x):
    w = tf.get_variable("w", [4], collections=["mine", tf.GraphKeys.GLOBAL_VARIABLES])
    b = tf.get_variable("b", [4], collections=[tf.GraphKeys.GLOBAL_VARIABLES], trainable=True)
    total = tf.add_n([tf.reduce_sum(v) for v in tf.get_collection("mine")])
    return x * w + b + total


@program(x=floats(3, 4))
def regularizers_of_scope_and_variable(x):
    with tf.variable_scope("net", regularizer=lambda v: 0.1 * tf.nn.l2_loss(v)):
        w = tf.get_variable("w", [4, 4])
        v = tf.get_variable("v", [4], regularizer=lambda v: 0.3 * tf.reduce_sum(tf.abs(v)))
    return tf.matmul(x, w) * v


@program(x=floats(3, 4))
def regularizer_that_says_nothing(x):
    w = tf.get_variable("w", [4], regularizer=lambda _: None)
    return x * w * tf.get_variable("v", [4], regularizer=tf.keras.regularizers.l2(0.01))


@program(x=floats(3, 4))
def constraint_of_a_variable(x):
    w = tf.get_variable("w", [4], constraint=lambda v: tf.clip_by_value(v, -0.1, 0.1))
    return x * w


@program(x=floats(3, 4))
def old_style_references(x):
    return x * tf.get_variable("w", [4], use_resource=False) + tf.get_variable("b", [4], use_resource=True)


@program(x=floats(3, 4))
def integers_and_booleans(x):
    step = tf.get_variable("step", [], tf.int64, initializer=tf.zeros_initializer(), trainable=False)
    flags = tf.get_variable("flags", initializer=np.array([True, False, True, True]), trainable=False)
    return tf.where(tf.tile(flags[None], [3, 1]), x, -x) * tf.get_variable("w", [4]) + tf.cast(step, tf.float32)


@program(ids=integers(3, 5, high=7))
def tied_embeddings(ids):
    table = tf.get_variable("table", [7, 4], initializer=tf.random_normal_initializer(stddev=0.5))
    h = tf.reduce_mean(tf.nn.embedding_lookup(table, ids), 1)
    return tf.matmul(tf.layers.dense(h, 4, tf.tanh), table, transpose_b=True)


@program(x=floats(3, 4))
def scope_entered_from_elsewhere(x):
    with tf.variable_scope("a") as a:
        y = x * tf.get_variable("w", [4])
    with tf.variable_scope("b"), tf.variable_scope(a, reuse=True):
        y += tf.get_variable("w", [4])
    with tf.variable_scope(a):
        return y * tf.get_variable("v", [4])


@program(x=floats(3, 4))
def variables_of_graph_and_scope_are_counted(x):
    with tf.variable_scope("net"):
        y = tf.layers.dense(tf.layers.dense(x, 4), 4)
    count = len(tf.trainable_variables("net")) + len(tf.global_variables("net"))
    return y * float(count)


@program(x=floats(3, 4))
def global_step_schedules(x):
    step = tf.train.get_or_create_global_step()
    rate = tf.train.exponential_decay(0.1, step, 10, 0.9, staircase=True)
    rate = rate() if callable(rate) else rate
    return x * tf.get_variable("w", [4]) * rate


@program(x=floats(3, 4))
def frozen_beside_trained(x):
    frozen = tf.layers.dense(x, 4, trainable=False, name="frozen")
    return tf.layers.dense(frozen, 4, name="trained")


@program(x=floats(3, 4))
def dtype_of_a_scope(x):
    with tf.variable_scope("net", dtype=tf.float64):
        w = tf.get_variable("w", [4, 2])
    return tf.matmul(tf.cast(x, tf.float64), w)


@program(x=floats(3, 4))
def variable_read_by_its_methods(x):
    w = tf.get_variable("w", [4])
    return x * w.read_value() + tf.identity(w) + tf.convert_to_tensor(w) * w.value()


@program(x=floats(2, 4), y=floats(3, 4, seed=2))
def siamese_towers(x, y):
    def tower(z, reuse):
        with tf.variable_scope("tower", reuse=reuse):
            return tf.nn.l2_normalize(tf.layers.dense(z, 5, name="d"), 1)

    return tf.matmul(tower(x, None), tower(y, True), transpose_b=True)


@program(x=floats(3, 4))
def a_class_that_keeps_its_scope(x):
    class Net:
        def __init__(self, name):
            self.name = name

        def __call__(self, y):
            with tf.variable_scope(self.name, reuse=tf.AUTO_REUSE):
                return tf.layers.dense(y, 4, tf.tanh, name="h")

    actor, critic = Net("actor"), Net("critic")
    return actor(critic(actor(x)))


@program(x=floats(3, 4))
def variables_made_with_uses_alone(x):
    with tf.variable_scope("unused"):
        tf.get_variable("w", [2, 2])
    return x * tf.get_variable("w", [4])
