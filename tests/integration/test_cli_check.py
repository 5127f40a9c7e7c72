"""`lockstep check` as a person runs it: exit statuses 0, 1 and 2, and what they see."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.commands import Outcome, lockstep, lockstep_alone

from lockstep.cli import main

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"


@pytest.fixture
def quickstart(tmp_path):
    """A copy of the quickstart that a test may damage."""
    folder = tmp_path / "quickstart"
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_quickstart_is_equivalent(quickstart):
    outcome = lockstep_alone("check", "--json", "out.json", cwd=quickstart)
    assert outcome.stderr == ""  # no chatter of TensorFlow
    assert outcome.status == 0
    assert outcome.stdout.splitlines()[-1].startswith("verdict  equivalent")
    report = json.loads((quickstart / "out.json").read_text())
    verdicts = {step["name"]: step["verdict"] for step in report["steps"]}
    not_asked = {name for name, verdict in verdicts.items() if verdict == "not asked for"}
    assert not_asked == {"checkpoint", "optimizer", "trajectory", "metrics"}  # none is given
    assert {verdict for name, verdict in verdicts.items() if name not in not_asked} == {"equivalent"}


def test_the_broken_quickstart_diverged_and_the_lines_at_fault_are_named(quickstart):
    outcome = lockstep("check", "lockstep-broken.toml", cwd=quickstart)
    assert outcome.status == 1
    assert outcome.stderr == ""
    text = " ".join(outcome.stdout.split())
    assert "variables-created-once diverged" in text
    assert 'at broken_model.py:16, in call: scale = tf.Variable(2.0, name="scale")' in text
    assert outcome.stdout.splitlines()[-1].startswith("verdict  diverged")


def test_a_planted_mistake_in_the_migration_is_found(quickstart):
    change(
        quickstart / "broken_model.py", 'tf.Variable(2.0, name="scale")', 'tf.get_variable("scale", initializer=2.0)'
    )
    change(quickstart / "broken_model.py", 'tf.Variable(2.0, name="bias")', 'tf.get_variable("bias", initializer=2.0)')
    assert lockstep("check", "lockstep-broken.toml", cwd=quickstart).status == 0
    change(quickstart / "broken_model.py", "* scale + bias", "* scale - bias")
    outcome = lockstep("check", "lockstep-broken.toml", "--json", "-", cwd=quickstart)
    assert outcome.status == 1
    assert json.loads(outcome.stdout)["verdict"] == "diverged"


def test_the_first_migration_of_init_is_equivalent(tmp_path):
    assert lockstep("init", "mine", cwd=tmp_path).status == 0
    outcome = lockstep("check", "mine", cwd=tmp_path)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert lockstep("init", "mine", cwd=tmp_path).status == 2


def test_an_entry_that_raises_shows_the_users_traceback_and_none_of_ours(quickstart):
    change(
        quickstart / "legacy_model.py", "    hidden = tf.layers.dropout", "    _fail()\n    hidden = tf.layers.dropout"
    )
    with (quickstart / "legacy_model.py").open("a") as file:
        file.write("\n\ndef _fail():\n    raise RuntimeError('my own mistake')\n")
    outcome = lockstep("check", cwd=quickstart)
    assert outcome.status == 2
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("lockstep: the reference legacy_model.py:forward failed while building")
    assert "RuntimeError: my own mistake" in lines
    assert "    raise RuntimeError('my own mistake')" in lines
    assert outcome.stderr.count('legacy_model.py", line') == 3
    assert str(Path("src", "lockstep")) not in outcome.stderr


def test_a_candidate_that_raises_is_named(quickstart):
    change(
        quickstart / "migrated_model.py", "return forward(inputs, training)", "return forward(inputs['imag'], training)"
    )
    outcome = lockstep("check", cwd=quickstart)
    assert outcome.status == 2
    assert "KeyError" in outcome.stderr  # Keras puts the user's exception into a longer sentence of its own
    assert "return forward(inputs['imag'], training)" in outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith("lockstep: the candidate migrated_model.py:build failed")
    assert str(Path("src", "lockstep")) not in outcome.stderr


def with_nan() -> np.ndarray:
    batch = np.ones((8, 784), np.float32)
    batch[2, 5] = np.nan
    return batch


@pytest.mark.parametrize(
    ("old", "new", "batch", "words"),
    [
        ("legacy_model.py:", "legacy_modle.py:", None, ["[reference]", "no file", "did you mean 'legacy_model.py'?"]),
        (":build", ":biuld", None, ["[candidate]", "no function 'biuld'", "did you mean 'build'?"]),
        ("entry =", "entri =", None, ["unknown key 'entri'", "did you mean 'entry'?"]),
        ("[inputs.image]", '[inputs.image]\npath = "batch.npy"', None, ["no file", "batch.npy"]),
        (
            "[inputs.image]",
            '[inputs.image]\npath = "batch.npy"\ndtype = "float32"',
            np.ones((8, 784)),
            ["dtype is float32, but batch.npy holds float64"],
        ),
        (
            "[inputs.image]",
            '[inputs.image]\npath = "batch.npy"',
            np.ones((8, 783), np.float32),
            ["shape is [8, 784], but batch.npy holds [8, 783]"],
        ),
        ("[inputs.image]", '[inputs.image]\npath = "batch.npy"', with_nan(), ["1 value that is NaN", "at [2, 5]"]),
        ("[8, 784]", "[0, 784]", None, ["[0, 784] is empty"]),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(quickstart, old, new, batch, words):
    change(quickstart / "lockstep.toml", old, new)
    if batch is not None:
        np.save(quickstart / "batch.npy", batch)
    outcome = lockstep("check", cwd=quickstart)
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1
    assert outcome.stderr.startswith("lockstep: ")
    assert [word for word in words if word not in outcome.stderr] == [], outcome.stderr


@pytest.mark.parametrize("nothing", ["{}", "None"])
def test_no_output_at_all_is_undecided(quickstart, nothing):
    change(quickstart / "legacy_model.py", 'return {"logits": tf.layers', 'hidden = {"logits": tf.layers')
    change(quickstart / "legacy_model.py", "\n\n\ndef decay", f"\n    return {nothing}\n\n\ndef decay")
    outcome = lockstep("check", "--json", "-", cwd=quickstart)
    assert outcome.status == 2, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["verdict"] == "undecided"
    assert "no output at all" in report["steps"][2]["summary"]


def test_outputs_that_differ_in_structure_are_undecided(quickstart):
    change(
        quickstart / "migrated_model.py",
        "return forward(inputs, training)",
        'return forward(inputs, training)["logits"][:, :1]',
    )
    outcome = lockstep("check", cwd=quickstart)
    assert outcome.status == 2
    text = " ".join(outcome.stdout.split())
    assert "the outputs differ in structure" in text
    assert "output logits: only the reference returns it" in text
    assert outcome.stdout.splitlines()[-1].startswith("verdict  undecided")


def test_chosen_steps_alone_are_taken_and_judged_as_in_the_whole(quickstart):
    change(quickstart / "migrated_model.py", "return forward(inputs, training)", "return _changed(inputs, training)")
    with (quickstart / "migrated_model.py").open("a") as file:
        file.write("\n\ndef _changed(inputs, training):\n    y = forward(inputs, training)\n")
        file.write("    return {name: 1.5 * value for name, value in y.items()}\n")
    whole = json.loads(lockstep("check", "--json", "-", cwd=quickstart).stdout)
    outcome = lockstep("check", "--json", "-", "--steps", "inference-fixed,variables-match", cwd=quickstart)
    assert outcome.status == 1
    some = json.loads(outcome.stdout)
    assert [step["name"] for step in some["steps"]] == [step["name"] for step in whole["steps"]]
    verdicts = {step["name"]: step["verdict"] for step in some["steps"]}
    assert {name for name, verdict in verdicts.items() if verdict != "not asked for"} == {
        "inference-fixed",
        "variables-match",
    }
    for ours, theirs in zip(some["steps"], whole["steps"], strict=True):
        if ours["verdict"] != "not asked for":
            assert (ours["verdict"], ours["summary"]) == (theirs["verdict"], theirs["summary"])
    alone = json.loads(lockstep("check", "--json", "-", "--steps", "variables-match", cwd=quickstart).stdout)
    assert (alone["verdict"], alone["culprits"]) == ("equivalent", [])


@pytest.mark.parametrize("step", ["gradients", "inference-random", "training-random"])
def test_each_step_can_be_taken_alone(quickstart, step):
    outcome = lockstep("check", "--json", "-", "--steps", step, cwd=quickstart)
    assert outcome.status == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert {s["name"] for s in report["steps"] if s["verdict"] == "equivalent"} == {step}


def test_quiet_says_one_sentence(quickstart):
    outcome = lockstep("check", "--quiet", "--steps", "variables-match", cwd=quickstart)
    assert outcome == Outcome(
        0,
        "equivalent: the candidate computes what the reference computes, in the one step that was asked for\n",
        "",
    )
    assert lockstep("check", "-q", "lockstep-broken.toml", cwd=quickstart).stdout.startswith("diverged: ")


@pytest.mark.parametrize("command", main.list_commands(None))
def test_every_command_answers_in_a_process_of_its_own(command, tmp_path):
    outcome = lockstep_alone(command, "--help", cwd=tmp_path)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"Usage: lockstep {command} ")
