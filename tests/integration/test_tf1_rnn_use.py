"""tf1.rnn_cell as people use it: in Keras models that train, in functions, with mistakes that must be named."""

from __future__ import annotations

import ast
import copy
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lockstep import tf1
from lockstep.common.errors import InputError
from lockstep.tf1 import VariableStore, layers, rnn_cell
from lockstep.tf1.layers import experimental

v1 = tf.compat.v1
X = tf.constant(np.random.RandomState(3).uniform(-1, 1, (3, 5, 4)), tf.float32)


# --- where TF1 code looks for it


@pytest.mark.parametrize("before", ["", "import tensorflow.compat.v1"], ids=["", "imported by name before"])
def test_enable_puts_the_cells_where_tf1_code_looks_and_disable_takes_them_back(before):
    code = (
        "import tensorflow as tf\n"
        f"early = tf.compat.v1\n{before}\n"
        "from lockstep import tf1\n"
        "for _ in range(2):\n"
        "    tf1.enable()\n"
        "    import tensorflow.compat.v1 as tf_v1\n"
        "    from tensorflow.compat.v1.nn import rnn_cell\n"
        "    for v1 in (early, tf_v1, tf.compat.v1):\n"
        "        assert v1.nn.rnn_cell.LSTMCell is rnn_cell.LSTMCell is tf1.rnn_cell.LSTMCell\n"
        "        assert v1.layers.experimental.set_keras_style and v1.layers.dense is tf1.layers.dense\n"
        "    tf1.disable()\n"
        "    for v1 in (early, tf_v1, tf.compat.v1):\n"
        "        for module, name in ((v1.nn.rnn_cell, 'LSTMCell'), (v1.layers, 'experimental')):\n"
        "            try: getattr(module, name)\n"
        "            except AttributeError as error: assert 'not available with Keras 3' in str(error)\n"
        "            else: raise AssertionError(name)\n"
        "print('as promised')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "as promised"


def test_cells_need_no_keras():
    sources = sorted(Path(rnn_cell.__file__).parent.glob("*.py"))
    assert len(sources) >= 6
    for source in sources:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [m for m in modules if "keras" in m or m.startswith("tensorflow.")], source.name


# --- Keras 3


class Tagger(keras.layers.Layer):
    """A TF1-style network: each word's tag depends on the word before it."""

    @tf1.track_tf1_style_variables
    def call(self, words):
        with v1.variable_scope("tagger"):
            embedding = v1.get_variable("embedding", [6, 8])
            cell = v1.nn.rnn_cell.MultiRNNCell([v1.nn.rnn_cell.LSTMCell(16), v1.nn.rnn_cell.GRUCell(16)])
            inputs = tf.nn.embedding_lookup(embedding, words)
            outputs, _ = v1.nn.dynamic_rnn(cell, inputs, dtype=tf.float32)
            return v1.layers.dense(outputs, 6, name="logits")


LAYERS = "tagger/rnn/multi_rnn_cell/cell_0/lstm_cell/", "tagger/rnn/multi_rnn_cell/cell_1/gru_cell/"
TAGGER_NAMES = [
    "tagger/embedding",
    LAYERS[0] + "kernel",
    LAYERS[0] + "bias",
    LAYERS[1] + "gates/kernel",
    LAYERS[1] + "gates/bias",
    LAYERS[1] + "candidate/kernel",
    LAYERS[1] + "candidate/bias",
    "tagger/logits/kernel",
    "tagger/logits/bias",
]


def tagger_model():
    words = keras.Input((7,), dtype="int32")
    return keras.Model(words, Tagger()(words))


def tagged_words():
    words = np.random.RandomState(0).randint(0, 6, (64, 7))
    return words, np.concatenate([np.zeros((64, 1), int), words[:, :-1]], 1)


@pytest.mark.parametrize("eagerly", [False, True])
def test_keras_model_with_an_lstm_trains(eagerly, tmp_path):
    keras.utils.set_random_seed(5)
    words, tags = tagged_words()
    model = tagger_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"], run_eagerly=eagerly)
    before = [v.numpy().copy() for v in model.trainable_variables]
    history = model.fit(words, tags, batch_size=32, epochs=2 if eagerly else 30, verbose=0).history
    assert [v.name for v in model.trainable_variables] == [name + ":0" for name in TAGGER_NAMES]
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.name
    assert history["loss"][-1] < history["loss"][0]
    if not eagerly:
        assert history["accuracy"][-1] > 0.95
    model.save_weights(tmp_path / "model.weights.h5")
    twin = tagger_model()
    twin.load_weights(tmp_path / "model.weights.h5")
    # The model may run eagerly, and the other one does not: their operations are the same, their rounding is not.
    predicted = model.predict(words, verbose=0)
    np.testing.assert_allclose(twin.predict(words, verbose=0), predicted, rtol=1e-4, atol=2e-6)


def test_tf1_checkpoint_of_the_network_fits_the_keras_layer(tmp_path):
    """Names are TF 1.15's, by tests/integration/test_tf1_rnn.py; `Saver` writes them without the output number."""
    tf1.enable()
    words, _ = tagged_words()
    with tf.Graph().as_default():
        outputs = Tagger.call.__wrapped__(None, tf.constant(words))
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            path = v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
            expected = session.run(outputs)
    reader = tf.train.load_checkpoint(path)
    assert sorted(reader.get_variable_to_shape_map()) == sorted(TAGGER_NAMES)
    layer = Tagger()
    layer(tf.constant(words))
    for variable in layer.variables:
        variable.assign(reader.get_tensor(variable.name.removesuffix(":0")))
    np.testing.assert_allclose(layer(tf.constant(words)), expected, rtol=1e-5, atol=2e-6)


def test_cells_kept_by_a_layer_are_its_weights_and_stay_the_same():
    class Keeper(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.cells = [rnn_cell.LSTMCell(3), rnn_cell.GRUCell(2)]

        @tf1.track_tf1_style_variables
        def call(self, x):
            return v1.nn.dynamic_rnn(rnn_cell.MultiRNNCell(self.cells), x, dtype=tf.float32)[0]

    keeper = Keeper()
    first = keeper(X)
    np.testing.assert_array_equal(keeper(X), first)
    assert len(keeper.weights) == 6
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.function(keeper)(X))
    assert all(g is not None for g in tape.gradient(loss, [v.value for v in keeper.trainable_variables]))


# --- functions


def test_function_makes_the_variables_outside_the_loop_and_once():
    store = VariableStore()

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4])])
    def forward(x):
        with store.scope():
            cell = rnn_cell.MultiRNNCell([rnn_cell.LSTMCell(3), rnn_cell.GRUCell(2)])
            return v1.nn.dynamic_rnn(cell, x, dtype=tf.float32)

    outputs, _ = forward(X)
    assert len(store) == 6
    assert forward(tf.ones((2, 9, 4)))[0].shape == (2, 9, 2)
    assert len(store) == 6
    # The loop's body gets the variables from outside, where nothing but a read of them is.
    kinds = {op.type for op in forward.get_concrete_function().graph.get_operations()}
    assert "VarHandleOp" not in kinds
    assert {"While", "StatelessWhile"} & kinds
    with store.scope():
        cell = rnn_cell.MultiRNNCell([rnn_cell.LSTMCell(3), rnn_cell.GRUCell(2)])
        eagerly, _ = v1.nn.dynamic_rnn(cell, X, dtype=tf.float32)
    np.testing.assert_allclose(outputs, eagerly, rtol=1e-5, atol=2e-6)


def test_training_step_in_a_function():
    store = VariableStore()
    optimizer = keras.optimizers.SGD(1.0)
    tf.random.set_seed(4)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            with store.scope():
                outputs, _ = v1.nn.dynamic_rnn(rnn_cell.GRUCell(3), x, sequence_length=[5, 2, 1], dtype=tf.float32)
            loss = tf.reduce_mean((outputs - 0.3) ** 2)
        return loss, tape.gradient(loss, store.variables)

    losses = []
    for _ in range(20):
        loss, gradients = step(X)
        optimizer.apply_gradients(zip(gradients, store.variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    assert losses == sorted(losses, reverse=True)


def test_eager_steps_look_up_no_variables_again(monkeypatch):
    requests = []
    store = VariableStore()
    ask = store.get_variable
    monkeypatch.setattr(
        store, "get_variable", lambda name, *args, **kwargs: requests.append(name) or ask(name, *args, **kwargs)
    )
    for steps in (5, 50):
        requests.clear()
        with store.scope():
            cell = rnn_cell.MultiRNNCell([rnn_cell.LSTMCell(3), rnn_cell.DropoutWrapper(rnn_cell.GRUCell(2))])
            v1.nn.dynamic_rnn(cell, tf.ones((2, steps, 4)), dtype=tf.float32)
        assert len(requests) == 6


# --- mistakes


def stepped(cell, x=X[:, 0], state=None):
    return cell(x, cell.zero_state(3, tf.float32) if state is None else state)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda c: stepped(c.LSTMCell(3), X),
            InputError,
            r"expected ndim=2, found ndim=3. Full shape received: \[3, 5",
        ),
        (lambda c: stepped(c.GRUCell(3), state=tf.ones((3, 2))), InputError, r"state a tensor of shape \(batch, 3\)"),
        (lambda c: stepped(c.LSTMCell(3), state=tf.ones((3, 6))), InputError, "expects a state of 2 tensors"),
        (
            lambda c: stepped(c.LSTMCell(3), state=(tf.ones((3, 3)), tf.ones((3, 2)))),
            InputError,
            r"state's h a tensor of shape \(batch, 3\), but was given one of shape \[3, 2\]",
        ),
        (
            lambda c: stepped(c.BasicLSTMCell(3, state_is_tuple=False), state=(tf.ones((3, 3)),) * 2),
            InputError,
            r"tensor of shape \(batch, 6\), but was given a tuple of 2",
        ),
        (lambda c: c.LSTMCell(3, dtype=tf.int32), InputError, "only supports floating point inputs, but saw dtype"),
        (
            lambda c: stepped(c.GRUCell(3), tf.ones((3, 4), tf.int32)),
            InputError,
            "only supports floating point inputs, but saw dtype",
        ),
        (lambda c: stepped(c.GRUCell(3, activation="tahn")), InputError, "did you mean 'tanh'"),
        (lambda c: c.GRUCell(3, unit=3), TypeError, "does not take the argument unit"),
        (lambda c: c.MultiRNNCell([]), InputError, "at least one cell"),
        (lambda c: c.MultiRNNCell(c.GRUCell(3)), TypeError, "cells must be a list or tuple"),
        (lambda c: c.MultiRNNCell([c.LSTMCell(3)], False), InputError, "state_is_tuple is not set"),
        (
            lambda c: stepped(c.MultiRNNCell([c.GRUCell(3)] * 2)),
            InputError,
            "built for inputs of size 4 .* make a cell of its own for every layer",
        ),
        (lambda c: stepped(c.MultiRNNCell([c.GRUCell(3)]), state=X[0]), InputError, "a tuple of length 1"),
        (lambda c: c.DropoutWrapper(c.GRUCell(3), 1.5), InputError, "input_keep_prob must be between 0 and 1: 1.5"),
        (lambda c: c.DropoutWrapper(c.GRUCell(3), 1, -1.0), InputError, "output_keep_prob must be between 0 and 1: -1"),
        (lambda c: c.DropoutWrapper(c.GRUCell(3), variational_recurrent=True), InputError, "dtype must be provided"),
        (
            lambda c: c.DropoutWrapper(c.GRUCell(3), 0.5, variational_recurrent=True, dtype=tf.float32),
            InputError,
            "input_size must be provided",
        ),
        (lambda c: c.DropoutWrapper(c.GRUCell(3), dropout_state_filter_visitor=3), TypeError, "must be callable"),
        (lambda c: c.ResidualWrapper(tf.ones), TypeError, "'output_size' property is missing, 'state_size' prop"),
        (lambda c: stepped(c.ResidualWrapper(c.GRUCell(3))), InputError, r"\(3, 4\) and \(3, 3\) are incompatible"),
        (lambda c: c.GRUCell(3).get_initial_state(batch_size=3), InputError, "batch_size and dtype cannot be None"),
        (lambda c: c.GRUCell(3).get_initial_state(X, batch_size=2), InputError, "Input tensor batch: 3, batch_size: 2"),
        (lambda c: c.GRUCell(3).get_initial_state(X, dtype=tf.float64), InputError, "Input tensor dtype:.*float32"),
        (lambda c: c.GRUCell(3).zero_state(None, tf.float32), InputError, "needs a known size, but found None"),
        (lambda c: c.RNNCell().state_size, NotImplementedError, "RNNCell must define state_size"),
    ],
)
def test_mistakes_are_named(make, error, message):
    with VariableStore().scope(), pytest.raises(error, match=message):
        make(rnn_cell)


def test_mistakes_in_graphs_are_named():
    with tf.Graph().as_default():
        with pytest.raises(InputError, match=r"Expected inputs.shape\[-1\] to be known"):
            stepped(rnn_cell.LSTMCell(3), v1.placeholder(tf.float32, [3, None]))
        cells = [rnn_cell.GRUCell(3, name="g", _scope="g") for _ in range(2)]
        x = tf.ones((3, 4))
        stepped(cells[0], x)
        with pytest.raises(ValueError, match="g/gates/kernel already exists"):
            stepped(cells[1], x)


class Own(rnn_cell.RNNCell):
    state_size = output_size = 4

    def call(self, inputs, state):
        state = tf.tanh(inputs * v1.get_variable("w", [4]) + state)
        return state, state


def test_variables_that_nobody_keeps_are_refused_in_eager_mode():
    with pytest.raises(InputError, match=r"w:0 in its call, a second time.*track_tf1_style_variables"):
        v1.nn.dynamic_rnn(Own(), X, dtype=tf.float32)
    with VariableStore().scope() as store:
        v1.nn.dynamic_rnn(Own(), X, dtype=tf.float32)
    assert [v.name for v in store.variables] == ["rnn/own/w:0"]
    # A cell that keeps its variables needs no store.
    cell = rnn_cell.LSTMCell(3)
    first, second = (v1.nn.dynamic_rnn(cell, X, dtype=tf.float32)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_parts_of_a_variable_are_refused_in_eager_mode():
    with VariableStore().scope(), pytest.raises(ValueError, match=r"would be split into.*Take the partitioner off"):
        stepped(rnn_cell.LSTMCell(4, num_unit_shards=2))


def test_one_cell_twice_is_warned_of(caplog):
    tf.get_logger().propagate = True
    try:
        rnn_cell.MultiRNNCell([rnn_cell.GRUCell(4)] * 2)
    finally:
        tf.get_logger().propagate = False
    assert "are the same object and will share weights" in caplog.text


# --- details


def test_state_tuple_tells_its_dtype():
    state = rnn_cell.LSTMCell(2).zero_state(3, tf.float64)
    assert state.dtype == tf.float64
    with pytest.raises(TypeError, match="Inconsistent internal state"):
        _ = rnn_cell.LSTMStateTuple(tf.ones(1), tf.ones(1, tf.float64)).dtype
    assert [part.shape for part in tf.nest.flatten(state)] == [(3, 2), (3, 2)]


def test_copies_of_cells_share_nothing_before_their_first_call():
    with tf.Graph().as_default():
        own = Own(name="own")
        copies = [copy.deepcopy(own) for _ in range(2)]
        cell = rnn_cell.MultiRNNCell([*copies, copy.deepcopy(rnn_cell.LSTMCell(3))])
        v1.nn.dynamic_rnn(cell, tf.ones((1, 2, 4)), dtype=tf.float32)
        names = [v.name for v in v1.global_variables()]
    assert names[:2] == [f"rnn/multi_rnn_cell/cell_{place}/own/w:0" for place in range(2)]
    assert [len(c.weights) for c in copies] == [1, 1]
    copy.deepcopy(copies[0])  # after a call it remembers the graph, which is not copied


def test_checkpoint_finds_the_cells(tmp_path):
    cell = rnn_cell.MultiRNNCell([rnn_cell.DropoutWrapper(rnn_cell.LSTMCell(2)), rnn_cell.GRUCell(2)])
    stepped(cell)
    path = tf.train.Checkpoint(cell=cell).save(str(tmp_path / "checkpoint"))
    names = [name.split("/.ATTR")[0] for name, _ in tf.train.list_variables(path)]
    assert "cell/cell-0/cell/kernel" in names
    assert "cell/cell-1/gates.Skernel" in names


def test_state_of_unknown_batch_size_follows_the_inputs():
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, None, 4])
        cell = rnn_cell.MultiRNNCell([rnn_cell.GRUCell(3), rnn_cell.LSTMCell(2)])
        state = cell.zero_state(tf.shape(x)[0], tf.float32)
        assert [part.shape.as_list() for part in tf.nest.flatten(state)] == [[None, 3], [None, 2], [None, 2]]
        outputs, _ = v1.nn.dynamic_rnn(cell, x, initial_state=state)
        session.run(v1.global_variables_initializer())
        assert session.run(outputs, {x: np.ones((7, 2, 4))}).shape == (7, 2, 2)


# --- Keras style


def test_keras_style_is_a_property_of_construction():
    with experimental.keras_style_scope():
        layer, cell = layers.Dense(2, name="d"), rnn_cell.GRUCell(3, name="g")
    plain = layers.Dense(2, name="d")
    with VariableStore().scope() as store:
        for one in (layer, plain):
            one(X[:, 0])
        v1.nn.dynamic_rnn(cell, X, dtype=tf.float32)
    assert layer.kernel is not plain.kernel
    assert len(store) == 8
    assert [v.name for v in store.variables[:2]] == ["d/kernel:0", "d/bias:0"]


@pytest.mark.parametrize("arguments", [{"_scope": "s"}, {"_reuse": True}])
def test_keras_style_refuses_scopes_and_reuse(arguments):
    with experimental.keras_style_scope():
        with pytest.raises(InputError, match="argument not allowed when keras style layers are enabled"):
            layers.Dense(2, **arguments)
        layer = layers.Dense(2)
    with pytest.raises(InputError, match="scope argument not allowed"):
        layer(X[:, 0], scope="s")
    layers.Dense(2, **arguments)


def test_keras_style_layers_kept_by_a_keras_layer_are_trained_with_it():
    class Keeper(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            with experimental.keras_style_scope():
                decay = tf.nn.l2_loss
                self.parts = [layers.Dense(4, name="d", kernel_regularizer=decay) for _ in range(2)]
                self.rnn = rnn_cell.LSTMCell(3)

        @tf1.track_tf1_style_variables
        def call(self, x):
            for part in self.parts:
                x = part(x)
            return v1.nn.dynamic_rnn(self.rnn, x, dtype=tf.float32)[0]

    keeper = Keeper()
    keeper(X)
    keeper(X)
    names = [v.name for v in keeper.weights]
    expected = ["d/kernel:0", "d/bias:0", "d_1/kernel:0", "d_1/bias:0"]
    assert names[:4] == [f"{keeper.name}/{name}" for name in expected]  # Keras enters a name scope of its own
    assert len(names) == len(set(names)) == 6
    assert len(keeper.losses) == 2


def test_set_keras_style_holds_for_good():
    code = (
        "from lockstep import tf1; tf1.enable()\n"
        "import tensorflow as tf\n"
        "tf.compat.v1.layers.experimental.set_keras_style()\n"
        "with tf.compat.v1.layers.experimental.keras_style_scope(): pass\n"
        "first, second = (tf.compat.v1.layers.Dense(2, name='d') for _ in range(2))\n"
        "first(tf.ones((1, 2))), second(tf.ones((1, 2)))\n"
        "print(first.kernel is second.kernel, first._unscoped)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False True", done.stderr[-2000:]
