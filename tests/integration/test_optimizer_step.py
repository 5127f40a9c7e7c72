"""Step `optimizer`: right migrations of TF1's optimizers agree; each planted mistake is told with the argument."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.check.steps import optimizer as step
from lockstep.common.errors import InputError, SubjectError
from lockstep.frameworks.tensorflow.optimizing import make_optimizer
from lockstep.ground import trials
from lockstep.results.model import Verdict, overall

v1 = tf.compat.v1
train = v1.train
optimizers = keras.optimizers
schedules = keras.optimizers.schedules
SHAPES = {"net/kernel": ((5, 4), np.dtype("float32")), "net/bias": ((4,), np.dtype("float32"))}
NAMES = {"net/kernel": "net/kernel", "net/bias": "net/bias"}


def findings(reference, candidate, *, eagerly=True):
    made = [make_optimizer(reference, SHAPES, "reference", eagerly=False),
            make_optimizer(candidate, SHAPES, "candidate", eagerly=eagerly)]  # fmt: skip
    given = trials.trial(SHAPES)
    steps = trials.probes([point for one in made for point in one.turning_points()])
    mine = step.course(made[0], given, steps)
    found = step.judge(mine, step.course(made[1], given, steps, mine), given, NAMES)
    for one in made:
        one.close()
    return found


class Linear(schedules.LearningRateSchedule):
    """A schedule for training alone: it cannot be saved, as it says no configuration."""

    def __call__(self, step):
        return 0.1 / (1.0 + 0.01 * tf.cast(step, tf.float32))


def global_step():
    return train.get_or_create_global_step()


def scheduled(schedule):
    return lambda: train.GradientDescentOptimizer(schedule())


def clipped(clip, optimizer=lambda: train.GradientDescentOptimizer(0.1)):
    """The way TF1 programs clip: between the gradients and the optimizer."""

    def make():
        def apply(pairs):
            gradients, variables = zip(*pairs, strict=True)
            return optimizer().apply_gradients(zip(clip(gradients), variables, strict=True), global_step=global_step())

        return apply

    return make


def each(clip):
    return lambda gradients: [clip(gradient) for gradient in gradients]


def ones_for_mean_squares():
    """Keras's RMSprop starts its mean squares from zero, TF1's from one."""

    class FromOne(optimizers.RMSprop):
        def build(self, variables):
            super().build(variables)
            for variable in self.variables:
                if variable.path.endswith("velocity"):
                    variable.assign(tf.ones_like(variable))

    return FromOne(0.01, rho=0.9, momentum=0.5, epsilon=1e-10)


RIGHT = {
    "sgd": (lambda: train.GradientDescentOptimizer(0.1), lambda: optimizers.SGD(0.1)),
    "momentum": (lambda: train.MomentumOptimizer(0.1, 0.9), lambda: optimizers.SGD(0.1, momentum=0.9)),
    "nesterov": (
        lambda: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
        lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    ),
    "adam": (lambda: train.AdamOptimizer(0.01), lambda: optimizers.Adam(0.01, epsilon=1e-8)),
    "rmsprop": (lambda: train.RMSPropOptimizer(0.01, momentum=0.5), ones_for_mean_squares),
    "adagrad": (lambda: train.AdagradOptimizer(0.1), lambda: optimizers.Adagrad(0.1)),
    "adadelta": (lambda: train.AdadeltaOptimizer(1.0), lambda: optimizers.Adadelta(1.0, epsilon=1e-8)),
    "ftrl": (
        lambda: train.FtrlOptimizer(0.1, l1_regularization_strength=1e-3, l2_regularization_strength=0.1),
        lambda: optimizers.Ftrl(0.1, l1_regularization_strength=1e-3, l2_regularization_strength=0.1),
    ),
    "proximal adagrad": (lambda: train.ProximalAdagradOptimizer(0.1), lambda: train.ProximalAdagradOptimizer(0.1)),
    "centered rmsprop": (
        lambda: train.RMSPropOptimizer(0.01, centered=True), lambda: train.RMSPropOptimizer(0.01, centered=True)
    ),
    "exponential decay": (
        scheduled(lambda: train.exponential_decay(0.1, global_step(), 1000, 0.5, staircase=True)),
        lambda: optimizers.SGD(schedules.ExponentialDecay(0.1, 1000, 0.5, staircase=True)),
    ),
    "polynomial decay": (
        scheduled(lambda: train.polynomial_decay(0.1, global_step(), 700, 0.01, power=0.5, cycle=True)),
        lambda: optimizers.SGD(schedules.PolynomialDecay(0.1, 700, 0.01, power=0.5, cycle=True)),
    ),
    "cosine decay": (
        scheduled(lambda: train.cosine_decay(0.1, global_step(), 900, alpha=0.1)),
        lambda: optimizers.SGD(schedules.CosineDecay(0.1, 900, alpha=0.1)),
    ),
    "a schedule of one's own": (
        scheduled(lambda: train.inverse_time_decay(0.1, global_step(), 1, 0.01)), lambda: optimizers.SGD(Linear())
    ),
    "piecewise constant": (
        scheduled(lambda: train.piecewise_constant(global_step(), [1234, 4567], [0.1, 0.02, 0.01])),
        lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([1234, 4567], [0.1, 0.02, 0.01])),
    ),
    "clipping by value": (
        clipped(each(lambda g: tf.clip_by_value(g, -0.3, 0.3))), lambda: optimizers.SGD(0.1, clipvalue=0.3)
    ),
    "clipping by norm": (clipped(each(lambda g: tf.clip_by_norm(g, 0.3))), lambda: optimizers.SGD(0.1, clipnorm=0.3)),
    "clipping by global norm": (
        clipped(lambda gradients: tf.clip_by_global_norm(gradients, 0.3)[0]),
        lambda: optimizers.SGD(0.1, global_clipnorm=0.3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_optimizer_agrees(name):
    rates, updates, slots = findings(*RIGHT[name])
    assert overall([updates.verdict, slots.verdict]) is Verdict.EQUIVALENT, (updates, slots)
    if not name.startswith("clipping"):
        assert rates.verdict is Verdict.EQUIVALENT, rates
    if name in ("nesterov", "adam", "rmsprop", "adagrad", "adadelta", "ftrl"):
        assert slots.figures["slots"] >= 2


WRONG = {
    "adam's epsilon": (
        lambda: train.AdamOptimizer(0.01), lambda: optimizers.Adam(0.01),
        r"Adam\(epsilon=1e-08\) is needed \(the candidate has 1e-07\)",
    ),
    "adam's decay": (
        lambda: train.AdamOptimizer(0.01, beta2=0.98), lambda: optimizers.Adam(0.01, epsilon=1e-8),
        r"Adam\(beta_2=0.98\) is needed \(the candidate has 0.999\)",
    ),
    "adam of v1": (
        lambda: train.AdamOptimizer(0.01), lambda: train.AdamOptimizer(0.01, epsilon=1e-4),
        r"AdamOptimizer\(epsilon=1e-08\) is needed",
    ),
    "two arguments": (
        lambda: train.AdamOptimizer(0.01, beta1=0.8), lambda: optimizers.Adam(0.01),
        r"Adam\(beta_1=0.8\) is needed .* and Adam\(epsilon=1e-08\) is needed",
    ),
    "adagrad's accumulator": (
        lambda: train.AdagradOptimizer(0.1), lambda: optimizers.Adagrad(0.1, initial_accumulator_value=0.0),
        r"Adagrad\(initial_accumulator_value=0.1\) is needed \(the candidate has 0\)",
    ),
    "momentum decay": (
        lambda: train.MomentumOptimizer(0.1, 0.9), lambda: optimizers.SGD(0.1, momentum=0.99),
        r"SGD\(momentum=0.9\) is needed \(the candidate has 0.99\)",
    ),
    "momentum left out": (
        lambda: train.MomentumOptimizer(0.1, 0.9), lambda: optimizers.SGD(0.1),
        r"SGD\(momentum=0.9\) is needed \(the candidate has 0\)",
    ),
    "nesterov left out": (
        lambda: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True), lambda: optimizers.SGD(0.1, momentum=0.9),
        r"SGD\(nesterov=True\) is needed",
    ),
    "momentum under a schedule": (
        lambda: train.MomentumOptimizer(train.exponential_decay(0.1, global_step(), 2, 0.5), 0.9),
        lambda: optimizers.SGD(schedules.ExponentialDecay(0.1, 2, 0.5), momentum=0.9),
        "the momentum must accumulate gradients alone",
    ),
    "rmsprop's start": (
        lambda: train.RMSPropOptimizer(0.01), lambda: optimizers.RMSprop(0.01, epsilon=1e-10),
        "the mean square must start from 1",
    ),
    "another class": (
        lambda: train.AdagradOptimizer(0.1), lambda: optimizers.Adam(0.1),
        "the reference is a AdagradOptimizer, whose rule is another one than that of Adam",
    ),
    "per variable instead of global": (
        clipped(lambda gradients: tf.clip_by_global_norm(gradients, 0.3)[0]),
        lambda: optimizers.SGD(0.1, clipnorm=0.3),
        r"clipped by the global norm, global_clipnorm=0.3 \(the candidate clips by the norm of each variable",
    ),
    "clipping left out": (
        lambda: train.GradientDescentOptimizer(0.1), lambda: optimizers.SGD(0.1, clipvalue=0.3),
        r"gradients must be clipped by nothing",
    ),
    "weight decay": (
        lambda: train.AdamOptimizer(0.01), lambda: optimizers.AdamW(0.01, epsilon=1e-8),
        r"AdamW\(weight_decay=0\) is needed \(the candidate has 0.004\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_optimizer_diverges_with_the_argument_that_makes_it_equal(name):
    reference, candidate, cause = WRONG[name]
    found = findings(reference, candidate)
    assert overall([finding.verdict for finding in found]) is Verdict.DIVERGED
    culprits = [culprit for finding in found for culprit in finding.culprits]
    assert len(culprits) == 1, culprits
    assert culprits[0].kind == "optimizer"
    assert culprits[0].error > culprits[0].noise_budget
    assert re.search(cause, culprits[0].cause), culprits[0].cause


RATES = {
    "one step off": (
        lambda: train.piecewise_constant(global_step(), [1234], [0.1, 0.01]),
        schedules.PiecewiseConstantDecay([1233], [0.1, 0.01]),
        "at 1 of .* steps, first at step 1234 .*one step early",
    ),
    "a step late": (
        lambda: train.exponential_decay(0.1, global_step() + 1, 4, 0.5),
        schedules.ExponentialDecay(0.1, 4, 0.5),
        "one step late",
    ),
    "without stairs": (
        lambda: train.exponential_decay(0.1, global_step(), 1000, 0.5, staircase=True),
        schedules.ExponentialDecay(0.1, 1000, 0.5),
        "staircase=True is missing",
    ),
    "a multiple": (lambda: 0.01, 0.02, "2 times the reference's at every step"),
}


@pytest.mark.parametrize("name", RATES)
def test_a_wrong_learning_rate_is_told(name):
    schedule, wrong, cause = RATES[name]
    rates, updates, _ = findings(scheduled(schedule), lambda: optimizers.SGD(wrong))
    assert rates.verdict is Verdict.DIVERGED
    assert re.search(cause, rates.culprits[0].cause), rates.culprits[0].cause
    assert rates.culprits[0].candidate == "SGD: learning_rate"
    assert not updates.culprits


def averaged(decay):
    def make():
        average = train.ExponentialMovingAverage(decay)

        def apply(pairs):
            applied = train.GradientDescentOptimizer(0.1).apply_gradients(pairs, global_step=global_step())
            with tf.control_dependencies([applied]):
                return average.apply([variable for _, variable in pairs])

        return apply

    return make


def test_moving_averages_are_slots():
    slots = findings(averaged(0.9), averaged(0.9), eagerly=False)[2]
    assert (slots.verdict, slots.figures["slots"]) == (Verdict.EQUIVALENT, 2)
    slots = findings(averaged(0.9), averaged(0.99), eagerly=False)[2]
    assert slots.verdict is Verdict.DIVERGED
    assert slots.culprits[0].candidate == "net/kernel: moving average"
    left_out = findings(averaged(0.9), lambda: optimizers.SGD(0.1))[2]
    assert {c.cause for c in left_out.culprits} == {
        "the candidate keeps no moving average of net/kernel", "the candidate keeps no moving average of net/bias"
    }  # fmt: skip
    keras_own = findings(averaged(0.9), lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9))[2]
    assert "Keras's starts as the variable after the first update" in keras_own.culprits[0].cause


def test_variables_left_out_of_weight_decay_by_name_are_left_out():
    def all_but_biases():
        made = optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-8)
        made.exclude_from_weight_decay(var_names=["bias"])
        return made

    found = findings(lambda: train.AdamOptimizer(0.01), all_but_biases)
    assert [c.reference for c in found[1].culprits] in (["net/kernel"], ["AdamOptimizer"])
    assert not any(line.startswith("net/bias") for line in found[1].details)


def test_a_function_that_applies_gradients_eagerly_is_judged_by_its_updates():
    def by_hand():
        sgd = optimizers.SGD(0.1)

        def apply(pairs):
            gradients, variables = zip(*pairs, strict=True)
            sgd.apply(tf.clip_by_global_norm(gradients, 0.3)[0], variables)

        return apply

    reference = clipped(lambda gradients: tf.clip_by_global_norm(gradients, 0.3)[0])
    assert overall([f.verdict for f in findings(reference, by_hand)]) is Verdict.EQUIVALENT
    wrong = findings(clipped(each(lambda g: tf.clip_by_norm(g, 0.3))), by_hand)
    assert {c.kind for f in wrong for c in f.culprits} == {"update"}


def test_an_optimizer_that_changes_nothing_is_undecided():
    found = findings(lambda: train.GradientDescentOptimizer(0.0), lambda: optimizers.SGD(0.0))
    assert overall([finding.verdict for finding in found]) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: None, InputError, "optimizer() returned a NoneType"),
        (lambda: lambda pairs: None, InputError, "must return the operation that applies"),
        (lambda: train.no_such_optimizer(), SubjectError, "AttributeError"),
    ],
)
def test_what_is_no_optimizer_is_said(make, error, said):
    with pytest.raises(error) as caught:
        make_optimizer(make, SHAPES, "reference", eagerly=False)
    assert said in str(caught.value)


X = {"x": np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)}


def dense(inputs, training):
    return v1.layers.dense(inputs["x"], 3, name="dense")


class Net(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.dense = keras.layers.Dense(3, name="dense")

    def call(self, inputs):
        return self.dense(inputs["x"])


def check(*makers):
    return lockstep.verify(lockstep.tf1_graph(dense), lockstep.keras(Net), X, rename=[("^", "net/")], optimizers=makers)


def test_the_step_is_one_of_a_check():
    report = check(lambda: train.AdamOptimizer(0.01), lambda: optimizers.Adam(0.01, epsilon=1e-8))
    assert report.verdict == "equivalent", report
    assert report.steps[-3].name == "optimizer"
    assert "5 updates of 2 variables agree" in report.steps[-3].summary
    report = check(lambda: train.AdamOptimizer(0.01), lambda: optimizers.Adam(0.01))
    assert [s.name for s in report.steps if s.verdict == "diverged"] == ["optimizer"]
    assert "epsilon=1e-08" in report.culprits[0].cause


@pytest.mark.parametrize(
    ("makers", "said"),
    [
        ((lambda: train.AdamOptimizer(0.01), None), "the candidate has no optimizer"),
        ((train.AdamOptimizer, "adam"), "the candidate's optimizer is a str; give a function"),
        ((optimizers.Adam, optimizers.Adam), "returned Keras's Adam, which is no part of a TF1 program"),
        ((optimizers.Adam(0.1), optimizers.Adam(0.1)), "give a function that returns a new one"),
    ],
)
def test_optimizers_that_cannot_be_used_are_said(makers, said):
    with pytest.raises(InputError, match=said):
        check(*makers)
