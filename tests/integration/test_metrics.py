"""The step `metrics` in whole checks: tf.metrics against Keras's, an Estimator's against compiled ones, functions."""

import shutil
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests.commands import lockstep as run_lockstep

import lockstep
from lockstep.cli import session
from lockstep.common.errors import InputError, SubjectError, UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide
from lockstep.report.text import as_text
from lockstep.results.model import Verdict

v1 = tf.compat.v1
EXAMPLE = Path(__file__).parents[2] / "examples" / "estimator"
RANDOM = np.random.default_rng(0)
INPUTS = {
    "x": RANDOM.normal(size=(16, 5)).astype(np.float32),
    "y": RANDOM.integers(0, 2, 16).astype(np.float32),
    "weight": np.ones(16, np.float32),
}
STEPS = ("variables-match", "metrics")


def forward(inputs, training):
    return tf.sigmoid(tf.matmul(inputs["x"], v1.get_variable("w", [5, 1])))


class Model(keras.Model):
    def __init__(self):
        super().__init__(name="model")
        self.dense = keras.layers.Dense(1, use_bias=False, activation="sigmoid", name="w")

    def call(self, inputs, training=False):
        return self.dense(inputs["x"])


def compiled():
    model = Model()
    model.compile(metrics=["accuracy"])
    return model


def said(outputs):
    return tf.cast(outputs > 0.5, tf.float32)


LEGACY = {
    "accuracy": lambda outputs, batch: v1.metrics.accuracy(batch["y"][:, None], said(outputs)),
    "auc": lambda outputs, batch: v1.metrics.auc(batch["y"][:, None], outputs),
    "precision": lambda outputs, batch: v1.metrics.precision(batch["y"][:, None], said(outputs)),
    "recall": lambda outputs, batch: v1.metrics.recall(batch["y"][:, None], said(outputs)),
    "error": lambda outputs, batch: v1.metrics.mean_squared_error(
        batch["y"][:, None], outputs, weights=batch["weight"][:, None]
    ),
}


def legacy(outputs, batch):
    return {name: metric(outputs, batch) for name, metric in LEGACY.items()}


class Weighted(keras.metrics.MeanSquaredError):
    def update_state(self, outputs, batch):
        return super().update_state(batch["y"][:, None], outputs, batch["weight"])


class Unweighted(keras.metrics.MeanSquaredError):
    def update_state(self, outputs, batch):
        return super().update_state(batch["y"][:, None], outputs)


class MeanOfMeans:
    def reset(self):
        self.found = []

    def update(self, outputs, batch):
        right = (outputs[:, 0] > 0.5) == (batch["y"] > 0.5)
        self.found.append(float(tf.reduce_mean(tf.cast(right, tf.float32))))

    def compute(self):
        return np.mean(self.found)


class Inclusive(keras.metrics.Mean):
    def update_state(self, outputs, batch):
        return super().update_state((outputs[:, 0] >= 0.5) == (batch["y"] > 0.5))


def migrated():
    return {
        "accuracy": keras.metrics.BinaryAccuracy(),
        "auc": keras.metrics.AUC(),
        "precision": keras.metrics.Precision(),
        "recall": keras.metrics.Recall(),
        "error": Weighted(),
    }


def check(candidate, reference=legacy, build=Model, **options):
    sides = lockstep.tf1_graph(forward), lockstep.keras(build)
    return lockstep.verify(*sides, INPUTS, metrics=(reference, candidate), steps=STEPS, **options)


def step(report):
    return next(one for one in report.steps if one.name == "metrics")


def test_right_metrics_are_equivalent():
    found = step(check(migrated))
    assert found.verdict is Verdict.EQUIVALENT, found.summary
    assert found.figures["accuracy_values_compared"] == 30
    assert found.figures["accuracy_reference"] == pytest.approx(found.figures["accuracy_candidate"])


@pytest.mark.parametrize(
    ("name", "wrong", "cause"),
    [
        ("accuracy", MeanOfMeans, "the candidate reports the mean of the batches' values"),
        ("accuracy", Inclusive, "the reference takes prediction > threshold, the candidate prediction >= threshold"),
        ("error", Unweighted, "the candidate ignores the sample weights weight"),
        ("auc", lambda: keras.metrics.AUC(num_thresholds=20), "the area under the ROC curve with 20 thresholds"),
    ],
)  # fmt: skip
def test_a_planted_mistake_is_named(name, wrong, cause):
    report = check(lambda: {name: wrong()}, lambda outputs, batch: {name: LEGACY[name](outputs, batch)})
    assert report.verdict is Verdict.DIVERGED
    (culprit,) = report.culprits
    assert (culprit.reference, culprit.kind) == (name, "metric")
    assert cause in culprit.cause


def test_a_difference_of_the_models_is_not_told_as_one_of_the_metrics():
    class Wrong(Model):
        def call(self, inputs, training=False):
            return 1.0 - super().call(inputs)

    report = lockstep.verify(
        lockstep.tf1_graph(forward), lockstep.keras(Wrong), INPUTS, metrics=(legacy, migrated),
        steps=("variables-match", "inference-fixed", "metrics"),
    )  # fmt: skip
    assert report.verdict is Verdict.DIVERGED
    assert step(report).verdict is Verdict.EQUIVALENT


def test_who_has_no_metrics_reads_nothing_of_them():
    report = lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(compiled), {"x": INPUTS["x"]})
    assert step(report).verdict is Verdict.NOT_ASKED
    assert step(report).summary == "no metrics were given"
    assert "no metrics" not in as_text(report)


def test_compiled_metrics_without_labels_are_left_out_quietly():
    sides = lockstep.keras(compiled), lockstep.keras(compiled)
    report = lockstep.verify(*sides, {"x": INPUTS["x"]}, steps=STEPS)
    assert (step(report).verdict, step(report).summary) == (
        Verdict.NOT_ASKED,
        "no labels were given for compiled metrics",
    )
    assert "no labels" not in as_text(report)


def test_compiled_metrics_of_two_models_are_compared():
    report = lockstep.verify(
        lockstep.keras(compiled), lockstep.keras(compiled), INPUTS, steps=STEPS, metrics={"weights": "weight"}
    )
    assert step(report).verdict is Verdict.EQUIVALENT, step(report).summary


@pytest.mark.parametrize("given", [(legacy, None), (None, migrated)])
def test_one_side_without_metrics_is_undecided_and_told(given):
    found = step(
        lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(Model), INPUTS, metrics=given, steps=STEPS)
    )
    assert found.verdict is Verdict.UNDECIDED
    assert "has none: name them, [metrics]" in found.summary


def test_what_is_no_metric_is_refused():
    with pytest.raises(InputError, match="must return pairs"):
        check(migrated, reference=lambda outputs, batch: tf.reduce_mean(outputs))
    with pytest.raises(InputError, match="must return metric objects"):
        check(lambda: {"accuracy": 3})
    with pytest.raises(SubjectError, match="computing its metrics"):
        check(lambda: 1 / 0)
    with pytest.raises(InputError, match="there is no such input; there are x, y, weight"):
        lockstep.verify(
            lockstep.tf1_graph(forward), lockstep.keras(Model), INPUTS, steps=STEPS,
            metrics={"reference": legacy, "candidate": migrated, "labels": "label"},
        )  # fmt: skip


def test_functions_of_pytorch_are_given_tensors():
    torch = pytest.importorskip("torch")

    class Port(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Linear(5, 1, bias=False)

        def forward(self, inputs):
            return torch.sigmoid(self.w(inputs["x"]))

    def accuracy(outputs, batch):
        return {"accuracy": ((outputs[:, 0] > 0.5) == (batch["y"] > 0.5)).float().mean()}

    def first(outputs, batch):
        return {"accuracy": legacy(outputs, batch)["accuracy"]}

    sides = lockstep.tf1_graph(forward), lockstep.torch(lambda: Port())
    found = step(lockstep.verify(*sides, INPUTS, metrics=(first, accuracy), steps=STEPS))
    assert found.verdict is Verdict.EQUIVALENT, found.summary


def with_metrics(folder, metrics, configuration="lockstep.toml"):
    """Copies the example of an Estimator, its candidate compiled with metrics."""
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    file = folder / "migrated_model.py"
    build = f'    model = Classifier()\n    model.compile(metrics={{"probabilities": {metrics}, "logits": []}})\n'
    file.write_text(file.read_text().replace("    return Classifier()", f"{build}    return model"))
    return folder / configuration


def test_eval_metric_ops_are_held_against_compiled_metrics(tmp_path):
    report = session.run(with_metrics(tmp_path, '["accuracy"]'), steps=STEPS, quiet=True)
    assert step(report).verdict is Verdict.EQUIVALENT, step(report).summary
    assert "accuracy (probabilities_accuracy)" in step(report).summary


def test_a_wrong_compiled_metric_is_found(tmp_path):
    metrics = '[keras.metrics.SparseTopKCategoricalAccuracy(2, name="accuracy")]'
    report = session.run(with_metrics(tmp_path, metrics), steps=STEPS, quiet=True)
    (culprit,) = report.culprits
    assert "the accuracy of the largest prediction, and the candidate the accuracy of the 2 largest" in culprit.cause


def test_metrics_that_need_the_model_do_not_end_a_check(tmp_path):
    configuration = with_metrics(tmp_path, '["accuracy"]')
    file = tmp_path / "legacy_model.py"
    file.write_text(file.read_text().replace("tf.argmax(logits, 1)", "tf.argmax(net[:, :3], 1)"))
    found = step(session.run(configuration, steps=STEPS, quiet=True))
    assert found.verdict is Verdict.NOT_ASKED
    assert "accuracy is computed from a tensor that is no prediction" in found.summary


def test_a_file_has_no_metrics():
    with pytest.raises(InputError, match="a model in a file is given no labels"):
        lockstep.verify(
            {"saved_model": "exported", "metrics": "legacy.py:metrics"}, lockstep.keras(Model), INPUTS, steps=STEPS
        )


def test_a_configuration_names_functions(tmp_path):
    (tmp_path / "legacy.py").write_text(
        textwrap.dedent("""
            import tensorflow.compat.v1 as tf

            def forward(inputs, training):
                return tf.sigmoid(tf.matmul(inputs["x"], tf.get_variable("w", [5, 1])))

            def metrics(outputs, batch):
                return tf.metrics.mean_absolute_error(batch["y"][:, None], outputs)
        """)
    )
    (tmp_path / "migrated.py").write_text(
        textwrap.dedent("""
            import keras

            def build():
                return keras.Sequential([keras.layers.Dense(1, use_bias=False, activation="sigmoid", name="w")])

            def metrics():
                return keras.metrics.MeanSquaredError(name="mae")
        """)
    )
    (tmp_path / "lockstep.toml").write_text(
        textwrap.dedent("""
            steps = ["variables-match", "metrics"]
            [reference]
            runtime = "tf1"
            entry = "legacy.py:forward"
            [candidate]
            runtime = "keras"
            entry = "migrated.py:build"
            labels = ["y"]
            train_step = "fit"
            [inputs.x]
            shape = [8, 5]
            [inputs.y]
            shape = [8]
            [metrics]
            reference = "legacy.py:metrics"
            candidate = "migrated.py:metrics"
        """)
    )
    done = run_lockstep("check", str(tmp_path))
    assert done.status == 1
    assert "the reference reports the mean absolute error, and the candidate the mean squared error" in " ".join(
        done.stdout.split()
    )


@pytest.mark.slow
def test_tensorflow_115_has_its_metrics_recorded(tmp_path):
    try:
        provide(EnvironmentSpec("3.7", ("tensorflow==1.15.5",)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(str(error))
    right = session.run(with_metrics(tmp_path / "a", '["accuracy"]', "lockstep-tf115.toml"), steps=STEPS, quiet=True)
    assert step(right).verdict is Verdict.EQUIVALENT, step(right).summary
    configuration = with_metrics(tmp_path / "b", "[]", "lockstep-tf115.toml")
    for name, text in (
        ("legacy_model.py", ("\n\ndef metrics(outputs, batch):\n"
         '    said = tf.argmax(outputs["probabilities"], 1)\n'
         '    return {"accuracy": tf.metrics.accuracy(batch["label"], said)}\n')),
        ("migrated_model.py", ("\n\ndef metrics():\n    return MeanOfMeans()\n\n\nclass MeanOfMeans:\n"
         "    def reset(self):\n        self.found = []\n\n    def update(self, outputs, batch):\n"
         '        said = ops.argmax(outputs["probabilities"], 1)\n'
         '        right = ops.equal(said, ops.cast(batch["label"], said.dtype))\n'
         '        self.found.append(float(ops.mean(ops.cast(right, "float32"))))\n\n'
         "    def compute(self):\n        return sum(self.found) / len(self.found)\n")),
    ):  # fmt: skip
        file = configuration.parent / name
        file.write_text(file.read_text() + text)
    names = '\n[metrics]\nreference = "legacy_model.py:metrics"\ncandidate = "migrated_model.py:metrics"\n'
    configuration.write_text(configuration.read_text() + names)
    wrong = session.run(configuration, steps=STEPS, quiet=True)
    (culprit,) = wrong.culprits
    assert "the mean of the batches' values" in culprit.cause
