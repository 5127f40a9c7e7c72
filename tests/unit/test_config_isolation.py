"""How a side is run: what its table may say about an environment of its own, and what is refused."""

from pathlib import Path

import pytest

from lockstep import config
from lockstep.common.errors import InputError
from lockstep.config import Isolation
from lockstep.elsewhere.isolated_keras import IsolatedKeras
from lockstep.environments import EnvironmentSpec

CONFIGURATION = """
[reference]
runtime = "tf1"
entry = "legacy_model.py:forward"
{reference}
[candidate]
runtime = "keras"
entry = "migrated_model.py:build"
{candidate}
[inputs.image]
shape = [2, 3]
"""
REQUIREMENTS = 'requirements = ["tensorflow==1.15.5", "tf-slim==1.1.0"]'


def read(folder: Path, reference: str = "", candidate: str = "") -> config.Configuration:
    path = folder / "lockstep.toml"
    path.write_text(CONFIGURATION.format(reference=reference, candidate=candidate))
    return config.read(path)


def test_a_side_without_any_of_it_runs_in_this_process(tmp_path):
    configuration = read(tmp_path)
    assert configuration.environments == {"reference": None, "candidate": None}
    assert configuration.isolation == {"reference": Isolation(), "candidate": Isolation()}


def test_all_of_it_is_read_and_kept(tmp_path):
    configuration = read(
        tmp_path,
        f'python = "3.7"\n{REQUIREMENTS}\ntimeout_s = 900\nenvironment = ["TF_B", "TF_A", "TF_B"]',
        'interpreter = "venv/bin/python"',
    )
    spec = EnvironmentSpec("3.7", ("tensorflow==1.15.5", "tf-slim==1.1.0"))
    assert configuration.isolation["reference"] == Isolation(spec, 900.0, ("TF_A", "TF_B"))
    assert configuration.environments["candidate"] == EnvironmentSpec(interpreter=tmp_path / "venv/bin/python")
    assert configuration.reference == {"runtime": "tf1", "entry": "legacy_model.py:forward"}


def test_the_variables_that_matter_may_be_named_for_a_side_in_this_process(tmp_path):
    found = read(tmp_path, 'environment = ["TF_ENABLE_ONEDNN_OPTS"]').isolation["reference"]
    assert found == Isolation(None, None, ("TF_ENABLE_ONEDNN_OPTS",))


def test_a_wheel_is_relative_to_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine-1-py3-none-any.whl").touch()
    monkeypatch.chdir("/")
    spec = read(tmp_path / "a", 'requirements = ["./mine-1-py3-none-any.whl"]').environments["reference"]
    assert spec.requirements == (str(tmp_path / "a" / "mine-1-py3-none-any.whl"),)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ('python = "3.7"', ["python without requirements", "requirements = ["]),
        (f"python = 3.7\n{REQUIREMENTS}", ["python is a number", "in quotes"]),
        (f"python = true\n{REQUIREMENTS}", ["python is True"]),
        (f'python = ">=3.7"\n{REQUIREMENTS}', ["'>=3.7'", "must be one version"]),
        (f'interpreter = "p"\n{REQUIREMENTS}', ["both interpreter and requirements"]),
        ('interpreter = "p"\npython = "3.7"', ["both interpreter and python"]),
        ("interpreter = 3", ["interpreter is 3", "a string"]),
        ("requirements = []", ["requirements is empty"]),
        ('requirements = "tensorflow"', ["requirements is a string", "an array of strings"]),
        ("requirements = [3]", ["requirements holds an integer"]),
        ('requirements = ["-e ."]', ["option of pip"]),
        ('requirements = ["./missing.whl"]', ["there is no", "missing.whl"]),
        ('requirments = ["six"]', ["'requirments'", "did you mean 'requirements'?"]),
        ('pyton = "3.7"', ["did you mean 'python'?"]),
        (f"{REQUIREMENTS}\ntimeout = 3", ["did you mean 'timeout_s'?"]),
        (f"{REQUIREMENTS}\ntimeout_s = 0", ["timeout_s is 0", "positive"]),
        (f'{REQUIREMENTS}\ntimeout_s = "1"', ["timeout_s is a string"]),
        ("timeout_s = 3", ["timeout_s", "this process"]),
        ('environment = "A"', ["environment is a string", "an array of names"]),
        ('environment = ["A=1"]', ["'A=1'", "an array of names"]),
        ("environment = [1]", ["an array of names"]),
        ('files = "words.txt"', ["files is a string", "an array of paths"]),
        ('files = ["../words.txt"]', ["'../words.txt'", "leaves the folder"]),
        ('files = ["*.csv"]', ["'*.csv'", "no file is like that"]),
        ('files = ["lockstep.tml"]', ["there is no file", "did you mean 'lockstep.toml'?"]),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, reference, words):
    with pytest.raises(InputError) as raised:
        read(tmp_path, reference)
    message = str(raised.value)
    assert message.startswith("lockstep.toml: [reference]")
    assert message.endswith((".", "?"))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_such_a_side_is_a_subject_of_its_own_and_nothing_of_it_is_imported(tmp_path):
    (tmp_path / "words.txt").write_text("one two")
    configuration = read(tmp_path, f'{REQUIREMENTS}\ntimeout_s = 60\nenvironment = ["MY_FLAG"]\nfiles = ["*.txt"]')
    isolation = configuration.isolation["reference"]
    (tmp_path / "legacy_model.py").write_text("raise RuntimeError('imported here')")
    subject = config.subject_from_table(configuration.reference, tmp_path, "reference", isolation=isolation, fresh=True)
    assert (subject.entry, subject.timeout_s, subject.fresh) == ("legacy_model.py:forward", 60, True)
    assert subject.environment_spec == isolation.environment
    assert subject.environment_variables == ("MY_FLAG",)
    assert subject.data_files == ("*.txt",)


def test_a_keras_side_is_one_too(tmp_path):
    configuration = read(tmp_path, f"{REQUIREMENTS}\ntimeout_s = 60")
    (tmp_path / "migrated_model.py").write_text("raise RuntimeError('imported here')")
    subject = config.subject_from_table(
        configuration.candidate, tmp_path, "candidate", isolation=configuration.isolation["reference"]
    )
    assert isinstance(subject, IsolatedKeras)
    assert (subject.entry, subject.side, subject.timeout_s) == ("migrated_model.py:build", "candidate", 60)
    assert subject.environment_spec == configuration.isolation["reference"].environment
