"""Scripts that make placeholders and run a Session: their graph is checked, and nothing of their training is run."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lockstep.cli import session
from lockstep.common.errors import InputError, UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide
from lockstep.ground.failures import RecordingError
from lockstep.ground.training import OWN_LOSS
from lockstep.recorder import graph, originals
from lockstep.recorder.modules import Sources
from lockstep.recorder.randomness import GraphSeeds

v1 = tf.compat.v1
EXAMPLES = Path(__file__).parents[2] / "examples"
INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), "y": np.array([0, 1, 1, 0], np.int32)}
NETWORK = """
import tensorflow.compat.v1 as tf

x = tf.placeholder(tf.float32, [None, 3], name="x")
y = tf.placeholder(tf.int32, [None], name="y")
keep_prob = tf.placeholder_with_default(1.0, [], name="keep_prob")
training = tf.placeholder(tf.bool, name="training")
w = tf.get_variable("w", [3, 2])
average = tf.get_variable("average", [2], trainable=False, initializer=tf.zeros_initializer())
logits = tf.matmul(tf.nn.dropout(x, keep_prob=keep_prob), w, name="logits")
logits = tf.cond(training, lambda: logits * 1.0, lambda: logits * 3.0)
logits = tf.identity(logits, "scaled")
loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss")
moved = tf.assign_add(average, tf.reduce_mean(logits, 0))
train_op = tf.group(tf.train.GradientDescentOptimizer(0.1).minimize(loss), moved, name="train")
"""
TOLD = {
    "feeds": {"x": "x:0", "y": "y"},
    "fetches": {"logits": "scaled:0"},
    "training_feeds": {"training": True, "keep_prob:0": 0.5},
    "inference_feeds": {"training": False},
    "arguments": [],
    "loss": "loss:0",
    "train_op": "train",
}


def built(folder, text, training=False, inputs=None, main=False, **told):
    """Builds a script that is imported as it stands."""
    (folder / "train.py").write_text(text)
    modules = Sources(str(folder)).anew()
    run = modules.run if main else modules.module
    description = {"kind": "script", "folder": str(folder), "whole": True, **TOLD, **told}
    original = originals.adapted(lambda: run(str(folder / "train.py")), description)
    with modules.active():
        return graph.build(original, INPUTS if inputs is None else inputs, training, GraphSeeds(mode="num_random_ops"))


def of_function(folder, returned, **told):
    """Builds what a function returns names of."""
    body = NETWORK.strip().replace("\n", "\n    ").replace("import tensorflow.compat.v1 as tf", "pass")
    text = f"import tensorflow.compat.v1 as tf\n\n\ndef build():\n    {body}\n    return {returned}\n"
    (folder / "train.py").write_text(text)
    function = Sources(str(folder)).module(str(folder / "train.py")).build
    description = {"kind": "script", "folder": str(folder), "whole": False, **TOLD, **told}
    original = originals.adapted(function, description)
    return graph.build(original, INPUTS, False, GraphSeeds(mode="num_random_ops"))


# ---- the graph


def test_placeholders_are_fed_by_the_inputs_and_by_their_mode(tmp_path):
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    model = built(tmp_path, NETWORK)
    assert model.run({"w": w}, INPUTS).outputs["logits"] == pytest.approx(INPUTS["x"] @ w * 3)
    trained = built(tmp_path, NETWORK, training=True).run({"w": w}, INPUTS)
    assert set(np.ravel(trained.outputs["logits"] == 0)) <= {True, False}
    assert not np.allclose(trained.outputs["logits"], INPUTS["x"] @ w)  # half of x is dropped
    assert "average" in trained.after


def test_what_has_a_value_in_a_mode_is_a_constant_under_its_name(tmp_path):
    model = built(tmp_path, NETWORK, training=True)
    kinds = {op.name: op.type for op in model.graph.get_operations()}
    assert (kinds["keep_prob"], kinds["training"], kinds["x"]) == ("Const", "Const", "Placeholder")


def test_its_loss_and_its_training_step_are_its_own(tmp_path):
    model = built(tmp_path, NETWORK, training=True, training_feeds={"training": True})
    model.differentiate(OWN_LOSS)
    run = model.run({}, INPUTS, differentiated=True)
    after, _ = model.step(dict(run.before), INPUTS, {})
    assert after["w"] == pytest.approx(run.before["w"] - 0.1 * run.gradients["w"], rel=1e-6)
    assert after["average"] == pytest.approx(run.after["average"])


@pytest.mark.parametrize(
    "returned",
    ["({'x': x, 'y': 'y'}, {'logits': logits})", "{'feeds': {'x': 'x:0', 'y': y}, 'fetches': {'logits': 'scaled:0'}}"],
)
def test_a_function_may_return_tensors_or_names(tmp_path, returned):
    model = of_function(tmp_path, returned, feeds={}, fetches={})
    assert model.inputs["x"].name == "x:0"
    assert list(model.outputs) == ["logits"]


# ---- what else a script does


def test_initializers_are_passed_over_and_training_is_not_run(tmp_path):
    first, rest = NETWORK.split("loss =")
    text = f"{first}session = tf.InteractiveSession()\nsession.run(tf.global_variables_initializer())\nloss ={rest}"
    text += "while True:\n    session.run([train_op, loss], {x: [[1, 2, 3]], y: [1], training: True})\n"
    model = built(tmp_path, text)
    assert "the script was ended at line" in model.notes[0]
    assert model.notes[0].count("train.py") == 1


def test_a_loop_of_operations_without_feeds_ends(tmp_path):
    text = NETWORK + "session = tf.Session()\nwhile True:\n    session.run(moved.op)\n"
    assert "is not carried out" in built(tmp_path, text).notes[0]


def test_a_graph_of_its_own_is_the_one_that_is_built(tmp_path):
    body = NETWORK.replace("\n", "\n    ")
    text = (
        f"import tensorflow.compat.v1 as tf\n\ntf.reset_default_graph()\ng = tf.Graph()\nwith g.as_default():{body}\n"
    )
    assert list(built(tmp_path, text).outputs) == ["logits"]


def test_a_file_beside_the_script_that_it_does_not_find_is_told_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    np.save(tmp_path / "classes.npy", np.arange(3))
    opening = 'import numpy\nnumpy.load("classes.npy")\n'
    with pytest.raises(RecordingError, match=r"opens classes.npy, which lies in its own folder.*os.chdir"):
        built(tmp_path, opening + NETWORK)


def test_so_is_one_that_a_function_of_the_script_opens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path / "train.py").write_text("def build():\n    open('train.py')\n    open('classes.npy', 'rb')\n")
    (tmp_path / "classes.npy").write_bytes(b"")
    function = Sources(str(tmp_path)).module(str(tmp_path / "train.py")).build
    original = originals.adapted(function, {"kind": "script", "folder": str(tmp_path), "whole": False, **TOLD})
    with pytest.raises(RecordingError, match="opens train"):
        graph.build(original, INPUTS, False, GraphSeeds())


def test_a_file_that_is_nowhere_is_the_scripts_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        built(tmp_path, 'open("nowhere.npy")\n' + NETWORK)


def test_flags_and_app_run(tmp_path):
    text = """
import tensorflow.compat.v1 as tf

tf.app.flags.DEFINE_integer("width", 2, "columns")
tf.app.flags.DEFINE_float("rate", 0.5, "another, which has to go with it")

def main(argv):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    w = tf.get_variable("w", [3, tf.app.flags.FLAGS.width])
    tf.matmul(x, w, name="scaled")

if __name__ == "__main__":
    tf.app.run()
"""
    told = {"feeds": {"x": "x"}, "loss": "", "train_op": "", "training_feeds": {}, "inference_feeds": {}}
    argv = list(sys.argv)
    for _ in range(2):  # flags are defined anew each time
        model = built(tmp_path, text, main=True, arguments=["--width=5"], **told)
        assert model.variables[0].shape == (3, 5)
    assert sys.argv == argv
    with pytest.raises(RecordingError, match="feeds: x names x, which is no placeholder"):
        built(tmp_path, text, main=False, **told)  # what is below __main__ is not run unless that is asked for


def test_metrics_are_no_variables_of_the_model_and_their_value_is_no_output(tmp_path):
    text = NETWORK + "value, update = tf.metrics.mean(logits, name='m')\n"
    assert [r.name for r in built(tmp_path, text).variables] == ["w", "average"]
    with pytest.raises(RecordingError, match=r"output m is the value of a streaming metric \(of m/count\)"):
        built(tmp_path, text, fetches={"m": "m/value:0"})
    model = built(tmp_path, text, fetches={"m": "m/update_op:0"})
    assert model.run({}, INPUTS).outputs["m"] != 0


# ---- what is wrong


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"feeds": {"x": "X:0", "y": "y"}},
            r"feeds: x names X:0, which is no placeholder of the script; did you mean x:0\?",
        ),
        ({"feeds": {"x": "logits:0", "y": "y"}}, "feeds: x names logits:0, which is no placeholder"),
        ({"feeds": {"z": "x:0"}}, "feeds names an input z; the inputs are x, y"),
        (
            {"fetches": {"a": "scaledd"}},
            r"fetches: a names scaledd, and the graph has no such tensor; did you mean scaled",
        ),
        ({"fetches": {"a": "train"}}, r"fetches: a names train, which is an operation \(NoOp\) that gives no tensor"),
        ({"fetches": {"a": "scaled:3"}}, "fetches: a names scaled:3, and the operation scaled gives scaled:0"),
        ({"fetches": {}}, "nothing is fetched of the script"),
        ({"inference_feeds": {}}, "nobody feeds the placeholder training:0, bool of shape unknown in inference mode"),
        ({"inference_feeds": {"trainin": True}}, r"inference_feeds names trainin:0, .* did you mean training:0\?"),
        ({"inference_feeds": {"training": True, "keep_prob": [1.0]}}, "gives keep_prob:0 a value of shape"),
        ({"train_op": "tran"}, r"train_op names tran, and the graph has no such operation; did you mean train\?"),
    ],
)
def test_a_wrong_name_is_told_in_a_sentence(tmp_path, changed, sentence):
    with pytest.raises(RecordingError, match=sentence):
        built(tmp_path, NETWORK, **changed)


def test_an_input_that_does_not_fit_its_placeholder_is_told(tmp_path):
    inputs = {"x": INPUTS["x"].astype(np.float64), "y": INPUTS["y"]}
    with pytest.raises(
        RecordingError, match=r"the input x is float64 of shape \(4, 3\), and the placeholder that it feeds is x:0"
    ):
        built(tmp_path, NETWORK, inputs=inputs)
    with pytest.raises(RecordingError, match=r"the input x is float32 of shape \(4, 2\)"):
        built(tmp_path, NETWORK, inputs={"x": INPUTS["x"][:, :2], "y": INPUTS["y"]})


def test_a_labels_placeholder_that_nobody_feeds_is_told_in_training(tmp_path):
    told = {"feeds": {"x": "x:0"}, "loss": ""}
    with pytest.raises(
        RecordingError, match=r"nobody feeds the placeholder y:0, int32 of shape \(\?\) in training mode"
    ):
        built(tmp_path, NETWORK, training=True, **told)
    assert built(tmp_path, NETWORK, training=False, **told).outputs


def test_a_script_that_ends_the_program_is_told(tmp_path):
    with pytest.raises(RecordingError, match=r"the script ends the program by sys\.exit\(3\) while its graph is built"):
        built(tmp_path, NETWORK + "import sys\nsys.exit(3)\n")


def test_a_function_that_returns_something_else_is_told(tmp_path):
    with pytest.raises(
        RecordingError, match=r"the script's function returned a SymbolicTensor; it must return nothing"
    ):
        of_function(tmp_path, "logits")


def test_a_name_behind_the_end_of_the_script_says_where_it_ended(tmp_path):
    text = NETWORK + "tf.Session().run(logits, {x: [[1, 2, 3]]})\nlate = tf.identity(logits, 'late')\n"
    with pytest.raises(RecordingError, match=r"no such tensor.*the script was ended at line \d+ of train\.py"):
        built(tmp_path, text, fetches={"late": "late:0"})


# ---- whole checks


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EXAMPLES / "script", tmp_path / "script"))


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def verdicts(report):
    return {step.name: step.verdict.value for step in report.steps}


def test_the_example_is_equivalent_in_all_steps_but_the_checkpoint(folder):
    report = session.run(folder / "lockstep.toml", quiet=True)
    assert {v for name, v in verdicts(report).items() if name not in ("checkpoint", "metrics")} == {"equivalent"}, (
        report
    )


def test_a_probability_to_keep_taken_for_a_rate_is_named(folder):
    edit(folder / "lockstep.toml", '"keep_prob:0" = 0.5', '"keep_prob:0" = 0.75')
    edit(folder / "migrated_model.py", "Dropout(0.5)", "Dropout(0.75)")
    report = session.run(folder / "lockstep.toml", quiet=True, steps=("training-random",))
    assert verdicts(report)["training-random"] == "diverged"
    assert "a probability to keep taken for a rate to drop" in report.culprits[0].cause


def test_a_wrong_name_ends_the_check(folder):
    edit(folder / "lockstep.toml", 'x = "x:0"', 'x = "x_1:0"')
    with pytest.raises(InputError, match=r"the reference: feeds: x names x_1:0.*Its placeholders are x:0, y:0"):
        session.run(folder / "lockstep.toml", quiet=True)


def test_a_forward_may_name_its_train_op(tmp_path):
    (tmp_path / "legacy.py").write_text(
        """
import tensorflow.compat.v1 as tf

def forward(inputs, training):
    w = tf.get_variable("w", [3, 2])
    logits = tf.matmul(inputs["x"], w)
    loss = tf.reduce_mean(tf.square(logits), name="loss")
    tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss, name="step")
    return {"logits": logits}
"""
    )
    (tmp_path / "migrated.py").write_text(
        """
import keras

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(2, use_bias=False, name="out")

    def call(self, inputs):
        return {"logits": self.out(inputs["x"])}

def loss(outputs, batch):
    return keras.ops.mean(keras.ops.square(outputs["logits"]))

def optimizer():
    return keras.optimizers.SGD(0.1, momentum=0.8)
"""
    )
    (tmp_path / "lockstep.toml").write_text(
        """
trajectory = 3
[reference]
runtime = "tf1"
entry = "legacy.py:forward"
loss = "loss:0"
train_op = "step"
[candidate]
runtime = "keras"
entry = "migrated.py:Net"
loss = "migrated.py:loss"
optimizer = "migrated.py:optimizer"
[inputs.x]
shape = [4, 3]
fill = "normal"
"""
    )
    report = session.run(tmp_path / "lockstep.toml", quiet=True)
    assert verdicts(report)["gradients"] == "equivalent"
    assert verdicts(report)["optimizer"] == verdicts(report)["trajectory"] == "diverged"
    assert any("momentum" in culprit.cause for culprit in report.culprits)


@pytest.mark.slow
def test_the_example_in_tensorflow_115(folder):
    try:
        provide(EnvironmentSpec("3.7", ("tensorflow==1.15.5",)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")
    edit(folder / "migrated_model.py", "return ops.mean(losses)", "return ops.sum(losses)")
    report = session.run(folder / "lockstep-tf115.toml", quiet=True)
    assert report.environments["reference"]["tensorflow"] == "1.15.5"
    wrong = {name for name, verdict in verdicts(report).items() if verdict == "diverged"}
    assert wrong == {"gradients", "trajectory"}
    assert "16 times the reference's" in report.culprits[0].cause
