"""TF1 constructs within a model: each works, or one sentence names it and says what to write; eager and in a graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1
from lockstep.common.errors import InputError, SubjectError
from lockstep.recorder import graph
from lockstep.recorder.randomness import GraphSeeds
from lockstep.results.model import Verdict

v1 = tf.compat.v1
INPUTS = {"x": np.random.default_rng(5).normal(size=(4, 6)).astype("float32")}


def names(inputs, training):
    x = v1.layers.dense(inputs["x"], 4, name="a")
    assert inputs["x"].name
    assert x.name
    assert x.op.name == x.name.rpartition(":")[0]
    assert x.graph is v1.get_default_graph()
    (kernel,) = [v for v in v1.trainable_variables() if v.op.name.endswith("kernel")]
    return {"y": x + v1.reduce_sum(kernel)}


def dimension_value(inputs, training):
    size = inputs["x"].shape[1].value
    batch, width = (d.value for d in inputs["x"].get_shape())
    assert (size, batch, inputs["x"].shape[1:][0].value) == (width, 4, width)
    return {"y": v1.layers.dense(inputs["x"], size // 2) + v1.zeros([inputs["x"].shape[0], size // 2])}


def gradients(inputs, training):
    w = v1.get_variable("w", [6, 4])
    y = v1.matmul(inputs["x"], w)
    return {"y": y, "g": v1.gradients(v1.reduce_sum(y**2), [w])[0]}


def placeholder_with_default(inputs, training):
    return {"y": v1.layers.dense(inputs["x"], 4) * v1.placeholder_with_default(0.5, [], name="keep")}


def tensor_by_name(inputs, training):
    v1.layers.dense(inputs["x"], 4, v1.nn.relu, name="h")
    return {"y": v1.get_default_graph().get_tensor_by_name("h/Relu:0") * 2}


def assignments(inputs, training):
    count = v1.get_variable("count", [], initializer=v1.zeros_initializer(), trainable=False)
    mean = v1.get_variable("mean", [6], initializer=v1.zeros_initializer(), trainable=False)
    added = v1.assign_add(count, 1.0)
    moved = v1.assign(mean, 0.9 * mean + 0.1 * v1.reduce_mean(inputs["x"], 0))
    with v1.control_dependencies([added, moved]):
        return {"y": v1.identity(v1.layers.dense(inputs["x"], 4))}


def printed(inputs, training):
    shown = v1.Print(inputs["x"], [v1.shape(inputs["x"])], "shape: ", first_n=1)
    return {"y": v1.layers.dense(shown, 4)}


def python_function(inputs, training):
    net = v1.py_func(lambda a: np.tanh(a).astype(np.float32), [inputs["x"]], v1.float32)
    net.set_shape([4, 6])
    return {"y": v1.layers.dense(net, 4)}


def summaries(inputs, training):
    y = v1.layers.dense(inputs["x"], 4)
    v1.summary.scalar("mean", v1.reduce_mean(y))
    v1.summary.histogram("y", y)
    v1.summary.image("x", v1.reshape(inputs["x"], [1, 4, 6, 1]))
    v1.summary.merge_all()
    return {"y": y}


def average_of_variable(inputs, training):
    w = v1.get_variable("w", [6, 4])
    average = v1.train.ExponentialMovingAverage(0.9)
    if not training:
        return {"y": v1.matmul(inputs["x"], w)}
    with v1.control_dependencies([average.apply([w])]):
        return {"y": v1.identity(v1.matmul(inputs["x"], w))}


def average_of_tensor(inputs, training):
    mean = v1.reduce_mean(v1.layers.dense(inputs["x"], 4), 0)
    average = v1.train.ExponentialMovingAverage(0.9)
    with v1.control_dependencies([average.apply([mean])]):
        return {"y": v1.identity(mean)}


def minimize(inputs, training):
    y = v1.layers.dense(inputs["x"], 4, name="dense")
    step = v1.train.get_or_create_global_step()
    v1.train.AdamOptimizer(0.01).minimize(v1.reduce_mean(y**2), global_step=step)
    return {"y": y}


def shim(forward, function):
    class Candidate(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return forward(inputs, bool(training))

    if function:
        Candidate.call = tf.function(Candidate.call, autograph=False)
    return Candidate


def checked(forward, function, **more):
    return lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(shim(forward, function)), INPUTS, **more)


@pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])
@pytest.mark.parametrize(
    "forward",
    [names, dimension_value, placeholder_with_default, assignments, printed, python_function, summaries],
)
@pytest.mark.filterwarnings("ignore:Cannot activate TF2 compatibility:UserWarning")  # tf.summary.scalar in a graph
def test_these_work_everywhere(forward, function):
    report = checked(forward, function)
    assert report.verdict is Verdict.EQUIVALENT, report


@pytest.mark.parametrize("forward", [gradients, tensor_by_name])
def test_these_work_in_a_function_and_eager_code_is_told_so(forward):
    assert checked(forward, function=True).verdict is Verdict.EQUIVALENT
    with pytest.raises(SubjectError, match=r"put @tf\.function\(autograph=False\) above"):
        checked(forward, function=False)


@pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])
def test_the_average_of_a_tensor_is_refused_with_what_to_write(function):
    with pytest.raises(SubjectError, match=r"keep the tensor's average in a variable, average = tf\.get_variable"):
        checked(average_of_tensor, function)


@pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])
def test_minimize_in_a_candidate_is_refused_with_what_to_write(function):
    with pytest.raises(SubjectError, match=r"minimize\(\)"):
        checked(minimize, function)


class Dense(keras.Model):
    def __init__(self):
        super().__init__(name="m")
        self.dense = keras.layers.Dense(4, name="dense")

    def call(self, inputs, training=None):
        return {"y": self.dense(inputs["x"])}


RENAME = [("^dense", "m/dense")]


def test_the_variables_of_an_optimizer_in_the_reference_are_none_of_the_models():
    report = lockstep.verify(lockstep.tf1_graph(minimize), lockstep.keras(Dense), INPUTS, rename=RENAME, gradients=True)
    assert report.verdict is Verdict.EQUIVALENT, report
    model = graph.build(minimize, INPUTS, training=True, seeds=GraphSeeds(mode="constant"))
    names_ = {name: tensor.name for name, tensor in model.inputs.items()}
    outputs = {path: tensor.name for path, tensor in model.outputs.items()}
    again = graph.imported(graph.export(model), names_, outputs, training=True)
    assert [record.name for record in again.variables] == ["dense/kernel", "dense/bias"]
    assert set(again.run({}, INPUTS).outputs) == {"y"}


def test_a_step_counter_that_the_model_reads_is_the_models():
    def forward(inputs, training):
        outputs = minimize(inputs, training)
        return {"y": outputs["y"] * (1.0 + v1.cast(v1.train.get_global_step(), v1.float32))}

    model = graph.build(forward, INPUTS, training=True, seeds=GraphSeeds(mode="constant"))
    assert "global_step" in {record.name for record in model.variables}


def with_slots(inputs, training):
    y = v1.layers.dense(inputs["x"], 4, name="dense")
    # As BERT's optimizer makes its own: by name, and not as slots.
    slot = v1.get_variable("dense/kernel/adam_m", [6, 4], trainable=False, initializer=v1.zeros_initializer())
    return {"y": y + 0.0 * v1.reduce_sum(slot)}


def test_names_may_be_ignored_on_both_sides():
    sides = lockstep.tf1_graph(with_slots), lockstep.keras(Dense)
    assert lockstep.verify(*sides, INPUTS, rename=RENAME).verdict is Verdict.DIVERGED
    report = lockstep.verify(*sides, INPUTS, rename=RENAME, ignore=["adam_[mv]$"])
    assert report.verdict is Verdict.EQUIVALENT, report
    step = {step.name: step for step in report.steps}["variables-match"]
    assert step.summary.endswith("; 1 and 0 ignored")
    assert step.figures["ignored"] == [1, 0]
    assert step.figures["reference_variables"] == 2


def test_what_is_ignored_is_not_filled():
    def reading(inputs, training):
        offset = v1.get_variable("offset", [], trainable=False, initializer=v1.zeros_initializer())
        return {"y": v1.layers.dense(inputs["x"], 4, name="dense") + offset}

    sides = lockstep.tf1_graph(reading), lockstep.keras(Dense)
    report = lockstep.verify(*sides, INPUTS, rename=RENAME, ignore=["^offset$"])
    assert {s.name: s.verdict for s in report.steps}["inference-fixed"] is Verdict.EQUIVALENT, report


@pytest.mark.parametrize("ignore", ["adam", ["("], [3]])
def test_a_wrong_pattern_is_refused(ignore):
    with pytest.raises(InputError, match="ignore"):
        lockstep.verify(lockstep.tf1_graph(with_slots), lockstep.keras(Dense), INPUTS, ignore=ignore)


def named_as_trainable(inputs, training):
    w = v1.get_variable("w", [6, 4])
    return {"y": v1.matmul(inputs["x"], w) + v1.Variable(v1.zeros([4]), "bias")}


def test_a_name_where_trainable_is_expected_is_taken_for_true_and_the_graph_keeps_its_variables():
    model = graph.build(named_as_trainable, INPUTS, training=False, seeds=GraphSeeds(mode="constant"))
    names_ = {name: tensor.name for name, tensor in model.inputs.items()}
    outputs = {path: tensor.name for path, tensor in model.outputs.items()}
    again = graph.imported(graph.export(model), names_, outputs, training=False)
    assert again.variables == model.variables
    assert [(record.name, record.trainable) for record in again.variables] == [("w", True), ("Variable", True)]


def test_in_a_decorated_method_alone_a_raw_variable_is_made_anew_and_told_so():
    report = checked(named_as_trainable, function=False)
    assert {s.name: s.verdict for s in report.steps}["variables-created-once"] is Verdict.DIVERGED
    with pytest.raises(SubjectError, match=r"make variables with tf\.get_variable"):
        checked(named_as_trainable, function=True)


# --- eager tensors outside of TF1 code, and seen by other code, are what they were


def test_only_the_users_code_is_answered_and_only_in_a_decorated_method():
    tf1.enable()
    tensor = tf.constant(1.0)
    assert not hasattr(tensor, "name")
    assert type(tensor.shape) is tf.TensorShape
    assert type(tf.ones([2]).shape[0]) is int

    class Owner(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x):
            first, second = x + 1, x + 2
            with tf.name_scope("inner"):
                third = x + 3
                assert third.name.startswith(f"{tf.get_current_name_scope()}/")
            assert len({first.name, second.name, third.name}) == 3
            assert first.name == first.name
            with pytest.raises(AttributeError, match="has no inputs when eager"):
                _ = first.op.inputs
            return first

    Owner()(np.ones([2], np.float32))
    assert not hasattr(tensor, "op")


def test_disable_takes_all_of_it_back():
    tf1.disable()
    before = tf.TensorShape.__getitem__, v1.summary.image, v1.losses.add_loss
    tf1.enable()
    assert tf.TensorShape.__getitem__ is not before[0]
    tf1.disable()
    assert (tf.TensorShape.__getitem__, v1.summary.image, v1.losses.add_loss) == before
    tf1.enable()


# --- raw variables in whatever a layer holds


def variable(name):
    return v1.Variable(v1.ones([3, 3]), name=name)


class Holder:
    def __init__(self, content=None):
        self.a, self.b = (variable("a"), variable("b")) if content is None else (content, None)
        self.itself = self


class HolderModule(tf.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = variable("a"), [variable("b")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: [variable("a"), variable("b")],
        lambda: {"x": {"a": variable("a")}, "y": {"b": variable("b")}},
        lambda: [{"a": variable("a")}, ({"b": variable("b")},)],
        Holder,
        lambda: {"held": [Holder()]},
        lambda: Holder([HolderModule()]),
        HolderModule,
    ],
)
def test_raw_variables_are_owned_and_collected_at_any_depth(make):
    class Owner(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.held = make()

        @tf1.track_tf1_style_variables
        def call(self, x):
            seen.append(sorted(v.name for v in v1.trainable_variables()))
            return x

    seen = []
    owner = Owner()
    for _ in range(2):
        owner(np.ones([1, 3], np.float32))
    assert sorted(v.name for v in owner.trainable_variables) == ["a:0", "b:0"]
    assert seen == [["a:0", "b:0"]] * 2
    assert not v1.trainable_variables()
