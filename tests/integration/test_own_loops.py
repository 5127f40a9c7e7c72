"""A candidate with a training loop of its own: right loops train as the reference does, and each mistake is named."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests.commands import lockstep as lockstep_command

import lockstep
from lockstep.check import training_questions
from lockstep.check.judging import Judge
from lockstep.check.own_loops import LoopQuestions
from lockstep.check.sides import Rules, Sides
from lockstep.check.training_questions import TrainingWishes
from lockstep.common.errors import InputError, SubjectError
from lockstep.compare.tolerance import FixedTolerance
from lockstep.subjects import INITIAL, TRAINING

v1 = tf.compat.v1
train = v1.train
GENERATOR = np.random.default_rng(6)
BATCH = {
    "x": GENERATOR.normal(size=(16, 6)).astype(np.float32),
    "label": GENERATOR.integers(0, 4, size=(16,)).astype(np.int32),
}
EXAMPLES = Path(__file__).parents[2] / "examples"
RENAME = [(r"^(.*)$", r"net/\1")]


def forward(inputs, training, dropout=True):
    h = v1.layers.dense(inputs["x"], 8, name="first", kernel_regularizer=lambda w: 1e-2 * tf.nn.l2_loss(w))
    h = tf.nn.relu(v1.layers.batch_normalization(h, training=training, momentum=0.9, name="norm"))
    if training and dropout:
        h = tf.nn.dropout(h, rate=0.25)
    return v1.layers.dense(h, 4, name="logits")


def calm(inputs, training):
    return forward(inputs, training, dropout=False)


class Net(keras.Model):
    def __init__(self, rate=0.25):
        super().__init__(name="net")
        self.first = keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(5e-3), name="first")
        self.norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name="norm")
        self.drop = keras.layers.Dropout(rate)
        self.logits = keras.layers.Dense(4, name="logits")

    def call(self, x, training=None):
        h = self.first(x)
        h = self.drop(tf.nn.relu(self.norm(h, training=training)), training=training)
        return self.logits(h)


def calm_net():
    return Net(rate=0.0)


def loss(outputs, batch):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs))


def momentum():
    return train.MomentumOptimizer(0.1, 0.9)


def sgd():
    return keras.optimizers.SGD(0.1, momentum=0.9)


def trainer(optimizer=sgd, *, training=True, penalties=True, scale=1.0, every=1, function=True, frozen=0):
    """A training loop as people write it, with its mistakes."""

    def make(model):
        made = optimizer()
        state = {"count": 0, "sums": None}

        def step(batch):
            with tf.GradientTape() as tape:
                logits = model(batch["x"], training=training) if training is not None else model(batch["x"])
                cost = loss(logits, batch)
                total = tf.add_n([cost, *model.losses]) if penalties else cost
                total *= scale
            variables = model.trainable_variables[frozen:]
            gradients = tape.gradient(total, variables)
            state["count"] += 1
            if state["count"] % every == 0:
                made.apply_gradients(zip(gradients, variables, strict=True))
            return cost

        return tf.function(step) if function else step

    return make


def check(train_step, build=Net, original=forward, steps=5, **options):
    return lockstep.verify(
        lockstep.tf1_graph(original),
        lockstep.keras(build, train_step=train_step, labels=["label"]),
        BATCH,
        rename=RENAME,
        loss=(loss, None),
        optimizers=(momentum, None),
        trajectory=steps,
        **options,
    )


def the_step(report):
    return next(step for step in report.steps if step.name == "trajectory")


class Course:
    """Both sides in training mode, and what the reference does in some steps."""

    def __init__(self, stack, original, build, optimizer=momentum, count=4):
        self.build = build
        given = lockstep.keras(build, train_step=lambda model, batch: None, labels=["label"])
        sides = Sides(lockstep.tf1_graph(original), given, BATCH, Rules(tuple(RENAME)), lambda _: None)
        self.built = sides.build(stack, TRAINING)
        self.both = sides.initial(self.built)
        self.alignment = sides.align(self.both)
        self.judge = Judge(FixedTolerance(alone=True), tuple(RENAME), BATCH, lambda _: None, sides.runtimes)
        wishes = TrainingWishes((loss, None), None, (optimizer, None), count)
        self.asked = training_questions.chosen(sides.subjects, wishes, self.judge)
        self.steps, _ = self.asked._course(self.both, self.built)

    def forced(self, train_step, build=None, exact=True):
        """Runs a loop from each of the reference's states; returns the findings."""
        subject = lockstep.keras(build or self.build, train_step=train_step, labels=["label"])
        instance = subject.build(TRAINING, BATCH)
        instance.run(INITIAL)  # how it is called is known from then on
        loop = instance.own_loop
        draws = self.both.base.forward_draws
        objective = self.asked.of_reference
        return LoopQuestions(loop, self.alignment, self.built, self.judge, objective, draws, exact).forced(self.steps)

    def cause(self, train_step, **options):
        """Returns the cause of the only culprit."""
        findings = self.forced(train_step, **options)
        assert [finding.verdict for finding in findings] == ["diverged"], findings
        (culprit,) = findings[0].culprits
        return culprit.cause


def verdicts(findings):
    return [str(finding.verdict) for finding in findings]


@pytest.fixture(scope="module")
def course():
    with ExitStack() as stack:
        yield Course(stack, forward, Net)


@pytest.fixture(scope="module")
def without_draws():
    with ExitStack() as stack:
        yield Course(stack, calm, calm_net)


def test_a_right_loop_trains_as_the_reference_does():
    report = check(trainer())
    step = the_step(report)
    assert report.verdict == "equivalent", report
    assert "5 steps, each from the reference's state, agree" in step.summary
    np.testing.assert_allclose(step.figures["reference_losses"][0], step.figures["candidate_losses"][0], rtol=0.02)
    assert max(step.figures["drift"]) < 1e-5


def slower():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def clipping():
    return keras.optimizers.SGD(0.1, momentum=0.9, clipvalue=0.01)


MISTAKES = {
    "training": ({"training": None}, "without training=True"),
    "penalties": ({"penalties": False}, "leaves the model's penalties of weights (model.losses) out of its loss"),
    "both": ({"training": False, "penalties": False}, "without training=True, and leaves the model's penalties"),
    "scaled": ({"scale": 2.0}, "the gradients that the loop takes are 2 times the reference's"),
    "accumulated": ({"every": 2, "function": False}, "applies no gradients in this step"),
    "frozen": ({"frozen": 2}, "the loop takes no gradient for net/first/"),
    "rate": ({"optimizer": slower}, "each update is 0.5 times the reference's, whose learning rate is 0.05"),
    "clipped": (
        {"optimizer": clipping},
        "its gradients are the reference's, and SGD(clipvalue=0.01) makes other updates of them",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_loop_is_named_with_its_step_and_its_variable(course, name):
    options, cause = MISTAKES[name]
    (finding,) = course.forced(trainer(**options))
    (culprit,) = finding.culprits
    assert finding.verdict == "diverged"
    assert finding.figures["first_step_that_differs"] == 1
    assert culprit.cause.startswith("at step 1, ")
    assert cause in culprit.cause
    assert culprit.kind == "training loop"


def test_right_loops_of_several_shapes_agree(course, without_draws):
    for made in (trainer(), trainer(function=False)):
        assert verdicts(course.forced(made)) == ["equivalent"]
        assert verdicts(without_draws.forced(made)) == ["equivalent"]


def test_a_function_of_model_and_batch_is_a_step(course):
    optimizer = {}

    def train_step(model, batch):
        made = optimizer.setdefault(id(model), sgd())
        with tf.GradientTape() as tape:
            total = tf.add_n([loss(model(batch["x"], training=True), batch), *model.losses])
        made.apply_gradients(zip(tape.gradient(total, model.trainable_weights), model.trainable_weights, strict=True))

    assert verdicts(course.forced(train_step)) == ["equivalent"]


def compiled(**options):
    """Makes a compiled model; what is given takes the place of what is right."""
    rate = options.pop("rate", 0.25)

    def build():
        model = Net(rate)
        right = {
            "optimizer": sgd(),
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        }
        model.compile(**{**right, **{name: made() for name, made in options.items()}})
        return model

    return build


@pytest.mark.parametrize("name", ["fit", "train_on_batch"])
def test_keras_loops_of_a_compiled_model_train_as_they_are(course, without_draws, name):
    assert verdicts(course.forced(name, build=compiled())) == ["equivalent"]
    assert verdicts(without_draws.forced(name, build=compiled(rate=0.0))) == ["equivalent"]
    slow = compiled(optimizer=lambda: keras.optimizers.SGD(0.1, momentum=0.8))
    (finding,) = course.forced(name, build=slow)
    assert finding.figures["first_step_that_differs"] == 2
    summed = compiled(loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"))
    assert course.forced(name, build=summed)[0].verdict == "diverged"


def test_accumulation_by_keras_optimizer_is_seen(course):
    accumulating = compiled(optimizer=lambda: keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2))
    assert "SGD(gradient_accumulation_steps=2) is given gradients and changes nothing" in course.cause(
        "fit", build=accumulating
    )


def test_an_average_of_weights_in_place_of_the_weights_is_seen(course):
    def make(model):
        step, averages = trainer(function=False)(model), {}

        def averaged(batch):
            step(batch)
            for place, variable in enumerate(model.trainable_variables):
                before = averages.get(place, np.array(variable))
                averages[place] = 0.9 * before + 0.1 * np.array(variable)
                variable.assign(averages[place])

        return averaged

    (finding,) = course.forced(make)
    assert finding.figures["first_step_that_differs"] == 2
    assert "after its optimizer's update" in finding.culprits[0].cause


def test_a_rate_by_epoch_is_found_at_the_step_where_the_reference_changes_it(course):
    def make(model):
        made, count = sgd(), [0]
        step = trainer(lambda: made, function=False)(model)

        def scheduled(batch):
            made.learning_rate = 0.1 * 0.5 ** (count[0] // 2)
            count[0] += 1
            return step(batch)

        return scheduled

    (finding,) = course.forced(make)
    assert finding.figures["first_step_that_differs"] == 3
    # Momentum that was added up before is not slower than the reference's: no one factor.
    assert "its gradients are the reference's, and SGD makes other updates of them" in finding.culprits[0].cause


def test_moving_averages_that_move_twice_are_blamed_on_the_second_call(course):
    def make(model):
        step = trainer(function=False)(model)

        def twice(batch):
            step(batch)
            model(batch["x"], training=True)

        return twice

    findings = course.forced(make)
    assert [finding.verdict for finding in findings] == ["undecided"]  # the second call draws masks of its own
    assert "draws 2 random numbers" in findings[0].phrase


def test_moving_averages_that_move_twice_are_blamed_without_masks(without_draws):
    def make(model):
        step = trainer(function=False)(model)

        def twice(batch):
            step(batch)
            model(batch["x"], training=True)

        return twice

    assert "calls the model 2 times in training mode in one step" in without_draws.cause(make)


def test_python_code_in_a_traced_function_is_found(without_draws):
    def counting(model):
        made, steps = sgd(), []

        @tf.function
        def step(batch):
            steps.append(None)
            with tf.GradientTape() as tape:
                total = tf.add_n([loss(model(batch["x"], training=True), batch), *model.losses])
            gradients = tape.gradient(total, model.trainable_variables)
            # Right in each step, as long as this line runs in each step.
            factor = 1.0 if len(steps) == made.iterations + 1 else 0.0
            made.apply_gradients(zip([g * factor for g in gradients], model.trainable_variables, strict=True))

        return step

    assert "runs once, when it is traced" in without_draws.cause(counting)


def test_a_scaled_loss_that_is_scaled_back_is_right(course):
    def make(model):
        made = keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=2.0**10)

        def step(batch):
            with tf.GradientTape() as tape:
                cost = tf.add_n([loss(model(batch["x"], training=True), batch), *model.losses])
                scaled = made.scale_loss(cost)
            made.apply_gradients(
                zip(tape.gradient(scaled, model.trainable_variables), model.trainable_variables, strict=True)
            )
            return cost

        return step

    assert verdicts(course.forced(make)) == ["equivalent"]


def test_other_gradients_behind_equal_weights_are_no_proof_where_a_train_op_is_the_references(course):
    adam = lambda: keras.optimizers.Adam(0.01, epsilon=1e-8)  # noqa: E731
    with ExitStack() as stack:
        scale_free = Course(stack, calm, calm_net, optimizer=lambda: train.AdamOptimizer(0.01), count=2)
        assert verdicts(scale_free.forced(trainer(adam))) == ["equivalent"]
        twice = trainer(adam, scale=2.0)
        assert "2 times the reference's" in scale_free.cause(twice)
        findings = scale_free.forced(twice, exact=False)
        assert verdicts(findings) == ["undecided"]
        assert "name the loss that its train_op minimizes" in findings[0].phrase


def test_a_batch_in_two_parts_is_the_same_step(without_draws):
    def make(model):
        made = sgd()

        def step(batch):
            with tf.GradientTape(persistent=True) as tape:
                each = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], model(batch["x"], training=True))
                halves = [tf.reduce_mean(each[:8]) / 2, tf.add_n([tf.reduce_mean(each[8:]) / 2, *model.losses])]
            parts = [tape.gradient(half, model.trainable_variables) for half in halves]
            added = [sum(tf.convert_to_tensor(g) for g in pair if g is not None) for pair in zip(*parts, strict=True)]
            made.apply_gradients(zip(added, model.trainable_variables, strict=True))

        return step

    assert verdicts(without_draws.forced(make)) == ["equivalent"]


def test_what_is_no_loop_is_told_in_a_sentence(course):
    with pytest.raises(InputError, match="takes 3 arguments; it must be train_step"):
        course.forced(lambda model, batch, more: None)
    with pytest.raises(InputError, match=r"returned a NoneType; it must return a function step\(batch\)"):
        course.forced(lambda model: None)
    with pytest.raises(InputError, match=r"fit needs a compiled keras\.Model, and build\(\) returned a Net that"):
        course.forced("fit")
    with pytest.raises(InputError, match="train_step is 'fitt'; it must be a function"):
        lockstep.keras(Net, train_step="fitt")
    with pytest.raises(InputError, match="labels names lable, and the inputs are x, label"):
        lockstep.keras(Net, labels=["lable"]).build(TRAINING, BATCH)
    with pytest.raises(InputError, match="the reference has a training loop of its own"):
        lockstep.verify(lockstep.keras(Net, train_step=trainer()), lockstep.keras(Net), BATCH)


def test_a_loop_that_fails_is_an_error_with_its_step(course):
    def train_step(model, batch):
        raise ValueError("no such column")

    with pytest.raises(SubjectError, match="failed while running training step 1: ValueError: no such column"):
        course.forced(train_step)


def adam():
    return keras.optimizers.Adam(0.01, epsilon=1e-8)


def edited(optimizer=adam, gradients=lambda found: found, times=1, after=lambda model: None):
    """A right loop that something is done to."""

    def make(model):
        made = optimizer()

        def step(batch):
            with tf.GradientTape() as tape:
                total = tf.add_n([loss(model(batch["x"], training=True), batch), *model.losses])
            found = gradients(tape.gradient(total, model.trainable_variables))
            for _ in range(times):
                made.apply_gradients(zip(found, model.trainable_variables, strict=True))
            after(model)

        return step

    return make


def of_norm_one(model):
    for variable in model.trainable_variables:
        variable.assign(tf.clip_by_norm(tf.convert_to_tensor(variable), 1.0))


def halving():
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5, staircase=True)
    return keras.optimizers.Adam(rate, epsilon=1e-8)


def averaging():
    options = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3}
    return keras.optimizers.Adam(0.01, epsilon=1e-8, **options)


OF_ADAM = {
    "twice": ({"times": 2}, 1, "applies Adam 2 times in this step"),
    "clipped": ({"gradients": lambda g: tf.clip_by_global_norm(g, 0.1)[0]}, 1, "between taking and applying them"),
    "constrained": ({"after": of_norm_one}, 1, "after its optimizer's update"),
    "halved": ({"optimizer": halving}, 3, "each update is 0.5 times the reference's, whose learning rate is 0.005"),
    "averaged": ({"optimizer": averaging}, 3, "Adam(use_ema=True) makes other updates of them"),
    "epsilon": ({"optimizer": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3)}, 1, "Adam makes other updates"),
    "decay": ({"optimizer": lambda: keras.optimizers.AdamW(0.01, epsilon=1e-8)}, 1, "AdamW(weight_decay=0.004) makes"),
    "not finite": ({"gradients": lambda g: [x * np.nan for x in g]}, 1, "between taking and applying them"),
}


@pytest.fixture(scope="module")
def of_adam():
    with ExitStack() as stack:
        yield Course(stack, forward, Net, optimizer=lambda: train.AdamOptimizer(0.01))


def test_a_gradient_that_is_nothing_but_rounding_is_no_difference(of_adam):
    (finding,) = of_adam.forced(edited())
    assert finding.verdict == "equivalent"
    assert 0 < finding.figures["elements_within_rounding"] <= 8  # of the bias before the normalization
    harmless = edited(gradients=lambda g: tf.clip_by_global_norm(g, 1e6)[0])
    assert verdicts(of_adam.forced(harmless)) == ["equivalent"]


@pytest.mark.parametrize("name", OF_ADAM)
def test_what_adam_makes_of_right_gradients_is_held_against_the_references(of_adam, name):
    options, step, cause = OF_ADAM[name]
    (finding,) = of_adam.forced(edited(**options))
    assert finding.figures["first_step_that_differs"] == step
    assert cause in finding.culprits[0].cause


def test_a_loop_that_a_configuration_names_is_run_from_modules_of_its_own(tmp_path):
    folder = Path(shutil.copytree(EXAMPLES / "own_loop", tmp_path / "own_loop"))
    file = folder / "migrated.py"
    text = file.read_text()
    # An optimizer of the module's own is a new one for each run.
    text = text.replace("    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)\n", "")
    text = text.replace("def build():", "optimizer = keras.optimizers.SGD(0.05, momentum=0.9)\n\n\ndef build():")
    file.write_text(text.replace('model(batch["x"], training=True)', 'model(batch["x"])'))
    done = lockstep_command("check", folder / "lockstep.toml", "--json", "-")
    report = json.loads(done.stdout)
    assert done.status == 1
    assert {step["name"]: step["verdict"] for step in report["steps"] if step["verdict"] == "diverged"} == {
        "trajectory": "diverged"
    }
    (culprit,) = report["culprits"]
    assert culprit["candidate"] == "migrated.py:make_train_step"
    assert culprit["cause"].startswith("at step 1, the loop calls the model without training=True")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("train_step", "fitt", 'train_step is "fitt"; it must look like "model.py:train_step"'),
        ("train_step", "migrated.py:train", "migrated.py has no function 'train'"),
        ("labels", ["z"], "labels names z, and the inputs are x, y"),
        ("requirements", ["keras==3.10"], "a training loop of its own (train_step) runs in this process"),
    ],
)
def test_a_wrong_key_is_told_in_a_sentence(tmp_path, key, value, told):
    folder = Path(shutil.copytree(EXAMPLES / "own_loop", tmp_path / "own_loop"))
    file = folder / "lockstep.toml"
    head, candidate = file.read_text().split("[candidate]")
    kept = "\n".join(line for line in candidate.splitlines() if not line.startswith(f"{key} ="))
    python = 'python = "3.11"\n' if key == "requirements" else ""
    file.write_text(f"{head}[candidate]\n{python}{key} = {json.dumps(value)}{kept}")
    done = lockstep_command("check", file)
    assert done.status == 2
    assert told in " ".join(done.stderr.split())
