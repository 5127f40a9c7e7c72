"""What every subject promises, whatever it is; and a broken one for each promise, which the suite must catch."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lockstep import keras as keras_subject
from lockstep import keras2 as keras2_subject
from lockstep import tf1_graph
from lockstep import torch as torch_subject
from lockstep.common.errors import InputError
from lockstep.config import subject_from_table
from lockstep.elsewhere.isolated import IsolatedSubject
from lockstep.elsewhere.isolated_keras import IsolatedKeras
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.environments import EnvironmentSpec
from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
from lockstep.ground.structure import same_bits
from lockstep.ground.training import OWN_LOSS
from lockstep.program.evaluating import evaluate
from lockstep.subjects import INITIAL, NOTHING_MORE, Ask, Execution, Instance, Mode, Objective, Setting, Subject
from lockstep.subjects.variable_parts import PartRule, in_parts

v1 = tf.compat.v1
INFERENCE = Mode(training=False, randomness="num_random_ops")
X = {"x": np.arange(-6, 6, dtype=np.float32).reshape(4, 3) / 8}  # eighths, whose products and sums are exact
HERE = EnvironmentSpec(interpreter=Path(sys.executable))

LEGACY = """
import tensorflow.compat.v1 as tf

def forward(inputs, training):
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [3, 4])
        b = tf.get_variable("b", [4], initializer=tf.zeros_initializer())
    return {"y": tf.nn.relu(tf.matmul(inputs["x"], w) + b)}
"""

MIGRATED = """
import keras

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(4, "relu", name="dense")

    def call(self, inputs):
        return {"y": self.dense(inputs["x"])}

def build():
    return Net()
"""

MODEL_FN = """
import tensorflow.compat.v1 as tf

def model_fn(features, labels, mode, params):
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [3, params["units"]])
        b = tf.get_variable("b", [params["units"]], initializer=tf.zeros_initializer())
    y = tf.nn.relu(tf.matmul(features["x"], w) + b)
    loss = tf.reduce_mean(y)
    train_op = tf.train.AdamOptimizer().minimize(loss, tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, predictions={"y": y}, loss=loss, train_op=train_op)
"""

TRAIN = """
import tensorflow.compat.v1 as tf

x = tf.placeholder(tf.float32, [None, 3], name="x")
w = tf.get_variable("w", [3, 4])
b = tf.get_variable("b", [4], initializer=tf.zeros_initializer())
y = tf.nn.relu(tf.matmul(x, w) + b, name="y")
loss = tf.reduce_mean(y, name="loss")
train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="step")
tf.Session().run(train_op, {x: [[1, 2, 3]]})
"""


OF_KERAS_2 = """
import tensorflow as tf
from tensorflow.python import keras

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        {made}
        self.dense = keras.layers.Dense(4, "relu", name="dense")

    def call(self, x):
        return dict(y=self.dense(x))

def build():
    return Net()
"""


def sgd():
    return tf.compat.v1.train.GradientDescentOptimizer(0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("subjects")
    (place / "legacy.py").write_text(LEGACY)
    (place / "migrated.py").write_text(MIGRATED)
    (place / "ported.py").write_text(PORTED)
    for way in (False, True):
        made = "with_numbers = tf.ones([]).numpy()" if way else ""
        (place / f"keras2_{way}.py").write_text(OF_KERAS_2.format(made=made))
    (place / "estimator.py").write_text(MODEL_FN)
    (place / "train.py").write_text(TRAIN)
    return place


def of_file(folder, name, function):
    namespace = {}
    exec((folder / name).read_text(), namespace)
    return namespace[function]


def an_estimator(folder, **more):
    table = {"runtime": "estimator", "entry": "estimator.py:model_fn", "params": {"units": 4}, **more}
    return subject_from_table(table, folder, "reference")


def a_script(folder, **more):
    table = {"runtime": "script", "entry": "train.py", "feeds": {"x": "x"}, "fetches": {"y": "y"}, **more}
    return subject_from_table({**table, "loss": "loss:0", "train_op": "step"}, folder, "reference")


def isolated(folder):
    return IsolatedSubject(folder, "legacy.py:forward", HERE)


def recorded(folder):
    target = folder / "trace"
    if not target.exists():
        isolated(folder).record(X, target)
    return RecordedSubject(target)


PORTED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(3, 4)

    def forward(self, x):
        return {"y": torch.relu(self.dense(x))}

def build():
    return Net()
"""


def torch_sgd(parameters):
    import torch

    return torch.optim.SGD(parameters, 0.1)


def module(folder):
    pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")
    return torch_subject(of_file(folder, "ported.py", "build"))


def of_files(folder, kind):
    """The legacy model as a file of some kind, as a subject."""
    if not (folder / "model.pb").exists():
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 3], name="x")
            outputs = of_file(folder, "legacy.py", "forward")({"x": x}, False)
            session.run(v1.global_variables_initializer())
            v1.saved_model.simple_save(session, str(folder / "saved"), {"x": x}, outputs)
            v1.train.Saver().save(session, str(folder / "model.ckpt"))
            frozen = v1.graph_util.convert_variables_to_constants(
                session, session.graph.as_graph_def(), [outputs["y"].op.name]
            )
            (folder / "model.pb").write_bytes(frozen.SerializeToString())
            (folder / "output.txt").write_text(outputs["y"].name)
        x = keras.Input((3,), name="x")
        keras.Model(x, {"y": keras.layers.Dense(4, "relu", name="dense")(x)}).save(folder / "model.keras")
    path = {"saved_model": "saved", "frozen_graph": "model.pb", "meta_graph": "model.ckpt", "keras_file": "model.keras"}
    named = {"outputs": {"y": (folder / "output.txt").read_text()}} if kind in ("frozen_graph", "meta_graph") else {}
    return subject_from_table({kind: path[kind], **named}, folder, "reference")


KINDS = {
    "a graph": lambda folder: tf1_graph(of_file(folder, "legacy.py", "forward")),
    "a Keras model": lambda folder: keras_subject(of_file(folder, "migrated.py", "build")),
    "a Keras model in parts": lambda folder: in_parts(
        keras_subject(of_file(folder, "migrated.py", "build")), (PartRule("kernel$", 1, (1, 3)),)
    ),
    "a graph in parts": lambda folder: in_parts(
        tf1_graph(of_file(folder, "legacy.py", "forward")), (PartRule("/w$", 1, (1, 3)),)
    ),
    "a graph in an environment of its own": isolated,
    "a Keras 2 model": lambda folder: keras2_subject(of_file(folder, "keras2_False.py", "build")),
    "a Keras 2 model made eagerly": lambda folder: keras2_subject(of_file(folder, "keras2_True.py", "build")),
    "a Keras 2 model in an environment of its own": lambda folder: IsolatedSubject(
        folder, "keras2_False.py:build", HERE, runtime="keras2"
    ),
    "an Estimator": an_estimator,
    "an Estimator in an environment of its own": lambda folder: an_estimator(folder, interpreter=sys.executable),
    "a script": a_script,
    "a script in an environment of its own": lambda folder: a_script(folder, interpreter=sys.executable),
    "a Keras model in an environment of its own": lambda folder: IsolatedKeras(folder, "migrated.py:build", HERE),
    "a recording": recorded,
    "a PyTorch module": module,
    "a SavedModel": lambda folder: of_files(folder, "saved_model"),
    "a frozen graph": lambda folder: of_files(folder, "frozen_graph"),
    "a MetaGraph with its checkpoint": lambda folder: of_files(folder, "meta_graph"),
    "a file of Keras": lambda folder: of_files(folder, "keras_file"),
}


@pytest.fixture(scope="module", params=KINDS)
def subject(request, folder):
    made = KINDS[request.param](folder)
    yield made
    made.end()


# ---- the promises


def is_declared(subject):
    assert isinstance(subject, Subject)
    instance = subject.build(INFERENCE, X)
    assert isinstance(instance, Instance)
    assert all(isinstance(text, str) for item in subject.environment().items() for text in item)
    assert subject.label
    instance.close()


def runs_alike_from_its_initial_values(subject):
    first, second = (subject.build(INFERENCE, X).run(INITIAL) for _ in range(2))
    assert first.outputs.keys() == second.outputs.keys() == {"y"}
    assert same_bits(first.outputs["y"], second.outputs["y"])
    assert [record.key for record in first.variables] == list(first.before)
    assert all(same_bits(first.before[key], second.before[key]) for key in first.before)


def runs_from_values_that_are_given_where_it_is_free(subject):
    instance = subject.build(INFERENCE, X)
    trace = instance.run(INITIAL)
    assert tuple(instance.variables) == tuple(trace.variables)
    if not instance.free:
        return
    values = {record.key: np.full(record.shape, 0.25, record.dtype) for record in trace.variables}
    given = instance.run(Setting("given", values))
    assert all(same_bits(given.before[key], values[key]) for key in values)
    assert given.outputs["y"] == pytest.approx(np.maximum(X["x"].sum(1, keepdims=True) * 0.25 + 0.25, 0) * np.ones(4))
    other = instance.run(dataclasses.replace(Setting("given", values), inputs={"x": X["x"] * 0}))
    assert other.outputs["y"] == pytest.approx(0.25 * np.ones((4, 4)))
    assert same_bits(instance.run(Setting("given", values)).outputs["y"], given.outputs["y"])


def is_followed_to_what_it_returns(subject):
    instance = subject.build(INFERENCE, X)
    if instance.followed is None:
        return
    setting: Any = INITIAL
    if instance.free:  # exact values: two frameworks' kernels may add up in another order
        draw = np.random.default_rng(3)
        records = instance.run(INITIAL).variables
        values = {r.key: (draw.integers(-8, 8, r.shape) / 8).astype(r.dtype) for r in records}
        setting = Setting("given", values)
    trace = instance.run(setting)
    assert trace.outputs["y"].any()
    program = instance.followed.program(dict(trace.before))
    ends = evaluate(program, TensorFlowKernels(), double=False).ends
    assert same_bits(ends[program.outputs["y"]], trace.outputs["y"])


def trains_by_its_own_step_where_it_offers_one(subject):
    values = dict(subject.build(INFERENCE, X).run(INITIAL).before)
    if subject.offers.own_optimizer and subject.recording is None:
        training = subject.build(Mode(training=True, randomness="num_random_ops"), X)
        assert training.self_training is not None
        (step,) = training.self_training.train(values, 1, Objective(OWN_LOSS if subject.offers.own_loss else None))
        assert any(not same_bits(step.values[key], values[key]) for key in step.update.variables)


def offers_what_it_can_do(subject):
    instance = subject.build(INFERENCE, X)
    values = dict(instance.run(INITIAL).before)
    optimizer = torch_sgd if "torch" in subject.environment() else sgd
    made = subject.make_optimizer(optimizer, {"w": ((3, 4), "float32")}, {"w": "w"})
    if not subject.offers.optimizer:
        assert made is None
    if subject.offers.training:
        assert made is not None
    if subject.offers.no_training:
        assert not subject.offers.training
        with pytest.raises(InputError, match=subject.offers.no_training):
            subject.build(Mode(training=True, randomness="num_random_ops"), X)
    if not subject.offers.initializers:
        assert not any(np.array_equal(values[key], np.zeros_like(values[key])) for key in values if "kernel" in key)
    if subject.offers.execution:
        switched = instance.run(Setting("given", values), Ask(execution=Execution("graph")))
        assert switched.outputs["y"] == pytest.approx(instance.run(Setting("given", values)).outputs["y"])
    if instance.perturbed is not None:
        moved = instance.perturbed.run_changed(values, X, threads=1)
        assert moved.outputs["y"] == pytest.approx(instance.run(INITIAL).outputs["y"])
    if instance.trained is not None:
        steps, drift = instance.trained.trajectory()
        assert len(steps) == len(drift)
    if instance.stirred is not None:
        instance.stirred.stir(["numpy"])
        instance.stirred.stir(())
    if subject.recording is not None:
        assert subject.graph_here(INFERENCE, X) is None or subject.graph_here(INFERENCE, X).followed is not None


PROMISES = (
    is_declared,
    runs_alike_from_its_initial_values,
    runs_from_values_that_are_given_where_it_is_free,
    is_followed_to_what_it_returns,
    offers_what_it_can_do,
    trains_by_its_own_step_where_it_offers_one,
)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_every_kind_keeps_its_promises(subject, promise):
    promise(subject)


# ---- broken ones


class Broken(Subject):
    """A graph that does one thing wrong."""

    def __init__(self, folder, fault):
        self._right, self._fault, self._runs = KINDS["a Keras model"](folder), fault, 0
        self.label = "" if fault == "no name" else "broken"

    @property
    def offers(self):
        right = self._right.offers
        return dataclasses.replace(right, optimizer=False) if self._fault == "an optimizer, not offered" else right

    def environment(self):
        return {"python": 3} if self._fault == "a version that is no text" else self._right.environment()

    def build(self, mode, inputs, wanted=None):
        self._runs += 1
        return BrokenInstance(self._right.build(mode, inputs), self._fault, self._runs)

    def make_optimizer(self, make, shapes, names):
        return None if self._fault == "an optimizer, only offered" else self._right.make_optimizer(make, shapes, names)


class BrokenInstance(Instance):
    """One instance of it."""

    def __init__(self, right, fault, built):
        self._right, self._fault, self._built = right, fault, built

    @property
    def variables(self):
        return self._right.variables[1:] if self._fault == "a variable that is not listed" else self._right.variables

    @property
    def followed(self):
        return self

    def program(self, values, draws=None, *, inputs=None, objective=None):
        if self._fault == "a program of other values":
            values = {key: value + 1 for key, value in values.items()}
        return self._right.program(values, draws, inputs=inputs, objective=objective)

    def run(self, setting, ask=NOTHING_MORE):
        if self._fault == "no other execution":
            assert not ask.execution.compiler, "it does not run so"
        if self._fault == "other inputs, not looked at":
            setting = dataclasses.replace(setting, inputs=None)
        if self._fault == "values, not looked at" and setting.kind == "given":
            setting = Setting("given", inputs=setting.inputs)
        trace = self._right.run(setting, ask)
        if self._fault == "another build, another result" and self._built > 1:
            return dataclasses.replace(trace, outputs={"y": trace.outputs["y"] + 1})
        return trace


CAUGHT = {
    "no name": is_declared,
    "a version that is no text": is_declared,
    "another build, another result": runs_alike_from_its_initial_values,
    "a variable that is not listed": runs_from_values_that_are_given_where_it_is_free,
    "values, not looked at": runs_from_values_that_are_given_where_it_is_free,
    "other inputs, not looked at": runs_from_values_that_are_given_where_it_is_free,
    "a program of other values": is_followed_to_what_it_returns,
    "an optimizer, only offered": offers_what_it_can_do,
    "an optimizer, not offered": offers_what_it_can_do,
    "no other execution": offers_what_it_can_do,
}


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_broken_one_is_caught(folder, fault):
    with pytest.raises(AssertionError):
        CAUGHT[fault](Broken(folder, fault))


def test_the_broken_one_is_right_but_for_its_fault(folder):
    for promise in PROMISES:
        promise(Broken(folder, "none"))
