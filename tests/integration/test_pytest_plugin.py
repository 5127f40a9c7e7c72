"""The pytest plugin, through pytester: what a failure tells, goldens, configurations as tests, JUnit, GitHub, xdist."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import keras
import pytest
import tensorflow as tf

from lockstep import tf1
from lockstep.frameworks.tensorflow import keras_eager, tf1_graph
from lockstep.testing import equivalence, goldens

pytest_plugins = "pytester"

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"

MODELS = """
import keras
import tensorflow.compat.v1 as tf
from lockstep import tf1

def network(inputs):
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [8, 4])
        return tf.nn.relu(tf.matmul(inputs["x"], w))

def forward(inputs, training):
    return {"y": network(inputs) * 0.1}

class Right(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return {"y": network(inputs) * 0.1}

class Wrong(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return {"y": network(inputs) * 0.11}
"""
BOTH = """
from models import Right, Wrong, forward
from lockstep.testing import assert_equivalent

def test_right():
    assert_equivalent(forward, Right, {"x": (3, 8)})

def test_wrong():
    assert_equivalent(forward, Wrong, {"x": (3, 8)})
"""
GOLDEN = """
import keras

def build():
    x = keras.Input((8,), name="x")
    y = keras.layers.Dense(4, "SLOPE", name="hidden")(x)
    return keras.Model(x, keras.layers.Dense(2, name="out")(y))

def test_it_computes_what_it_did(lockstep_golden):
    lockstep_golden(build, {"x": (3, 8)})
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """A folder with tests that run in this process, on its modules: pytester drops those that come later."""
    assert all((tf, keras, tf1, keras_eager, tf1_graph, equivalence, goldens))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    pytester.makepyfile(models=MODELS)
    pytester.syspathinsert()
    return pytester


def words(outcome):
    """What a run printed, without pytest's marks of an error's lines, in one line."""
    return " ".join(re.sub(r"^E? +", "", line) for line in outcome.outlines)


def test_a_failure_names_the_operation_both_lines_the_cause_and_the_fix(project):
    project.makepyfile(test_models=BOTH)
    outcome = project.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=1, failed=1)
    text = words(outcome)
    assert "DivergedError: diverged: the candidate does not compute what the reference computes: operation" in text
    assert re.search(r"reference +mul +Mul +models\.py:11 ", text)
    assert re.search(r"candidate +wrong/Mul +Mul +models\.py:21 ", text), text
    assert re.search(r"cause +the constant factor is 0\.11; with 0\.1 the difference vanishes", text)
    assert re.search(r"fix +use 0\.1 ", text)
    assert "assert_equivalent(forward, Wrong" in text  # the user's line, and none of Lockstep's
    assert "report.raise_if_diverged()" not in text


def test_the_text_of_the_error_is_that_of_the_report(project):
    project.makepyfile(
        """
        import lockstep, pytest
        from models import Wrong, forward
        from lockstep.testing import assert_equivalent

        def test_it():
            with pytest.raises(lockstep.DivergedError) as caught:
                assert_equivalent(forward, Wrong, {"x": (3, 8)})
            report = caught.value.report
            assert str(report) == str(caught.value)
            assert report.culprits[0].fix in str(report)
        """
    )
    project.runpytest_inprocess("-p", "no:xdist").assert_outcomes(passed=1)


def test_junit_has_the_verdict_of_each_step_and_the_culprit(project):
    project.makepyfile(test_models=BOTH)
    project.runpytest_inprocess("-p", "no:xdist", "--junitxml=out.xml")
    cases = {case.get("name"): case for case in ET.parse(project.path / "out.xml").iter("testcase")}
    right, wrong = (
        {each.get("name"): each.get("value") for each in cases[name].iter("property")}
        for name in ("test_right", "test_wrong")
    )
    assert right["lockstep.verdict"] == right["lockstep.inference-fixed"] == "equivalent"
    assert "lockstep.culprit" not in right
    assert wrong["lockstep.verdict"] == wrong["lockstep.inference-fixed"] == "diverged"
    assert wrong["lockstep.variables-match"] == "equivalent"
    assert "the constant factor is 0.11" in wrong["lockstep.culprit"]
    assert f"tensorflow {tf.__version__}" in wrong["lockstep.reference"]


class TestGoldens:
    def run(self, project, activation, *options):
        project.makepyfile(test_golden=GOLDEN.replace("SLOPE", activation))
        return project.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider", *options)

    def test_one_that_is_missing_fails_and_says_how_it_is_written(self, project):
        outcome = self.run(project, "relu")
        outcome.assert_outcomes(failed=1)
        assert "pytest --lockstep-update` writes it" in words(outcome)
        assert not (project.path / "goldens").exists()

    def test_it_is_written_checked_and_renewed_only_where_the_model_differs(self, project):
        golden = project.path / "goldens" / "test_golden" / "test_it_computes_what_it_did"
        self.run(project, "relu", "--lockstep-update").assert_outcomes(passed=1)
        written = (golden / "manifest.json").read_bytes()
        self.run(project, "relu").assert_outcomes(passed=1)
        self.run(project, "relu", "--lockstep-update").assert_outcomes(passed=1)
        assert (golden / "manifest.json").read_bytes() == written
        outcome = self.run(project, "elu")
        outcome.assert_outcomes(failed=1)
        assert "the candidate does not compute what the reference computes" in words(outcome)
        self.run(project, "elu", "--lockstep-update").assert_outcomes(passed=1)
        assert (golden / "manifest.json").read_bytes() != written
        self.run(project, "elu").assert_outcomes(passed=1)

    def test_a_damaged_one_is_told_and_no_pass(self, project):
        self.run(project, "relu", "--lockstep-update")
        file = next((project.path / "goldens").rglob("tensors-0000.safetensors"))
        file.write_bytes(file.read_bytes()[:-1] + b"\xff")
        outcome = self.run(project, "relu")
        outcome.assert_outcomes(failed=1)
        assert "DamagedError" in words(outcome) or "InputError" in words(outcome)

    def test_two_checks_may_not_share_one(self, project):
        project.makepyfile(
            test_twice="""
            import pytest
            from test_golden import build

            @pytest.mark.parametrize("name", ["a b", "a-b"])
            def test_it(lockstep_golden, name):
                lockstep_golden(build, (3, 8))
            """
        )
        outcome = self.run(project, "relu", "--lockstep-update")
        outcome.assert_outcomes(passed=2, failed=1)
        assert "give another name=" in words(outcome)


class TestConfigurations:
    @pytest.fixture
    def migrations(self, project):
        """A folder that `lockstep_configs` names, with a right and a wrong migration."""
        for name in ("right", "wrong"):
            shutil.copytree(QUICKSTART, project.path / "migrations" / name)
        (project.path / "migrations" / "wrong" / "lockstep-broken.toml").replace(
            project.path / "migrations" / "wrong" / "lockstep.toml"
        )
        shutil.copytree(QUICKSTART, project.path / "others")
        project.makeini("[pytest]\nlockstep_configs = migrations\ntestpaths = checks")
        (project.path / "checks").mkdir()
        (project.path / "checks" / "test_one.py").write_text("def test_one():\n    pass\n")
        return project

    def test_each_one_in_the_named_folder_is_a_test(self, migrations):
        outcome = migrations.runpytest_inprocess("-p", "no:xdist", "--junitxml=out.xml")
        outcome.assert_outcomes(passed=2, failed=1)
        assert "diverged: the candidate does not compute what the reference computes" in words(outcome)
        assert "broken_model.py:16" in words(outcome)
        assert "runtest" not in outcome.stdout.str()
        values = [each.get("value") for each in ET.parse(migrations.path / "out.xml").iter("property")]
        assert {"equivalent", "diverged"} <= set(values)

    def test_what_is_named_on_the_command_line_is_all_that_runs(self, migrations):
        outcome = migrations.runpytest_inprocess("-p", "no:xdist", "--collect-only", "-q", "migrations/right")
        assert [line for line in outcome.outlines if "::" in line] == ["migrations/right/lockstep.toml::check"]
        outcome = migrations.runpytest_inprocess("-p", "no:xdist", "--collect-only", "-q", "others")
        assert [line for line in outcome.outlines if "::" in line] == []

    def test_a_file_that_cannot_be_read_is_one_sentence(self, migrations):
        (migrations.path / "migrations" / "right" / "lockstep.toml").write_text("[reference]\nruntim = 'tf1'\n")
        outcome = migrations.runpytest_inprocess("-p", "no:xdist", "migrations/right")
        outcome.assert_outcomes(failed=1)
        assert "unknown key 'runtim'; did you mean 'runtime'?" in words(outcome)
        assert "Traceback" not in words(outcome)

    def test_a_model_that_raises_shows_the_users_traceback(self, migrations):
        model = migrations.path / "migrations" / "right" / "legacy_model.py"
        model.write_text(f"{model.read_text()}\nraise RuntimeError('my own mistake')\n")
        outcome = migrations.runpytest_inprocess("-p", "no:xdist", "migrations/right")
        outcome.assert_outcomes(failed=1)
        assert "RuntimeError: my own mistake" in words(outcome)
        assert str(Path("src", "lockstep")) not in outcome.stdout.str()

    def test_a_folder_that_is_not_there_is_refused(self, project):
        project.makeini("[pytest]\nlockstep_configs = migratoins")
        outcome = project.runpytest_inprocess("-p", "no:xdist")
        assert outcome.ret == pytest.ExitCode.USAGE_ERROR
        outcome.stderr.fnmatch_lines(["*lockstep_configs names *migratoins, and there is no such folder."])


class TestOnGitHub:
    def test_annotations_lie_on_the_lines_at_fault_and_the_summary_has_all(self, project, monkeypatch):
        project.makepyfile(test_models=BOTH)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
        outcome = project.runpytest_inprocess("-p", "no:xdist")
        (annotation,) = (line for line in outcome.outlines if line.startswith("::error"))
        assert re.match(
            r"::error file=models\.py,line=21,title=[^:]*test_wrong::operation wrong/Mul: the cons", annotation
        )
        summary = (project.path / "summary.md").read_text()
        assert summary.count("### ") == 2
        assert "| inference-fixed | diverged |" in summary
        assert "| inference-fixed | equivalent |" in summary

    def test_elsewhere_nothing_is_annotated(self, project):
        project.makepyfile(test_models=BOTH)
        assert "::error" not in project.runpytest_inprocess("-p", "no:xdist").stdout.str()

    def test_a_report_that_a_test_raises_itself_is_annotated_once(self, project, monkeypatch):
        project.makepyfile(
            """
            import lockstep
            from models import Wrong, forward
            import numpy as np

            def test_it():
                x = {"x": np.linspace(-1, 1, 24, dtype="float32").reshape(3, 8)}
                lockstep.verify(lockstep.tf1_graph(forward), lockstep.keras(Wrong), x).raise_if_diverged()
            """
        )
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        outcome = project.runpytest_inprocess("-p", "no:xdist")
        assert sum(line.startswith("::error") for line in outcome.outlines) == 1


@pytest.mark.slow
def test_with_xdist_all_of_it_comes_from_the_workers(project, monkeypatch):
    project.makepyfile(test_models=BOTH)
    shutil.copytree(QUICKSTART, project.path / "migrations" / "right")
    (project.path / "checks").mkdir()
    (project.path / "test_models.py").replace(project.path / "checks" / "test_models.py")
    project.makeini("[pytest]\nlockstep_configs = migrations\ntestpaths = checks")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    outcome = project.runpytest_subprocess("-n", "2", "--junitxml=out.xml", timeout=300)
    outcome.assert_outcomes(passed=2, failed=1)
    assert sum(line.startswith("::error file=models.py,line=21,") for line in outcome.outlines) == 1
    assert (project.path / "summary.md").read_text().count("### ") == 3
    properties = list(ET.parse(project.path / "out.xml").iter("property"))
    assert sum(each.get("name") == "lockstep.verdict" for each in properties) == 3


def test_the_plugin_imports_no_framework_and_no_numpy_until_it_is_used(tmp_path):
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    (tmp_path / "conftest.py").write_text(
        "import json, sys\n"
        "def pytest_unconfigure(config):\n"
        "    assert config.pluginmanager.hasplugin('lockstep')\n"
        "    names = [n for n in ('tensorflow', 'keras', 'numpy', 'rich') if n in sys.modules]\n"
        "    open('modules.json', 'w').write(json.dumps(names))\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:hypothesispytest"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "modules.json").read_text()) == []
