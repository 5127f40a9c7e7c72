"""The recurrent networks that TF 1.15 and Lockstep both run: read by the recorder and by the test.

Python 3.7 syntax. `body(tf, x)` gets `tensorflow.compat.v1`, whose `nn.rnn_cell` and `layers` it uses as TF1 code does,
and the input (3, 5, 4). It returns a structure of tensors and of plain facts: strings and numbers.

A case without "eager" among its modes draws dropout masks in a loop: see the docstring of lockstep.tf1.rnn_cell. Those
that draw in a loop have parallel_iterations=1: TensorFlow's executor otherwise draws for the steps in any order.
"""

import collections

import numpy as np

Case = collections.namedtuple("Case", "name body dtype modes")
CASES = []
ALL_MODES = ("graph", "eager", "function")
SHAPE = (3, 5, 4)
ONE_BY_ONE = {"parallel_iterations": 1}


def case(dtype="float32", modes=ALL_MODES):
    def register(body):
        CASES.append(Case(body.__name__, body, dtype, modes))
        return body

    return register


def dynamic(title, make, dtype="float32", modes=ALL_MODES, **arguments):
    """Registers `dynamic_rnn` around the cell that `make(tf, tf.nn.rnn_cell)` gives."""

    def body(tf, x):
        given = {key: value(tf) if callable(value) else value for key, value in arguments.items()}
        if given.get("time_major"):
            x = tf.transpose(x, [1, 0, 2])
        return tf.nn.dynamic_rnn(make(tf, tf.nn.rnn_cell), x, dtype=x.dtype, **given)

    CASES.append(Case(title, body, dtype, modes))


def static(title, make, modes=ALL_MODES, **arguments):
    """Registers `static_rnn` around the cell that `make(tf, tf.nn.rnn_cell)` gives."""

    def body(tf, x):
        given = {key: value(tf) if callable(value) else value for key, value in arguments.items()}
        return tf.nn.static_rnn(make(tf, tf.nn.rnn_cell), tf.unstack(x, axis=1), dtype=x.dtype, **given)

    CASES.append(Case(title, body, "float32", modes))


def input_of(a_case):
    return np.random.RandomState(11).uniform(-1, 1, SHAPE).astype(a_case.dtype)


def moved_value(name, initial):
    """A value away from the initial one, the same for every run: at initial values some mistakes do not show."""
    seed = sum(ord(letter) * (place + 1) for place, letter in enumerate(name)) % 100003
    return np.random.RandomState(seed).uniform(-0.7, 0.9, initial.shape).astype(initial.dtype)


def loss_of(tf, outputs):
    """A scalar on which every element of every output acts with another weight."""
    terms = []
    for place, output in enumerate(outputs):
        if output.dtype == outputs[0].dtype:
            weights = 0.3 + tf.cast(tf.range(tf.size(output)) % 7 + place, output.dtype) / 5.0
            terms.append(tf.reduce_sum(tf.reshape(output, [-1]) * weights))
    return tf.add_n(terms)


def lengths(tf):
    return tf.constant([5, 2, 0])


# --- one cell
dynamic("basic_rnn", lambda tf, rnn: rnn.BasicRNNCell(3))
dynamic("basic_rnn_named_relu", lambda tf, rnn: rnn.BasicRNNCell(3, activation="relu", name="plain"))
dynamic("basic_rnn_float64", lambda tf, rnn: rnn.BasicRNNCell(3), dtype="float64")
dynamic("gru", lambda tf, rnn: rnn.GRUCell(3))
dynamic("gru_float16", lambda tf, rnn: rnn.GRUCell(3), dtype="float16")
dynamic(
    "gru_initializers",
    lambda tf, rnn: rnn.GRUCell(
        3,
        activation=tf.nn.softsign,
        kernel_initializer=tf.truncated_normal_initializer(stddev=0.3),
        bias_initializer=tf.random_normal_initializer(),
    ),
)
dynamic("basic_lstm", lambda tf, rnn: rnn.BasicLSTMCell(3))
dynamic("basic_lstm_float16", lambda tf, rnn: rnn.BasicLSTMCell(3, dtype=tf.float16), dtype="float16")
dynamic("basic_lstm_concatenated", lambda tf, rnn: rnn.BasicLSTMCell(3, state_is_tuple=False))
dynamic("basic_lstm_forget_bias", lambda tf, rnn: rnn.BasicLSTMCell(3, forget_bias=0.0, activation=tf.nn.relu))
dynamic("lstm", lambda tf, rnn: rnn.LSTMCell(3))
dynamic("lstm_float64", lambda tf, rnn: rnn.LSTMCell(3, use_peepholes=True, forget_bias=0.5), dtype="float64")
dynamic("lstm_float16", lambda tf, rnn: rnn.LSTMCell(3), dtype="float16")
dynamic("lstm_peepholes", lambda tf, rnn: rnn.LSTMCell(3, use_peepholes=True))
dynamic("lstm_projected", lambda tf, rnn: rnn.LSTMCell(5, num_proj=2, initializer=tf.orthogonal_initializer()))
dynamic("lstm_not_trainable", lambda tf, rnn: rnn.GRUCell(3, trainable=False))
dynamic(
    "lstm_everything",
    lambda tf, rnn: rnn.LSTMCell(
        5,
        use_peepholes=True,
        cell_clip=0.4,
        initializer=tf.random_uniform_initializer(-0.5, 0.5),
        num_proj=2,
        proj_clip=0.3,
        forget_bias=2.0,
        activation=tf.nn.elu,
        name="everything",
    ),
)
dynamic(
    "lstm_everything_concatenated",
    lambda tf, rnn: rnn.LSTMCell(5, True, 0.4, None, 2, 0.3, forget_bias=0.3, state_is_tuple=False),
    sequence_length=lengths,
)
dynamic(
    "lstm_sharded",
    lambda tf, rnn: rnn.LSTMCell(4, num_proj=2, num_unit_shards=2, num_proj_shards=2),
    modes=("graph",),
)

# --- the functions around a cell
dynamic("dynamic_lengths", lambda tf, rnn: rnn.LSTMCell(3), sequence_length=lengths)
dynamic("dynamic_lengths_as_list", lambda tf, rnn: rnn.GRUCell(3), sequence_length=[1, 3, 4])
dynamic("dynamic_time_major", lambda tf, rnn: rnn.LSTMCell(3), sequence_length=lengths, time_major=True)
dynamic(
    "dynamic_initial_state",
    lambda tf, rnn: rnn.LSTMCell(3),
    initial_state=lambda tf: tf.nn.rnn_cell.LSTMStateTuple(tf.fill([3, 3], 0.5), tf.fill([3, 3], -0.25)),
)
dynamic(
    "dynamic_in_scope_swapping",
    lambda tf, rnn: rnn.GRUCell(3),
    scope="encoder",
    swap_memory=True,
    parallel_iterations=2,
)
static("static_gru", lambda tf, rnn: rnn.GRUCell(3))
static("static_lengths", lambda tf, rnn: rnn.LSTMCell(3, use_peepholes=True), sequence_length=lengths)
static("static_initial_state", lambda tf, rnn: rnn.GRUCell(3), initial_state=lambda tf: tf.ones([3, 3]), scope="s")


@case()
def static_state_saving(tf, x):
    class Saver(object):
        def __init__(self):
            self.saved = []

        def state(self, name):
            return tf.fill([3, 2], 0.5 if name == "c" else 0.25)

        def save_state(self, name, state):
            self.saved.append(name)
            return tf.identity(state)

    cell = tf.nn.rnn_cell.LSTMCell(2)
    saver = Saver()
    outputs, state = tf.nn.static_state_saving_rnn(cell, tf.unstack(x, axis=1), saver, ("c", "h"), scope="saved")
    return outputs, state, saver.saved[:2]


@case()
def bidirectional(tf, x):
    rnn = tf.nn.rnn_cell
    return tf.nn.bidirectional_dynamic_rnn(rnn.GRUCell(3), rnn.LSTMCell(2), x, dtype=tf.float32)


@case()
def bidirectional_lengths_time_major(tf, x):
    cells = [tf.nn.rnn_cell.BasicLSTMCell(3) for _ in range(2)]
    x = tf.transpose(x, [1, 0, 2])
    return tf.nn.bidirectional_dynamic_rnn(
        cells[0], cells[1], x, sequence_length=lengths(tf), dtype=tf.float32, time_major=True, scope="both"
    )


@case()
def static_bidirectional_lengths(tf, x):
    cells = [tf.nn.rnn_cell.GRUCell(n) for n in (2, 3)]
    return tf.nn.static_bidirectional_rnn(
        cells[0], cells[1], tf.unstack(x, axis=1), dtype=tf.float32, sequence_length=lengths(tf)
    )


@case()
def raw(tf, x):
    cell = tf.nn.rnn_cell.LSTMCell(4)
    steps = tf.transpose(x, [1, 0, 2])

    def loop(time, output, state, loop_state):
        if output is None:
            return tf.zeros([3], tf.bool), steps[0], cell.zero_state(3, tf.float32), None, None
        finished = time >= tf.constant([5, 3, 4])
        # The output goes in again, beside the input.
        following = tf.cond(tf.reduce_all(finished), lambda: tf.zeros([3, 4]), lambda: steps[time] + output)
        return finished, following, state, output, None

    emitted, state, _ = tf.nn.raw_rnn(cell, loop)
    return emitted.stack(), state


# --- several cells
@case()
def multi_lstm(tf, x):
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(n) for n in (3, 2)])
    outputs, state = tf.nn.dynamic_rnn(cell, x, sequence_length=lengths(tf), dtype=tf.float32)
    facts = [cell.output_size, str(cell.state_size), cell.name, cell.scope_name, len(cell.weights)]
    return outputs, state, facts, type(state[0]).__name__


dynamic(
    "multi_gru_concatenated",
    lambda tf, rnn: rnn.MultiRNNCell([rnn.GRUCell(2), rnn.BasicLSTMCell(3, state_is_tuple=False)], False),
)
static("multi_static", lambda tf, rnn: rnn.MultiRNNCell([rnn.GRUCell(4, name="same") for _ in range(3)]))


@case()
def multi_with_one_cell_twice(tf, x):
    cell = tf.nn.rnn_cell.GRUCell(4)
    return tf.nn.dynamic_rnn(tf.nn.rnn_cell.MultiRNNCell([cell, cell]), x, dtype=tf.float32)


@case()
def multi_bidirectional_of_wrappers(tf, x):
    rnn = tf.nn.rnn_cell
    stacks = [
        rnn.MultiRNNCell([rnn.ResidualWrapper(rnn.LSTMCell(4)), rnn.DeviceWrapper(rnn.GRUCell(2), "/cpu:0")])
        for _ in range(2)
    ]
    return tf.nn.bidirectional_dynamic_rnn(stacks[0], stacks[1], x, dtype=tf.float32)


# --- wrappers
dynamic(
    "residual_function",
    lambda tf, rnn: rnn.ResidualWrapper(rnn.GRUCell(2), lambda i, o: o + 0.5 * i[:, :2], name="ignored"),
)
dynamic("device", lambda tf, rnn: rnn.DeviceWrapper(rnn.LSTMCell(2), "/cpu:0"), sequence_length=lengths)
dynamic("dropout_of_nothing", lambda tf, rnn: rnn.DropoutWrapper(rnn.LSTMCell(3)))
dynamic("dropout_seeded", lambda tf, rnn: rnn.DropoutWrapper(rnn.LSTMCell(3), 0.7, 0.6, 0.9, seed=5), **ONE_BY_ONE)
dynamic(
    "dropout_seeded_stack",
    lambda tf, rnn: rnn.MultiRNNCell(
        [rnn.DropoutWrapper(rnn.GRUCell(3), output_keep_prob=0.6, seed=5 + place) for place in range(2)]
    ),
    sequence_length=lengths,
    **ONE_BY_ONE,
)
dynamic(
    "dropout_seeded_float64",
    lambda tf, rnn: rnn.DropoutWrapper(rnn.GRUCell(3), 0.7, seed=5),
    dtype="float64",
    **ONE_BY_ONE,
)
dynamic(
    "dropout_unseeded_in_loop",
    lambda tf, rnn: rnn.DropoutWrapper(rnn.GRUCell(3), 0.7, 0.6, 0.9),
    modes=("graph",),
    **ONE_BY_ONE,
)
static("dropout_unseeded_static", lambda tf, rnn: rnn.DropoutWrapper(rnn.LSTMCell(3), 0.7, 0.6), ("graph", "eager"))
dynamic(
    "dropout_keep_prob_of_session",
    lambda tf, rnn: rnn.DropoutWrapper(
        rnn.GRUCell(3), output_keep_prob=tf.placeholder_with_default(0.6, []), state_keep_prob=tf.constant(0.8), seed=1
    ),
    modes=("graph",),
    **ONE_BY_ONE,
)
dynamic(
    "dropout_variational",
    lambda tf, rnn: rnn.DropoutWrapper(
        rnn.LSTMCell(3), 0.7, 0.6, 0.5, variational_recurrent=True, input_size=4, dtype=tf.float32, seed=5
    ),
)
dynamic(
    "dropout_variational_unseeded",
    lambda tf, rnn: rnn.DropoutWrapper(
        rnn.GRUCell(3), 1.0, 0.6, 0.5, variational_recurrent=True, dtype=tf.float32, name="ignored"
    ),
    modes=("graph", "eager"),
)
dynamic(
    "dropout_state_filter",
    lambda tf, rnn: rnn.DropoutWrapper(
        rnn.MultiRNNCell([rnn.LSTMCell(3), rnn.GRUCell(2)]),
        state_keep_prob=0.5,
        seed=5,
        dropout_state_filter_visitor=lambda s: (
            rnn.LSTMStateTuple(c=True, h=False) if isinstance(s, rnn.LSTMStateTuple) else isinstance(s, tuple)
        ),
    ),
    **ONE_BY_ONE,
)


# --- names, scopes, reuse
@case()
def names_count_up(tf, x):
    rnn = tf.nn.rnn_cell
    step = x[:, 0]
    first, second, named = rnn.LSTMCell(3), rnn.LSTMCell(3), rnn.LSTMCell(3, name="mine")
    with tf.variable_scope("net"):
        outputs = [cell(step, cell.zero_state(3, tf.float32)) for cell in (first, second, named, first)]
    return outputs, [first.name, second.name, named.name, first.scope_name, second.scope_name, named.scope_name]


@case()
def reuse_of_scopes(tf, x):
    outputs = []
    for _ in range(2):
        with tf.variable_scope("shared", reuse=tf.AUTO_REUSE):
            outputs.append(tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(4), x, dtype=tf.float32))
            x = outputs[-1][0]
    with tf.variable_scope("shared", reuse=True):
        outputs.append(tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(4), x, dtype=tf.float32))
    return outputs


@case()
def one_cell_in_two_loops(tf, x):
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(4), tf.nn.rnn_cell.GRUCell(4)])
    with tf.variable_scope("first"):
        outputs, state = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32)
    with tf.variable_scope("second"):
        return tf.nn.dynamic_rnn(cell, outputs, initial_state=state), len(cell.trainable_variables)


@case()
def reuse_argument(tf, x):
    rnn = tf.nn.rnn_cell
    state = tf.ones([3, 4])
    output, state = rnn.GRUCell(4, name="g")(x[:, 0], state)
    return rnn.GRUCell(4, name="g", reuse=True)(output, state)


@case()
def called_with_scope(tf, x):
    rnn = tf.nn.rnn_cell
    multi = rnn.MultiRNNCell([rnn.GRUCell(4), rnn.DropoutWrapper(rnn.GRUCell(4))])
    lstm = rnn.DropoutWrapper(rnn.LSTMCell(4, state_is_tuple=False))
    first = multi(x[:, 0], multi.zero_state(3, tf.float32), scope="given")
    return first, lstm(x[:, 1], lstm.zero_state(3, tf.float32), scope="too")


@case()
def decoder_loop(tf, x):
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.BasicLSTMCell(4) for _ in range(2)])
    state = cell.zero_state(3, tf.float32)
    outputs, output = [], None
    with tf.variable_scope("decoder"):
        for step in range(4):
            if step > 0:
                tf.get_variable_scope().reuse_variables()
            output, state = cell(x[:, step] if step < 2 else output, state)
            outputs.append(output)
    return outputs, state


@case()
def renaming_getter(tf, x):
    def getter(getter, name, *args, **kwargs):
        return getter(name.replace("kernel", "weights"), *args, **kwargs)

    with tf.variable_scope("outer", custom_getter=getter):
        return tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(3), x, dtype=tf.float32)


@case()
def getter_makes_untrainable(tf, x):
    def getter(getter, name, *args, **kwargs):
        kwargs["trainable"] = "bias" not in name
        return getter(name, *args, **kwargs)

    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.BasicRNNCell(3)])
    with tf.variable_scope("outer", custom_getter=getter):
        result = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32)
    return result, len(cell.trainable_weights), len(cell.non_trainable_variables)


@case(modes=("graph",))
def partitioned_by_scope(tf, x):
    with tf.variable_scope("outer", partitioner=tf.fixed_size_partitioner(2)):
        cell = tf.nn.rnn_cell.LSTMCell(4)
        return tf.nn.dynamic_rnn(cell, x, dtype=tf.float32), len(cell.trainable_weights)


@case()
def scope_defaults(tf, x):
    with tf.variable_scope(
        "outer",
        initializer=tf.random_uniform_initializer(-0.3, 0.3),
        regularizer=lambda v: 0.25 * tf.nn.l2_loss(v),
    ):
        return tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(3, use_peepholes=True), x, dtype=tf.float32)


# --- users' cells
@case()
def own_cell_with_variables_in_call(tf, x):
    class Minimal(tf.nn.rnn_cell.RNNCell):
        @property
        def state_size(self):
            return 3

        @property
        def output_size(self):
            return 3

        def call(self, inputs, state):
            u = tf.get_variable("u", [4, 3], regularizer=tf.nn.l2_loss)
            w = tf.get_variable("w", [3, 3], trainable=False)
            state = tf.tanh(tf.matmul(inputs, u) + tf.matmul(state, w) + tf.layers.dense(inputs, 3, name="d"))
            return state, state

    cell = Minimal()
    result = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32)
    counts = [len(cell.trainable_weights), len(cell.non_trainable_weights), len(cell.variables)]
    return result, counts, cell.scope_name


@case()
def own_cell_in_multi(tf, x):
    class Scaled(tf.nn.rnn_cell.RNNCell):
        def __init__(self, units, **kwargs):
            super(Scaled, self).__init__(**kwargs)
            self._units = units

        @property
        def state_size(self):
            return self._units

        @property
        def output_size(self):
            return self._units

        def call(self, inputs, state, scope=None):
            state = tf.tanh(tf.layers.dense(tf.concat([inputs, state], 1), self._units) * float(len(scope.name)) / 9.0)
            return state, state

    cell = tf.nn.rnn_cell.MultiRNNCell([Scaled(3), Scaled(2, name="second"), tf.nn.rnn_cell.GRUCell(2)])
    result = tf.nn.static_rnn(cell, tf.unstack(x, axis=1), dtype=tf.float32)
    return result, len(cell.trainable_weights)


@case()
def own_cell_of_the_old_style(tf, x):
    class Old(tf.nn.rnn_cell.RNNCell):
        def __init__(self, units):
            self._units = units

        @property
        def state_size(self):
            return tf.nn.rnn_cell.LSTMStateTuple(self._units, self._units)

        @property
        def output_size(self):
            return self._units

        def __call__(self, inputs, state, scope=None):
            with tf.variable_scope(scope or type(self).__name__):
                w = tf.get_variable("W", [int(inputs.shape[1]), self._units])
                c, h = state
                c = 0.5 * c + tf.matmul(inputs, w)
                h = tf.sigmoid(h + c)
            return h, tf.nn.rnn_cell.LSTMStateTuple(c, h)

    return tf.nn.dynamic_rnn(tf.nn.rnn_cell.DropoutWrapper(Old(3), 0.7, seed=3), x, dtype=tf.float32, **ONE_BY_ONE)


@case()
def own_layer_cell_with_nested_sizes(tf, x):
    class Nested(tf.nn.rnn_cell.RNNCell):
        @property
        def state_size(self):
            return (tf.TensorShape([2, 2]), 3)

        @property
        def output_size(self):
            return (4, tf.TensorShape([2, 2]))

        def build(self, input_shape):
            self.kernel = self.add_weight("kernel", [int(input_shape[-1]), 4])
            self.shift = self.add_variable("shift", [], initializer=tf.ones_initializer())
            self.built = True

        def call(self, inputs, state):
            square, vector = state
            flat = tf.matmul(inputs, self.kernel) + self.shift
            square = 0.5 * square + tf.reshape(flat, [-1, 2, 2])
            return (tf.sin(flat), tf.cos(square)), (square, vector + flat[:, :3])

    cell = Nested(name="nested")
    return tf.nn.dynamic_rnn(cell, x, sequence_length=lengths(tf), dtype=tf.float32), len(cell.trainable_weights)


@case()
def facts(tf, x):
    rnn = tf.nn.rnn_cell
    lstm, gru = rnn.LSTMCell(5, num_proj=2, name="l"), rnn.GRUCell(3)
    wrapped = rnn.DropoutWrapper(rnn.ResidualWrapper(rnn.LSTMCell(4)))
    multi = rnn.MultiRNNCell([gru, lstm])
    state = multi.zero_state(2, tf.float64)
    output, _ = wrapped(x[:, 0], wrapped.get_initial_state(inputs=x[:, 0]))
    sizes = [str(cell.state_size) for cell in (lstm, gru, wrapped, multi)]
    return [
        output, gru.zero_state(tf.shape(x)[0], tf.float32), gru.get_initial_state(batch_size=2, dtype=tf.float32),
        state, sizes, [str(cell.output_size) for cell in (lstm, gru, wrapped, multi)], str(state[1].dtype), multi.built,
        [gru.name, lstm.name, multi.name, wrapped.name, str(gru.dtype), gru.built, lstm.input_spec.ndim],
        len(wrapped.trainable_weights), len(wrapped.cell.cell.weights), wrapped.cell.cell.count_params(),
    ]  # fmt: skip


# --- a model
@case()
def language_model(tf, x):
    words = tf.constant([[1, 4, 2, 0], [3, 3, 5, 1]])
    decay = lambda v: 0.01 * tf.nn.l2_loss(v)  # noqa: E731
    with tf.variable_scope("lm", regularizer=decay):
        embedding = tf.get_variable("embedding", [6, 4], initializer=tf.random_uniform_initializer(-1, 1))
        cells = [tf.nn.rnn_cell.DropoutWrapper(tf.nn.rnn_cell.BasicLSTMCell(5), 0.8, seed=n) for n in range(2)]
        cell = tf.nn.rnn_cell.MultiRNNCell(cells)
        inputs = tf.nn.embedding_lookup(embedding, words)
        outputs, state = tf.nn.dynamic_rnn(cell, inputs, sequence_length=[4, 3], dtype=tf.float32, **ONE_BY_ONE)
        return tf.layers.dense(outputs, 6, name="logits"), state, tf.reduce_mean(x)


# --- Keras-style variables: their names are those of operations, which eager execution does not have
@case(modes=("graph",))
def keras_style_layers(tf, x):
    outputs = []
    with tf.layers.experimental.keras_style_scope():
        for _ in range(2):
            layer = tf.layers.Dense(4, name="d", kernel_regularizer=tf.nn.l2_loss)
            outputs.append(layer(layer(x)))
        plain = tf.layers.Dense(3)
        with tf.variable_scope("outer"):
            outputs.append(plain(x))
    outside = tf.layers.Dense(2)
    outputs.append(outside(x))
    return outputs, [plain.name, layer.name, len(layer.variables), len(layer.losses), outside.kernel.name]


@case(modes=("graph",))
def keras_style_cells(tf, x):
    with tf.layers.experimental.keras_style_scope():
        rnn = tf.nn.rnn_cell
        cells = [rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(4)]) for _ in range(2)]
    outputs = [tf.nn.dynamic_rnn(cell, x, dtype=tf.float32) for cell in cells]
    return outputs, [len(cell.trainable_weights) for cell in cells]
