"""Causes are looked for while there is time: it decides what is said of a difference, and no verdict."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests.commands import lockstep as command

import lockstep
from lockstep import tf1

v1, layers = tf.compat.v1, tf.compat.v1.layers
INPUTS = {"x": np.random.default_rng(7).uniform(-1, 1, (6, 8)).astype(np.float32)}
STEPS = ("variables-match", "inference-fixed", "training-random")


@pytest.fixture(autouse=True)
def tf1_code():
    tf1.enable()
    yield
    tf1.disable()


def network(function=tf.nn.elu, momentum=0.9):
    def forward(x, training):
        net = layers.dense(x, 8, function, name="one")
        net = layers.batch_normalization(net, training=training, momentum=momentum, name="norm")
        net = layers.dense(net, 8, function, name="two")
        return layers.dense(net, 4, function, name="head")

    return forward


def checked(candidate, **options):
    def migrated():
        return Migrated(candidate)

    original = lockstep.tf1_graph(lambda inputs, training: network()(inputs["x"], training))
    return lockstep.verify(original, lockstep.keras(migrated), INPUTS, steps=STEPS, **options)


class Migrated(keras.layers.Layer):
    def __init__(self, forward):
        super().__init__(name="migrated")
        self.forward = forward

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return self.forward(inputs["x"], training)


def told(report):
    return [detail for step in report.steps for detail in step.details if "search" in detail]


MISTAKES = {
    "none": network(),
    "a function": network(tf.nn.selu),
    "the pace of an average": network(momentum=0.99),
    "both": network(tf.nn.selu, 0.99),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_verdict_depends_on_the_time(mistake):
    whole, none = checked(MISTAKES[mistake]), checked(MISTAKES[mistake], search_time=0)
    assert [(s.name, s.verdict) for s in none.steps] == [(s.name, s.verdict) for s in whole.steps]
    assert whole.verdict == ("equivalent" if mistake == "none" else "diverged")
    assert bool(none.culprits) == bool(whole.culprits) == (mistake != "none")
    assert all(culprit.pitfall for culprit in whole.culprits)
    assert not told(whole)
    named = {culprit.pitfall for culprit in none.culprits}
    assert "wrong-activation" not in named, "that one operation stands for another is seen without a search"
    assert bool(told(none)) == ("wrong-operation" in named) == (mistake in ("a function", "both"))


def test_the_report_says_what_was_not_looked_for():
    report = checked(network(tf.nn.selu), search_time=0)
    assert "forced lockstep: no cause was looked for at" in told(report)[0]
    assert "--search-time is 0" in told(report)[0]


@pytest.mark.parametrize("seconds", [-1, float("nan"), "60", True, 1e9])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(lockstep.InputError, match=r"search_time is .*; it must be a number of seconds"):
        checked(network(), search_time=seconds)


def test_the_command_takes_it_and_it_outdoes_the_configuration(tmp_path):
    (tmp_path / "models.py").write_text(
        """
import keras, tensorflow.compat.v1 as tf
from keras import ops

def forward(inputs, training):
    with tf.variable_scope("net"):
        return tf.layers.dense(tf.layers.dense(inputs["x"], 4, tf.nn.elu, name="a"), 4, tf.nn.elu, name="b")

def build():
    x = keras.Input([8], name="x")
    net = keras.layers.Dense(4, "selu", name="a")(x)
    return keras.Model({"x": x}, keras.layers.Dense(4, "selu", name="b")(net))
""",
        encoding="utf-8",
    )
    (tmp_path / "lockstep.toml").write_text(
        """
search_time = 0
steps = ["variables-match", "inference-fixed"]
reference = {runtime = "tf1", entry = "models.py:forward"}
candidate = {runtime = "keras", entry = "models.py:build"}
inputs.x = {shape = [4, 8]}
variables.rename = [["^net/", ""]]
""",
        encoding="utf-8",
    )
    without = command("check", str(tmp_path), "--json", "-")
    with_time = command("check", str(tmp_path), "--json", "-", "--search-time", "60")
    assert without.status == with_time.status == 1
    found = [json.loads(ran.stdout)["culprits"] for ran in (without, with_time)]
    assert {culprit["pitfall"] for culprit in found[0]} == {"wrong-operation"}
    assert {culprit["pitfall"] for culprit in found[1]} == {"wrong-activation"}
    refused = command("check", str(tmp_path), "--search-time", "-1")
    assert refused.status == 2
    assert "search-time" in refused.stderr


@pytest.mark.parametrize(("dropout", "comparisons"), [(False, 2), (True, 3)])
def test_training_is_compared_again_only_if_other_numbers_are_drawn(monkeypatch, dropout, comparisons):
    from lockstep.check import forced_runs

    counted, real = [], forced_runs.localise

    def localise(*arguments, **options):
        counted.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(forced_runs, "localise", localise)

    def forward(function):
        def forward(x, training):
            net = layers.dense(x, 8, function, name="one")
            net = layers.dropout(net, 0.5, training=training, name="drop") if dropout else net
            return layers.batch_normalization(net, training=training, name="norm")

        return forward

    original = lockstep.tf1_graph(lambda inputs, training: forward(tf.nn.elu)(inputs["x"], training))
    report = lockstep.verify(original, lockstep.keras(lambda: Migrated(forward(tf.nn.selu))), INPUTS, steps=STEPS)
    assert report.verdict == "diverged"
    assert {culprit.pitfall for culprit in report.culprits} == {"wrong-activation"}
    assert len(counted) == comparisons
