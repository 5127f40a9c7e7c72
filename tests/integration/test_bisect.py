"""`lockstep bisect` from the command line: faked checks for what it asks and says, two real environments once."""

import dataclasses
import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import tensorflow as tf
from tests.commands import lockstep, lockstep_alone

import lockstep as library
from lockstep.bisecting.configuring import Environments
from lockstep.cli import bisect, session
from lockstep.common.errors import InputError, SubjectError, UnavailableEnvironmentError
from lockstep.elsewhere.isolated_keras import IsolatedKeras, RemoteInstance, by_operations
from lockstep.environments import EnvironmentSpec, find_interpreter, releases
from lockstep.results.bisection import Bisection, Release, largest_difference
from lockstep.results.model import Report, StepReport, Verdict
from lockstep.subjects import INITIAL, Mode

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "bisection.schema.json").read_text())
HERE = EnvironmentSpec(interpreter=Path(sys.executable))
MODEL = """
import keras

OLD = tuple(int(part) for part in keras.__version__.split(".")[:2]) < (3, {since})


class Gate(keras.layers.Layer):
    def call(self, x):
        if OLD:
            return keras.ops.multiply(x, 0.5)
        return keras.ops.multiply(x, 0.51)


def build():
    inputs = keras.Input((6,), name="x")
    h = keras.layers.Dense(8, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(Gate(name="gate")(h)))
"""
VERSIONS = ("3.6.0", "3.7.0", "3.8.0", "3.9.2", "3.10.0")
ALL_OF_THEM = ",".join(VERSIONS)


def report(verdict, error=0.0):
    step = StepReport("inference-fixed", verdict, f"differ by {error}", {"largest_output_error": error})
    ran_on = {"subject": "model.py:build", "keras": "3.6.0"}
    return Report(verdict, (step,), (), {"reference": ran_on, "candidate": ran_on}, 0.1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.py").write_text(MODEL.format(since=8))
    return tmp_path


@pytest.fixture
def faked(monkeypatch):
    """Answers for pairs of releases: a verdict, an error that is raised, or equivalent."""
    answers, asked = {}, []

    def checked(configuration, inputs, progress, *, operations=False, **_):
        pair = tuple(
            configuration.environments[side].requirements[0].partition("==")[2] for side in ("reference", "candidate")
        )
        asked.append((*pair, operations))
        found = answers.get((*pair, operations), answers.get(pair, Verdict.EQUIVALENT))
        if isinstance(found, Exception):
            raise found
        return report(found, 0.25 if found is Verdict.DIVERGED else 0.0)

    monkeypatch.setattr(session, "checked", checked)
    monkeypatch.setattr(releases, "newest", lambda package, clauses: clauses.removeprefix("=="))
    return answers, asked


def run(folder, *options, versions=ALL_OF_THEM):
    fixed = ("bisect", "model.py:build", "--input", "x=4,6", "--package", "keras", "--versions", versions)
    return lockstep(*fixed, "--requirement", "tensorflow==2.19.1", *options, cwd=folder)


def test_the_first_release_that_differs_is_named_and_its_neighbours_are_followed(folder, faked):
    answers, asked = faked
    answers.update({("3.6.0", version): Verdict.DIVERGED for version in VERSIONS[2:]})
    answers["3.7.0", "3.8.0"] = Verdict.DIVERGED
    done = run(folder, "--json", "answer.json")
    assert done.status == 1, done.stderr
    said = " ".join(done.stdout.split())  # where lines end depends on how long it took
    assert "first that differs: keras 3.8.0; 3.7.0 computes what 3.6.0 computes" in said
    assert "No operation is to blame" in said
    assert asked[0] == ("3.6.0", "3.6.0", False)
    assert asked[-1] == ("3.7.0", "3.8.0", True)
    told = json.loads((folder / "answer.json").read_text())
    jsonschema.validate(told, SCHEMA)
    assert [row["verdict"] for row in told["releases"]] == ["equivalent"] * 2 + ["diverged"] * 2
    assert (told["first_that_differs"], told["last_alike"], told["not_run"]) == ("3.8.0", "3.7.0", ["3.9.2"])
    assert told["releases"][-1]["largest_difference"] == 0.25


def test_a_release_that_cannot_run_is_a_row_and_makes_a_range(folder, faked):
    answers, _ = faked
    answers.update({("3.6.0", version): Verdict.DIVERGED for version in VERSIONS[3:]})
    answers["3.6.0", "3.8.0"] = SubjectError("model.py:build failed: no such layer.", side="candidate", doing="x")
    answers["3.6.0", "3.7.0"] = UnavailableEnvironmentError("installing it failed: no wheel.\n  uv: a\n  uv: b")
    done = run(folder)
    told = " ".join(done.stdout.split())
    assert done.status == 1
    assert "first that differs is one of keras 3.7.0, 3.8.0, 3.9.2: 3.9.2 differs, 3.6.0 does not" in told
    assert "3.8.0 cannot run - 0 s model.py:build failed: no such layer." in told
    assert "installing it failed: no wheel." in told
    assert "uv: a" not in told


def test_rounding_that_the_operations_explain_is_neither_a_difference_nor_equivalent(folder, faked):
    answers, _ = faked
    answers["3.6.0", "3.10.0", False] = Verdict.DIVERGED
    done = run(folder, versions="3.6.0,3.10.0")
    assert done.status == 2
    assert "rounding alone becomes as much" in " ".join(done.stdout.split())
    assert "undecided" in done.stdout


def test_no_difference_says_what_was_not_run_and_all_runs_it(folder, faked):
    answers, asked = faked
    answers["3.6.0", "3.7.0"] = Verdict.DIVERGED
    done = run(folder)
    assert done.status == 0
    assert "3.7.0, 3.8.0, 3.9.2 were not run" in " ".join(done.stdout.split())
    asked.clear()
    done = run(folder, "--all", "--json", "-")
    assert done.status == 1
    told = json.loads(done.stdout)
    assert (told["first_that_differs"], told["not_run"]) == ("3.7.0", [])
    assert {candidate for _, candidate, _ in asked} == set(VERSIONS)


def test_a_reference_that_differs_from_itself_or_cannot_run_ends_the_search(folder, faked):
    answers, asked = faked
    answers["3.6.0", "3.6.0"] = Verdict.DIVERGED
    done = run(folder)
    assert done.status == 2
    assert "the reference, keras 3.6.0, cannot be compared with itself" in done.stderr
    answers["3.6.0", "3.6.0"] = InputError("the reference cannot be had.")
    done = run(folder)
    assert (done.status, len(asked)) == (2, 2)
    assert "the reference cannot be had." in done.stderr
    assert "begin with a release under which the model runs" in done.stderr
    answers["3.6.0", "3.6.0"] = SubjectError("it failed.", side="reference", doing="building")
    assert "begin with a release under which the model runs" in run(folder).stderr


def test_quiet_prints_the_answer_alone(folder, faked):
    done = run(folder, "--quiet", versions="3.6.0,3.7.0")
    assert (done.status, done.stdout) == (0, "no difference: keras 3.7.0 computes what 3.6.0 computes.\n")


def test_without_a_network_the_search_ends_and_no_release_is_blamed(folder, faked):
    answers, asked = faked
    answers["3.6.0", "3.10.0"] = UnavailableEnvironmentError("installing failed: the package index cannot be reached.")
    done = run(folder)
    assert (done.status, done.stdout, len(asked)) == (2, "", 2)
    assert "cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--versions", "3.8..3.6"), "did you mean 3.6..3.8"),
        (("--versions", "3..4"), "'3' is no release"),
        (("--versions", "3.6.0"), "two releases are needed"),
        (("--versions", "3.6.0,3.6.0"), "has 3.6.0 twice"),
        (("--versions", "3.6.0,new"), "'new' is no release"),
        (("--versions", "2.1.0,2.2.0", "--package", "torch"), "under no other release"),
        (("--versions", "2.1.0,2.2.0", "--package", "numpy"), "must be one of tensorflow"),
        (("--versions", "2.17.1,2.18.1", "--requirement", "tensorflow==2.17.1"), "--versions says which"),
        (("--versions", "2.17.1,2.18.1", "--python", "3.x"), "must be one version"),
        (("--versions", "2.15.1,2.18.1"), "tensorflow 2.15.1 has Keras 2"),
        (("--versions", "2.15.0,3.3.3", "--package", "keras"), "keras 2.15.0 has Keras 2"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(folder, faked, options, said):
    done = lockstep("bisect", "model.py:build", "--input", "x=4,6", *options, cwd=folder)
    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr


def test_releases_of_keras_go_with_the_tensorflow_of_this_process(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(releases, "newest", lambda package, clauses: clauses.removeprefix("=="))
    monkeypatch.setattr(
        session, "checked", lambda configuration, *_, **__: seen.append(configuration) or report(Verdict.EQUIVALENT)
    )
    fixed = ("bisect", "model.py:build", "--input", "x=4,6", "--package", "keras")
    done = lockstep(*fixed, "--versions", "3.14.0,3.15.0", cwd=folder)
    assert done.status == 0, done.stderr
    first, second = seen[-1].environments["candidate"].requirements
    assert first == "keras==3.15.0"
    assert second.startswith("tensorflow")
    assert second.endswith(f"=={tf.__version__}")


def test_models_that_no_other_release_can_run_are_refused(tmp_path, faked):
    (tmp_path / "legacy.py").write_text("def forward(inputs, training):\n    return inputs\n")
    done = lockstep("bisect", "legacy.py:forward", "--input", "x=4,6", "--versions", "2.17.1,2.18.1", cwd=tmp_path)
    assert done.status == 2
    assert 'the model is runtime = "tf1", and bisect runs Keras 3 models' in done.stderr


def test_a_configuration_gives_its_candidate_and_that_ones_requirements(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(releases, "newest", lambda package, clauses: clauses.removeprefix("=="))
    monkeypatch.setattr(
        session, "checked", lambda configuration, *_, **__: seen.append(configuration) or report(Verdict.EQUIVALENT)
    )
    (folder / "lockstep.toml").write_text(
        '[reference]\nruntime = "tf1"\nentry = "legacy.py:forward"\n[candidate]\nruntime = "keras"\n'
        'entry = "model.py:build"\npython = "3.11"\nrequirements = ["keras==3.8.0", "tensorflow-cpu==2.18.0"]\n'
        '[inputs.x]\nshape = [2, 6]\n[variables]\nrename = [["a", "b"]]\nignore = ["^step$"]\n'
    )
    done = lockstep("bisect", "--versions", "2.18.0,2.19.1", cwd=folder)
    assert done.status == 0, done.stderr
    last = seen[-1]
    assert last.environments["reference"].requirements == ("tensorflow-cpu==2.18.0", "keras==3.8.0")
    assert last.environments["candidate"].requirements == ("tensorflow-cpu==2.19.1", "keras==3.8.0")
    assert last.environments["candidate"].python == "3.11"
    assert (last.reference, last.rename, last.ignore) == (last.candidate, (), ("^step$",))


def test_releases_between_bounds_are_asked_of_the_index_from_the_newest_down(monkeypatch):
    index = ("2.16.1", "2.16.2", "2.17.0", "2.17.1", "2.18.0")
    from packaging.specifiers import SpecifierSet

    def newest(package, clauses):
        return next((one for one in reversed(index) if one in SpecifierSet(clauses)), None)

    monkeypatch.setattr(releases, "newest", newest)

    def found(text, **options):
        return releases.releases_of("tensorflow", releases.parse_range(text), say=lambda _: None, **options)

    assert found("2.16..2.18") == ("2.16.2", "2.17.1", "2.18.0")
    assert found("2.16..2.17", patches=True) == ("2.16.1", "2.16.2", "2.17.0", "2.17.1")
    assert found("2.16.2..2.17.0") == ("2.16.2", "2.17.0")
    with pytest.raises(InputError, match=r"has 2\.18\.0 alone of tensorflow"):
        found("2.18..2.30")
    with pytest.raises(InputError, match=r"has no tensorflow 2\.16\.9"):
        found("2.16.1,2.16.9")


def test_an_index_that_cannot_be_reached_is_told_and_is_no_missing_release(monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(UnavailableEnvironmentError, match="package index cannot be reached"):
        releases.newest("keras", "==3.8.0")


def test_the_python_of_an_environment_is_one_that_the_release_has_wheels_for():
    number = int(releases.python_for("tensorflow", "2.16.2").partition(".")[2])
    assert 9 <= number <= 12
    assert Environments("keras", ("tensorflow==2.16.2",)).of("3.8.0").python == f"3.{number}"
    assert Environments("keras", (), "3.12").of("3.8.0").python == "3.12"


def test_a_difference_that_no_number_can_tell_is_infinite():
    step = StepReport("inference-fixed", Verdict.DIVERGED, "", {"batches": [{"largest_output_error": float("nan")}]})
    whole = dataclasses.replace(report(Verdict.DIVERGED), steps=(step,))
    assert largest_difference(whole) == float("inf")
    assert largest_difference(dataclasses.replace(whole, steps=())) is None


def test_a_release_that_could_not_be_judged_is_no_pass():
    rows = (Release("1", Verdict.EQUIVALENT, 0.0, 1.0), Release("2", Verdict.UNDECIDED, None, 1.0, ran=False))
    found = Bisection("m", "keras", ("1", "2"), rows, None, "1", (), None, "", 1.0)
    assert found.verdict is Verdict.UNDECIDED
    assert dataclasses.replace(found, releases=rows[:1]).verdict is Verdict.UNDECIDED


def test_the_sentence_of_an_error_is_its_own():
    assert bisect._sentence(InputError("it failed: no wheel.\n  uv: more\n  uv: lines")) == "it failed: no wheel."


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """The same model with two factors, each in a process of its own, and what it is given."""
    place = tmp_path_factory.mktemp("sides")
    (place / "old.py").write_text(MODEL.format(since=99))
    (place / "new.py").write_text(MODEL.format(since=0))
    return place, {"x": np.random.default_rng(5).normal(size=(4, 6)).astype(np.float32)}


def test_operations_of_another_process_are_those_of_this_one(sides):
    place, inputs = sides
    mode = Mode(False, "num_random_ops")
    remote = by_operations(IsolatedKeras(place, "old.py:build", HERE)).build(mode, inputs)
    from lockstep.config.entries import subject_from_table

    local = subject_from_table({"runtime": "keras", "entry": "old.py:build"}, place, "candidate").build(mode, inputs)
    before = local.run(INITIAL).before
    ours, theirs = local.followed.program(before), remote.program(before)
    assert [(o.type, o.attributes, o.inputs, o.outputs, o.place, o.call) for o in theirs.operations] == [
        (o.type, o.attributes, o.inputs, o.outputs, o.place, o.call) for o in ours.operations
    ]
    assert (theirs.specs, theirs.outputs, theirs.writes, theirs.draws) == (
        ours.specs,
        ours.outputs,
        ours.writes,
        ours.draws,
    )
    for number, source in ours.sources.items():
        np.testing.assert_array_equal(np.asarray(theirs.sources[number].value), np.asarray(source.value))
    assert IsolatedKeras(place, "old.py:build", HERE).build(mode, inputs).followed is None


@pytest.mark.release
def test_operations_that_are_alike_do_not_excuse_outputs_that_differ(sides, monkeypatch):
    """A release whose kernels are wrong has the right program: what it computed itself is what counts."""
    place, inputs = sides
    true = RemoteInstance.program
    other = IsolatedKeras(place, "old.py:build", HERE)

    def as_if_right(self, *arguments, **options):
        right = other.build(self._mode, inputs)
        right.run(INITIAL)
        return true(right, *arguments, **options)

    monkeypatch.setattr(RemoteInstance, "program", as_if_right)
    both = [IsolatedKeras(place, f"{name}.py:build", HERE) for name in ("old", "new")]
    steps = ("variables-match", "inference-fixed")
    assert library.verify(*both, inputs, steps=steps).verdict is Verdict.DIVERGED
    found = library.verify(*map(by_operations, both), inputs, search_time=0, steps=steps)
    assert found.verdict is Verdict.UNDECIDED  # the same operations, and other outputs than rounding makes of them
    assert not found.culprits


@pytest.mark.slow
def test_two_real_releases_of_keras(folder):
    try:
        find_interpreter("3.11")
    except UnavailableEnvironmentError as error:
        pytest.skip(str(error))
    (folder / "lockstep.toml").write_text(
        'steps = ["variables-match", "inference-fixed"]\n[reference]\nruntime = "keras"\nentry = "model.py:build"\n'
        '[candidate]\nruntime = "keras"\nentry = "model.py:build"\npython = "3.11"\n'
        'requirements = ["tensorflow-cpu==2.19.1"]\n[inputs.x]\nshape = [4, 6]\n'
    )
    asked = ("--package", "keras", "--versions", "3.7.0,3.8.0", "--json", "a.json")
    done = lockstep_alone("bisect", *asked, cwd=folder, timeout_s=900)
    assert done.status == 1, done.stdout + done.stderr
    told = json.loads((folder / "a.json").read_text())
    jsonschema.validate(told, SCHEMA)
    assert told["first_that_differs"] == "3.8.0"
    assert [row["environment"]["keras"] for row in told["releases"]] == ["3.7.0", "3.8.0"]
    (culprit,) = told["neighbours"]["culprits"]
    assert [Path(culprit[key]).name for key in ("reference_source", "source")] == ["model.py:10", "model.py:11"]
    assert "0.51" in culprit["cause"]
