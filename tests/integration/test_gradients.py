"""Step `gradients`: right migrations are equivalent, and each planted mistake is found here and not before."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.common.errors import InputError, SubjectError
from lockstep.config import make_inputs, read, subject_from_table
from lockstep.ground.fill import cotangent
from lockstep.report.json import from_json
from lockstep.subjects import Ask, Mode, Objective, Setting

v1 = tf.compat.v1
GENERATOR = np.random.default_rng(5)
BATCH = {
    "x": GENERATOR.normal(size=(16, 6)).astype(np.float32),
    "word": GENERATOR.integers(0, 7, size=(16,)).astype(np.int32),
    "label": GENERATOR.integers(0, 4, size=(16,)).astype(np.int32),
}
RENAME = ((r"^(.*)$", r"net/\1"),)


def forward(inputs, training, stop=tf.stop_gradient):
    """A bias in front of a batch norm, an embedding, a branch that no gradient may pass, dropout."""
    table = v1.get_variable("table/embeddings", [7, 6], initializer=v1.glorot_uniform_initializer())
    h = v1.layers.dense(inputs["x"] + tf.gather(table, inputs["word"]), 8, name="first",
                        kernel_regularizer=lambda w: 1e-2 * tf.nn.l2_loss(w))  # fmt: skip
    h = tf.nn.relu(v1.layers.batch_normalization(h, training=training, momentum=0.9, name="norm"))
    if training:
        h = tf.nn.dropout(h, rate=0.25)
    gate = v1.layers.dense(stop(h), 8, tf.sigmoid, name="gate")
    return {"logits": v1.layers.dense(h * gate, 4, name="logits"), "place": tf.argmax(h, axis=1)}


class Net(keras.Model):
    def __init__(self, stop=tf.stop_gradient, trainable_table=True):
        super().__init__(name="net")
        self.table = keras.layers.Embedding(7, 6, embeddings_initializer="glorot_uniform", name="table")
        self.first = keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(5e-3), name="first")
        self.norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name="norm")
        self.drop = keras.layers.Dropout(0.25)
        self.gate = keras.layers.Dense(8, "sigmoid", name="gate")
        self.logits = keras.layers.Dense(4, name="logits")
        self.stop = stop

    def call(self, inputs, training=None):
        h = self.first(inputs["x"] + self.table(inputs["word"]))
        h = self.drop(tf.nn.relu(self.norm(h, training=training)), training=training)
        return {"logits": self.logits(h * self.gate(self.stop(h))), "place": tf.argmax(h, axis=1)}


def mean_loss(outputs, batch):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs["logits"]))


def sum_loss(outputs, batch):
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs["logits"]))


def check(build=Net, reference=forward, **options):
    options.setdefault("loss", mean_loss)
    return lockstep.verify(
        lockstep.tf1_graph(reference), lockstep.keras(build), BATCH, rename=[(r"^(.*)$", r"net/\1")], **options
    )


def only_gradients_diverge(report):
    verdicts = {step.name: str(step.verdict) for step in report.steps}
    assert verdicts.pop("gradients") == "diverged", report
    assert set(verdicts.values()) <= {"equivalent", "not asked for"}, report
    return report.culprits


@pytest.mark.parametrize("options", [{}, {"loss": None, "gradients": True}], ids=["user's loss", "automatic loss"])
def test_a_right_rewrite_is_equivalent(options):
    report = check(**options)
    assert report.verdict == "equivalent", report
    step = next(step for step in report.steps if step.name == "gradients")
    assert step.figures["gradients"] == 9
    assert 0 < step.figures["largest_gradient_error"] < 1e-5 * step.figures["largest_gradient"]


def test_gradients_are_those_of_the_framework_itself():
    """What is compared is what `tf.gradients` gives, regularization included, in the place of the same variable."""
    smooth = lockstep.tf1_graph(functools.partial(forward, stop=tf.identity))
    instance = smooth.build(Mode(True, "num_random_ops"), BATCH)
    trace = instance.run(Setting("initial"), Ask(objective=Objective(mean_loss)))
    assert trace.training_loss > trace.total_loss > 0
    kernel = trace.before["first/kernel"]
    plain = instance.run(Setting("initial"))
    assert plain.training_loss is None
    for name, value in plain.outputs.items():
        np.testing.assert_array_equal(trace.outputs[name], value)
    sides = []
    for step_size in (1e-3, -1e-3):
        shifted = {"first/kernel": kernel + step_size * np.sign(trace.gradients["first/kernel"])}
        setting = Setting("given", shifted)
        sides.append(instance.run(setting, Ask(objective=Objective(mean_loss))).training_loss)
    slope = (sides[0] - sides[1]) / 2e-3
    np.testing.assert_allclose(slope, np.abs(trace.gradients["first/kernel"]).sum(), rtol=0.05)


def test_a_bias_in_front_of_a_normalisation_has_a_gradient_of_rounding_alone():
    instance = lockstep.tf1_graph(forward).build(Mode(True, "num_random_ops"), BATCH)
    trace = instance.run(Setting("initial"), Ask(objective=Objective(mean_loss)))
    bias, all_of_it = trace.gradients["first/bias"], max(np.abs(g).max() for g in trace.gradients.values())
    assert np.abs(bias).max() < 1e-6 * all_of_it


def test_a_lost_stop_gradient_is_found_at_its_step():
    culprits = only_gradients_diverge(check(lambda: Net(stop=tf.identity)))
    assert {c.kind for c in culprits} == {"gradient"}
    # Whatever lies behind the branch has its right gradient, whatever lies in front of it has another one.
    assert {c.reference for c in culprits} == {"table/embeddings", "first/kernel", "norm/gamma", "norm/beta"}
    assert all(c.candidate == f"net/{c.reference}" and "stop_gradient" in c.cause for c in culprits)


def test_a_stop_gradient_too_many_and_one_lost_leave_a_side_without_gradient():
    def stopped(inputs, training):
        """`forward` with the table out of the gradient's reach."""
        with v1.variable_scope(v1.get_variable_scope(), custom_getter=out_of_reach):
            return forward(inputs, training)

    def out_of_reach(getter, name, *arguments, **options):
        variable = getter(name, *arguments, **options)
        return tf.stop_gradient(variable) if name.startswith("table") else variable

    class Stopped(Net):
        def call(self, inputs, training=None):
            h = self.first(tf.stop_gradient(inputs["x"] + self.table(inputs["word"])))
            h = self.drop(tf.nn.relu(self.norm(h, training=training)), training=training)
            return {"logits": self.logits(h * self.gate(self.stop(h))), "place": tf.argmax(h, axis=1)}

    culprits = only_gradients_diverge(check(Stopped))
    assert [c.reference for c in culprits] == ["table/embeddings"]
    assert "the candidate's loss does not depend on it" in culprits[0].cause
    culprits = only_gradients_diverge(check(reference=stopped))
    assert [c.reference for c in culprits] == ["table/embeddings"]
    assert "a stop_gradient is lost" in culprits[0].cause


def test_a_loss_averaged_for_summed_is_told_by_its_size():
    (culprit,) = only_gradients_diverge(check(loss=(sum_loss, mean_loss)))
    assert (culprit.kind, culprit.operations) == ("operation", (("Sum",), ("Mean",)))
    assert "the size of the batch (16): the reference sums the loss" in culprit.cause
    assert culprit.source.endswith(f"test_gradients.py:{mean_loss.__code__.co_firstlineno + 1}")
    (back,) = only_gradients_diverge(check(loss=(mean_loss, sum_loss)))
    assert "the reference averages the loss, the candidate sums it" in back.cause


def test_what_is_wrong_in_a_loss_is_named_there_and_the_gradients_follow():
    def smoothed(by):
        def loss(outputs, batch):
            labels = (1.0 - by) * tf.one_hot(batch["label"], 4) + by / 4
            return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, outputs["logits"]))

        return loss

    (culprit,) = only_gradients_diverge(check(loss=(smoothed(0.1), smoothed(0.2))))
    assert culprit.kind == "operation"
    assert culprit.consequences > 0
    assert f"test_gradients.py:{smoothed.__code__.co_firstlineno + 2}" in culprit.source


def test_gradients_that_are_not_finite_prove_nothing():
    def infinite(outputs, batch):
        return mean_loss(outputs, batch) / 0.0

    report = check(loss=infinite)
    assert next(step for step in report.steps if step.name == "gradients").verdict == "undecided"


def test_gradients_are_asked_for_unless_they_are_declined():
    for options, verdict in (({"loss": None}, "equivalent"), ({"gradients": False}, "not asked for")):
        told = [(step.name, str(step.verdict)) for step in check(**options).steps[-4:-1]]
        assert told == [("gradients", verdict), ("optimizer", "not asked for"), ("trajectory", "not asked for")]


@pytest.mark.parametrize(
    ("loss", "error", "said"),
    [
        ((mean_loss, None), InputError, "the reference has a loss and the candidate has none"),
        ("mean", InputError, r"loss must be a function loss\(outputs, batch\)"),
        (lambda outputs, batch: outputs["logits"], InputError, "it must be a floating scalar"),
        (lambda outputs, batch: outputs["probabilities"], SubjectError, "KeyError"),
    ],
)
def test_a_loss_that_cannot_be_used_is_said(loss, error, said):
    with pytest.raises(error, match=said):
        check(loss=loss)


def test_cotangents_differ_by_output_and_have_unit_length():
    a, b = cotangent("logits", (50, 40), np.float32), cotangent("scores", (50, 40), np.float32)
    assert a.dtype == np.float32
    assert abs(float(np.sum(a * b))) < 0.1
    assert np.sum(a.astype(np.float64) ** 2) == pytest.approx(1.0, rel=0.05)


LEGACY = """
import tensorflow.compat.v1 as tf

def forward(inputs, training):
    return {"y": tf.layers.dense(inputs["x"], 3, name="dense")}
"""
KERAS = """
import keras

class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, name="dense")
    def call(self, inputs):
        return {"y": self.dense(inputs["x"])}

def build():
    return Model()
"""
LOSSES = """
import tensorflow as tf

def loss(outputs, batch):
    return tf.reduce_mean(tf.square(outputs["y"])) + tf.reduce_mean(batch["x"])

def twice(outputs, batch):
    return 2.0 * loss(outputs, batch)
"""
CONFIGURATION = """
loss = "losses.py:loss"
[reference]
runtime = "tf1"
entry = "legacy.py:forward"
[candidate]
runtime = "keras"
entry = "migrated.py:build"
[inputs.x]
shape = [5, 4]
[variables]
rename = [["^", "model/"]]
"""


@pytest.fixture
def folder(tmp_path):
    files = {"legacy.py": LEGACY, "migrated.py": KERAS, "losses.py": LOSSES, "lockstep.toml": CONFIGURATION}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_configuration_names_a_loss_for_both_sides_or_for_one(folder):
    from lockstep.cli import session

    report = session.run(folder)
    assert {step.name: str(step.verdict) for step in report.steps}["gradients"] == "equivalent"
    toml = folder / "lockstep.toml"
    toml.write_text(toml.read_text().replace("[candidate]", '[candidate]\nloss = "losses.py:twice"'))
    assert "2 times the reference's" in only_gradients_diverge(session.run(folder))[0].cause


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"losses.py:loss"', '"losses:loss"', r'loss is "losses:loss"; it must look like "model.py:loss"'),
        ('"losses.py:loss"', '"loses.py:loss"', r"no file .*loses.py; did you mean 'losses.py'"),
        ('"losses.py:loss"', '"losses.py:lose"', r"has no function 'lose'; did you mean 'loss'"),
        ('"losses.py:loss"', '"../losses.py:loss"', "leads out of the folder"),
        ('loss = "losses.py:loss"', "gradients = 1", "gradients is 1; it must be true or false"),
    ],
)
def test_a_wrong_loss_in_the_configuration_is_said(folder, old, new, said):
    from lockstep.cli import session

    toml = folder / "lockstep.toml"
    toml.write_text(toml.read_text().replace(old, new))
    with pytest.raises(InputError, match=said):
        session.run(folder)


def test_a_recording_holds_the_gradients_that_were_taken(folder, tmp_path):
    import sys
    from pathlib import Path

    from lockstep.elsewhere.isolated import IsolatedSubject
    from lockstep.environments import EnvironmentSpec
    from lockstep.subjects import Wanted

    configuration = read(folder)
    inputs = make_inputs(configuration)
    spec = EnvironmentSpec(interpreter=Path(sys.executable))
    subject = IsolatedSubject(folder, "legacy.py:forward", spec, loss="losses.py:loss")
    subject.record(inputs, tmp_path / "trace", Wanted(gradients=True))
    loaded = lockstep.load(tmp_path / "trace")
    candidate = subject_from_table(configuration.candidate, folder, "candidate")
    losses = {}
    exec((folder / "losses.py").read_text(), losses)
    report = lockstep.verify(loaded, candidate, inputs, rename=configuration.rename, loss=(None, losses["loss"]))
    assert report.verdict == "equivalent", report
    report = lockstep.verify(loaded, candidate, inputs, rename=configuration.rename, loss=(None, losses["twice"]))
    assert "2 times the reference's" in only_gradients_diverge(report)[0].cause
    with pytest.raises(InputError, match="the reference has a loss and the candidate has none"):
        lockstep.verify(loaded, candidate, inputs, rename=configuration.rename)
    assert loaded.verify().tensors > 0


def test_traces_of_both_sides_are_compared_with_what_they_hold_of_training(folder, tmp_path):
    from click.testing import CliRunner

    from lockstep.cli import main

    (folder / "optimizers.py").write_text(
        "import keras\n"
        "import tensorflow as tf\n\n"
        "def legacy():\n    return tf.compat.v1.train.AdagradOptimizer(0.1)\n\n"
        "def migrated():\n    return keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.5)\n"
    )
    toml = folder / "lockstep.toml"
    text = toml.read_text().replace("[candidate]", 'optimizer = "optimizers.py:legacy"\n[candidate]')
    toml.write_text(text.replace("[inputs.x]", 'optimizer = "optimizers.py:migrated"\n[inputs.x]'))
    a, b = tmp_path / "a", tmp_path / "b"

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    recorded = run("record", toml, "--to", a)
    assert recorded.exit_code == 0, recorded.output
    assert run("record", toml, "--side", "candidate", "--reference", a, "--to", b).exit_code == 0
    compared = run("compare", a, b, "--config", toml, "--json", "-")
    report = from_json(compared.stdout)
    verdicts = {step.name: str(step.verdict) for step in report.steps}
    assert verdicts["gradients"] == "equivalent"
    assert verdicts["optimizer"] == "diverged"
    assert "Adagrad(initial_accumulator_value=0.1) is needed (the candidate has 0.5)" in report.culprits[0].cause
    assert verdicts["trajectory"] == "not asked for"
    assert compared.exit_code == 1
