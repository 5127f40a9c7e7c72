"""The command line with `verify` put aside: exit statuses, streams, errors, `init`, the demo's figures."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import lockstep
from lockstep import config
from lockstep.check.reporting import Event
from lockstep.cli import demo, interruptions, main, session, startup
from lockstep.cli.progress import Progress
from lockstep.common.errors import InputError, SubjectError, UndecidedError
from lockstep.common.tracebacks import users_traceback
from lockstep.report.json import from_json
from lockstep.results.model import Report, StepReport, Verdict

CONFIGURATION = """
[reference]
runtime = "tf1"
entry = "legacy_model.py:forward"
[candidate]
runtime = "keras"
entry = "migrated_model.py:build"
[inputs.image]
shape = [2, 3]
"""


THERE = {"lockstep.toml", "legacy_model.py", "migrated_model.py"}


def a_report(verdict=Verdict.EQUIVALENT, steps=()) -> Report:
    steps = steps or (StepReport("variables-match", verdict, "3 = 3"),)
    return Report(verdict, steps, (), {"reference": {"subject": "a"}, "candidate": {"subject": "b"}}, 1.0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a configuration in it."""
    (tmp_path / "lockstep.toml").write_text(CONFIGURATION)
    for entry in ("legacy_model.py", "migrated_model.py"):
        (tmp_path / entry).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def verify(monkeypatch):
    """Stands in for everything that needs TensorFlow; its outcome is a report, or an exception to raise."""

    def outcome(given):
        def verify(reference, candidate, inputs, **options):
            print("printed by the user's code")
            if isinstance(given, BaseException):
                raise given
            return given

        monkeypatch.setattr(lockstep, "verify", verify, raising=False)
        monkeypatch.setattr(startup, "import_tensorflow", lambda: None)
        monkeypatch.setattr(config, "subject_from_configuration", lambda configuration, side, **_: side)

    return outcome


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_a_missing_file_is_told_before_tensorflow_is_imported(folder, monkeypatch):
    (folder / "legacy_model.py").unlink()
    monkeypatch.setattr(startup, "import_tensorflow", lambda: pytest.fail("TensorFlow was imported first"))
    result = run("check")
    assert result.exit_code == 2
    assert "[reference]: there is no file" in result.stderr


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Verdict.EQUIVALENT, 0), (Verdict.DIVERGED, 1), (Verdict.UNDECIDED, 2), (Verdict.NOT_ASKED, 2)],
)
@pytest.mark.usefixtures("folder")
def test_the_exit_status_is_the_verdict(verify, verdict, status):
    verify(a_report(verdict))
    result = run("check")
    assert result.exit_code == status
    assert result.stdout.splitlines()[-1].startswith(f"verdict  {verdict}")


@pytest.mark.usefixtures("folder")
def test_results_are_on_standard_output_and_all_else_on_standard_error(verify):
    verify(a_report())
    result = run("check")
    assert "printed by the user's code" in result.stderr
    assert "printed by the user's code" not in result.stdout
    assert "variables-match" in result.stdout


@pytest.mark.usefixtures("folder")
def test_json_to_standard_output_is_the_report_alone(verify):
    verify(a_report(Verdict.DIVERGED))
    result = run("check", "--json", "-")
    assert result.exit_code == 1
    assert from_json(result.stdout) == a_report(Verdict.DIVERGED)


def test_json_to_a_file_is_written_whole_and_named(verify, folder):
    verify(a_report())
    (folder / "out.json").write_text("old")
    result = run("check", "--json", "out.json")
    assert from_json((folder / "out.json").read_text()) == a_report()
    assert result.stdout.splitlines()[-1].endswith("report: out.json")
    assert {p.name for p in folder.iterdir()} == {*THERE, "out.json"}


def test_without_json_no_file_is_written(verify, folder):
    verify(a_report())
    run("check")
    assert {p.name for p in folder.iterdir()} == THERE


def test_a_report_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (folder / "out.json").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        session.write_whole(folder / "out.json", "new")
    assert (folder / "out.json").read_text() == "old"
    assert {p.name for p in folder.iterdir()} == {*THERE, "out.json"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_device_that_cannot_be_written_to_is_one_sentence():
    with pytest.raises(InputError, match="/dev/full cannot be written: No space left"):
        session.write_whole(Path("/dev/full"), "new")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("file", ["nowhere/out.json", "."])
def test_a_destination_that_cannot_be_is_refused_before_anything_runs(verify, file):
    verify(AssertionError("it ran"))
    result = run("check", "--json", file)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lockstep: --json {file}: ")
    assert "it ran" not in result.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("error", [InputError("the sentence."), UndecidedError("the sentence.")])
def test_an_error_is_one_sentence_and_status_2(verify, error):
    verify(error)
    result = run("check")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1:] == ["lockstep: the sentence."]
    assert result.stdout == ""


@pytest.mark.usefixtures("folder")
def test_an_interruption_is_status_130_and_one_line(verify):
    verify(KeyboardInterrupt())
    result = run("check")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1:] == ["lockstep: interrupted; nothing was judged."]


SLOW = """
import hashlib, os, sys, time
import lockstep
from lockstep.cli import interruptions, main, session
from lockstep.common import workspace

def slow(*_, **__):
    work = workspace.temporary()
    with workspace.beside(__import__("pathlib").Path("target")):
        print("begun", file=sys.stderr, flush=True)
        {what}

session.run = slow
main(["check"])
"""
WAITS = {
    "in a library's code": "interruptions.PATIENCE_S = 0.5; hashlib.pbkdf2_hmac('md5', b'', b'', 2**31 - 1)",
    "in Python": "time.sleep(60)",
    "in a finalizer": "class Slow:\n            def __del__(self): time.sleep(3)\n        Slow(); time.sleep(60)",
    "in code that makes its own of it": "try: time.sleep(60)\n        except BaseException: raise ValueError('mine')",
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("what", WAITS)
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "interrupted by SIGTERM"),
        (signal.SIGHUP, "interrupted by SIGHUP"),
    ],
)
def test_a_signal_ends_a_command_with_a_sentence_its_status_and_no_folder_left(tmp_path, number, words, what):
    (tmp_path / "tmp").mkdir()
    # A shell has SIGINT ignored in what it starts with &, and nohup SIGHUP.
    heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    heeded += "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    program = heeded + SLOW.format(what=WAITS[what])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    ) as process:
        try:
            assert process.stderr.readline() == "begun\n"
            process.send_signal(number)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, told) == (128 + number, f"lockstep: {words}; nothing was judged.\n")
    assert [path for path in tmp_path.rglob("*") if path.name != "tmp"] == []


FORKING = """
import os, signal, time
from lockstep.cli import interruptions
interruptions.PATIENCE_S = 0.3
with interruptions.raised() as came:
    child = os.fork()
    if not child:
        time.sleep(60)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    status = os.waitpid(child, 0)[1]
    time.sleep(1)
print(came, os.WTERMSIG(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_a_fork_of_the_users_ends_as_forks_do_and_is_no_interruption():
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[] 15\n", "")


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with interruptions.raised() as came:
            signal.raise_signal(signal.SIGHUP)
        assert came == []
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("folder")
def test_a_mistake_of_our_own_is_never_taken_for_a_divergence(verify):
    verify(ZeroDivisionError("ours"))
    result = run("check")
    assert result.exit_code == 2
    assert "ZeroDivisionError: ours" in result.stderr
    assert "a mistake in Lockstep itself" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chek"], "did you mean 'check'?"),
        (["check", "--jsn", "x"], "No such option"),
        (["check", "a", "b", "c"], "unexpected extra argument"),
        (["check", "missing.toml"], "lockstep: configuration: there is no file missing.toml"),
        (["demo", "--example", "quickstrt"], "did you mean 'quickstart'?"),
        (
            ["demo", "--example", "zebra"],
            "there is no example 'zebra'; there are bert, decoder, estimator, inception_resnet_v2, keras2_to_keras3,",
        ),
    ],
)
def test_a_wrong_call_is_status_2(arguments, words, folder):
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_the_help_names_every_command_and_the_exit_statuses():
    result = run("--help")
    assert result.exit_code == 0
    assert all(
        word in result.stdout for word in ("check", "demo", "init", "0 equivalent, 1 diverged, 2 could not judge")
    )


def loaded_after(code: str) -> set[str]:
    code += "\nimport sys; print([n for n in ('tensorflow', 'keras', 'numpy', 'rich') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(eval(done.stdout.splitlines()[-1]))


HELP = "from lockstep.cli import main\nmain(['--help'], standalone_mode=False)"


def test_the_help_loads_neither_numpy_nor_rich_nor_tensorflow():
    assert loaded_after(HELP) == set()


def test_the_test_of_what_is_loaded_can_fail():
    assert loaded_after(f"{HELP}\nimport lockstep.report.text, numpy") == {"numpy", "rich"}


# The user's own traceback


def failure(folder: Path, code: str) -> str:
    (folder / "legacy_model.py").write_text(code)
    with pytest.raises(SubjectError) as raised:
        config.subject_from_table({"runtime": "tf1", "entry": "legacy_model.py:forward"}, folder, "reference")
    return users_traceback(raised.value.__cause__)


def test_a_subjects_error_shows_the_users_frames_without_ours(folder):
    inner = "def inner():\n    raise KeyError('weights')\n"
    code = f"{inner}try:\n    inner()\nexcept KeyError as e:\n    raise ValueError('no') from e\n"
    text = failure(folder, code)
    assert "KeyError: 'weights'" in text
    assert "raise KeyError('weights')" in text
    assert text.endswith("ValueError: no")
    assert "exec_module" not in text
    assert "entries.py" not in text
    assert text.count('legacy_model.py", line') == 3


def test_frames_below_the_users_stay(folder):
    assert "json/decoder.py" in failure(folder, "import json\njson.loads('{')\n")


def test_a_syntax_error_shows_the_line(folder):
    assert "def f(:" in failure(folder, "def f(:\n    pass\n")


@pytest.mark.usefixtures("folder")
def test_the_users_traceback_comes_before_the_sentence(verify):
    error = SubjectError("the reference failed.", side="reference", doing="building it")
    error.__cause__ = ValueError("theirs")
    verify(error)
    lines = run("check").stderr.splitlines()
    assert lines[-2:] == ["ValueError: theirs", "lockstep: the reference failed."]


# Starting TensorFlow


def test_what_is_written_while_tensorflow_starts_is_held_back(capfd):
    with startup.held_back_stderr():
        os.write(2, b"chatter\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_what_was_held_back_is_shown_if_the_start_fails(capfd):
    def start():
        with startup.held_back_stderr():
            os.write(2, b"the reason\n")
            raise ImportError("broken")

    with pytest.raises(ImportError):
        start()
    assert capfd.readouterr().err == "the reason\n"


def test_an_interruption_of_the_start_shows_nothing_of_it(capfd):
    def start():
        with startup.held_back_stderr():
            os.write(2, b"chatter\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


# init


def test_init_writes_files_that_are_read_and_refuses_to_overwrite_them(tmp_path):
    folder = tmp_path / "new" / "migration"
    assert run("init", str(folder)).exit_code == 0
    assert sorted(p.name for p in folder.iterdir()) == ["legacy_model.py", "lockstep.toml", "migrated_model.py"]
    read = config.read(folder)
    assert config.make_inputs(read)["features"].shape == (8, 16)
    (folder / "legacy_model.py").write_text("mine")
    (folder / "lockstep.toml").unlink()
    result = run("init", str(folder))
    assert result.exit_code == 2
    assert "already holds legacy_model.py, migrated_model.py" in result.stderr
    assert (folder / "legacy_model.py").read_text() == "mine"
    assert not (folder / "lockstep.toml").exists()


def test_every_key_in_the_comments_of_the_first_configuration_is_known(tmp_path):
    run("init", str(tmp_path))
    path = tmp_path / "lockstep.toml"
    lines = [line.removeprefix("# ") for line in path.read_text().splitlines()]
    kept = [line for line in lines if "path =" not in line and (line.startswith("[") or " = " in line)]
    path.write_text("\n".join(line for line in kept if not line.startswith(("How", "with"))))
    found = config.read(path)
    assert found.rename == (("^mlp/(.*)/weights$", "mlp/\\1/kernel"),)


# The demo's figures

GUIDE = demo.guide_figures(demo.examples_folder() / "inception_resnet_v2" / "guide_figures.toml")
MEASURED = {
    "variables-match": {"reference_variables": 1114, "candidate_variables": 1114},
    "inference-fixed": {
        "reference_loss": 0.00118298,
        "candidate_loss": 0.00118297,
        "reference_first_output": 0.00299837,
        "candidate_first_output": 0.00299836,
    },
    "inference-random": {"reference_loss": 1.2254326, "candidate_loss": 1.2254325},
    "training-random": {
        "reference_loss": 1.2254800,
        "candidate_loss": 1.2254798,
        "constant_reference_loss": 1.2239965,
        "constant_candidate_loss": 1.2239964,
    },
}


def demo_report(verdict=Verdict.EQUIVALENT, **changed) -> Report:
    steps = [StepReport(name, verdict, "", figures) for name, figures in MEASURED.items()]
    for key, value in changed.items():
        steps = [
            dataclasses.replace(step, figures={**step.figures, key: value}) if key in step.figures else step
            for step in steps
        ]
    return a_report(verdict, tuple(steps))


def test_the_guides_figures_are_those_that_it_prints():
    assert [f"{figure.value:.{figure.digits}g}" for figure in GUIDE] == [
        "1114", "0.001182976", "0.00299837", "1.2254326", "1.22548", "1.2239965"
    ]  # fmt: skip


def test_the_demo_sets_the_guides_figures_beside_the_measured_ones(verify):
    verify(demo_report())
    result = run("demo")
    assert result.exit_code == 0
    assert "1.2254326 1.2254326 1.2254325 yes" in " ".join(result.stdout.split())
    assert result.stdout.count("yes") == len(GUIDE)
    assert "Inception-ResNet-v2" in result.stderr


@pytest.mark.parametrize(
    ("changed", "status", "cell"),
    [
        ({"candidate_variables": 1113}, 1, "no"),
        ({"reference_loss": 1.2254}, 1, "no"),
        ({"candidate_first_output": 0.0029985}, 1, "no"),  # within the guide's atol of 1e-5, relative 4e-5
        ({"constant_candidate_loss": float("nan")}, 1, "no"),
        ({"constant_candidate_loss": None}, 2, "not measured"),
    ],
)
def test_a_figure_that_is_off_fails_the_demo(verify, changed, status, cell):
    verify(demo_report(**changed))
    result = run("demo")
    assert result.exit_code == status
    assert f" {cell}\n" in result.stdout


def test_a_demo_that_diverged_is_not_saved_by_its_figures(verify):
    verify(demo_report(Verdict.DIVERGED))
    assert run("demo").exit_code == 1


def test_the_demos_json_is_alone_on_standard_output(verify):
    verify(demo_report())
    assert json.loads(run("demo", "--json", "-").stdout)["verdict"] == "equivalent"


@pytest.mark.usefixtures("folder")
def test_a_step_that_is_none_is_refused_with_the_nearest(verify):
    verify(AssertionError("it ran"))
    result = run("check", "--steps", "variables-match,infrence-fixed")
    assert result.exit_code == 2
    assert "there is no step 'infrence-fixed'; did you mean 'inference-fixed'?" in result.stderr
    assert "no step is named" in run("check", "--steps", ",").stderr


def test_chosen_steps_are_handed_on_in_their_order(monkeypatch, folder):
    given = []
    monkeypatch.setattr(lockstep, "verify", lambda *_, **options: given.append(options["steps"]) or a_report(), False)
    monkeypatch.setattr(startup, "import_tensorflow", lambda: None)
    monkeypatch.setattr(config, "subject_from_configuration", lambda configuration, side, **_: side)
    run("check", "--steps", "inference-fixed, variables-match,variables-match")
    run("check")
    (folder / "lockstep.toml").write_text('steps = ["gradients"]\n' + CONFIGURATION)
    run("check")
    run("check", "--steps", "optimizer")
    assert given == [("variables-match", "inference-fixed"), (), ("gradients",), ("optimizer",)]


@pytest.mark.usefixtures("folder")
def test_quiet_prints_the_first_sentence_alone(verify):
    verify(a_report(Verdict.DIVERGED))
    result = run("check", "--quiet")
    assert result.exit_code == 1
    assert result.stdout == (
        "diverged: the candidate does not compute what the reference computes: variables-match: 3 = 3\n"
    )


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1"}, False),
    ],
)
def test_a_pipe_is_coloured_only_where_that_is_asked_for(verify, monkeypatch, environment, coloured):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    verify(a_report())
    result = CliRunner().invoke(main, ["check"], color=True)
    assert ("\x1b[" in result.stdout) == coloured
    assert "verdict" in result.stdout


def test_a_log_gets_a_line_every_few_seconds_of_what_is_being_done(capfd):
    step = StepReport("variables-match", Verdict.EQUIVALENT, "3 = 3")
    with Progress(every_s=0.05) as progress:
        for _ in range(2):
            progress(Event("variables-match: equivalent", step))
        progress.say("candidate: building\nit")
        time.sleep(0.3)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(re.fullmatch(r"lockstep: +\d+ s   candidate: building\\nit \(2 steps done\)", line) for line in lines)


@pytest.mark.parametrize("options", [{"quiet": True, "every_s": 0.05}, {"every_s": 5.0}])
def test_a_log_gets_no_line_if_it_is_quiet_or_soon_done(capfd, options):
    with Progress(**options) as progress:
        progress.say("building")
        time.sleep(0.2)
    assert capfd.readouterr().err == ""
    assert "lockstep-progress" not in {thread.name for thread in threading.enumerate()}


def test_what_a_report_expects_to_be_left_out_is_what_steps_say():
    from lockstep.report.text import NOTHING_GIVEN

    sources = "".join(file.read_text() for file in (Path(lockstep.__file__).parent).rglob("*.py"))
    for reason in NOTHING_GIVEN:
        assert sources.count(f'"{reason}"') >= 2, reason  # where it is said, and in the list of what is expected
