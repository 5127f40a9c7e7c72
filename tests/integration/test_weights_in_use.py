"""Weights where they are, on either side: what a migration is run from, and whether its own code really loaded it."""

import textwrap

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from click.testing import CliRunner

import lockstep
from lockstep.cli import main
from lockstep.compare.tolerance import FixedTolerance
from lockstep.files.checkpoints import CheckpointSettings

INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
FIXED = FixedTolerance(alone=True)
RENAME = [("^net/(a|b)/", "\\1/")]


def forward(inputs, training):
    layers = tf.compat.v1.layers
    with tf.compat.v1.variable_scope("net"):
        x = layers.dense(inputs["x"], 5, tf.tanh, name="a", bias_initializer=keras.initializers.RandomNormal())
        return {"y": layers.dense(x, 5, name="b", bias_initializer=keras.initializers.RandomNormal())}


def build(load=lambda model: None, names=("a", "b"), activation="tanh"):
    x = keras.Input([4], name="x")
    normal = {"bias_initializer": keras.initializers.RandomNormal()}
    net = keras.layers.Dense(5, activation, name=names[0], **normal)(x)
    model = keras.Model({"x": x}, {"y": keras.layers.Dense(5, name=names[1], **normal)(net)}, name="net")
    load(model)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One trained model in every format, under the candidate's names, the last ones under the original's."""
    place = tmp_path_factory.mktemp("weights")
    model = build()
    random = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    model.save_weights(place / "new.weights.h5")
    model.save(place / "new.keras")
    model.save(place / "new.h5")
    tf.train.Checkpoint(model=model).write(str(place / "new.ckpt"))
    values = {weight.path: np.asarray(weight) for weight in model.weights}
    safetensors.numpy.save_file(values, place / "new.safetensors")
    np.savez(place / "new.npz", **values)
    np.savez(place / "unnamed.npz", *values.values())
    old = {f"net/{name}": value for name, value in values.items()}
    safetensors.numpy.save_file(old, place / "old.safetensors")
    safetensors.numpy.save_file({**old, "net/a/kernel": old["net/a/kernel"] * 2}, place / "other.safetensors")
    safetensors.numpy.save_file({n: v for n, v in old.items() if "/a/" in n}, place / "part.safetensors")
    return place


def check(make, /, **files):
    report = lockstep.verify(
        lockstep.tf1_graph(forward), lockstep.keras(make), INPUTS, rename=RENAME, tolerance=FIXED,
        steps=("variables-match", "checkpoint"), checkpoint=CheckpointSettings(**{"path": None, **files}),
    )  # fmt: skip
    return next(step for step in report.steps if step.name == "checkpoint")


FORMATS = ("weights.h5", "keras", "h5", "ckpt", "safetensors", "npz")


@pytest.mark.parametrize("name", [*(f"new.{suffix}" for suffix in FORMATS), "unnamed.npz"])
def test_both_sides_are_run_from_the_candidates_file_in_any_format(folder, name):
    step = check(build, candidate=folder / name)
    assert step.verdict == "equivalent", step
    assert f"4 variables from {name}" in step.summary
    assert "weights_in_use" not in str(step.figures)  # it does not load the file itself, and is not asked
    by_hand = np.load(folder / "new.npz")
    hidden = np.tanh(INPUTS["x"] @ by_hand["a/kernel"] + by_hand["a/bias"])
    expected = (hidden @ by_hand["b/kernel"] + by_hand["b/bias"])[0, 0]
    assert step.figures["reference_first_output"] == pytest.approx(expected, rel=1e-5)


def test_a_mistake_shows_from_the_candidates_file(folder):
    step = check(lambda: build(activation="relu"), candidate=folder / "new.weights.h5")
    assert step.verdict == "diverged"


def test_the_candidates_file_is_held_against_the_originals(folder):
    step = check(build, path=folder / "old.safetensors", candidate=folder / "new.keras")
    assert step.verdict == "equivalent"
    assert "4 entries of new.keras are those of old.safetensors" in step.summary
    step = check(build, path=folder / "other.safetensors", candidate=folder / "new.keras")
    assert step.verdict == "diverged"
    assert "1 of 4 entries of new.keras are not what other.safetensors and the rules give: a/kernel" in step.summary


def all_of_it(model, folder):
    model.load_weights(folder / "new.weights.h5")


def half_of_it(model, folder):
    held = np.load(folder / "new.npz")
    model.get_layer("a").set_weights([held["a/kernel"], held["a/bias"]])


def a_bias_of_another_layer(model, folder):
    held = np.load(folder / "new.npz")
    for weight in model.weights:
        weight.assign(held[weight.path.replace("a/bias", "b/bias")])


NEVER = (
    "2 of 4 variables of the candidate were never loaded from new.weights.h5: they still hold what their initializer "
    "gave: b/kernel, b/bias"
)


@pytest.mark.parametrize(
    ("load", "verdict", "told"),
    [
        (all_of_it, "equivalent", "4 of 4 variables of the candidate hold the values of new.weights.h5"),
        (half_of_it, "diverged", NEVER),
        (a_bias_of_another_layer, "diverged", "1 holds other values than new.weights.h5: a/bias"),
    ],
)
def test_what_the_candidates_own_code_loaded_is_held_against_the_file(folder, load, verdict, told):
    step = check(lambda: build(lambda model: load(model, folder)), candidate=folder / "new.weights.h5")
    assert (step.verdict, told in step.summary) == (verdict, True), step


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_loading_by_name_that_finds_no_name_is_told_and_loading_in_order_is_found_by_the_values(folder):
    def named(**how):
        return lambda: build(lambda model: model.load_weights(folder / "new.h5", **how), names=("first", "second"))

    rename = [("^net/a/", "first/"), ("^net/b/", "second/")]
    for how, verdict, told in (
        ({"by_name": True}, "diverged", "4 of 4 variables of the candidate were never loaded from new.h5"),
        ({}, "equivalent", "hold the values of new.h5, 4 of them under other names"),
    ):
        report = lockstep.verify(
            lockstep.tf1_graph(forward), lockstep.keras(named(**how)), INPUTS, rename=rename, tolerance=FIXED,
            steps=("checkpoint",), checkpoint=CheckpointSettings(None, candidate=folder / "new.h5"),
        )  # fmt: skip
        step = next(step for step in report.steps if step.name == "checkpoint")
        assert (step.verdict, told in step.summary) == (verdict, True), step


def test_a_side_that_is_said_to_load_its_file_and_does_not_is_told(folder):
    step = check(build, candidate=folder / "new.npz", loaded=("candidate",))
    assert step.verdict == "diverged"
    assert "4 of 4 variables of the candidate were never loaded" in step.summary


def run(*arguments):
    outcome = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return outcome.exit_code, outcome.stdout, outcome.stderr


@pytest.fixture
def migration(folder, tmp_path):
    (tmp_path / "legacy.py").write_text(
        textwrap.dedent(
            """
            import tensorflow.compat.v1 as tf

            def forward(inputs, training):
                with tf.variable_scope("net"):
                    x = tf.layers.dense(inputs["x"], 5, tf.tanh, name="a")
                    return {"y": tf.layers.dense(x, 5, name="b")}
            """
        )
    )
    (tmp_path / "native.py").write_text(
        textwrap.dedent(
            """
            import keras

            def build():
                x = keras.Input([4], name="x")
                net = keras.layers.Dense(5, "tanh", name="a")(x)
                return keras.Model({"x": x}, {"y": keras.layers.Dense(5, name="b")(net)})
            """
        )
    )
    (tmp_path / "lockstep.toml").write_text(
        textwrap.dedent(
            r"""
            [reference]
            runtime = "tf1"
            entry = "legacy.py:forward"
            [candidate]
            runtime = "keras"
            entry = "native.py:build"
            [inputs.x]
            shape = [3, 4]
            fill = "normal"
            [variables]
            rename = [["^net/(a|b)/", "\\1/"]]
            """
        )
    )
    return tmp_path


@pytest.mark.slow
def test_a_file_of_the_original_is_converted_and_mapped_and_what_lacks_something_is_not(folder, migration):
    status, _, errors = run("convert", folder / "old.safetensors", migration, migration / "out.npz")
    assert status == 0, errors
    converted = np.load(migration / "out.npz")
    np.testing.assert_array_equal(converted["a/kernel"], np.load(folder / "new.npz")["a/kernel"])
    status, _, errors = run("convert", folder / "part.safetensors", migration, migration / "part.weights.h5")
    assert (status, "lacks 2 variables of the reference" in errors) == (2, True), errors
    status, output, errors = run("map", folder / "old.safetensors", migration)
    assert (status, '"^net/a/kernel$", "a/kernel"' in output) == (0, True), errors
    assert "# confirmed by running it" in output
