"""A reference that runs in a process of its own, on this TensorFlow: recording, keeping, failing, comparing."""

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tests import commands

import lockstep
from lockstep.common import cache
from lockstep.common.errors import InputError, SubjectError
from lockstep.elsewhere import trace_cache
from lockstep.elsewhere.isolated import IsolatedSubject, Taps
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.environments import EnvironmentSpec
from lockstep.recorder import graph, operations
from lockstep.recorder.randomness import GraphSeeds
from lockstep.subjects import INITIAL, Mode, Wanted

INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
TRAINING = Mode(training=True, randomness="num_random_ops")
MODEL = textwrap.dedent(
    """
    import tensorflow.compat.v1 as tf
    from parts import SIZE

    def forward(inputs, training):
        with tf.variable_scope("net"):
            w = tf.get_variable("w", [4, SIZE], regularizer=lambda v: 1e-3 * tf.nn.l2_loss(v))
            mean = tf.get_variable("mean", [SIZE], trainable=False, initializer=tf.zeros_initializer())
            net = tf.matmul(inputs["x"], w)
            if training:
                net = tf.nn.dropout(net, rate=0.5)
                update = tf.assign(mean, tf.reduce_mean(net, axis=0))
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            return {"y": tf.nn.relu(net)}
    """
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "migration"
    place.mkdir()
    (place / "model.py").write_text(MODEL)
    (place / "parts.py").write_text("SIZE = 5\n")
    return place


def subject(folder, **options):
    return IsolatedSubject(folder, "model.py:forward", EnvironmentSpec(interpreter=Path(sys.executable)), **options)


def test_what_a_child_recorded_is_what_this_process_computes(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    import model

    ours = lockstep.tf1_graph(model.forward)
    theirs = subject(folder)
    for mode in (TRAINING, Mode(training=False, randomness="num_random_ops")):
        expected, found = (side.build(mode, INPUTS).run(INITIAL) for side in (ours, theirs))
        assert found.variables == expected.variables
        for name in ("before", "outputs", "after"):
            tensors = dict(getattr(found, name))
            assert tensors.keys() == getattr(expected, name).keys()
            for key, value in getattr(expected, name).items():
                np.testing.assert_array_equal(tensors[key], value)
        assert (found.draws, found.forward_draws) == (expected.draws, expected.forward_draws)
        assert [loss.variable for loss in found.losses] == ["net/w"]
        np.testing.assert_array_equal(found.total_loss, expected.total_loss)
    sys.modules.pop("model"), sys.modules.pop("parts")


@pytest.mark.slow  # seven recordings
def test_a_kept_trace_is_used_until_something_that_it_rests_on_changes(folder, monkeypatch):
    said = []

    def asked(**options):
        said.clear()
        one = subject(folder, say=said.append, **options)
        one.build(TRAINING, options.pop("inputs", INPUTS))
        return one.environment()["trace"]

    assert asked() == "recorded now"
    assert asked() == "from the cache"
    assert said == []
    assert asked(fresh=True) == "recorded now"
    (folder / "parts.py").write_text("SIZE = 6\n")  # imported by the entry, from the same folder
    assert asked() == "recorded now"
    assert asked() == "from the cache"
    monkeypatch.setenv("MY_FLAG", "1")
    assert asked() == "from the cache"
    assert asked(environment_variables=("MY_FLAG",)) == "recorded now"
    (folder / "words.txt").write_text("one")
    assert asked(data_files=("*.txt",)) == "recorded now"
    assert asked(data_files=("*.txt",)) == "from the cache"
    (folder / "words.txt").write_text("two")
    assert asked(data_files=("*.txt",)) == "recorded now"
    other = subject(folder)
    other.build(TRAINING, {"x": INPUTS["x"] * 2})
    assert other.environment()["trace"] == "recorded now"
    assert len(trace_cache.listed()) == 5


def test_a_damaged_kept_trace_is_recorded_anew(folder):
    first = subject(folder)
    first.build(TRAINING, INPUTS)
    (place,) = [kept.folder for kept in trace_cache.listed()]
    (place / "manifest.json").write_text("{}")
    again = subject(folder)
    again.build(TRAINING, INPUTS)
    assert again.environment()["trace"] == "recorded now"


def test_the_cache_keeps_within_its_limit_and_drops_what_was_used_longest_ago(tmp_path, monkeypatch):
    folder = cache.cache_folder() / "traces"
    for number, name in enumerate(("old", "middle", "new")):
        (folder / name).mkdir(parents=True)
        (folder / name / "tensors").write_bytes(bytes(1000))
        os.utime(folder / name, (number, number))
    monkeypatch.setenv("LOCKSTEP_TRACE_CACHE_GB", "2.5e-6")
    trace_cache.make_room()
    assert sorted(entry.name for entry in folder.iterdir()) == ["middle", "new"]
    monkeypatch.setenv("LOCKSTEP_TRACE_CACHE_GB", "many")
    with pytest.raises(InputError, match="LOCKSTEP_TRACE_CACHE_GB is 'many'"):
        trace_cache.make_room()


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (("[4, SIZE]", "[4, SIZE + 'x']"), SubjectError, "failed while building"),
        (("def forward", "def other"), InputError, "has no function forward"),
        (("    with tf", "    import os; os.kill(os.getpid(), 9)\n    with tf"), InputError, "was killed"),
        (("    with tf", "    import os; os._exit(0)\n    with tf"), SubjectError, "building .*ProcessEnded: os._exit"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (('"y": tf.nn.relu(net)', '"y": object()'), InputError, "output y is a object"),
                (("from parts import SIZE", "import of_no_such_name"), SubjectError, "failed while importing model.py"),
                (
                    ("    with tf", "    import os; print('my last words'); os.abort()\n    with tf"),
                    InputError,
                    "my last words",
                ),
                (("    with tf", "    raise SystemExit(0)\n    with tf"), SubjectError, "building .*SystemExit: 0"),
                (
                    ("def forward", "raise GeneratorExit\ndef forward"),
                    SubjectError,
                    "importing model.py: GeneratorExit",
                ),
            )
        ),
    ],
)
def test_what_goes_wrong_in_the_child_is_told(folder, change, error, told):
    (folder / "model.py").write_text(MODEL.replace(*change))
    with pytest.raises(error, match=told) as caught:
        subject(folder).build(TRAINING, INPUTS)
    if error is SubjectError:
        assert "model.py" in caught.value.traceback_text
        assert "recorder" not in caught.value.traceback_text
    traces = trace_cache.traces_folder()
    assert not traces.exists() or not [entry for entry in traces.iterdir() if not entry.name.startswith(".")]
    trace_cache.make_room()
    assert not traces.exists() or list(traces.iterdir()) == [], "what a killed recording left is swept away"


@pytest.mark.parametrize(
    "ending", ["import sys; sys.exit(0)", pytest.param("tf.compat.v1.app.run(lambda _: 0)", marks=pytest.mark.slow)]
)
def test_a_script_that_ends_is_never_answered_by_an_older_trace(folder, ending):
    subject(folder).build(TRAINING, INPUTS)
    (folder / "model.py").write_text(f"{MODEL}\n{ending}\n")
    with pytest.raises(
        SubjectError, match=r"importing model.py: SystemExit: .*what a script runs belongs below"
    ) as told:
        subject(folder).build(TRAINING, INPUTS)
    assert "model.py" in told.value.traceback_text
    (folder / "model.py").write_text(f"{MODEL}\nif __name__ == '__main__':\n    {ending}\n")
    again = subject(folder)
    again.build(TRAINING, INPUTS)
    assert again.environment()["trace"] == "recorded now"


def test_a_recorder_that_wrote_no_trace_is_an_error_even_with_status_0(folder, monkeypatch):
    first = subject(folder)
    first.build(TRAINING, INPUTS)
    monkeypatch.setattr("lockstep.elsewhere.isolated.run_recorder", lambda *_: None)
    with pytest.raises(InputError, match="ended with status 0, but wrote no trace"):
        subject(folder, fresh=True).build(TRAINING, INPUTS)


def test_a_file_is_known_as_it_was_imported_and_must_stay_so_while_it_runs(folder):
    place = folder / "parts.py"
    change = f"    open({str(place)!r}, 'a').write('# changed\\n')\n    with tf"
    (folder / "model.py").write_text(MODEL.replace("    with tf", change, 1))
    with pytest.raises(InputError, match=r"parts\.py (has )?changed"):
        subject(folder).build(TRAINING, INPUTS)
    assert trace_cache.listed() == []


def test_the_users_code_sees_a_command_line_without_arguments(folder):
    parse = "import argparse, sys\nargparse.ArgumentParser().parse_args()\nassert sys.argv[0].endswith('model.py')\n"
    (folder / "model.py").write_text(parse + MODEL)
    assert subject(folder).build(TRAINING, INPUTS).variables


def test_each_build_of_a_recording_starts_from_modules_as_they_are_imported(folder):
    (folder / "parts.py").write_text("SIZE = 5\nCOUNT = []\n")
    counted = MODEL.replace("import SIZE", "import SIZE, COUNT").replace('"net"', 'f"net_{len(COUNT)}"')
    (folder / "model.py").write_text(counted.replace("    with tf", "    COUNT.append(0)\n    with tf", 1))
    recorded = subject(folder)
    modes = TRAINING, Mode(training=False, randomness="num_random_ops")
    names = {recorded.build(mode, INPUTS).variables[0].name.split("/")[0] for mode in modes}
    assert names == {"net_1"}


def test_a_recording_that_takes_too_long_is_ended(folder):
    (folder / "model.py").write_text(MODEL.replace("    with tf", "    import time; time.sleep(600)\n    with tf", 1))
    with pytest.raises(InputError, match="still running after its time limit of"):
        subject(folder, timeout_s=8).build(TRAINING, INPUTS)


def test_taps_do_not_change_what_is_computed_and_blocks_give_the_same_as_one(folder, tmp_path):
    whole, blocks = tmp_path / "whole", tmp_path / "blocks"
    subject(folder).record(INPUTS, whole, taps=Taps((".*",)))
    subject(folder).record(INPUTS, blocks, taps=Taps((".*",), max_bytes=64))
    untapped = subject(folder).build(TRAINING, INPUTS).run(INITIAL)
    recorded = {place: RecordedSubject(place).builds[TRAINING] for place in (whole, blocks)}
    for build in recorded.values():
        for path, value in untapped.outputs.items():
            np.testing.assert_array_equal(build.trace("initial").outputs[path], value)
    taps = {place: build.taps("initial") for place, build in recorded.items()}
    assert list(taps[whole]) == list(taps[blocks])
    assert "net/MatMul:0" in taps[whole]
    for name, value in taps[whole].items():
        np.testing.assert_array_equal(taps[blocks][name], value)
    np.testing.assert_array_equal(taps[whole]["net/Relu:0"], untapped.outputs["y"])


def test_a_selection_of_taps_and_what_a_loop_hides(tmp_path):
    folder = tmp_path / "loop"
    folder.mkdir()
    (folder / "model.py").write_text(
        textwrap.dedent(
            """
            import tensorflow.compat.v1 as tf
            tf.disable_control_flow_v2()

            def forward(inputs, training):
                start = tf.multiply(inputs["x"], 2.0, name="start")
                _, net = tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v * 2.0), [0, start])
                return tf.add(net, 1.0, name="end")
            """
        )
    )
    subject(folder).record(INPUTS, tmp_path / "t", taps=Taps(("start", "end", "while")))
    build = RecordedSubject(tmp_path / "t").builds[TRAINING]
    assert set(build.taps("initial")) >= {"start:0", "end:0"}
    assert any("could not be tapped" in note for note in build.trace("initial").notes)
    np.testing.assert_array_equal(build.taps("initial")["end:0"], INPUTS["x"] * 16 + 1)


def test_operations_have_types_attributes_and_the_users_lines(folder, tmp_path):
    subject(folder).record(INPUTS, tmp_path / "t")
    operations_of = {op.name: op for op in RecordedSubject(tmp_path / "t").builds[TRAINING].operations}
    product = operations_of["net/MatMul"]
    line = 1 + MODEL.splitlines().index('        net = tf.matmul(inputs["x"], w)')
    assert (product.type, product.source) == ("MatMul", f"model.py:{line}")
    assert product.attributes["transpose_a"] is False
    assert product.outputs == (("float32", (3, 5)),)
    recorded = RecordedSubject(tmp_path / "t")
    assert (
        recorded.on_this_runtime(TRAINING, INPUTS) is None
    )  # recorded on this very TensorFlow: it would tell nothing new
    before = dict(recorded.builds[TRAINING].trace("initial").before)
    program = recorded.graph_here(TRAINING, INPUTS).program(before)
    followed = {operation.place.name: operation for operation in program.operations}
    assert program.limits == []
    assert followed["net/MatMul"].place.source == f"model.py:{line}"
    assert {operation.place.source.partition(":")[0] for operation in program.operations} <= {"model.py", ""}


def test_graph_seeds_draw_what_the_random_tool_draws():
    def drawn(seeds):
        with tf.Graph().as_default() as built, seeds.scope():
            tensors = [tf.random.normal([3]), tf.compat.v1.random_uniform([2]), tf.random.truncated_normal([4])]
        with tf.compat.v1.Session(graph=built) as session:
            return session.run(tensors)

    for mode in ("constant", "num_random_ops"):
        tool = lockstep.DeterministicRandomTestTool(mode=mode)
        for ours, theirs in zip(drawn(GraphSeeds(mode=mode)), drawn(tool), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_graph_from_elsewhere_that_reaches_beyond_itself_is_not_run(folder, tmp_path, monkeypatch):
    secret = tmp_path / "written by the graph"
    (folder / "model.py").write_text(
        "import tensorflow.compat.v1 as tf\n"
        "def forward(inputs, training):\n"
        f"    with tf.control_dependencies([tf.io.write_file({str(secret)!r}, 'x')]):\n"
        "        return tf.identity(inputs['x'])\n"
    )
    subject(folder).record(INPUTS, tmp_path / "t")
    secret.unlink()
    monkeypatch.setattr(tf, "__version__", "2.99.0")  # so that the graph is asked for
    with pytest.raises(InputError, match=r"reaches beyond itself \(WriteFile\)"):
        RecordedSubject(tmp_path / "t").on_this_runtime(TRAINING, INPUTS)
    assert not secret.exists()
    candidate = lockstep.tf1_graph(lambda inputs, training: tf.identity(inputs["x"]))
    report = lockstep.verify(lockstep.load(tmp_path / "t"), candidate, INPUTS)
    assert report.verdict == "equivalent"
    assert any("whose difference it is cannot be told" in step.summary for step in report.steps)
    assert not secret.exists()


def test_the_graph_on_another_runtime_tells_whose_difference_it_is(folder, tmp_path, monkeypatch):
    """The same TensorFlow under another version's name: the runtime's share must be nothing, the rest the code's."""
    monkeypatch.syspath_prepend(str(folder))
    import model

    subject(folder).record(INPUTS, tmp_path / "t")
    reference = lockstep.load(tmp_path / "t")
    reference.recorded_environment = {**reference.recorded_environment, "tensorflow": "1.0"}

    def shifted(inputs, training):
        outputs = model.forward(inputs, training)
        return {**outputs, "y": outputs["y"] * (1 + 1e-4)}

    right = lockstep.verify(reference, lockstep.tf1_graph(model.forward), INPUTS)
    assert right.verdict == "equivalent"
    wrong = lockstep.verify(reference, lockstep.tf1_graph(shifted), INPUTS)
    assert wrong.verdict == "diverged"
    fixed = wrong.steps[2]
    assert "0 (bit for bit) is TensorFlow 1.0 against" in fixed.summary
    assert fixed.figures["output_error_of_runtime"] == 0
    assert fixed.figures["output_error_of_code"] > 0
    sys.modules.pop("model"), sys.modules.pop("parts")


def test_a_graph_that_calls_python_is_judged_by_what_python_gave():
    def forward(inputs, training, factor=2.0):
        return tf.compat.v1.py_func(lambda x: x * np.float32(factor), [inputs["x"]], tf.float32)

    wrong = lockstep.tf1_graph(lambda inputs, training: forward(inputs, training, 2.1))
    assert lockstep.verify(lockstep.tf1_graph(forward), lockstep.tf1_graph(forward), INPUTS).verdict == "equivalent"
    report = lockstep.verify(lockstep.tf1_graph(forward), wrong, INPUTS)
    assert report.verdict == "diverged"


def test_both_sides_recorded_apart_are_compared(folder, tmp_path):
    (folder / "candidate.py").write_text(MODEL.replace('"net"', '"model"').replace('"w"', '"kernel"'))
    rename = [("^net/w$", "model/kernel"), ("^net/", "model/")]
    subject(folder).record(INPUTS, tmp_path / "a")
    other = IsolatedSubject(folder, "candidate.py:forward", EnvironmentSpec(interpreter=Path(sys.executable)))
    other.record(INPUTS, tmp_path / "b")
    with pytest.raises(InputError, match=r"record it with --reference REFERENCE_TRACE"):
        lockstep.verify(lockstep.load(tmp_path / "a"), lockstep.load(tmp_path / "b"), INPUTS, rename=rename)
    wanted = Wanted(fill_names={"model/kernel": "net/w", "model/mean": "net/mean"})
    other.record(INPUTS, tmp_path / "c", wanted)
    report = lockstep.verify(lockstep.load(tmp_path / "a"), lockstep.load(tmp_path / "c"), INPUTS, rename=rename)
    assert report.verdict == "equivalent"
    with pytest.raises(InputError, match="was recorded on another input 'x'"):
        lockstep.verify(
            lockstep.load(tmp_path / "a"), lockstep.load(tmp_path / "c"), {"x": INPUTS["x"] + 1}, rename=rename
        )


def test_forward_passes_leave_variables_reads_out():
    with tf.Graph().as_default():
        built = graph.build(
            lambda x, training: tf.matmul(x, tf.compat.v1.get_variable("w", [4, 2]), name="product"),
            INPUTS["x"],
            training=False,
            seeds=GraphSeeds(),
        )
        names = [op.name for op in operations.forward_pass(built.inputs.values(), built.outputs.values())]
    assert names == ["product"]


def test_record_compare_and_show_from_the_command_line(tmp_path):
    example = Path(__file__).parents[2] / "examples" / "mlp"
    shutil.copytree(example, tmp_path / "mlp")
    a, b = tmp_path / "a", tmp_path / "b"
    recorded = commands.lockstep_alone("record", tmp_path / "mlp", "--to", a, "--taps", "hidden")
    assert (recorded.status, recorded.stdout) == (0, "")
    candidate = ("--side", "candidate", "--reference", a, "--to", b)
    assert commands.lockstep("record", tmp_path / "mlp", *candidate).status == 0
    compared = commands.lockstep("compare", a, b)
    assert compared.status == 0, compared.stderr
    assert "lockstep compare" in compared.stdout
    shown = commands.lockstep("show", a, "--verify")
    assert shown.status == 0
    assert "files are what was written" in shown.stdout
    assert "scorer/hidden_0/Elu:0" in commands.lockstep("show", a, "--taps").stdout
    again = commands.lockstep("record", tmp_path / "mlp", "--to", a)
    assert again.status == 2
    assert "exists already" in again.stderr
    (a / "tensors-0000.safetensors").write_bytes(b"")
    damaged = commands.lockstep("compare", a, b)
    assert damaged.status == 2
    assert damaged.stderr.startswith("lockstep: ")


CHECKING = """
import sys
import numpy as np
from pathlib import Path
from lockstep.environments import EnvironmentSpec
from lockstep.elsewhere.isolated import IsolatedSubject
from lockstep.subjects import INITIAL, Mode
spec = EnvironmentSpec(interpreter=Path(sys.executable))
subject = IsolatedSubject(Path(sys.argv[1]), "model.py:forward", spec)
inputs = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
mode = Mode(training=True, randomness="num_random_ops")
subject.build(mode, inputs)
print("recorded", flush=True)
sys.stdin.readline()
trace = subject.build(mode, inputs).run(INITIAL)
print(len({name: np.array(trace.before[name]) for name in trace.before}), flush=True)
"""


@pytest.mark.slow
def test_simultaneous_checks_with_a_tiny_limit_keep_what_they_use(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_TRACE_CACHE_GB", "1e-9")
    folders = [folder, *(tmp_path / name for name in ("second", "third"))]
    for other in folders[1:]:
        shutil.copytree(folder, other)
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    checks = [subprocess.Popen([sys.executable, "-c", CHECKING, str(place)], **pipe) for place in folders]
    assert [check.stdout.readline() for check in checks] == ["recorded\n"] * 3
    trace_cache.make_room()  # a fourth one, after all the others have recorded
    assert len(trace_cache.listed()) == 3
    told = [check.communicate("\n")[0] for check in checks]
    assert ([check.returncode for check in checks], told) == ([0, 0, 0], ["2\n"] * 3)
    trace_cache.make_room()
    assert trace_cache.listed() == []


def test_without_a_cache_a_check_works_and_leaves_nothing(folder, tmp_path, monkeypatch, caplog):
    trace_cache._say_unkept.cache_clear()
    (tmp_path / "cache").write_text("a file")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    one = subject(folder)
    trace = one.build(TRAINING, INPUTS).run(INITIAL)
    assert one.environment()["trace"] == "recorded now"
    assert "the trace is not kept for the next check" in caplog.text
    assert {name: np.array(trace.before[name]).shape for name in trace.before} == {"net/w": (4, 5), "net/mean": (5,)}
    del one, trace
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []
