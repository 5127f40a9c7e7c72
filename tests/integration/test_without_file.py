"""`lockstep check` without a file, and what the first model that somebody tries is: no edit of it is needed."""

import sys
import textwrap

import pytest
from click.testing import CliRunner

from lockstep.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LEGACY = """
import tensorflow.compat.v1 as tf


def forward(inputs, training):
    x = tf.layers.dense(inputs["x"], 8, tf.nn.relu, name="hidden")
    return tf.layers.dense(x, 3, name="out")


def of_two(inputs, training):
    return tf.layers.dense(tf.concat([inputs["a"], inputs["b"]], -1), 3, name="joined")


def by_number(inputs, training):
    table = tf.get_variable("table", [10, 4])
    return tf.reduce_sum(tf.nn.embedding_lookup(table, inputs["tokens"]), 1)
"""
MIGRATED = """
import keras
from keras import layers, ops


def sequential():
    return keras.Sequential([layers.Dense(8, "relu", name="first"), layers.Dense(3, name="second")])


def functional():
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(3, name="b")(layers.Dense(8, "relu", name="a")(x)))


def functional_of_two():
    a, b = keras.Input((4,), name="a"), keras.Input((5,), name="b")
    return keras.Model([a, b], layers.Dense(3, name="d")(ops.concatenate([a, b], -1)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(8, "relu"), layers.Dense(3)

    def call(self, x=None, mask=None):
        return self.second(self.first(x))


class Keywords(keras.Model):
    def __init__(self):
        super().__init__()
        self.joined = layers.Dense(3)

    def call(self, *, a, b, training=None):
        return self.joined(ops.concatenate([a, b], -1))


def table():
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    return keras.Model(tokens, ops.sum(layers.Embedding(10, 4, "glorot_uniform", name="e")(tokens), 1))


def any_size():
    x = keras.Input((None, 4), name="x")
    return keras.Model(x, layers.Dense(3)(x))


def wrong():
    return keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(3)])


imported_model = functional()
NUMBER = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "legacy.py").write_text(LEGACY)
    (tmp_path / "migrated.py").write_text(MIGRATED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*arguments):
    outcome = CliRunner().invoke(main, ["check", *map(str, arguments)])
    return outcome.exit_code, outcome.stdout, outcome.stderr


TWO = ("--input", "a=2,4", "--input", "b=2,5")


@pytest.mark.parametrize(
    ("entries", "options"),
    [
        (("legacy.py:forward", "migrated.py:sequential"), ("--input", "x=2,4")),
        (("legacy.py:forward", "migrated.py:functional"), ()),
        (("legacy.py:of_two", "migrated.py:functional_of_two"), ()),
        (("legacy.py:forward", "migrated.py:Subclassed"), ("--input", "x=2,4")),
        (("legacy.py:of_two", "migrated.py:Keywords"), TWO),
        (("migrated.py:functional", "migrated.py:sequential"), ()),
        (("legacy.py:by_number", "migrated.py:table"), ("--input", "tokens=2,5:int32:10")),
    ],
    ids=lambda value: value[-1] if value else "asked",
)
def test_a_right_migration_is_equivalent_without_an_edit_of_the_model(folder, entries, options):
    status, output, errors = check(*entries, *options)
    assert status == 0, (output, errors)
    assert "verdict  equivalent" in output


def test_a_wrong_one_is_not(folder):
    status, output, _ = check("legacy.py:forward", "migrated.py:wrong", "--input", "x=2,4")
    assert status == 1
    assert "verdict  diverged" in output


def test_a_model_of_a_module_runs_and_says_what_it_cannot_show(folder):
    status, output, errors = check("legacy.py:forward", "migrated.py:imported_model")
    assert status == 2, errors
    assert "name a function that makes it" in " ".join(output.split())


def test_what_is_saved_says_the_same_and_takes_the_rules(folder):
    status, output, errors = check(
        "legacy.py:forward", "migrated.py:sequential", "--input", "x=2,4", "--save", "lockstep.toml", "--write-rules"
    )
    assert status == 0, errors
    assert "rules for lockstep.toml, confirmed by running" in output
    saved = tomllib.loads((folder / "lockstep.toml").read_text())
    assert saved["inputs"] == {"x": {"shape": [2, 4]}}
    assert saved["reference"] == {"runtime": "tf1", "entry": "legacy.py:forward"}
    assert {rule[1] for rule in saved["variables"]["rename"]} == {"sequential/first/", "sequential/second/"}
    status, output, errors = check()
    assert status == 0, errors
    assert "proposed" not in output
    assert check("legacy.py:forward", "migrated.py:sequential", "--save", "lockstep.toml")[0] == 2


def test_rules_that_running_does_not_confirm_are_printed_and_not_written(folder):
    status, output, errors = check(
        "legacy.py:forward", "migrated.py:wrong", "--input", "x=2,4", "--save", "lockstep.toml", "--write-rules"
    )
    assert status == 1
    assert "rules for lockstep.toml, not confirmed by running" in output
    assert "no rules were written: running did not confirm the proposed rules" in errors
    assert "variables" not in tomllib.loads((folder / "lockstep.toml").read_text())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("legacy.py:forward", "nothing.py:build", "--input", "x=2,4"), "the candidate: there is no file nothing.py"),
        (("legacy.py:foward", "migrated.py:table"), "legacy.py has no function 'foward'; did you mean 'forward'?"),
        (("legacy.py:forward", "migrated.py:sequential"), "neither side says what it takes"),
        (("legacy.py:forward", "migrated.py:any_size"), "say which: --input x=2,?,4"),
        (("legacy.py:by_number", "migrated.py:table"), "--input tokens=2,5:int32:HIGH"),
        (
            ("legacy.py:forward", "migrated.py:sequential", "--input", "y=2,4"),
            "no input is called 'x'; the inputs given are y",
        ),
        (("legacy.py:forward", "migrated.py:sequential", "--input", "x=2;4"), "it must be NAME=SHAPE"),
        (("legacy.py:forward", "migrated.py:sequential", "--input", "x=b.npy"), "there is no file b.npy"),
        (("legacy.py:forward", "migrated.py:NUMBER", "--input", "x=2,4"), "it must be a function"),
        (("legacy.py:forward",), "a check needs two"),
        (("legacy.py", "migrated.py"), "it must name a file and a function"),
        (("lockstep.toml", "--input", "x=2,4"), "--input goes with two entries"),
        (("legacy.py:forward", "migrated.py:sequential", "--python", "3.7"), "--python goes with --requirement"),
        (("legacy.py:forward", "migrated.py:sequential", "--write-rules"), "name it with --save"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, arguments, told):
    status, output, errors = check(*arguments)
    assert status == 2
    assert told in errors.splitlines()[-1]
    # An error inside the user's code has the user's own traceback before the sentence, and nothing else has one.
    assert ("Traceback" in errors) == ("no input is called" in told)
    assert output == ""


def test_what_the_reference_needs_is_saved(folder):
    (folder / "old.py").write_text('def forward(inputs, training):\n    print "an old Python"\n')
    from lockstep.cli import without_file

    found = without_file.configuration(
        ("old.py:forward", "migrated.py:sequential"),
        ["x=2,4"],
        save=folder / "saved.toml",
        python="3.7",
        requirements=["tensorflow==1.15.5"],
    )
    assert found.environments["reference"].python == "3.7"
    assert tomllib.loads((folder / "saved.toml").read_text())["reference"] == {
        "runtime": "tf1",
        "entry": "old.py:forward",
        "python": "3.7",
        "requirements": ["tensorflow==1.15.5"],
    }


@pytest.mark.slow
def test_an_application_of_keras_is_equivalent_to_itself(folder):
    (folder / "application.py").write_text(
        textwrap.dedent(
            """
            import keras

            def build():
                return keras.applications.MobileNetV2(weights=None)
            """
        )
    )
    entry = "application.py:build"
    status, output, errors = check(entry, entry, "--input", "image=1,224,224,3")
    assert status == 0, (output, errors)
