"""Several checks in one process, state that outlives a build, NumPy's generators, code that ends the program."""

import random
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import lockstep
from lockstep.common.errors import InputError, SubjectError
from lockstep.config import subject_from_table

INPUTS = {"x": np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)}
LEGACY = """
import tensorflow.compat.v1 as tf
{top}
def forward(inputs, training):
    import scale
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [4, 3]{initializer})
    return {{"y": tf.matmul(inputs["x"], w) * scale.FACTOR{more}}}
"""
SHIM = """
import keras, legacy_model
from lockstep import tf1

class Net(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return legacy_model.forward(inputs, bool(training))

def build():
    return Net()
"""


def write(folder, factor=1.0, top="", initializer="", more="", shim=SHIM):
    folder.mkdir(exist_ok=True)
    legacy = LEGACY.format(top=textwrap.dedent(top), initializer=initializer, more=more)
    (folder / "legacy_model.py").write_text(legacy)
    (folder / "scale.py").write_text(f"FACTOR = {factor}\n")
    (folder / "shim.py").write_text(shim)
    return folder


def subjects(folder):
    tables = {"runtime": "tf1", "entry": "legacy_model.py:forward"}, {"runtime": "keras", "entry": "shim.py:build"}
    return [subject_from_table(t, folder, side) for t, side in zip(tables, ("reference", "candidate"), strict=True)]


def verdicts(report):
    return {step.name: f"{step.verdict}: {step.summary}" for step in report.steps}


def test_each_of_two_checks_runs_its_own_modules_whichever_was_made_first(tmp_path):
    one, two = (subjects(write(tmp_path / name, factor)) for name, factor in (("a", 1.0), ("b", 3.0)))
    reports = [lockstep.verify(*pair, INPUTS) for pair in (one, two, (one[0], two[1]))]
    assert [report.verdict for report in reports] == ["equivalent", "equivalent", "diverged"]
    assert not {"legacy_model", "shim", "scale"} & set(sys.modules)


def test_two_checks_in_two_threads_have_their_own_answers(tmp_path):
    one, two = (subjects(write(tmp_path / name, factor)) for name, factor in (("a", 1.0), ("b", 3.0)))
    found = {}

    def check(name, pair):
        found[name] = lockstep.verify(*pair, INPUTS).verdict

    threads = [threading.Thread(target=check, args=given) for given in (("one", one), ("mixed", (one[0], two[1])))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"one": "equivalent", "mixed": "diverged"}


def test_what_the_candidate_does_to_the_originals_module_is_not_done_to_the_reference(tmp_path):
    shim = SHIM.replace("\nclass", "import scale\nscale.FACTOR = 5.0\n\nclass")
    assert lockstep.verify(*subjects(write(tmp_path / "a", shim=shim)), INPUTS).verdict == "diverged"


COUNTERS = {
    "list": ("N = []", "N.append(1)", "len(N)"),
    "count": ("import itertools\nN = itertools.count(1)\nLAST = [0]", "LAST[0] = next(N)", "LAST[0]"),
    "class": ("class C:\n    n = 0", "C.n += 1", "C.n"),
}


@pytest.mark.parametrize("kind", COUNTERS)
def test_a_counter_in_a_module_starts_anew_with_each_build(tmp_path, kind):
    top, up, number = COUNTERS[kind]
    folder = write(tmp_path / "a", top=top)
    text = (folder / "legacy_model.py").read_text()
    text = text.replace("    import scale", f"    import scale\n    {up}").replace('"net"', f'"net_%d" % {number}')
    (folder / "legacy_model.py").write_text(text)
    plain = text.replace(f"    {up}\n", "").replace(f'"net_%d" % {number}', '"net_1"')
    (folder / "rewritten.py").write_text(plain)
    (folder / "shim.py").write_text(SHIM.replace("legacy_model", "rewritten"))
    report = lockstep.verify(*subjects(folder), INPUTS)
    assert report.verdict == "equivalent", verdicts(report)


DRAWS = {
    "numpy": ("import numpy as np", "np.random.normal(size=shape)"),
    "numpy function": ("import numpy as np\nfrom numpy.random import uniform", "uniform(size=shape)"),
    "python": ("import random\nimport numpy as np", "np.reshape([random.gauss(0, 1) for _ in range(12)], shape)"),
    "module": ("import numpy as np\nTABLE = np.random.normal(size=(4, 3))", "TABLE"),
}


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("noise", ["", " + np.random.normal(size=(6, 3)).astype(np.float32)"])
def test_what_numpy_and_python_draw_is_the_same_on_both_sides(tmp_path, kind, noise):
    top, draw = DRAWS[kind]
    top += f"\ndef initial(shape, dtype=None, partition_info=None):\n    return ({draw}).astype(np.float32)"
    folder = write(tmp_path / "a", top=top, initializer=", initializer=initial", more=noise)
    random.seed(5), np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5), np.random.seed(5)
    report = lockstep.verify(*subjects(folder), INPUTS)
    assert (random.random(), np.random.rand()) == expected, "whoever called Lockstep draws on where they stopped"
    assert report.verdict == "equivalent", verdicts(report)


@pytest.mark.parametrize("lot", ["random.random() < 0.3", "np.random.rand() < 0.3"])
def test_a_candidate_that_draws_lots_is_still_seen_to_differ_from_itself(tmp_path, lot):
    call = "        y = legacy_model.forward(inputs, bool(training))\n"
    call += f"        return {{'y': y['y'] * (1.1 if {lot} else 1.0)}}"
    shim = SHIM.replace("        return legacy_model.forward(inputs, bool(training))", call)
    folder = write(tmp_path / "a", shim=shim.replace("\nclass", "import random\nimport numpy as np\n\nclass"))
    assert lockstep.verify(*subjects(folder), INPUTS).verdict == "diverged"


def test_lots_that_were_never_drawn_are_no_proof(tmp_path):
    call = "        y = legacy_model.forward(inputs, bool(training))\n"
    call += "        return {'y': y['y'] * (1.1 if np.random.rand() < 1e-6 else 1.0)}"
    shim = SHIM.replace("        return legacy_model.forward(inputs, bool(training))", call)
    folder = write(tmp_path / "a", shim=shim.replace("\nclass", "import numpy as np\n\nclass"))
    report = lockstep.verify(*subjects(folder), INPUTS)
    assert report.verdict == "undecided"
    assert "the candidate draws numbers of NumPy in its forward pass" in verdicts(report)["inference-fixed"]


def test_another_distribution_drawn_by_numpy_is_found(tmp_path):
    top = "import numpy as np\nSTDDEV = 1.0\ndef initial(shape, dtype=None, partition_info=None):\n"
    top += "    return np.random.normal(scale=STDDEV, size=shape).astype(np.float32)"
    shim = SHIM.replace("\nclass", "legacy_model.STDDEV = 0.5\n\nclass")
    folder = write(tmp_path / "a", top=top, initializer=", initializer=initial", shim=shim)
    assert lockstep.verify(*subjects(folder), INPUTS).verdict == "diverged"


def test_numbers_that_no_seed_reaches_are_nobodys_mistake(tmp_path):
    top = "import numpy as np\ndef initial(shape, dtype=None, partition_info=None):\n"
    top += "    return np.random.default_rng().normal(size=shape).astype(np.float32)"
    report = lockstep.verify(*subjects(write(tmp_path / "a", top=top, initializer=", initializer=initial")), INPUTS)
    assert report.verdict == "undecided"
    assert not report.culprits
    assert "the reference is not the same twice: the initial value of net/w" in verdicts(report)["inference-random"]


def test_a_function_whose_state_outlives_a_build_is_told_as_that():
    import tensorflow.compat.v1 as tf

    count = []

    def forward(inputs, training):
        count.append(1)
        with tf.variable_scope(f"net_{len(count)}"):
            return tf.matmul(inputs["x"], tf.get_variable("w", [4, 3]))

    def right(inputs, training):
        with tf.variable_scope("net_1"):
            return tf.matmul(inputs["x"], tf.get_variable("w", [4, 3]))

    report = lockstep.verify(lockstep.tf1_graph(forward), lockstep.tf1_graph(right), INPUTS)
    assert report.verdict == "undecided"
    assert not report.culprits
    assert "the reference is not the same twice: variable net_2/w of one build" in verdicts(report)["training-random"]


ENDINGS = {
    "sys.exit(0)": "SystemExit: 0",
    "os._exit(0)": "ProcessEnded: os._exit",
    "raise GeneratorExit": "GeneratorExit",
    "raise Own('mine')": "Own: mine",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("place", ["build", "call"])
def test_code_that_ends_the_program_is_the_users_failure(tmp_path, ending, place):
    shim = SHIM.replace("\nclass", "import os, sys\nclass Own(BaseException): pass\n\nclass", 1)
    shim = shim.replace("    return Net()", f"    {ending}") if place == "build" else shim
    shim = (
        shim.replace("        return legacy", f"        {ending}\n        return legacy") if place == "call" else shim
    )
    with pytest.raises(SubjectError, match=ENDINGS[ending]) as raised:
        lockstep.verify(*subjects(write(tmp_path / "a", shim=shim)), INPUTS)
    assert raised.value.__cause__ is not None


def test_the_command_never_ends_with_the_status_of_the_users_code(tmp_path):
    folder = write(tmp_path / "a", shim=SHIM + "\nimport tensorflow.compat.v1 as tf\ntf.app.run()\n")
    table = '[{}]\nruntime = "{}"\nentry = "{}"\n'
    text = table.format("reference", "tf1", "legacy_model.py:forward") + table.format(
        "candidate", "keras", "shim.py:build"
    )
    (folder / "lockstep.toml").write_text(text + "[inputs.x]\nshape = [6, 4]\n")
    done = subprocess.run(
        [sys.executable, "-m", "lockstep", "check", str(folder), "--json", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert 'what a script runs belongs below if __name__ == "__main__"' in done.stderr
    assert "shim.py" in done.stderr
    assert "mistake in Lockstep itself" not in done.stderr


def test_a_file_that_changes_during_a_check_is_refused(tmp_path):
    folder = write(tmp_path / "a")
    pair = subjects(folder)
    (folder / "legacy_model.py").write_text((folder / "legacy_model.py").read_text() + "# other\n")
    with pytest.raises(InputError, match=r"legacy_model\.py has changed since it was imported"):
        lockstep.verify(*pair, INPUTS)
