"""The original in real TensorFlow 1.15, in an environment of its own, wherever a Python 3.7 can be had."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.commands import lockstep

from lockstep.common.errors import InputError, UnavailableEnvironmentError
from lockstep.elsewhere.isolated import IsolatedSubject, Taps
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.environments import EnvironmentSpec, provide
from lockstep.subjects import INITIAL, Mode

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = EnvironmentSpec("3.7", ("tensorflow==1.15.5", "tf-slim==1.1.0"))
TRAINING = Mode(training=True, randomness="num_random_ops")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def environment():
    try:
        return provide(SPEC, say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")


@pytest.fixture(scope="module", autouse=True)
def own_traces(tmp_path_factory):
    """Traces of these tests alone, each recorded once; environments are shared with everybody."""
    folder = tmp_path_factory.mktemp("traces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lockstep.elsewhere.trace_cache.traces_folder", lambda: folder)
        yield


def check(configuration, *options):
    done = lockstep("check", configuration, "--json", "-", *options)
    return done.status, json.loads(done.stdout) if done.status in (0, 1) else done.stderr


@pytest.mark.parametrize("example", ["mlp", "lstm_text", "decoder"])
def test_each_small_example_is_equivalent_and_its_code_exact(example):
    status, report = check(EXAMPLES / example / "lockstep-tf115.toml", "--fresh")
    assert status == 0, report
    assert report["environments"]["reference"]["tensorflow"] == "1.15.5"
    for step in report["steps"][2:5]:
        assert step["figures"]["output_error_of_code"] == 0, step["name"]
        assert step["figures"]["output_error_of_runtime"] > 0 or "constant" in step["summary"]


@pytest.mark.parametrize(
    ("example", "change", "step", "pitfall"),
    [
        ("mlp", ("0.25, training", "0.35, training"), "training-random", "dropout-rate"),
        ("mlp", ("tf.nn.elu", "tf.nn.relu"), "inference-fixed", "wrong-activation"),
        ("mlp", ("5e-4", "6e-4"), "inference-fixed", "constant-factor"),
        ("lstm_text", ("use_peepholes=True", "use_peepholes=False"), "variables-match", "missing-variable"),
        ("lstm_text", ("LSTMCell(SIZE)", "LSTMCell(SIZE, forget_bias=0.0)"), "inference-fixed", "forget-bias"),
        ("decoder", ("epsilon=1e-5", "epsilon=1e-3"), "inference-fixed", "epsilon"),
        ("decoder", ("resize_bilinear(net, [32, 32])", "resize_bilinear(net, [32, 32], align_corners=True)"),
         "inference-fixed", "align-corners"),
    ],
)  # fmt: skip
def test_a_planted_mistake_diverges_at_its_step_and_is_named(tmp_path, example, change, step, pitfall):
    folder = tmp_path / example
    shutil.copytree(EXAMPLES / example, folder)
    plant(folder, *change)
    status, report = check(folder / "lockstep-tf115.toml")
    assert status == 1, report
    assert next(s["name"] for s in report["steps"] if s["verdict"] == "diverged") == step
    assert report["culprits"][0]["pitfall"] == pitfall


def plant(folder, right, wrong):
    """Puts a mistake into what the candidate runs, once, and leaves the reference as it is."""
    source = (folder / "legacy_model.py").read_text()
    assert right in source
    (folder / "wrong_model.py").write_text(source.replace(right, wrong, 1))
    migrated = folder / "migrated_model.py"
    migrated.write_text(migrated.read_text().replace("legacy_model", "wrong_model"))


# That it is equivalent the demo's test sees, and that a mistake in it is named the page's.
@pytest.mark.release
def test_the_guides_network_is_equivalent_and_a_changed_scale_is_not(tmp_path):
    folder = tmp_path / "network"
    shutil.copytree(EXAMPLES / "inception_resnet_v2", folder)
    status, report = check(folder / "lockstep-tf115.toml")
    assert status == 0, report
    assert [step["verdict"] for step in report["steps"][:5]] == ["equivalent"] * 5
    assert report["culprits"] == []  # though batch norm over constant activations amplifies every rounding
    fixed = next(step for step in report["steps"] if step["name"] == "inference-fixed")["figures"]
    assert fixed["reference_loss"] == pytest.approx(0.001182976, rel=1e-5)  # what the guide prints
    assert fixed["output_error_of_code"] == 0
    plant(folder, "scale=0.10", "scale=0.11")
    status, report = check(folder / "lockstep-tf115.toml")
    assert status == 1
    assert report["environments"]["reference"]["trace"] in ("from the cache", "recorded now")
    (culprit,) = report["culprits"]  # one line, which all twenty blocks have run
    assert re.fullmatch("InceptionResnetV2/Repeat_1/block17_[0-9]+/mul", culprit["reference"])
    assert culprit["pitfall"] == "constant-factor"
    # From constant activations the first block's mistake shows in inference alone, the others' in training too.
    assert culprit["consequences"] in (18, 19)
    assert "legacy_model.py:" in culprit["reference_source"]


@pytest.mark.release
def test_another_epsilon_in_the_guides_network_names_every_batch_normalisation_that_has_it(tmp_path):
    folder = tmp_path / "network"
    shutil.copytree(EXAMPLES / "inception_resnet_v2", folder)
    configuration = folder / "lockstep-tf115.toml"
    configuration.write_text(configuration.read_text().replace('fill = "ones"', 'fill = "uniform"'))
    plant(folder, '"epsilon": batch_norm_epsilon', '"epsilon": 0.002')
    status, report = check(configuration)
    assert status == 1, report
    assert report["environments"]["reference"]["tensorflow"] == "1.15.5"
    updated = next(step for step in report["steps"] if step["name"] == "training-random")["figures"]["state_variables"]
    assert updated == 412  # a moving mean and a moving variance for each of them
    # Each line once, with the count of the others that it has made.
    assert sum(1 + culprit["consequences"] for culprit in report["culprits"]) >= updated / 2
    for culprit in report["culprits"]:
        assert "/BatchNorm" in culprit["reference"], culprit
        assert culprit["pitfall"] == "epsilon"
        assert "epsilon: 0.001 against 0.002" in culprit["attributes"]


def test_taps_change_nothing_in_tensorflow_1_15(tmp_path):
    inputs = {"code": np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)}
    subject = IsolatedSubject(EXAMPLES / "decoder", "legacy_model.py:forward", SPEC)
    untapped = subject.build(TRAINING, inputs).run(INITIAL)
    subject.record(inputs, tmp_path / "t", taps=Taps((".*",)))
    build = RecordedSubject(tmp_path / "t").builds[TRAINING]
    for path, value in untapped.outputs.items():
        np.testing.assert_array_equal(build.trace("initial").outputs[path], value)
    for key, value in untapped.after.items():
        np.testing.assert_array_equal(build.trace("initial").after[key], value)
    assert len(build.taps("initial")) > 20


def test_an_environment_that_cannot_be_had_is_a_sentence(tmp_path):
    shutil.copytree(EXAMPLES / "mlp", tmp_path / "mlp")
    configuration = tmp_path / "mlp" / "lockstep-tf115.toml"
    text = configuration.read_text()
    configuration.write_text(text.replace('python = "3.7"', 'python = "3.1"'))
    status, said = check(configuration)
    assert status == 2
    assert "3.1" in said
    configuration.write_text(text.replace("tensorflow==1.15.5", "tensorflow==1.15.99"))
    status, said = check(configuration)
    assert status == 2
    assert "tensorflow==1.15.99" in said
    assert issubclass(UnavailableEnvironmentError, InputError)
