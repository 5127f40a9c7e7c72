"""Step `trajectory`: right migrations train alike, step by step; what differs is told with the step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep

v1 = tf.compat.v1
train = v1.train
GENERATOR = np.random.default_rng(6)
BATCH = {
    "x": GENERATOR.normal(size=(16, 6)).astype(np.float32),
    "label": GENERATOR.integers(0, 4, size=(16,)).astype(np.int32),
}


def forward(inputs, training):
    h = v1.layers.dense(inputs["x"], 8, name="first", kernel_regularizer=lambda w: 1e-2 * tf.nn.l2_loss(w))
    h = tf.nn.relu(v1.layers.batch_normalization(h, training=training, momentum=0.9, name="norm"))
    if training:
        h = tf.nn.dropout(h, rate=0.25)
    return v1.layers.dense(h, 4, name="logits")


class Net(keras.Model):
    """With `late` the logits are scaled while the moving variance is so far from its start: only time brings it out."""

    def __init__(self, late=False, momentum=0.9):
        super().__init__(name="net")
        self.first = keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(5e-3), name="first")
        self.norm = keras.layers.BatchNormalization(momentum=momentum, epsilon=1e-3, name="norm")
        self.drop = keras.layers.Dropout(0.25)
        self.logits = keras.layers.Dense(4, name="logits")
        self.late = late

    def call(self, inputs, training=None):
        h = self.first(inputs["x"])
        h = self.drop(tf.nn.relu(self.norm(h, training=training)), training=training)
        grown = 1.0 - tf.reduce_mean(tf.convert_to_tensor(self.norm.moving_variance))
        logits = self.logits(h)
        if self.late and training:
            moved = tf.abs(tf.abs(grown) - 0.075) < 0.025
            logits = tf.where(moved, 1.01 * logits, logits)
        return logits


def loss(outputs, batch):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs))


def momentum():
    return train.MomentumOptimizer(0.1, 0.9)


def check(build=Net, optimizers=(momentum, lambda: keras.optimizers.SGD(0.1, momentum=0.9)), **options):
    return lockstep.verify(
        lockstep.tf1_graph(forward), lockstep.keras(build), BATCH, rename=[(r"^(.*)$", r"net/\1")],
        loss=loss, optimizers=optimizers, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def right():
    return check()


def test_twenty_steps_from_the_references_state_agree(right):
    assert right.verdict == "equivalent", right
    assert [step.name for step in right.steps[-4:]] == ["gradients", "optimizer", "trajectory", "metrics"]
    step = right.steps[-2]
    assert step.figures["steps"] == 20
    assert "20 steps, each from the reference's state, agree" in step.summary


def test_the_drift_is_told_next_to_the_references_own(right):
    figures = right.steps[-2].figures
    losses, drift, own = (figures[name] for name in ("reference_losses", "drift", "own_drift"))
    assert len(losses) == len(drift) == len(own) == 20
    assert losses[-1] < 0.8 * losses[0]
    np.testing.assert_allclose(losses, figures["candidate_losses"], rtol=1e-4)
    assert 0 < own[0] < 1e-6
    assert max(drift) < 1e-4
    from lockstep.report.json import from_json, to_json

    assert list(from_json(to_json(right)).steps[-2].figures["drift"]) == drift


def test_what_only_time_brings_out_is_found_at_its_step():
    report = check(lambda: Net(late=True), trajectory=8)
    diverged = [step for step in report.steps if step.verdict == "diverged"]
    assert [step.name for step in diverged] == ["trajectory"], report
    assert diverged[0].figures["first_step_that_differs"] == 3
    assert diverged[0].summary.startswith("step 3: ")
    assert {c.kind for c in report.culprits} <= {"gradient", "loss"}


def test_a_wrong_optimizer_is_told_by_its_own_step_first():
    report = check(optimizers=(momentum, lambda: keras.optimizers.SGD(0.1, momentum=0.99)), trajectory=4)
    diverged = [step for step in report.steps if step.verdict == "diverged"]
    assert [step.name for step in diverged] == ["optimizer", "trajectory"]
    # Momentum needs a second step to show.
    assert diverged[1].figures["first_step_that_differs"] == 2
    assert "SGD(momentum=0.9) is needed" in report.culprits[0].cause
    # Its updates in the training steps are a consequence.
    assert {culprit.kind for culprit in report.culprits} <= {"optimizer", "update"}
    assert "at step 2" not in report.culprits[-1].cause


def test_moving_averages_that_never_move_are_told_by_the_step_of_the_forward_pass():
    report = check(lambda: Net(momentum=1.0), optimizers=None)
    assert [step.name for step in report.steps if step.verdict == "diverged"] == ["training-random"]
    assert {step.name: str(step.verdict) for step in report.steps}["gradients"] == "equivalent"
    still = {c.reference for c in report.culprits if c.cause == "the candidate never changes it"}
    assert still == {"norm/moving_mean", "norm/moving_variance"}
    assert {c.kind for c in report.culprits} == {"state"}


def test_training_steps_need_a_loss_and_optimizers():
    def verdicts(report):
        return {step.name: str(step.verdict) for step in report.steps}

    report = lockstep.verify(
        lockstep.tf1_graph(forward), lockstep.keras(Net), BATCH, rename=[(r"^(.*)$", r"net/\1")], loss=loss
    )
    assert verdicts(report)["trajectory"] == "not asked for"
    assert report.steps[-2].summary == "training steps need a loss and the optimizers of both sides"
    assert verdicts(check(trajectory=0))["trajectory"] == "not asked for"


@pytest.mark.parametrize("made_by_others", [False, True])
def test_a_step_counter_that_the_model_reads_goes_along(made_by_others):
    """Also where other code of the process made one: in eager mode TensorFlow has one for all, in its default graph."""
    others = v1.get_default_graph().get_collection_ref(v1.GraphKeys.GLOBAL_STEP)
    others[:] = [tf.Variable(7, dtype=tf.int64, trainable=False)] if made_by_others else []
    before = list(others)
    try:
        goes_along()
        assert [step is kept for step, kept in zip(others, before, strict=True)] == [True] * len(before)
    finally:
        others.clear()


def goes_along():
    def counting(inputs, training):
        rate = tf.cast(train.get_or_create_global_step(), tf.float32)
        return v1.layers.dense(inputs["x"], 4, name="dense") * (1.0 + 0.1 * rate)

    def taken(outputs, batch):
        return tf.reduce_mean(tf.square(outputs))

    class Layer(keras.layers.Layer):
        @lockstep.tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return counting(inputs, training)

    report = lockstep.verify(
        lockstep.tf1_graph(counting), lockstep.keras(Layer), {"x": BATCH["x"]}, loss=taken, trajectory=3,
        optimizers=(lambda: train.GradientDescentOptimizer(1e-3), lambda: keras.optimizers.SGD(1e-3)),
    )  # fmt: skip
    assert report.verdict == "equivalent", report
    losses = report.steps[-2].figures["reference_losses"]
    # The descent takes off next to nothing; the counter multiplies the outputs by 1.1, then by 1.2 / 1.1.
    assert losses[1] / losses[0] == pytest.approx(1.1**2, rel=0.02)
    assert losses[2] / losses[0] == pytest.approx(1.2**2, rel=0.02)
