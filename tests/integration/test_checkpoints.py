"""Name-based checkpoints: run from on both sides, mapped to a rewrite, converted, and refused where they are damaged.

The checkpoints are written by `tf.compat.v1.train.Saver` of this TensorFlow; `test_checkpoints_tf115.py` has those of
the real TensorFlow 1.15.
"""

import sys
import textwrap
from pathlib import Path

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
from lockstep.elsewhere.isolated import IsolatedSubject
from lockstep.environments import EnvironmentSpec
from lockstep.files.checkpoints import CheckpointSettings
from lockstep.frameworks.tensorflow.checkpoint_reader import open_checkpoint

v1 = tf.compat.v1
INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
LEGACY = textwrap.dedent(
    """
    import tensorflow.compat.v1 as tf

    def forward(inputs, training):
        with tf.variable_scope("net"):
            w = tf.get_variable("w", [4, 5])
            b = tf.get_variable("b", [5])
            net = tf.tanh(tf.matmul(inputs["x"], w) + b)
            v = tf.get_variable("v", [5, 5])
            u = tf.get_variable("u", [5, 5])
            return {"y": tf.matmul(tf.tanh(tf.matmul(net, v)), u)}
    """
)
NATIVE = textwrap.dedent(
    """
    import keras

    def build():
        x = keras.Input([4], name="x")
        net = keras.layers.Dense(5, "tanh", name="first", bias_initializer="glorot_uniform")(x)
        net = keras.layers.Dense(5, "tanh", use_bias=False, name="v")(net)
        return keras.Model({"x": x}, {"y": keras.layers.Dense(5, use_bias=False, name="u")(net)})
    """
)
RENAME = [["^net/w$", "first/kernel"], ["^net/b$", "first/bias"], ["^net/([uv])$", "\\\\1/kernel"]]
CONFIGURATION = textwrap.dedent(
    f"""
    [reference]
    runtime = "tf1"
    entry = "legacy.py:forward"
    [candidate]
    runtime = "keras"
    entry = "native.py:build"
    [inputs.x]
    shape = [3, 4]
    fill = "normal"
    [variables]
    rename = [{", ".join(f'["{a}", "{b}"]' for a, b in RENAME)}]
    """
)
FIXED = FixedTolerance(alone=True)  # no noise is measured where a test wants a difference


def forward(inputs, training):
    space = {}
    exec(LEGACY, space)
    return space["forward"](inputs, training)


class Migrated(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training))


def native():
    space = {}
    exec(NATIVE, space)
    return space["build"]()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A migration with checkpoints in both formats, trained for a few steps so that slots and averages differ."""
    place = tmp_path_factory.mktemp("migration")
    (place / "legacy.py").write_text(LEGACY)
    (place / "native.py").write_text(NATIVE)
    (place / "lockstep.toml").write_text(CONFIGURATION)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        x = v1.placeholder(tf.float32, [3, 4])
        loss = tf.reduce_sum((forward({"x": x}, True)["y"] - 1.0) ** 2)
        step = v1.train.get_or_create_global_step()
        train = v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
        with tf.control_dependencies([train]):
            update = tf.train.ExponentialMovingAverage(0.5).apply(v1.trainable_variables())
        session.run(v1.global_variables_initializer())
        for _ in range(3):
            session.run(update, {x: INPUTS["x"]})
        v1.train.Saver().save(session, str(place / "model.ckpt"), write_meta_graph=False)
        v1.train.Saver(write_version=1).save(session, str(place / "v1.ckpt"), write_meta_graph=False)
        v1.train.Saver([v for v in v1.trainable_variables() if v.op.name != "net/u"]).save(
            session, str(place / "part.ckpt"), write_meta_graph=False)  # fmt: skip
    return place


def check(candidate, checkpoint, **options):
    sides = lockstep.tf1_graph(forward), lockstep.keras(candidate)
    report = lockstep.verify(*sides, INPUTS, checkpoint=checkpoint, tolerance=FIXED, **options)
    return next(step for step in report.steps if step.name == "checkpoint"), report


@pytest.mark.parametrize("name", ["model.ckpt", "v1.ckpt", "model.ckpt.index"])
def test_the_shim_run_from_a_checkpoint_is_equivalent_and_what_is_unused_is_told(folder, name):
    step, report = check(Migrated, folder / name)
    assert report.verdict == "equivalent"
    assert "1 output bit-equal" in step.summary
    assert "unused: 4 moving averages, 10 optimizer slots, 1 counter" in step.summary
    assert len(step.figures["checkpoint_unused"]) == 15
    expected = by_hand(folder / "model.ckpt")[0, 0]  # it is the checkpoint that was run
    assert step.figures["reference_first_output"] == pytest.approx(expected, rel=1e-5)


def by_hand(checkpoint):
    values = open_checkpoint(checkpoint)
    h = np.tanh(INPUTS["x"] @ values["net/w"] + values["net/b"])
    return np.tanh(h @ values["net/v"]) @ values["net/u"]


def test_a_mistake_that_only_the_checkpoint_shows_is_diverged(folder):
    bound = np.abs(by_hand(folder / "model.ckpt")).max() / 2

    class Clipped(Migrated):
        def call(self, inputs, training=None):
            return {"y": tf.clip_by_value(super().call(inputs, training)["y"], -bound, bound)}

    step, _ = check(Clipped, folder / "model.ckpt")
    assert step.verdict == "diverged"
    assert "1 of 1 outputs differ" in step.summary


def test_moving_averages_give_other_outputs(folder):
    plain, averaged = (
        check(Migrated, CheckpointSettings(folder / "model.ckpt", moving_averages=on))[0] for on in (False, True)
    )
    assert averaged.verdict == "equivalent"
    assert averaged.figures["reference_first_output"] != plain.figures["reference_first_output"]


def test_a_reference_elsewhere_is_recorded_from_the_checkpoint_and_the_trace_kept_for_it(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path))
    seen = []
    for averages, kept in ((False, "recorded now"), (False, "from the cache"), (True, "recorded now")):
        there = IsolatedSubject(folder, "legacy.py:forward", EnvironmentSpec(interpreter=Path(sys.executable)))
        settings = CheckpointSettings(folder / "model.ckpt", moving_averages=averages)
        report = lockstep.verify(there, lockstep.keras(Migrated), INPUTS, checkpoint=settings, tolerance=FIXED)
        step = next(step for step in report.steps if step.name == "checkpoint")
        assert (report.verdict, there.environment()["trace"]) == ("equivalent", kept)
        assert "1 output bit-equal" in step.summary
        seen.append(step.figures["reference_first_output"])
    assert seen[0] == seen[1] != seen[2]


def test_a_variable_that_the_checkpoint_lacks_leaves_the_step_undecided_unless_it_may_be_missing(folder):
    step, report = check(Migrated, folder / "part.ckpt")
    assert (step.verdict, report.verdict) == ("undecided", "undecided")
    assert step.details[0].startswith("- net/u: the checkpoint has none")
    step, _ = check(Migrated, CheckpointSettings(folder / "part.ckpt", allow_missing=("^net/u$",)))
    assert step.verdict == "equivalent"
    assert "1 missing as allowed" in step.summary


def test_a_variable_of_the_candidate_that_nothing_is_for_leaves_the_step_undecided(folder):
    class Scaled(Migrated):
        def build(self, shapes):
            self.scale = self.add_weight(shape=(), name="scale", initializer="ones")

    step, report = check(Scaled, folder / "model.ckpt")
    assert step.verdict == "undecided"  # the outputs agree, but with a value that no checkpoint holds
    assert step.summary.startswith("nothing in the checkpoint is for 1 variable of the candidate: ")
    assert report.verdict == "diverged"  # as the variables do not match


def test_without_a_checkpoint_the_step_is_listed_as_not_asked_for():
    step, report = check(Migrated, None)
    assert (str(step.verdict), step.summary) == ("not asked for", "no checkpoint was given")
    assert report.verdict == "equivalent"


def test_a_transposed_variable_is_filled_everywhere_through_its_transform(folder):
    class Transposed(keras.layers.Layer):
        """Keeps one kernel the other way about, as PyTorch does."""

        def build(self, shapes):
            uniform = keras.initializers.RandomUniform(-((6 / 9) ** 0.5), (6 / 9) ** 0.5)
            self.w = self.add_weight(shape=(5, 4), name="w", initializer=uniform)
            self.b = self.add_weight(shape=(5,), name="b", initializer="glorot_uniform")
            self.v = self.add_weight(shape=(5, 5), name="v")
            self.u = self.add_weight(shape=(5, 5), name="u")

        def call(self, inputs, training=None):
            net = tf.tanh(tf.matmul(inputs["x"], self.w, transpose_b=True) + self.b)
            return {"y": tf.matmul(tf.tanh(tf.matmul(net, self.v)), self.u)}

    rules = [("^net/w$", "transpose(1,0)")]
    step, report = check(lambda: Transposed(name="net"), folder / "model.ckpt", transforms=rules)
    assert report.verdict == "equivalent", report
    assert "4 variables from model.ckpt" in step.summary
    _, report = check(lambda: Transposed(name="net"), folder / "model.ckpt")
    assert report.verdict == "diverged"
    assert any("shape is (4, 5) in the reference, (5, 4)" in culprit.cause for culprit in report.culprits)


def copied(folder, tmp_path, *names):
    for name in names:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def flipped(data):
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


V2 = ("model.ckpt.index", "model.ckpt.data-00000-of-00001")


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        (V2[1], lambda data: data[:100], "damaged or cut short"),
        (V2[1], lambda data: bytes([data[0] ^ 1]) + data[1:], "damaged or cut short"),
        (V2[0], lambda data: data[: len(data) // 2], "is no TensorFlow checkpoint, or is damaged"),
        (V2[0], flipped, "is no TensorFlow checkpoint, or is damaged"),
        (V2[0], lambda data: None, "there are data files but no model.ckpt.index"),
        (V2[1], lambda data: None, "there is an index but no data file"),
        ("v1.ckpt", lambda data: data[: len(data) // 2], "is no TensorFlow checkpoint, or is damaged"),
        ("v1.ckpt", flipped, "is no TensorFlow checkpoint"),
        ("v1.ckpt", lambda data: b"hello" * 50, "is no TensorFlow checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_sentence(folder, tmp_path, file, damage, told):
    place = copied(folder, tmp_path, *V2, "v1.ckpt")
    data = damage((place / file).read_bytes())
    (place / file).unlink()
    if data is not None:
        (place / file).write_bytes(data)
    with pytest.raises(InputError) as caught:
        dict(open_checkpoint(place / ("v1.ckpt" if file == "v1.ckpt" else "model.ckpt")))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [1, 2])
def test_a_partitioned_variable_and_every_dtype_are_read_from_both_formats(tmp_path, version):
    numbers = np.array([[0.0, 1.0, 2.0]])
    kinds = ("float64", "int64", "uint8", "bool", "complex64")
    with tf.Graph().as_default(), v1.Session() as session:
        parts = v1.get_variable("w", [10, 3], partitioner=v1.fixed_size_partitioner(3))
        for kind in kinds:
            v1.get_variable(kind, initializer=numbers.astype(kind))
        session.run(v1.global_variables_initializer())
        whole = session.run(tf.convert_to_tensor(parts))
        v1.train.Saver(write_version=version).save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    checkpoint = open_checkpoint(tmp_path / "model.ckpt")
    np.testing.assert_array_equal(checkpoint["w"], whole)
    for kind in kinds:
        np.testing.assert_array_equal(checkpoint[kind], numbers.astype(kind))
        assert checkpoint.entries[kind].dtype == checkpoint[kind].dtype.name == kind


@pytest.mark.parametrize("version", [1, 2])
def test_the_shards_of_a_checkpoint_belong_together_and_a_lost_one_is_named(tmp_path, version):
    with tf.Graph().as_default():
        for device in (0, 1):
            with tf.device(f"/cpu:{device}"):
                v1.get_variable(f"v{device}", initializer=np.float32([device, 2.0]))
        with v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver(sharded=True, write_version=version)
            saver.save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    checkpoint = open_checkpoint(tmp_path / "model.ckpt")
    assert {name: value.tolist() for name, value in checkpoint.items()} == {"v0": [0.0, 2.0], "v1": [1.0, 2.0]}
    digest = checkpoint.digest()
    shards = sorted(tmp_path.glob("model.ckpt*-of-00002"))
    assert len(shards) == 2
    shards[1].write_bytes(shards[1].read_bytes() + b" ")
    assert checkpoint.digest() != digest
    shards[1].unlink()
    with pytest.raises(InputError, match=f"1 of its 2 data files are missing, the first is {shards[1].name}"):
        open_checkpoint(tmp_path / "model.ckpt")


def test_a_typo_and_a_folder_without_state_are_refused_and_objects_are_read_by_their_attributes(folder, tmp_path):
    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "objects"))
    for path, told in [
        (folder / "modle.ckpt", "did you mean 'model.ckpt'"),
        (folder / "nowhere" / "model.ckpt", "there is no folder"),
        (tmp_path, "has no file 'checkpoint'"),
    ]:
        with pytest.raises(InputError, match=told):
            open_checkpoint(path)
    assert open_checkpoint(folder).path.name == "part.ckpt"  # the latest, as the file 'checkpoint' says
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/somewhere/else/objects"\n')
    found = open_checkpoint(tmp_path)  # in this folder, wherever it was written
    assert [(entry.name, entry.place) for entry in found.entries.values()] == [("Variable", "v")]


def run(*arguments):
    outcome = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return outcome.exit_code, outcome.stdout, outcome.stderr


@pytest.fixture(scope="module")
def converted(folder):
    """Each format once: name -> (exit status, output)."""
    return {
        name: run("convert", folder / "model.ckpt", folder / "lockstep.toml", folder / name)
        for name in ("out.weights.h5", "out.keras", "out.safetensors", "out.ckpt")
    }


def test_each_format_is_written_loaded_elsewhere_and_equivalent(folder, converted):
    for name, (status, output, errors) in converted.items():
        assert status == 0, (name, output, errors)
        assert f"{name}" in output.splitlines()[-1]
    assert not list(folder.glob(".*partial*"))
    values = open_checkpoint(folder / "model.ckpt")
    expected = None
    for name in ("out.weights.h5", "out.keras", "out.safetensors", "out.ckpt"):
        model = native()
        if name == "out.safetensors":
            from safetensors.numpy import load_file

            read = load_file(folder / name)
            for variable in model.weights:
                variable.assign(read[variable.path])
        elif name == "out.ckpt":
            tf.train.Checkpoint(model=model).read(str(folder / name)).assert_existing_objects_matched()
        elif name == "out.keras":
            model = keras.models.load_model(folder / name)
        else:
            model.load_weights(folder / name)
        np.testing.assert_array_equal(model.layers[1].kernel.numpy(), values["net/w"])
        outputs = model({"x": INPUTS["x"]})["y"].numpy()
        np.testing.assert_array_equal(outputs, outputs if expected is None else expected)
        expected = outputs


def test_nothing_is_overwritten_and_the_name_must_tell_the_format(folder, converted):
    before = (folder / "out.weights.h5").read_bytes()
    status, _, errors = run("convert", folder / "model.ckpt", folder, folder / "out.weights.h5")
    assert (status, "exists already" in errors) == (2, True)
    assert (folder / "out.weights.h5").read_bytes() == before
    status, _, errors = run("convert", folder / "model.ckpt", folder, folder / "out.bin")
    assert (status, "the name must tell the format" in errors) == (2, True)


@pytest.mark.parametrize(
    ("change", "checkpoint", "status", "told"),
    [
        (('"tanh", use_bias', '"relu", use_bias'), "model.ckpt", 1, "nothing was written"),
        (('{"y": keras.layers.Dense(5', '{"y": keras.layers.Dense(6'), "model.ckpt", 2, "dtypes differ: net/u (5, 5)"),
        (('use_bias=False, name="v"', 'name="v"'), "model.ckpt", 2, "nothing is for the candidate's v/bias"),
        (None, "part.ckpt", 2, "the checkpoint lacks 1 variable of the reference: net/u"),
        ("rename", "model.ckpt", 2, "nothing is for the candidate's"),
    ],
)
def test_what_does_not_fit_is_not_converted_and_leaves_no_file(folder, tmp_path, change, checkpoint, status, told):
    for name in ("legacy.py", "native.py", "lockstep.toml"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    if change == "rename":  # a name clash: two variables of the reference for one of the candidate
        text = (tmp_path / "lockstep.toml").read_text()
        (tmp_path / "lockstep.toml").write_text(text.replace('"\\\\1/kernel"', '"v/kernel"'))
    elif change:
        assert change[0] in NATIVE
        (tmp_path / "native.py").write_text(NATIVE.replace(*change))
    text = (tmp_path / "lockstep.toml").read_text()
    (tmp_path / "lockstep.toml").write_text(text + '[tolerance]\nrule = "fixed"\n')
    present = set(tmp_path.iterdir())
    got, output, errors = run("convert", folder / checkpoint, tmp_path, tmp_path / "out.weights.h5")
    assert got == status, (output, errors)
    assert told in errors
    assert {path for path in tmp_path.iterdir() if path.name != "__pycache__"} == present


def test_a_map_for_a_rewrite_is_proposed_tried_and_taken_as_it_is_written(folder, tmp_path):
    for name in ("legacy.py", "native.py"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    plain = CONFIGURATION[: CONFIGURATION.index("[variables]")]
    (tmp_path / "lockstep.toml").write_text(plain)
    status, output, errors = run("map", folder / "model.ckpt", tmp_path)
    assert status == 0, (output, errors)
    assert '["^net/w$", "first/kernel"],  # the only kernel of its shape\n' in output
    assert '["^net/u$", "u/kernel"],  # REVIEW: same name among 2 of its shape' in output
    assert "# confirmed by running it: 1 output bit-equal" in output
    rules = tmp_path / "rules.toml"
    assert run("map", folder / "model.ckpt", tmp_path / "native.py:build", "--to", rules)[0] == 0
    assert all(line in output for line in rules.read_text().splitlines())
    (tmp_path / "lockstep.toml").write_text(plain + rules.read_text())
    status, _, errors = run("convert", folder / "model.ckpt", tmp_path, tmp_path / "out.safetensors")
    assert status == 0, errors
    before = rules.read_text()
    status, _, errors = run("map", folder / "model.ckpt", tmp_path, "--to", rules)
    assert (status, "nothing is overwritten" in errors) == (2, True)
    assert rules.read_text() == before


def test_what_a_run_moves_is_written_as_the_checkpoint_has_it(folder, tmp_path):
    (tmp_path / "legacy.py").write_text(LEGACY)
    (tmp_path / "native.py").write_text(
        textwrap.dedent(
            """
            import keras

            class Moving(keras.layers.Layer):
                def build(self, shapes):
                    self.w = self.add_weight(shape=(4, 5), name="w")
                    self.b = self.add_weight(shape=(5,), name="b", initializer="glorot_uniform")
                    self.v = self.add_weight(shape=(5, 5), name="v")
                    self.u = self.add_weight(shape=(5, 5), name="u")

                def call(self, inputs, training=None):
                    net = keras.ops.tanh(inputs["x"] @ self.w + self.b)
                    outputs = keras.ops.tanh(net @ self.v) @ self.u
                    self.b.assign(self.b + 1.0)
                    return {"y": outputs}

            def build():
                return Moving(name="net")
            """
        )
    )
    (tmp_path / "lockstep.toml").write_text(CONFIGURATION[: CONFIGURATION.index("[variables]")])
    status, output, errors = run("convert", folder / "model.ckpt", tmp_path, tmp_path / "out.safetensors")
    assert status == 0, (output, errors)
    from safetensors.numpy import load_file

    expected = open_checkpoint(folder / "model.ckpt")["net/b"]
    np.testing.assert_array_equal(load_file(tmp_path / "out.safetensors")["net/b"], expected)


def test_what_names_cannot_tell_is_told_by_the_outputs(folder, tmp_path):
    (tmp_path / "legacy.py").write_text(LEGACY)
    (tmp_path / "native.py").write_text(NATIVE.replace('name="u"', 'name="one"').replace('name="v"', 'name="two"'))
    (tmp_path / "lockstep.toml").write_text(CONFIGURATION[: CONFIGURATION.index("[variables]")])
    _, by_order, _ = run("map", folder / "model.ckpt", tmp_path, "--untried")
    assert '["^net/u$", "two/kernel"],  # REVIEW: order among 2' in by_order  # the wrong one
    status, output, errors = run("map", folder / "model.ckpt", tmp_path)
    assert status == 0, (output, errors)
    assert '["^net/u$", "one/kernel"],  # REVIEW: order among 2 of its shape (variable); reordered by values' in output
    assert '["^net/v$", "two/kernel"]' in output
    assert "# confirmed by running it" in output


def test_the_example_of_the_docs_names_files_that_a_folder_may_hold():
    text = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()
    for command in ("lockstep map", "lockstep convert", "[checkpoint]"):
        assert command in text
