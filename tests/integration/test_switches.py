"""`lockstep switches`: which of TensorFlow's switches makes a difference, on small models in which one is known to."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import lockstep
from lockstep.cli import main
from lockstep.cli import switches as command
from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow import grappler
from lockstep.frameworks.tensorflow.keras_eager import KerasEager
from lockstep.results.model import Verdict
from lockstep.subjects import Execution, Subject
from lockstep.switching import runs
from lockstep.switching.runs import process_settings

v1 = tf.compat.v1
X = np.random.default_rng(3).normal(size=(4, 5, 3)).astype(np.float32)
HERE = ("onednn", "threads", "determinism")


def sums(x):
    """Additions that arithmetic_optimization puts in another order, on every processor."""
    return x + 0.1 + x * 2.7 + tf.sqrt(tf.abs(x)) + x * x


def quotient(x):
    """A factor and a divisor that constant_folding puts into one factor, on every processor."""
    return (x * 0.3) / 0.7


class Model(keras.layers.Layer):
    def __init__(self, compute):
        super().__init__(name="net")
        self.compute, self.calls = compute, 0

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(3,), initializer=keras.initializers.Constant([1.0, 2.0, 3.0]))

    def call(self, x, training=False):
        self.calls += 1
        return self.compute(self, x, training) * self.scale


def switched(legacy, compute, **options):
    """Runs `switches` on a graph and a layer, in this process alone."""

    def forward(x, training):
        scale = v1.get_variable("net/scale", [3], initializer=v1.constant_initializer([1.0, 2.0, 3.0]))
        return legacy(x, training) * scale

    candidate = lockstep.keras(lambda: Model(compute))
    return lockstep.switches(lockstep.tf1_graph(forward), candidate, X, **{"without": HERE, **options})


def row(report, setting, mode="inference"):
    return next(r for r in report.settings if (r.setting, r.mode) == (setting, mode))


def said(report, text):
    return [sentence for sentence in report.findings if text in sentence]


# ---- Grappler's options


@pytest.mark.parametrize(("function", "name"), [(sums, "arithmetic_optimization"), (quotient, "constant_folding")])
def test_a_traced_function_heeds_the_options_of_each_call(function, name):
    """What one trace for all settings rests on."""
    eager, traced = function(tf.constant(X)).numpy(), tf.function(function)

    def equal(execution):
        with grappler.switched(execution):
            return np.array_equal(traced(tf.constant(X)).numpy(), eager)

    rewritten, off = Execution("grappler"), Execution("grappler", (name,))
    assert [equal(how) for how in (rewritten, off, rewritten, Execution("graph"), rewritten)] == [
        False, True, False, True, False,
    ]  # fmt: skip
    assert traced.experimental_get_tracing_count() == 1


def _options_inside(execution):
    """What the options are in a block that ends with an error."""
    inside = {}

    def fail():
        inside.update(tf.config.optimizer.get_experimental_options())
        raise KeyError

    with pytest.raises(KeyError), grappler.switched(execution):
        fail()
    return inside


def test_options_are_put_back_the_unset_ones_unset_and_a_users_own_as_they_were():
    options = tf.config.optimizer
    before = options.get_experimental_options()
    assert "remapping" not in before
    execution = Execution("grappler", ("remapping", "loop_optimization", grappler.PRUNING))
    options.set_experimental_options({"loop_optimization": True})
    try:
        inside = _options_inside(execution)
        assert (inside["remapping"], inside["loop_optimization"], inside["disable_model_pruning"]) == (
            False,
            False,
            True,
        )
        assert options.get_experimental_options() == {**before, "loop_optimization": True}
        options.set_experimental_options({"loop_optimization": False})
        assert "loop_optimization" not in grappler.passes(), "it is off already"
        options.set_experimental_options({"debug_stripper": True})
        assert "debug_stripper" in grappler.passes(), "the user has switched it on"
    finally:
        options.set_experimental_options({"loop_optimization": None, "debug_stripper": None})
    assert options.get_experimental_options() == before


def test_every_option_that_tensorflow_knows_can_be_switched():
    documented = {
        line.split(":")[0].strip(" -")
        for line in tf.config.optimizer.set_experimental_options.__doc__.split("\n")
        if line.strip().startswith("- ")
    }
    # How small a graph is left alone, and what splits a graph over devices, are no optimisations of a computation.
    ours = {*grappler.passes_of_sessions(), *grappler.OFF_BY_DEFAULT, "disable_meta_optimizer", "disable_model_pruning"}
    assert documented - ours == {"min_graph_nodes", "auto_parallel"}


# ---- what is named


@pytest.fixture(scope="module")
def of_sums():
    before = tf.config.optimizer.get_experimental_options()
    report = switched(lambda x, training: sums(x), lambda layer, x, training: sums(x))
    assert tf.config.optimizer.get_experimental_options() == before
    return report


def test_the_pass_that_makes_the_difference_is_named(of_sums):
    assert of_sums.verdict is Verdict.EQUIVALENT
    assert said(of_sums, "With arithmetic_optimization off it is bit for bit equal: the difference is Grappler's arith")
    function = row(of_sums, "tf.function")
    assert 0 < function.as_written.outputs == function.from_reference.outputs < function.noise_budget < 1e-4
    assert row(of_sums, "tf.function, arithmetic_optimization off").as_written.bit_equal
    assert not row(of_sums, "tf.function, remapping off").as_written.bit_equal
    assert row(of_sums, "eager").from_reference.bit_equal


def test_each_pass_has_a_row(of_sums):
    settings = [r.setting for r in of_sums.settings if r.side == "candidate"]
    assert settings == [
        "eager",
        "tf.function",
        *(f"tf.function, {name} off" for name in grappler.passes()),
        "tf.function(jit_compile=True)",
    ]


def test_xla_is_run_and_judged(of_sums):
    assert row(of_sums, "tf.function(jit_compile=True)").verdict is Verdict.EQUIVALENT
    assert said(of_sums, "tf.function(jit_compile=True) the candidate")


def test_the_references_session_is_switched_too():
    report = switched(lambda x, training: quotient(x), lambda layer, x, training: quotient(x), without=(*HERE, "xla"))
    reference = [r for r in report.settings if r.side == "reference"]
    assert not reference[0].as_written.bit_equal
    assert [r.setting for r in reference if r.as_written.bit_equal] == ["session, rewriting, constant_folding off"]
    assert said(report, "the difference is Grappler's constant_folding, not its code")
    assert len([r for r in reference if "common_subgraph_elimination" in r.setting]) == 1


def test_passes_are_switched_off_only_where_there_is_a_difference_to_explain():
    report = switched(lambda x, training: x, lambda layer, x, training: x, without=(*HERE, "xla"))
    assert [r.setting for r in report.settings] == ["eager", "tf.function", "session, rewriting"]
    assert report.verdict is Verdict.EQUIVALENT
    assert said(report, "in tf.function the candidate computes bit for bit what it computes run eagerly")


def test_variables_that_a_part_of_the_model_makes_at_its_first_call_have_the_values_of_all_runs():
    class Late(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="net")
            self.early, self.late = (keras.layers.Dense(3, name=name) for name in ("early", "late"))
            self.early.build((None, 3))

        def call(self, x):
            return self.late(self.early(x))

    sides = lockstep.keras(Late), lockstep.keras(Late)
    report = lockstep.switches(*sides, X, without=[*HERE, "xla"])
    assert [r.setting for r in report.settings] == ["eager", "tf.function"]
    assert all(r.from_reference.bit_equal for r in report.settings)


# ---- mistakes that only a tf.function shows


def test_code_that_computes_otherwise_when_it_is_traced_is_the_codes_fault():
    def compute(layer, x, training):
        return x if tf.executing_eagerly() else x * 1.001

    report = switched(lambda x, training: x, compute)
    assert report.verdict is Verdict.DIVERGED
    assert row(report, "eager").verdict is Verdict.EQUIVALENT
    assert row(report, "tf.function, all of Grappler off").verdict is Verdict.DIVERGED
    assert said(
        report, "No switch changes that (no pass of Grappler makes it vanish, nor all of them): it is your code"
    )
    assert said(report, "so it does in tf.function without XLA")
    with pytest.raises(lockstep.DivergedError, match="it is your code"):
        report.raise_if_diverged()


def test_python_state_that_a_trace_freezes_shows_in_the_second_call():
    def compute(layer, x, training):
        return x + (0.0 if layer.calls <= 2 else 1.0)

    report = switched(lambda x, training: x, compute, without=(*HERE, "xla", "reference"))
    function = row(report, "tf.function")
    assert function.as_written.bit_equal, "the first call is what it is eagerly"
    assert function.verdict is report.verdict is Verdict.DIVERGED
    assert said(report, "from the second call on")
    assert said(report, "it is your code")


class Other(Subject):
    """A candidate of another process."""

    def environment(self):
        return {}


def test_code_that_cannot_be_traced_is_undecided_with_the_reason():
    def compute(layer, x, training):
        return x if hasattr(x, "numpy") and x.numpy().size else x.numpy()

    report = switched(lambda x, training: x, compute)
    assert report.verdict is Verdict.UNDECIDED
    assert "no attribute 'numpy'" in row(report, "tf.function").note
    assert row(report, "eager").verdict is Verdict.EQUIVALENT


def test_code_that_cannot_be_traced_is_run_as_written_in_other_processes_all_the_same(monkeypatch):
    def compute(layer, x, training):
        return x if hasattr(x, "numpy") and x.numpy().size else x.numpy()

    class Elsewhere(Other):
        def build(self, mode, inputs, wanted=None):
            return lockstep.keras(lambda: Model(compute)).build(mode, inputs)

    monkeypatch.setattr(KerasEager, "elsewhere", lambda candidate, variables: Elsewhere())
    report = switched(lambda x, training: x, compute, without=("xla", "reference", "onednn", "determinism"))
    assert [(r.setting, r.verdict) for r in report.settings] == [
        ("eager", Verdict.EQUIVALENT),
        ("tf.function", Verdict.UNDECIDED),
        ("one thread", Verdict.EQUIVALENT),
    ]
    assert row(report, "one thread").note == "tf.function there: did not run"


def test_what_xla_cannot_compile_is_said_in_one_line():
    def unsupported(x):
        return x + tf.cast(tf.strings.length(tf.strings.as_string(x)) * 0, tf.float32)

    report = switched(lambda x, training: unsupported(x), lambda layer, x, training: unsupported(x))
    xla = [r for r in report.settings if "jit_compile" in r.setting]
    assert [r.verdict for r in xla] == [Verdict.UNDECIDED]
    assert xla[0].note.startswith("did not run: ")
    assert "\n" not in xla[0].note
    assert row(report, "tf.function").verdict is Verdict.EQUIVALENT


# ---- draws


def test_dropout_lines_up_in_training_mode_and_xla_which_ignores_seeds_is_undecided():
    dropout = keras.layers.Dropout(0.5)
    report = switched(
        lambda x, training: tf.nn.dropout(x, rate=0.5) if training else x,
        lambda layer, x, training: dropout(x, training=training),
        training=True,
    )
    for mode in ("inference", "training"):
        assert row(report, "tf.function", mode).as_written.bit_equal
        assert row(report, "tf.function", mode).from_reference.bit_equal
    assert row(report, "tf.function(jit_compile=True)", "training").verdict is report.verdict is Verdict.UNDECIDED
    assert said(report, "training: tf.function(jit_compile=True) did not run: a random operation is compiled by XLA")


def test_draws_of_another_number_are_undecided():
    def compute(layer, x, training):
        twice = training and not tf.executing_eagerly()
        return tf.nn.dropout(tf.nn.dropout(x, 0.5) if twice else x, 0.5) if training else x

    report = switched(
        lambda x, training: tf.nn.dropout(x, rate=0.5) if training else x,
        compute,
        training=True,
        without=(*HERE, "xla", "passes", "reference"),
    )
    assert row(report, "tf.function", "training").verdict is Verdict.UNDECIDED
    assert said(report, "training: tf.function cannot be judged: eagerly it draws once, traced twice")


# ---- other processes, the command line


LEGACY = """
import tensorflow.compat.v1 as tf


def network(x):
    with tf.variable_scope("net"):
        net = tf.layers.dense(x, 8, name="dense")
        return net + 0.1 + net * 2.7 + tf.sqrt(tf.abs(net)) + net * net


def forward(inputs, training):
    return network(inputs["x"])
"""
MIGRATED = """
import keras
from legacy_model import network
from lockstep import tf1


class Model(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return network(inputs["x"])


def build():
    return Model(name="migrated")
"""
CONFIGURATION = """
[reference]
runtime = "tf1"
entry = "legacy_model.py:forward"

[candidate]
runtime = "keras"
entry = "migrated_model.py:build"
{more}

[inputs.x]
shape = [4, 6]
fill = "normal"
"""


# Constant activations, whose variance is rounding: the order in which kernels sum decides what comes out.
AMPLIFYING = """
import tensorflow.compat.v1 as tf


def network(x):
    with tf.variable_scope("net"):
        net = tf.layers.conv2d(x, 16, 5, use_bias=False, name="conv")
        mean, variance = tf.nn.moments(net, [0, 1, 2])
        return tf.reduce_mean(tf.nn.relu((net - mean) * tf.rsqrt(variance + 1e-15)), [1, 2])


def forward(inputs, training):
    return network(inputs["x"])
"""


TWO_KERNELS = """
import tensorflow.compat.v1 as tf


def forward(inputs, training):
    with tf.variable_scope("net"):
        return [tf.matmul(inputs["x"], tf.get_variable(name, [6, size])) for name, size in (("0", 8), ("1", 3))]
"""
ONE_KERNEL = """
import keras


class Model(keras.layers.Layer):
    def build(self, shapes):
        self.kernel = self.add_weight(name="kernel", shape=(6, 11))

    def call(self, inputs):
        return [inputs["x"] @ self.kernel[:, :8], inputs["x"] @ self.kernel[:, 8:]]


def build():
    return Model(name="net")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("switches")
    (folder / "legacy_model.py").write_text(LEGACY)
    (folder / "migrated_model.py").write_text(MIGRATED)
    (folder / "lockstep.toml").write_text(CONFIGURATION.format(more=""))
    (folder / "isolated.toml").write_text(CONFIGURATION.format(more=f'interpreter = "{sys.executable}"'))
    return folder


@pytest.fixture
def amplifying(tmp_path):
    (tmp_path / "legacy_model.py").write_text(AMPLIFYING)
    (tmp_path / "migrated_model.py").write_text(MIGRATED)
    settings = CONFIGURATION.format(more="").replace("[4, 6]", "[4, 12, 12, 64]").replace("normal", "ones")
    (tmp_path / "lockstep.toml").write_text(settings)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(main, ["switches", *map(str, arguments)])


def without(*parts):
    return [text for part in parts for text in ("--without", part)]


def test_the_command_runs_the_candidate_in_another_process_and_writes_the_report(folder, tmp_path):
    done = invoke(folder, "--json", tmp_path / "r.json", *without("threads", "determinism", "reference", "xla"))
    assert done.exit_code == 0, done.output
    tree = json.loads((tmp_path / "r.json").read_text())
    rows = {entry["setting"]: entry for entry in tree["settings"]}
    (name,) = [setting for setting in rows if setting.startswith("oneDNN")]
    assert rows[name]["as_written"] is not None
    assert rows[name]["note"].startswith("tf.function there: ")
    assert "  arithmetic_optimization off" in done.output
    assert done.output.rstrip().endswith("r.json")
    assert "verdict  equivalent" in done.output


def test_where_rounding_hides_the_answer_both_sides_are_compared_with_the_setting(amplifying):
    done = invoke(amplifying, "--json", "-", *without("reference", "xla", "threads", "determinism"))
    tree = json.loads(done.stdout)
    moved = tree["settings"][-1]
    assert moved["setting"].startswith("oneDNN")
    if moved["as_written"]["bit_equal"]:
        pytest.skip("this processor's kernels sum in the same order with and without oneDNN")
    assert moved["noise_budget"] > 0.1, "the noise is as large as the output"
    assert moved["verdict"] == tree["verdict"] == "equivalent"
    assert moved["note"] == "tf.function there: bit for bit; the reference there: bit for bit"
    assert any("so does the reference: there they are bit for bit equal" in told for told in tree["findings"])


def test_a_candidate_whose_variables_are_cut_in_parts_is_cut_in_another_process_too(tmp_path):
    (tmp_path / "legacy_model.py").write_text(TWO_KERNELS)
    (tmp_path / "migrated_model.py").write_text(ONE_KERNEL)
    rules = 'parts = [["^net/kernel$", 1, [8, 3]]]\nrename = [["^net/(0|1)$", "net/kernel[\\\\1]"]]'
    (tmp_path / "lockstep.toml").write_text(CONFIGURATION.format(more="") + f"[variables]\n{rules}\n")
    done = invoke(tmp_path, "--json", "-", *without("reference", "xla", "threads", "determinism"))
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["settings"]
    assert [row["setting"].partition(" ")[0] for row in rows] == ["eager", "tf.function", "oneDNN"]
    assert rows[0]["from_reference"]["bit_equal"]
    assert rows[2]["as_written"] is not None


def test_a_candidate_in_an_environment_of_its_own_is_switched_there(folder):
    done = invoke(folder / "isolated.toml", "--json", "-", *without("reference", "xla", *HERE))
    assert done.exit_code == 0, done.output
    tree = json.loads(done.stdout)
    vanished = [s["setting"] for s in tree["settings"][1:] if s["as_written"]["bit_equal"]]
    assert vanished == ["tf.function, arithmetic_optimization off"]


def test_what_is_left_out_and_what_cannot_be_run_is_refused_with_the_nearest_name(folder):
    assert command.PARTS == runs.PARTS
    subject = lockstep.tf1_graph(lambda x, training: x)
    with pytest.raises(InputError, match=r"'thread'; did you mean 'threads'\? \(there are passes, xla"):
        lockstep.switches(subject, lockstep.keras(lambda: Model(sums)), X, without=["thread"])
    with pytest.raises(InputError, match="is neither a Keras model nor a PyTorch module that can be run now"):
        lockstep.switches(subject, subject, X)
    assert invoke(folder, "--without", "thread").exit_code == 2
    assert invoke(folder / "nowhere").exit_code == 2


def test_a_candidate_that_only_this_process_knows_is_not_run_in_others_and_that_is_said():
    report = switched(lambda x, training: x, lambda layer, x, training: x, without=("xla", "reference"))
    assert said(report, "give it as a table")
    assert [r.setting for r in report.settings] == ["eager", "tf.function"]


def test_a_setting_that_does_not_run_is_undecided_and_says_how_to_leave_it_out(monkeypatch):
    ended = []

    class Elsewhere(Other):
        def build(self, mode, inputs, wanted=None):
            raise InputError("no deterministic kernel; use another operation")

        def end(self):
            ended.append(True)

    monkeypatch.setattr(KerasEager, "elsewhere", lambda candidate, variables: Elsewhere())
    left_out = ("xla", "reference", "onednn", "threads")
    report = switched(lambda x, training: x, lambda layer, x, training: x, without=left_out)
    assert row(report, "determinism on").verdict is report.verdict is Verdict.UNDECIDED
    assert row(report, "determinism on").note == "did not run: the candidate: no deterministic kernel"
    assert said(report, '"determinism" in `without` (--without determinism) leaves it out')
    assert ended == [True]


def test_the_variables_of_other_processes_do_what_their_names_say():
    settings = process_settings(frozenset())
    assert list(settings) == [next(iter(settings)), "one thread", "determinism on"]
    assert process_settings(frozenset({"threads", "onednn"})) == {"determinism on": settings["determinism on"]}
    program = """
import pathlib, tensorflow as tf
tf.constant([[1.0]]) @ tf.constant([[1.0]])
names = [f.read_text().strip() for f in pathlib.Path("/proc/self/task").glob("*/comm")]
print("threads", names.count("tf_Compute"))
try:
    tf.random.normal([2])
except Exception as error:
    print("refused", "determinism" in str(error).lower())
"""
    variables = {**os.environ, **settings["one thread"], **settings["determinism on"]}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    assert "refused True" in done.stdout, "an unseeded draw is what determinism refuses"
    if sys.platform == "linux":  # two of them on two cores without the setting; TensorFlow 2.16 gives them no name
        assert "threads 1\n" in done.stdout or "threads 0\n" in done.stdout
