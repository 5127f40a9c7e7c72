"""The model_fn of an Estimator as an original: built as an Estimator builds it, trained as its train_op trains."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lockstep.check.steps import trajectory
from lockstep.check.steps.numbers import state
from lockstep.cli import session
from lockstep.common.errors import InputError, SubjectError, UnavailableEnvironmentError
from lockstep.compare.align import align
from lockstep.compare.tolerance import FixedTolerance
from lockstep.environments import EnvironmentSpec, provide
from lockstep.frameworks.tensorflow.tf1_graph import TF1Graph
from lockstep.ground.failures import RecordingError
from lockstep.ground.training import OWN_LOSS, state_after
from lockstep.recorder import estimator_stand_in, graph, originals, train_op
from lockstep.recorder.optimizing import GraphOptimizer
from lockstep.recorder.randomness import GraphSeeds
from lockstep.results.model import Verdict
from lockstep.subjects import INITIAL, TRAINING

v1 = tf.compat.v1
EXAMPLES = Path(__file__).parents[2] / "examples"
X = {
    "row": np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3),
    "label": np.array([0, 1, 0, 1, 1, 0, 1, 1], np.int32),
}
estimator_stand_in.install()


def model_fn(features, labels, mode, params):
    w = v1.get_variable("w", [3, 2], regularizer=lambda v: 0.1 * tf.nn.l2_loss(v))
    average = v1.get_variable("average", [2], trainable=False, initializer=v1.zeros_initializer())
    logits = tf.matmul(features["row"], w)
    if mode == v1.estimator.ModeKeys.TRAIN:
        update = v1.assign_add(average, tf.reduce_mean(logits, axis=0))
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
    predictions = {"classes": tf.argmax(logits, 1), "logits": logits}
    if mode == v1.estimator.ModeKeys.PREDICT:
        assert labels is None
        return v1.estimator.EstimatorSpec(mode, predictions=predictions)
    loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if params.get("regularized", True):
        loss += v1.losses.get_regularization_loss()
    if params.get("ema"):
        loss = tf.identity(loss)
    optimizer = v1.train.MomentumOptimizer(params["rate"], 0.9)
    step = v1.train.get_global_step()
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS) if params.get("updates", True) else []):
        if params.get("clip"):
            pairs = [(tf.clip_by_norm(g, 0.01), v) for g, v in optimizer.compute_gradients(loss)]
            train = optimizer.apply_gradients(pairs, step)
        else:
            train = optimizer.minimize(loss, global_step=step)
    if params.get("ema"):
        with tf.control_dependencies([train]):
            train = tf.train.ExponentialMovingAverage(0.9).apply([w])
    return v1.estimator.EstimatorSpec(mode, loss=loss, train_op=train)


def original(function=model_fn, labels=("label",), features="", **params):
    told = {"kind": "estimator", "labels": labels, "params": {"rate": 0.5, **params}, "features": features}
    return originals.adapted(function, told)


def built(training, function=model_fn, inputs=X, **options):
    return graph.build(original(function, **options), inputs, training, GraphSeeds(mode="num_random_ops"))


def names(model):
    return [record.name for record in model.variables]


# ---- what it is


def test_the_step_counter_and_the_slots_are_no_variables_of_the_model():
    assert names(built(training=False)) == names(built(training=True)) == ["w", "average"]


def test_predictions_are_the_outputs_in_both_modes():
    runs = {training: built(training).run({}, X).outputs for training in (False, True)}
    assert runs[True].keys() == runs[False].keys() == {"classes", "logits"}
    assert np.array_equal(runs[True]["logits"], runs[False]["logits"])
    assert "taken there by their names" in built(training=True).notes[0]


def test_a_prediction_that_training_has_not_is_told():
    def only_predicted(features, labels, mode):
        w = v1.get_variable("w", [3, 2])
        logits = tf.matmul(features["row"], w)
        if mode == "infer":
            return v1.estimator.EstimatorSpec(mode, predictions={"scaled": tf.sigmoid(logits, "scaled")})
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        return v1.estimator.EstimatorSpec(mode, loss=loss, train_op=v1.train.AdamOptimizer().minimize(loss))

    with pytest.raises(RecordingError, match=r"the prediction scaled:0 .* give predictions in TRAIN mode too\."):
        built(training=True, function=only_predicted)


@pytest.mark.parametrize("training", [False, True])
def test_only_penalties_that_are_trained_with_are_the_models(training):
    assert [record.regularized for record in built(training).variables] == [True, False]
    assert [record.regularized for record in built(training, regularized=False).variables] == [False, False]


def test_its_loss_is_differentiated_as_it_stands():
    model = built(training=True)
    model.differentiate(OWN_LOSS)
    w = np.arange(6, dtype=np.float32).reshape(3, 2) / 10
    logits = X["row"] @ w
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(softmax[np.arange(8), X["label"]]).mean() + 0.1 * (w**2).sum() / 2
    got = model.run({"w": w}, X, differentiated=True)
    assert got.training_loss == pytest.approx(expected, rel=1e-6)
    slope = X["row"].T @ (softmax - np.eye(2)[X["label"]]) / 8 + 0.1 * w
    assert got.gradients["w"] == pytest.approx(slope, rel=1e-5)


def test_labels_and_features_are_given_as_an_estimator_gives_them():
    seen = []

    def noting(features, labels, mode):
        seen.append((features, labels))
        return model_fn({"row": features} if not isinstance(features, dict) else features, labels, mode, {"rate": 1.0})

    inputs = {**X, "other": X["label"]}
    built(training=True, function=noting, features="row")
    assert seen[0][0].name == "row:0"
    assert seen[0][1].name == "label:0"

    def several(features, labels, mode):
        seen.append((features, labels))
        return model_fn(features, labels and labels["label"], mode, {"rate": 1.0})

    seen.clear()
    built(training=True, function=several, inputs=inputs, labels=("label", "other"))
    assert [list(given) for given in seen[0]] == [["row"], ["label", "other"]]


# ---- what its train_op runs


def test_training_steps_are_those_of_the_train_op():
    model = built(training=True)
    model.differentiate(OWN_LOSS)
    start = {"w": np.ones((3, 2), np.float32), "average": np.zeros(2, np.float32)}
    steps = train_op.train(model, X, start, 3, lambda values: model.run(values, X, differentiated=True))
    w, velocity, average = start["w"], np.zeros((3, 2), np.float32), start["average"]
    for number, step in enumerate(steps, 1):
        average = average + (X["row"] @ w).mean(0)
        velocity = 0.9 * velocity + step.run.gradients["w"]
        w = w - 0.5 * velocity
        assert step.update.step == number
        assert step.values["w"] == pytest.approx(w, rel=1e-5)
        assert step.values["average"] == pytest.approx(average, abs=1e-6)


def test_a_forgotten_update_does_not_run_and_is_named():
    right, wrong = built(training=True), built(training=True, updates=False)
    assert "average" in right.run({}, X).after
    assert right.skipped_updates == ()
    assert "average" not in wrong.run({}, X).after
    assert len(wrong.skipped_updates) == 1
    traces = []
    for updates in (False, True):
        description = {"kind": "estimator", "labels": ["label"], "params": {"rate": 0.5, "updates": updates}}
        traces.append(TF1Graph(model_fn, "fn", description, (True, True)).build(TRAINING, X).run(INITIAL))
    found = state(*traces, align(traces[0].variables, traces[1].variables), FixedTolerance())
    assert found.verdict is Verdict.DIVERGED
    assert "the reference's train_op does not run 1 operation that lie" in found.phrase


def test_shadows_of_moving_averages_belong_to_the_training():
    assert names(built(training=True, ema=True)) == ["w", "average"]


def test_what_a_train_op_changes_besides_its_loss_is_told():
    def with_another(features, labels, mode, params):
        spec = model_fn(features, labels, mode, params)
        if mode != "train":
            return spec
        other = v1.get_variable("other", [2], initializer=v1.ones_initializer())
        second = v1.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_sum(other), var_list=[other])
        return spec._replace(train_op=tf.group(spec.train_op, second))

    for function, verdict in ((with_another, Verdict.DIVERGED), (model_fn, Verdict.EQUIVALENT)):
        model = built(training=True, function=function)
        model.differentiate(OWN_LOSS)
        (step,) = train_op.train(model, X, {}, 1, lambda values, model=model: model.run(values, X, differentiated=True))
        keys = [record.key for record in model.variables]
        candidate = {"w": step.update.variables["w"]}
        found = trajectory.update(step, state_after(step.run), candidate, dict(zip(keys, keys, strict=True)))
        assert found.verdict is verdict
        assert [culprit.reference for culprit in found.culprits] == (["other"] if function is with_another else [])


def made_optimizer(**params):
    build = original(**params)
    return GraphOptimizer(train_op.optimizer_of(lambda: build.anew(X)), {"w": ((2,), np.dtype("float32"))})


def test_its_optimizer_is_tried_by_itself():
    optimizer = made_optimizer()
    update = optimizer.apply({"w": np.ones(2, np.float32)}, {"w": np.array([1, 2], np.float32)})
    assert update.variables["w"] == pytest.approx([0.5, 0.0])
    assert update.slots["w: momentum"] == pytest.approx([1, 2])
    assert optimizer.description["name"] == "MomentumOptimizer"
    assert optimizer.learning_rates([0, 10]) == {0: 0.5, 10: 0.5}
    optimizer.close()


def test_a_train_op_that_clips_is_not_taken_for_its_optimizer():
    with pytest.raises(train_op.NotAloneError, match="changes the gradients"):
        made_optimizer(clip=True)


# ---- what is wrong


def returning(value):
    return lambda features, labels, mode: value


def without_labels(features, mode):
    return model_fn(features, features["label"], mode, {"rate": 1.0})


def with_a_metric(features, labels, mode):
    logits = tf.matmul(features["row"], v1.get_variable("w", [3, 2]))
    return v1.estimator.EstimatorSpec(mode, predictions={"mean": v1.metrics.mean(logits)[0]})


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        (
            returning(None),
            {},
            "model_fn returned nothing in PREDICT mode; it must return a tf.estimator.EstimatorSpec.",
        ),
        (returning({"a": 1}), {}, "model_fn returned a dict in PREDICT mode"),
        (without_labels, {}, None),
        (model_fn, {"labels": ("lable",)}, "no input is called 'lable'; the inputs are row, label."),
        (with_a_metric, {}, "output mean is the value of a streaming metric"),
    ],
)
def test_a_wrong_model_fn_is_told_in_a_sentence(function, options, sentence):
    if sentence is None:
        with pytest.raises(RecordingError, match="model_fn takes no labels, and the configuration names label"):
            built(training=True, function=function)
        return
    with pytest.raises(RecordingError) as raised:
        built(training=False, function=function, **options)
    assert str(raised.value).startswith(sentence)


def test_what_stands_for_tf_estimator_says_what_it_has_not():
    with pytest.raises(AttributeError, match=r"has no tf\.estimator.*no DNNClassifier.*requirements"):
        _ = v1.estimator.DNNClassifier
    with pytest.raises(ValueError, match=r"Missing train_op\."):
        v1.estimator.EstimatorSpec("train", loss=tf.constant(1.0))
    with pytest.raises(TypeError, match="must be a tensor"):
        v1.estimator.EstimatorSpec("infer", predictions={"a": (tf.constant(1.0), tf.constant(1.0))})


# ---- whole checks


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EXAMPLES / "estimator", tmp_path / "estimator"))


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def check(folder, file="lockstep.toml", steps=()):
    report = session.run(folder / file, quiet=True, steps=steps)
    return report, {step.name: step.verdict.value for step in report.steps}


def test_the_example_is_equivalent_in_all_steps_but_the_checkpoint(folder):
    report, verdicts = check(folder)
    assert {verdict for name, verdict in verdicts.items() if name not in ("checkpoint", "metrics")} == {"equivalent"}, (
        report
    )
    trained = next(step for step in report.steps if step.name == "trajectory")
    assert trained.figures["steps"] == 5


def test_a_forgotten_update_is_found(folder):
    edit(
        folder / "legacy_model.py", "with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):", "if 1:"
    )
    report, verdicts = check(folder, steps=("training-random", "gradients", "optimizer"))
    assert verdicts["training-random"] == "diverged"
    assert {culprit.reference for culprit in report.culprits} == {"net/norm/mean", "net/norm/variance"}
    summary = next(step.summary for step in report.steps if step.name == "training-random")
    assert "the reference's train_op does not run 2 operations that lie in UPDATE_OPS" in summary
    assert verdicts["optimizer"] == verdicts["gradients"] == "equivalent"


def test_without_a_loss_of_the_candidate_nothing_is_trained(folder):
    edit(folder / "lockstep.toml", 'loss = "migrated_model.py:loss"\noptimizer = "migrated_model.py:optimizer"\n', "")
    report, verdicts = check(folder)
    assert verdicts["gradients"] == verdicts["trajectory"] == "not asked for"
    assert verdicts["training-random"] == report.verdict.value == "equivalent"
    step = next(step for step in report.steps if step.name == "gradients")
    assert "the reference states its own loss, and the other side has none" in step.summary


def test_a_model_fn_that_fails_is_the_users_failure(folder):
    edit(folder / "legacy_model.py", "training = mode ==", "raise KeyError(mode)\n    training = mode ==")
    with pytest.raises(SubjectError, match=r"the reference legacy_model\.py:model_fn failed while building"):
        check(folder)


def test_labels_that_are_no_inputs_end_the_check(folder):
    edit(folder / "lockstep.toml", '["label"]', '["labels"]')
    with pytest.raises(InputError, match="no input is called 'labels'; the inputs are row, label"):
        check(folder)


LAYERS = """
import tensorflow.compat.v1 as tf

def network(x, training):
    h = tf.layers.dense(x, 8, name="a")
    h = tf.layers.batch_normalization(h, training=training, momentum=0.9, name="bn")
    h = tf.layers.dropout(tf.nn.relu(h), 0.3, training=training)
    return tf.layers.dense(h, 3, name="b", kernel_regularizer=lambda w: 0.01 * tf.nn.l2_loss(w))

def model_fn(features, labels, mode):
    logits = network(features, mode == tf.estimator.ModeKeys.TRAIN)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions=logits)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_mean(losses) + tf.losses.get_regularization_loss()
    update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    opt = tf.train.RMSPropOptimizer(tf.train.exponential_decay(0.01, tf.train.get_global_step(), 10, 0.5))
    train_op = tf.group(opt.minimize(loss, tf.train.get_global_step()), *update_ops)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)
"""
SHIM = """
import keras, tensorflow as tf
from lockstep import tf1
tf1.enable()
from net import network

class Net(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return network(inputs["x"], training)

def loss(outputs, batch):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=batch["y"], logits=outputs))

def optimizer():
    step = tf.compat.v1.train.get_or_create_global_step()
    return tf.compat.v1.train.RMSPropOptimizer(tf.compat.v1.train.exponential_decay(0.01, step, 10, 0.5))
"""
AGAINST_THE_SHIM = """
trajectory = 3
[reference]
runtime = "estimator"
entry = "net.py:model_fn"
labels = ["y"]
features = "x"
[candidate]
runtime = "keras"
entry = "shim.py:Net"
loss = "shim.py:loss"
optimizer = "shim.py:optimizer"
[inputs.x]
shape = [8, 5]
fill = "normal"
[inputs.y]
shape = [8]
dtype = "int32"
high = 3
"""


@pytest.mark.parametrize("added", [True, False])
def test_layers_against_the_shim(tmp_path, added):
    """A penalty that the original collects and never adds is the candidate's alone, as the shim adds it."""
    text = LAYERS if added else LAYERS.replace(" + tf.losses.get_regularization_loss()", "")
    (tmp_path / "net.py").write_text(text)
    (tmp_path / "shim.py").write_text(SHIM)
    (tmp_path / "lockstep.toml").write_text(AGAINST_THE_SHIM)
    report, verdicts = check(tmp_path, steps=() if added else ("inference-fixed",))
    if added:
        assert {verdict for name, verdict in verdicts.items() if name not in ("checkpoint", "metrics")} == {
            "equivalent"
        }, report
    else:
        assert [culprit.cause for culprit in report.culprits] == ["only the candidate regularizes it (loss 0.0186683)"]


@pytest.mark.slow
def test_the_example_in_tensorflow_115(folder):
    try:
        provide(EnvironmentSpec("3.7", ("tensorflow==1.15.5",)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")
    edit(folder / "migrated_model.py", "epsilon=1e-8", "epsilon=1e-5")
    report, verdicts = check(folder, "lockstep-tf115.toml")
    assert report.environments["reference"]["tensorflow"] == "1.15.5"
    wrong = {name for name, verdict in verdicts.items() if verdict == "diverged"}
    assert wrong == {"optimizer", "trajectory"}
    assert any("Adam(epsilon=1e-08) is needed" in culprit.cause for culprit in report.culprits)
