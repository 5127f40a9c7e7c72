"""Losses that TF1 code makes otherwise than by a regularizer: `tf.losses`, `add_loss`, collections filled by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1
from lockstep.common.errors import SubjectError
from lockstep.recorder import graph
from lockstep.recorder.randomness import GraphSeeds
from lockstep.results.model import Verdict

v1 = tf.compat.v1
X = np.ones([4, 3], np.float32)
# The losses of `body` with ones in w: by hand, mean squared error, given to add_loss, regularizer.
LOSSES = [0.03, 9.0, 3.0, 0.3]


def body(x):
    ones = v1.ones_initializer()
    w = v1.get_variable("w", [3, 2], initializer=ones, regularizer=lambda v: 0.1 * tf.nn.l2_loss(v))
    v1.add_to_collection(v1.GraphKeys.REGULARIZATION_LOSSES, 1e-2 * tf.nn.l2_loss(w))
    y = x @ w
    v1.losses.mean_squared_error(tf.zeros_like(y), y)
    v1.losses.add_loss(tf.reduce_mean(tf.abs(y)))
    return y


class Net(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, x):
        return body(x)


class TracedNet(keras.layers.Layer):
    @tf.function(autograph=False)
    @tf1.track_tf1_style_variables
    def call(self, x):
        w = v1.get_variable("w", [3, 2], initializer=v1.ones_initializer())
        v1.add_to_collection(v1.GraphKeys.REGULARIZATION_LOSSES, 1e-2 * tf.nn.l2_loss(w))
        return x @ w


def values(losses):
    return [float(loss) for loss in losses]


def test_in_eager_execution_they_are_those_of_the_last_call():
    layer = Net()
    for factor in (1.0, 1.0, 2.0):
        if layer.built:
            layer.weights[0].assign(factor * np.ones([3, 2]))
        layer(X)
        squared = factor**2
        expected = [0.03 * squared, 9.0 * squared, 3.0 * factor, 0.3 * squared]
        np.testing.assert_allclose(values(layer.losses), expected, rtol=1e-6)


def test_in_a_function_they_are_there_inside_it_and_what_rests_on_variables_outside_too():
    layer = Net()
    function = tf.function(lambda x: (layer(x), layer.losses))
    for factor in (1.0, 2.0):
        if factor != 1.0:
            layer.weights[0].assign(factor * np.ones([3, 2]))
        _, inside = function(X)
        np.testing.assert_allclose(values(inside)[::3], [0.03 * factor**2, 0.3 * factor**2], rtol=1e-6)
        assert len(inside) == 4
        np.testing.assert_allclose(values(layer.losses[::3]), [0.03 * factor**2, 0.3 * factor**2], rtol=1e-6)
    layer(X)
    assert len(layer.losses) == 4, "the losses of the trace have given way to those of the call"


def test_a_call_that_is_a_function_itself_keeps_what_rests_on_variables_with_its_gradient():
    layer = TracedNet()
    for factor in (1.0, 1.0, 3.0):
        if layer.built:
            layer.weights[0].assign(factor * np.ones([3, 2]))
        layer(X)
        with tf.GradientTape() as tape:
            (loss,) = layer.losses
        np.testing.assert_allclose(float(loss), 0.03 * factor**2, rtol=1e-6)
        gradient = tape.gradient(loss, layer.weights[0].value)
        np.testing.assert_allclose(gradient, 0.01 * factor * np.ones([3, 2]), rtol=1e-6)


def test_a_functional_model_has_them_and_fit_trains_with_them():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Net()(inputs))
    assert len(model.losses) == 1, "of the symbolic build nothing is left but the regularizer's"
    for _ in range(2):
        model(X)
        np.testing.assert_allclose(values(model.losses), LOSSES, rtol=1e-6)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = model.fit(X, np.zeros([4, 2], np.float32), epochs=2, verbose=0, shuffle=False)
    np.testing.assert_allclose(history.history["loss"], [9.0 + sum(LOSSES)] * 2, rtol=1e-6)


def test_a_layer_called_twice_in_one_model_has_those_of_both_calls():
    class Outer(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def call(self, x):
            return self.net(x) + self.net(2 * x)

    outer = Outer()
    for _ in range(2):
        outer(X)
        assert len(outer.losses) == 2 * 3 + 1


def test_a_method_called_by_itself_replaces_its_own_losses_alone():
    class Owner(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def encode(self, x):
            v1.losses.add_loss(tf.reduce_sum(x))
            return x

        @tf1.track_tf1_style_variables
        def decode(self, x):
            v1.losses.add_loss(2 * tf.reduce_sum(x))
            return x

    owner = Owner()
    for factor in (1.0, 2.0):
        owner.encode(factor * X)
        owner.decode(factor * X)
        assert values(owner.losses) == [12 * factor, 24 * factor]


def test_a_module_has_them_itself_or_the_layer_around_it_does():
    class Module(tf.Module):
        @tf1.track_tf1_style_variables
        def __call__(self, x):
            return body(x)

    class Outer(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.module = Module()

        @tf1.track_tf1_style_variables
        def call(self, x):
            return self.module(x)

    module = Module()
    for _ in range(2):
        module(X)
        np.testing.assert_allclose(values(tf1.store_of(module).hand_losses.present()), LOSSES[:3], rtol=1e-6)
    outer = Outer()
    for _ in range(2):
        outer(X)
        np.testing.assert_allclose(values(outer.losses), LOSSES, rtol=1e-6)
    assert not tf1.store_of(outer.module).hand_losses.present()


@pytest.mark.parametrize("arguments", [{}, {"weights": 0.5}, {"loss_collection": None}, {"scope": "s"}])
def test_each_loss_function_collects_as_tensorflow_says(arguments):
    functions = [
        name
        for name in dir(v1.losses)
        if name[0].islower()
        and not name.startswith(("get_", "add_", "compute_"))
        and callable(getattr(v1.losses, name))
    ]

    def compute(function):
        y, p = tf.constant([[0.0, 1.0], [1.0, 0.0]]), tf.constant([[0.2, 0.7], [0.6, 0.3]])
        if function.__name__ == "cosine_distance":
            return function(y, p, axis=1, **arguments)
        if function.__name__ == "sparse_softmax_cross_entropy":
            return function(tf.constant([1, 0]), p, **arguments)
        return function(y, p, **arguments)

    class Owner(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x):
            return x, [compute(getattr(v1.losses, name)) for name in functions]

    owner = Owner()
    _, computed = owner(X)
    assert len(functions) >= 9
    expected = [] if arguments == {"loss_collection": None} else values(computed)
    assert values(owner.losses) == expected


def test_outside_of_a_decorated_method_nothing_is_collected_in_eager_execution():
    tf1.enable()
    v1.losses.add_loss(tf.constant(1.0))
    assert not v1.losses.get_losses()


# --- a check of both sides

INPUTS = {"x": np.random.default_rng(5).normal(size=(4, 6)).astype("float32")}


def net(inputs):
    w = v1.get_variable("w", [6, 5], regularizer=lambda v: 0.1 * tf.nn.l2_loss(v))
    return tf.matmul(inputs["x"], w) + v1.get_variable("b", [5], initializer=v1.zeros_initializer()), w


def collecting(factor=1.0, strength=1e-2, squares=True):
    def forward(inputs, training):
        del training
        y, w = net(inputs)
        if strength:
            v1.add_to_collection(v1.GraphKeys.REGULARIZATION_LOSSES, strength * tf.nn.l2_loss(w))
        if squares:
            v1.losses.mean_squared_error(tf.zeros_like(y), factor * y)
        return {"y": y}

    return forward


def returning(*, collected):
    def forward(inputs, training):
        del training
        y, _ = net(inputs)
        error = v1.losses.mean_squared_error(tf.zeros_like(y), y) if collected else tf.reduce_mean(tf.square(y))
        return {"y": y, "loss": error}

    return forward


def shim(forward, base=keras.layers.Layer):
    class Candidate(base):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return forward(inputs, training)

        if base is tf.Module:
            __call__ = call

    return Candidate


def checked(reference, candidate, **more):
    build = candidate if isinstance(candidate, type) else shim(candidate)
    return lockstep.verify(lockstep.tf1_graph(reference), lockstep.keras(build), INPUTS, gradients=True, **more)


class NativeNet(keras.Model):
    kept = True

    def __init__(self):
        super().__init__(name="net")
        self.w = self.add_weight(
            shape=(6, 5), initializer="glorot_uniform", name="w", regularizer=keras.regularizers.L2(0.05)
        )
        self.b = self.add_weight(shape=(5,), initializer="zeros", name="b")

    def call(self, inputs):
        y = keras.ops.matmul(inputs["x"], self.w) + self.b
        if self.kept:
            self.add_loss(keras.ops.mean(keras.ops.square(y)))
            self.add_loss(0.005 * keras.ops.sum(keras.ops.square(self.w)))
        return {"y": y}


@pytest.mark.parametrize("base", [keras.layers.Layer, tf.Module])
def test_the_same_code_is_equivalent(base):
    report = checked(collecting(), shim(collecting(), base))
    assert report.verdict is Verdict.EQUIVALENT, report
    assert "added loss" in {s.name: s for s in report.steps}["inference-random"].summary


def test_a_rewrite_that_gives_them_to_add_loss_is_equivalent_and_one_that_lost_them_is_not():
    rename = [("^(w|b)$", "net/\\1")]
    assert checked(collecting(), NativeNet, rename=rename).verdict is Verdict.EQUIVALENT
    lost = checked(collecting(), type("Lost", (NativeNet,), {"kept": False}), rename=rename)
    assert lost.verdict is Verdict.DIVERGED
    (culprit,) = [c for c in lost.culprits if c.reference == "added losses"]
    assert culprit.kind == "loss"
    assert culprit.candidate is None
    assert "add_loss" in culprit.fix


@pytest.mark.parametrize(
    ("candidate", "named"),
    [
        (collecting(factor=1.01), "added losses"),
        (collecting(strength=2e-2), None),
        (collecting(strength=0), "net/w"),
        (collecting(squares=False), "added losses"),
    ],
)
def test_another_loss_is_diverged(candidate, named):
    report = checked(collecting(), candidate)
    assert report.verdict is Verdict.DIVERGED
    if named == "added losses":
        assert any(c.reference == named for c in report.culprits)


def test_only_the_candidates_loss_is_diverged():
    report = checked(collecting(strength=0, squares=False), collecting())
    assert report.verdict is Verdict.DIVERGED
    assert any(c.kind == "loss" and c.reference is None for c in report.culprits)


def test_a_loss_that_is_returned_too_is_compared_as_an_output_whoever_collects_it():
    assert checked(returning(collected=True), returning(collected=True)).verdict is Verdict.EQUIVALENT
    report = checked(returning(collected=True), returning(collected=False))
    assert report.verdict is Verdict.EQUIVALENT
    assert any("besides returning it" in line for step in report.steps for line in step.details)


def test_a_candidate_that_returns_the_loss_instead_is_told_what_to_do():
    report = checked(collecting(strength=0), returning(collected=False))
    assert report.verdict is Verdict.DIVERGED
    (culprit,) = [c for c in report.culprits if c.reference == "added losses"]
    assert "it returns the loss as output loss" in culprit.cause
    assert "self.add_loss" in culprit.fix


def test_a_loss_of_the_inputs_in_a_function_of_the_models_own_is_refused_with_the_way_out():
    class Candidate(keras.layers.Layer):
        @tf.function(autograph=False)
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return collecting()(inputs, training)

    with pytest.raises(SubjectError, match=r"Take @tf\.function off"):
        checked(collecting(), Candidate)


def test_what_the_users_loss_collects_is_no_loss_of_the_model():
    def loss(outputs, batch):
        return v1.losses.mean_squared_error(batch["x"][:, :5], outputs["y"])

    model = graph.build(collecting(), INPUTS, training=True, seeds=GraphSeeds(mode="constant"))
    model.differentiate(loss)
    names = {name: tensor.name for name, tensor in model.inputs.items()}
    outputs = {path: tensor.name for path, tensor in model.outputs.items()}
    again = graph.imported(graph.export(model), names, outputs, True, model.objective.names())
    values_ = {record.key: np.ones(record.shape, np.float32) for record in model.variables}
    first, second = (m.run(values_, INPUTS, differentiated=True) for m in (model, again))
    assert [record.variable for record in second.losses] == [record.variable for record in first.losses]
    assert second.training_loss == first.training_loss
