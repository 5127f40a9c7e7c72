"""A variable of the candidate that holds several of the reference's: TF1's GRU in Keras's, whose kernels are merged."""

import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import lockstep
from lockstep import tf1
from lockstep.cli import main
from lockstep.common.errors import InputError
from lockstep.compare.tolerance import FixedTolerance

v1 = tf.compat.v1
INPUTS = {"x": np.random.default_rng(2).normal(size=(3, 5, 8)).astype(np.float32)}
LEGACY = textwrap.dedent(
    """
    import tensorflow.compat.v1 as tf

    def forward(inputs, training):
        with tf.variable_scope("net"):
            cell = tf.nn.rnn_cell.GRUCell(6)
            _, state = tf.nn.dynamic_rnn(cell, inputs["x"], dtype=tf.float32)
            return {"y": tf.matmul(state, tf.get_variable("head", [6, 2]))}
    """
)
NATIVE = textwrap.dedent(
    """
    import keras

    def kernel(shape, dtype=None):
        # As TF1 has it: Glorot's limits are those of the whole kernels, which input and state share.
        limits = [(6 / (14 + columns)) ** 0.5 for columns in (12, 6)]
        drawn = [keras.random.uniform((shape[0], n), -m, m, dtype) for n, m in zip((12, 6), limits)]
        return keras.ops.concatenate(drawn, axis=1)

    def bias(shape, dtype=None):
        return keras.ops.concatenate([keras.ops.ones(12, dtype), keras.ops.zeros(6, dtype)])

    def build():
        x = keras.Input([5, 8], name="x")
        starts = {"kernel_initializer": kernel, "recurrent_initializer": kernel, "bias_initializer": bias}
        state = keras.layers.GRU(6, reset_after=False, name="gru", **starts)(x)
        return keras.Model({"x": x}, {"y": keras.layers.Dense(2, use_bias=False, name="head")(state)})
    """
)
PARTS = [("^gru/.*kernel$", 1, [12, 6]), ("^gru/.*bias$", 0, [12, 6])]
CELL = "net/rnn/gru_cell"
TRANSFORMS = [
    (rf"^gru/gru_cell/{kernel}\[{place}\]$", f"split(0, {row}, [8, 6]){gates}", f"{CELL}/{source}/kernel")
    for row, kernel in enumerate(("kernel", "recurrent_kernel"))
    for place, source, gates in ((0, "gates", " | gates(ru->ur)"), (1, "candidate", ""))
] + [(r"^gru/gru_cell/bias\[0\]$", "gates(ru->ur)")]
RENAME = [
    ("^net/head$", "head/kernel"),
    ("^net/rnn/gru_cell/gates/bias$", "gru/gru_cell/bias[0]"),
    ("^net/rnn/gru_cell/candidate/bias$", "gru/gru_cell/bias[1]"),
]


@pytest.fixture(autouse=True)
def tf1_code():
    tf1.enable()
    yield
    tf1.disable()


def function(text, name):
    space = {}
    exec(text, space)
    return space[name]


def verify(*, parts=PARTS, transforms=TRANSFORMS, **options):
    subjects = lockstep.tf1_graph(function(LEGACY, "forward")), lockstep.keras(function(NATIVE, "build"))
    return lockstep.verify(*subjects, INPUTS, parts=parts, transforms=transforms, rename=RENAME, **options)


def loss(outputs, _):
    return tf.reduce_mean(outputs["y"] ** 2)


def test_merged_kernels_are_the_originals_in_every_step():
    rate = 0.01
    report = verify(
        loss=loss,
        optimizers=(lambda: v1.train.GradientDescentOptimizer(rate), lambda: keras.optimizers.SGD(rate)),
        trajectory=3,
    )
    told = {step.name: str(step.verdict) for step in report.steps}
    assert told.pop("checkpoint") == told.pop("metrics") == "not asked for"
    assert set(told.values()) == {"equivalent"}, [step.summary for step in report.steps]
    match = next(step for step in report.steps if step.name == "variables-match")
    assert match.figures["reference_variables"] == 5


def test_gates_in_the_wrong_order_are_found():
    wrong = [(p, t.replace(" | gates(ru->ur)", ""), *rest) for p, t, *rest in TRANSFORMS[:-1]]
    report = verify(transforms=wrong, tolerance=FixedTolerance(alone=True))
    assert report.verdict == "diverged"
    assert next(step.name for step in report.steps if step.verdict == "diverged") == "inference-fixed"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([("^gru/.*kernel$", 1, [12, 7])], "they add up to 19, and the axis has 18"),
        ([("^gru/.*kernel$", 2, [12, 6])], "along axis 2, which it does not have"),
        ([("^lstm/", 1, [12, 6])], "no variable of the candidate has a name in which the parts rule '^lstm/' is found"),
        ([("^gru/", 1, [18])], "needs two or more sizes"),
        ([("^gru/(", 1, [12, 6])], "is not a valid regular expression"),
        ([("^gru/", [12, 6])], "it is (pattern, axis, sizes)"),
    ],
)
def test_a_rule_that_does_not_fit_is_a_sentence(parts, said):
    with pytest.raises(InputError) as caught:
        verify(parts=parts)
    assert said in str(caught.value)


def test_a_checkpoint_is_mapped_to_the_parts_and_converted(tmp_path):
    (tmp_path / "legacy.py").write_text(LEGACY)
    (tmp_path / "native.py").write_text(NATIVE)
    text = textwrap.dedent(
        """
        [reference]
        runtime = "tf1"
        entry = "legacy.py:forward"
        [candidate]
        runtime = "keras"
        entry = "native.py:build"
        [inputs.x]
        shape = [3, 5, 8]
        fill = "normal"
        """
    )
    (tmp_path / "lockstep.toml").write_text(text)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        function(LEGACY, "forward")({"x": v1.placeholder(tf.float32, [3, 5, 8])}, False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    run = CliRunner().invoke
    done = run(main, ["map", str(tmp_path / "model.ckpt"), str(tmp_path), "--to", str(tmp_path / "rules.toml")])
    assert done.exit_code == 0, done.output
    rules = (tmp_path / "rules.toml").read_text()
    assert "# confirmed by running it" in rules
    told = [line for line in rules.splitlines() if "a GRU's" in line]
    assert len(told) == 7
    assert not any("REVIEW" in line for line in told)
    (tmp_path / "lockstep.toml").write_text(text + rules)
    done = run(main, ["convert", str(tmp_path / "model.ckpt"), str(tmp_path), str(tmp_path / "new.weights.h5")])
    assert done.exit_code == 0, done.output
    model = function(NATIVE, "build")()
    model.load_weights(tmp_path / "new.weights.h5")
    gates = v1.train.load_checkpoint(str(tmp_path / "model.ckpt")).get_tensor(f"{CELL}/gates/kernel")
    kernel = model.get_layer("gru").get_weights()[0]
    np.testing.assert_array_equal(kernel[:, :12], np.concatenate([gates[:8, 6:], gates[:8, :6]], axis=1))
