"""The four steps on a small model: right, and with each mistake planted that a step is there to find."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1

v1 = tf.compat.v1
BATCH = np.random.default_rng(7).uniform(size=(6, 5)).astype(np.float32)


def l2(weights):
    return 0.01 * tf.nn.l2_loss(weights)


def dense(x, units, scope, regularizer=l2, shape=None, trainable=True, transpose=False):
    with v1.variable_scope(scope):
        weights = v1.get_variable("weights", shape or [x.shape[-1], units], regularizer=regularizer)
        biases = v1.get_variable("biases", [units], initializer=v1.zeros_initializer(), trainable=trainable)
        return tf.matmul(x, weights, transpose_b=transpose) + biases


def moving_average(h):
    average = v1.get_variable("moving_mean", [h.shape[-1]], initializer=v1.zeros_initializer(), trainable=False)
    update = v1.assign(average, 0.9 * average + 0.1 * tf.reduce_mean(h, 0))
    if not tf.executing_eagerly():
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)


def forward(inputs, training, *, mistake=None):
    """A perceptron with dropout, an L2 loss and a moving average; its square kernel may be transposed unseen."""
    x = inputs["x"]
    if mistake == "dropout order" and training:
        x = tf.nn.dropout(x, rate=0.5)
    h = dense(x, 5, "hidden", transpose=mistake == "transposed kernel")
    if mistake == "extra variable":
        v1.get_variable("extra", [3])
    h = tf.nn.relu(h)
    if training and mistake != "dropout order":
        h = tf.nn.dropout(h, rate=0.5)
    if training and mistake != "no state update":
        moving_average(h)
    elif not training or mistake == "no state update":
        v1.get_variable("moving_mean", [5], initializer=v1.zeros_initializer(), trainable=False)
    regularizer = None if mistake == "forgotten regularizer" else l2
    units = 4 if mistake == "wrong shape" else 3
    y = dense(h, units, "logits", regularizer, trainable=mistake != "trainable flag")
    if mistake == "scale":
        y = y * (1 + 1e-4)
    return {"logits": y, "states": (h, tf.shape(y))}


def candidate(mistake=None, base=keras.layers.Layer):
    class Migrated(base):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return forward(inputs, bool(training), mistake=mistake)

    return lockstep.keras(Migrated)


def check(mistake=None, **options):
    return lockstep.verify(lockstep.tf1_graph(forward), candidate(mistake), {"x": BATCH}, **options)


def verdicts(report):
    return {step.name: str(step.verdict) for step in report.steps[:5]}


STEPS = ["variables-created-once", "variables-match", "inference-fixed", "inference-random", "training-random"]


@pytest.mark.parametrize("base", [keras.layers.Layer, keras.Model])
def test_a_right_migration_is_equivalent_in_all_steps(base):
    report = lockstep.verify(lockstep.tf1_graph(forward), candidate(base=base), {"x": BATCH})
    assert verdicts(report) == dict.fromkeys(STEPS, "equivalent"), report
    assert report.verdict == "equivalent"
    assert report.culprits == ()
    report.raise_if_diverged()
    assert report.steps[4].figures["state_variables"] == 1
    assert report.environments["reference"]["tensorflow"] == tf.__version__


@pytest.mark.parametrize(
    ("mistake", "first_step", "told"),
    [
        ("extra variable", "variables-match", "+ extra: only the candidate has extra (3,) float32 trainable"),
        ("wrong shape", "variables-match", "shape is (5, 3) in the reference, (5, 4) in the candidate"),
        ("trainable flag", "variables-match", "trainable is True in the reference, False in the candidate"),
        ("transposed kernel", "inference-fixed", "logits: "),
        ("forgotten regularizer", "inference-fixed", "logits/weights: the candidate has no regularization loss"),
        ("dropout order", "training-random", "logits: "),
        ("no state update", "training-random", "the candidate never changes it"),
        ("scale", "inference-fixed", "logits: "),
    ],
)
def test_a_planted_mistake_diverges_at_its_step_and_is_told(mistake, first_step, told):
    report = check(mistake)
    assert report.verdict == "diverged"
    diverged = [step for step in report.steps if step.verdict == "diverged"]
    assert diverged[0].name == first_step
    assert told in diverged[0].summary + "\n" + "\n".join(diverged[0].details)
    with pytest.raises(lockstep.DivergedError, match=first_step):
        report.raise_if_diverged()


def test_a_constant_hides_the_transposed_kernel_that_distinct_values_show():
    details = next(step for step in check("transposed kernel").steps if step.name == "inference-fixed").details
    assert any(line.startswith("distinct values: logits") for line in details)
    assert not any(line.startswith("constant values: logits") for line in details)


def test_variables_made_anew_at_every_call_are_told_with_line_and_fix():
    class Broken(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            outputs = forward(inputs, bool(training))
            scale = tf.Variable(1.0, name="scale")
            return {**outputs, "logits": outputs["logits"] * scale}

    report = lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(Broken), {"x": BATCH})
    step = report.steps[0]
    assert (step.name, step.verdict) == ("variables-created-once", "diverged")
    assert step.figures["created_by_further_calls"] == 2
    assert any('scale = tf.Variable(1.0, name="scale")' in line for line in step.details)


class TestNativeKeras:
    RENAME = ((r"^(\w+)/weights$", r"net/\1/kernel"), (r"^(\w+)/biases$", r"net/\1/bias"))

    @staticmethod
    def reference(inputs, training):
        del training
        return dense(tf.nn.relu(dense(inputs["x"], 5, "hidden")), 3, "logits")

    @staticmethod
    def native(activation="relu"):
        class Net(keras.Model):
            def __init__(self):
                super().__init__(name="net")
                l2_half = keras.regularizers.L2(0.005)
                self.hidden = keras.layers.Dense(5, activation, kernel_regularizer=l2_half, name="hidden")
                self.logits = keras.layers.Dense(3, kernel_regularizer=l2_half, name="logits")

            def call(self, inputs):
                return self.logits(self.hidden(inputs["x"]))

        return lockstep.keras(Net)

    def verify(self, native):
        return lockstep.verify(lockstep.tf1_graph(self.reference), native, {"x": BATCH}, rename=self.RENAME)

    def test_a_faithful_rewrite_is_equivalent_under_rename_rules(self):
        report = self.verify(self.native())
        assert report.verdict == "equivalent", report
        assert "4 initial values bit-equal" in report.steps[3].summary

    def test_another_activation_diverges(self):
        assert self.verify(self.native("gelu")).verdict == "diverged"


class TestWhatCannotBeJudged:
    @staticmethod
    def verify(reference_returns, candidate_returns):
        class Net(keras.layers.Layer):
            def call(self, inputs):
                return candidate_returns(inputs["x"])

        reference = lockstep.tf1_graph(lambda inputs, training: reference_returns(inputs["x"]))
        return lockstep.verify(reference, lockstep.keras(Net), {"x": BATCH})

    def test_no_output_at_all_is_undecided(self):
        report = self.verify(lambda x: None, lambda x: {})
        assert report.verdict == "undecided"
        assert "no output at all from the reference and the candidate" in report.steps[2].summary

    def test_outputs_that_differ_in_structure_are_undecided_and_listed(self):
        report = self.verify(lambda x: {"a": x, "b": x, "d": x}, lambda x: {"a": x, "c": x, "e": x})
        assert report.verdict == "undecided"
        assert report.steps[2].details[:4] == (
            "distinct values: - output b: only the reference returns it",
            "distinct values: - output d: only the reference returns it",
            "distinct values: + output c: only the candidate returns it",
            "distinct values: + output e: only the candidate returns it",
        )

    def test_an_output_that_is_all_nan_on_both_sides_is_undecided(self):
        report = self.verify(lambda x: x * np.nan, lambda x: x * np.nan)
        assert report.verdict == "undecided"

    def test_a_difference_in_a_common_output_wins_over_structure(self):
        assert self.verify(lambda x: {"a": x, "b": x}, lambda x: {"a": x * 2}).verdict == "diverged"

    def test_a_model_without_variables_is_still_compared(self):
        report = self.verify(lambda x: x * 2, lambda x: x * 2)
        assert verdicts(report)["variables-match"] == "not asked for"
        assert report.verdict == "equivalent"

    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            (
                {"x": np.array([1.0, np.nan], np.float32)},
                r"'x' holds 1 value that is NaN or infinite, the first at \[1\]",
            ),
            ({"x": np.zeros((0, 5), np.float32)}, r"input 'x' is empty \(shape \(0, 5\)\)"),
            ({}, "no inputs were given"),
            ({"x": object()}, "not an array of numbers or strings"),
        ],
    )
    def test_bad_inputs_are_refused_with_a_sentence(self, inputs, told):
        with pytest.raises(lockstep.InputError, match=told):
            lockstep.verify(lockstep.tf1_graph(forward), candidate(), inputs)

    def test_an_exception_of_the_users_code_is_an_error_with_its_own_cause(self):
        def broken(inputs, training):
            return inputs["y"]

        with pytest.raises(
            lockstep.SubjectError, match=r"the reference .*failed while building .*no input is called"
        ) as caught:
            lockstep.verify(lockstep.tf1_graph(broken), candidate(), {"x": BATCH})
        assert isinstance(caught.value.__cause__, KeyError)
        assert caught.value.side == "reference"

    def test_the_message_of_an_exception_inside_a_layer_is_the_users_own(self):
        class Broken(keras.layers.Layer):
            def call(self, inputs):
                return inputs["nothing of that name"]

        with pytest.raises(lockstep.SubjectError) as caught:
            lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(Broken), {"x": BATCH})
        assert str(caught.value).endswith(" KeyError: nothing of that name")

    def test_the_message_of_an_operation_that_fails_in_a_session_is_its_reason(self):
        def out_of_range(inputs, training):
            return tf.gather(tf.constant([1.0, 2.0]), tf.cast(inputs["x"], tf.int32) + 7)

        told = r"failed while running \(inference mode, num_random_ops\): InvalidArgumentError: indices.* = 7 is not in"
        with pytest.raises(lockstep.SubjectError, match=told):
            lockstep.verify(lockstep.tf1_graph(out_of_range), candidate(), {"x": BATCH})

    def test_an_unwrapped_subject_is_told_how_to_wrap_it(self):
        with pytest.raises(lockstep.InputError, match=r"lockstep.tf1_graph\(forward\)"):
            lockstep.verify(forward, candidate(), {"x": BATCH})


def test_recording_does_not_change_what_the_model_computes():
    class Migrated(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return forward(inputs, bool(training))

    made = []
    lockstep.verify(
        lockstep.tf1_graph(forward), lockstep.keras(lambda: made.append(Migrated()) or made[-1]), {"x": BATCH}
    )
    untraced = Migrated()
    with lockstep.DeterministicRandomTestTool(mode="num_random_ops").scope():
        plain = untraced({"x": tf.constant(BATCH)}, training=True)
    report = lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(Migrated), {"x": BATCH})
    assert report.steps[4].figures["candidate_first_output"] == float(plain["logits"][0, 0])


def test_a_module_is_judged_too_and_the_report_says_that_no_functional_model_was_made():
    class Migrated(tf.Module):
        @tf1.track_tf1_style_variables
        def __call__(self, inputs, training=None):
            return forward(inputs, bool(training))

    report = lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(Migrated), {"x": BATCH})
    assert report.verdict == "equivalent"
    assert "constant: 5 initial values bit-equal" in report.steps[4].summary
    assert "a functional model takes Keras layers only" in report.steps[4].summary


def test_one_array_reaches_both_sides_as_one_tensor():
    class Migrated(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return forward({"x": inputs}, bool(training))

    def reference(inputs, training):
        return forward({"x": inputs}, training)

    assert lockstep.verify(lockstep.tf1_graph(reference), lockstep.keras(Migrated), BATCH).verdict == "equivalent"


def test_a_configuration_table_is_a_subject(tmp_path, monkeypatch):
    (tmp_path / "table_model.py").write_text(
        "import keras\n"
        "def forward(inputs, training):\n    return inputs['x'] * 2\n"
        "class Net(keras.layers.Layer):\n    def call(self, inputs):\n        return inputs['x'] * 2\n"
    )
    monkeypatch.chdir(tmp_path)
    reference = {"runtime": "tf1", "entry": "table_model.py:forward"}
    candidate = {"runtime": "keras", "entry": "table_model.py:Net"}
    assert lockstep.verify(reference, candidate, {"x": BATCH}).verdict == "equivalent"
