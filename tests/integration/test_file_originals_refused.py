"""Files that are no originals, or that do something else than compute: one sentence each, and nothing is run."""

import json
import os
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from lockstep import config
from lockstep.cli import main
from lockstep.common.errors import InputError
from lockstep.subjects import INFERENCE, INITIAL, TRAINING

v1 = tf.compat.v1
X = {"x": np.ones((2, 3), np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A SavedModel, a frozen graph and a MetaGraph that are right, of `y = x @ w`."""
    place = tmp_path_factory.mktemp("right")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        w = v1.get_variable("net/w", [3, 2], use_resource=True)
        keep = v1.placeholder(tf.float32, [], name="keep")
        y = tf.identity(tf.matmul(x, w) * keep, name="y")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(place / "saved"), {"x": x, "keep": keep}, {"y": y})
        v1.train.Saver().save(session, str(place / "model.ckpt"))
        graph = v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), ["y"])
        (place / "model.pb").write_bytes(graph.SerializeToString())
        (place / "not_frozen.pb").write_bytes(session.graph.as_graph_def().SerializeToString())
    return place


def built(table, inputs=X, mode=INFERENCE):
    subject = config.subject_from_table(table, Path.cwd(), "reference")
    return subject.build(mode, inputs)


def refused(table, inputs=X, mode=INFERENCE):
    with pytest.raises(InputError) as raised:
        built(table, inputs, mode)
    told = str(raised.value)
    assert "\n" not in told
    return told


def graph_with(kind):
    """A graph whose output comes from an operation of some kind."""
    graph = v1.GraphDef()
    node = graph.node.add(op="Placeholder", name="x")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    graph.node.add(op="Identity", name="y", input=["bad"]).attr["T"].type = tf.float32.as_datatype_enum
    graph.node.add(op=kind, name="bad")
    return graph.SerializeToString()


FEEDS = {"inference_feeds": {"keep:0": 1.0}}


@pytest.mark.parametrize("kind", ["saved_model", "frozen_graph", "meta_graph"])
def test_the_right_ones_are_taken(folder, kind):
    path = {"saved_model": "saved", "frozen_graph": "model.pb", "meta_graph": "model.ckpt"}[kind]
    outputs = {} if kind == "saved_model" else {"outputs": {"y": "y:0"}}
    trace = built({kind: str(folder / path), **outputs, **FEEDS}).run(INITIAL)
    assert [record.name for record in trace.variables] == ["net/w"]
    assert trace.outputs["y"] == pytest.approx(trace.before["net/w"].sum(0, keepdims=True) * np.ones((2, 1)))


def test_what_is_no_such_file_is_told(folder, tmp_path):
    (tmp_path / "empty.pb").touch()
    os.mkfifo(tmp_path / "pipe.pb")
    assert "did you mean 'model.pb'" in refused({"frozen_graph": str(folder / "modle.pb")})
    assert "is a folder; a frozen graph is a file" in refused({"frozen_graph": str(folder)})
    assert "is empty" in refused({"frozen_graph": str(tmp_path / "empty.pb")})
    assert "is a pipe or a device" in refused({"frozen_graph": str(tmp_path / "pipe.pb")})
    assert "holds no saved_model.pb" in refused({"saved_model": str(folder)})
    assert "is a file; a SavedModel is a folder" in refused({"saved_model": str(folder / "model.pb")})
    assert "no MetaGraph" in refused({"meta_graph": str(folder / "other.ckpt")})


def test_a_file_that_is_cut_short_or_something_else_is_told(folder, tmp_path):
    whole = (folder / "model.pb").read_bytes()
    for size in (1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pb").write_bytes(whole[:size])
        told = refused({"frozen_graph": str(tmp_path / "cut.pb"), **FEEDS})
        assert "cut short" in told or "damaged" in told or "holds no operation" in told or "no tensor" in told, told
    told = refused({"frozen_graph": str(folder / "saved" / "saved_model.pb")})
    assert "a SavedModel is given by its folder" in told
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\xff")
    assert "cut short" in refused({"saved_model": str(tmp_path)})
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x07")
    assert "schema version 7" in refused({"saved_model": str(tmp_path)})


def test_names_that_are_not_there_are_told_with_the_nearest(folder):
    saved = {"saved_model": str(folder / "saved"), **FEEDS}
    assert "did you mean 'serving_default'" in refused({**saved, "signature": "serving_defualt"})
    assert "tags of its graphs are: serve" in refused({**saved, "tags": ["train"]})
    frozen = {"frozen_graph": str(folder / "model.pb"), **FEEDS}
    assert "no tensor 'z:0'" in refused({**frozen, "outputs": {"y": "z:0"}})
    assert "no tensor" in refused({**frozen, "inputs": {"x": "input:0"}})
    assert "which no input feeds" in refused({"frozen_graph": str(folder / "model.pb")})
    assert "takes (?, 3) float32" in refused(frozen, {"x": np.ones((2, 4), np.float32)})
    assert "takes (?, 3) float32" in refused(frozen, {"x": np.ones((2, 3), np.float64)})
    assert "is found in the name of no constant" in refused({**frozen, "weights": "/kernel$"})
    assert "does not say what its outputs are" in refused({"meta_graph": str(folder / "model.ckpt")})
    assert "is not frozen" in refused({"frozen_graph": str(folder / "not_frozen.pb"), "outputs": {"y": "y:0"}, **FEEDS})
    assert "inference alone" in refused(frozen, mode=TRAINING)


def test_a_newer_format_and_unknown_operations_are_told(folder, tmp_path):
    graph = v1.GraphDef.FromString((folder / "model.pb").read_bytes())
    graph.versions.min_consumer = 99_999
    (tmp_path / "newer.pb").write_bytes(graph.SerializeToString())
    assert "a newer TensorFlow" in refused({"frozen_graph": str(tmp_path / "newer.pb"), **FEEDS})
    (tmp_path / "strange.pb").write_bytes(graph_with("FrobnicateV7"))
    assert "FrobnicateV7" in refused({"frozen_graph": str(tmp_path / "strange.pb")})


@pytest.mark.parametrize(
    "kind", ["ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "RestoreV2", "PrintV2", "ImmutableConst", "RpcClient"]
)
def test_what_reaches_beyond_the_graph_is_not_run(tmp_path, kind):
    (tmp_path / "bad.pb").write_bytes(graph_with(kind))
    told = refused({"frozen_graph": str(tmp_path / "bad.pb")})
    assert kind in told
    assert "reaches beyond itself" in told or "does not know" in told


def test_what_reaches_beyond_the_graph_within_a_function_is_not_run_either(tmp_path):
    class Reads(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def read(self, x):
            return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def loop(self, x):
            return tf.while_loop(lambda x: tf.reduce_sum(x) < 1, lambda x: [self.read(x)], [x])[0]

    module = Reads()
    tf.saved_model.save(module, str(tmp_path / "reads"), signatures={"read": module.read, "loop": module.loop})
    for signature in ("read", "loop"):
        told = refused({"saved_model": str(tmp_path / "reads"), "signature": signature})
        assert "reaches beyond itself (ReadFile)" in told


def test_a_table_is_refused_by_its_name(tmp_path):
    class Looks(tf.Module):
        def __init__(self):
            super().__init__()
            values = tf.lookup.KeyValueTensorInitializer([1, 2], [3.0, 4.0], tf.int32, tf.float32)
            self.table = tf.lookup.StaticHashTable(values, 0.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="x")])
        def look(self, x):
            return self.table.lookup(x)

    module = Looks()
    tf.saved_model.save(module, str(tmp_path / "looks"), signatures=module.look)
    told = refused({"saved_model": str(tmp_path / "looks")}, {"x": np.ones(2, np.int32)})
    assert "in a table" in told


def test_functions_without_an_end_are_told(tmp_path):
    graph = v1.GraphDef()
    node = graph.node.add(op="StatefulPartitionedCall", name="y")
    node.attr["f"].func.name = "again"
    node.attr["Tout"].list.type.append(1)
    function = graph.library.function.add()
    function.signature.name = "again"
    function.signature.output_arg.add(name="out", type=1)
    inner = function.node_def.add(op="StatefulPartitionedCall", name="inner")
    inner.attr["f"].func.name = "again"
    inner.attr["Tout"].list.type.append(1)
    function.ret["out"] = "inner:output:0"
    (tmp_path / "again.pb").write_bytes(graph.SerializeToString())
    assert "without an end" in refused({"frozen_graph": str(tmp_path / "again.pb"), "outputs": {"y": "y:0"}})


def test_weights_outside_of_the_folder_are_not_read(folder, tmp_path):
    copy = tmp_path / "saved"
    (copy / "variables").mkdir(parents=True)
    (copy / "saved_model.pb").write_bytes((folder / "saved" / "saved_model.pb").read_bytes())
    for file in (folder / "saved" / "variables").iterdir():
        (copy / "variables" / file.name).symlink_to(file)
    assert "is a link that leaves" in refused({"saved_model": str(copy), **FEEDS})


def test_a_missing_checkpoint_is_told(folder, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes((folder / "saved" / "saved_model.pb").read_bytes())
    assert "there is no folder" in refused({"saved_model": str(tmp_path), **FEEDS})


def keras_archive(path, change):
    """A `.keras` file of a dense layer with its description changed."""
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, name="d")])
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(held["config.json"])
    change(described["config"]["layers"][1])
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**held, "config.json": json.dumps(described)}.items():
            archive.writestr(name, data)
    return {"keras_file": str(path)}


def test_what_runs_code_of_a_keras_file_is_refused_by_name(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1, name="plus")])
    for suffix in ("keras", "h5"):
        model.save(tmp_path / f"lambda.{suffix}")
        assert "has a Lambda layer 'plus'" in refused({"keras_file": str(tmp_path / f"lambda.{suffix}")})

    def of_a_module(layer):
        layer.update(module="os", class_name="system")

    def of_a_function(layer):
        layer["config"]["activation"] = {"module": "subprocess", "class_name": "function", "config": "run"}

    def of_python(layer):
        layer["config"]["activation"] = {"module": "builtins", "class_name": "function", "config": "exec"}

    assert "no part of Keras" in refused(keras_archive(tmp_path / "c.keras", of_python))
    assert "'os.system', which is no part of Keras" in refused(keras_archive(tmp_path / "a.keras", of_a_module))
    assert "no part of Keras" in refused(keras_archive(tmp_path / "b.keras", of_a_function))


def test_a_keras_file_that_is_none_is_told(tmp_path):
    (tmp_path / "text.h5").write_text("no weights")
    assert "neither HDF5 nor a zip" in refused({"keras_file": str(tmp_path / "text.h5")})
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["w"] = np.ones(3)
    assert "holds weights alone" in refused({"keras_file": str(tmp_path / "weights.h5")})
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["w"] = h5py.ExternalLink("weights.h5", "/w")
    assert "is a link to somewhere else" in refused({"keras_file": str(tmp_path / "linked.h5")})
    (tmp_path / "cut.keras").write_bytes(b"PK\x03\x04nothing")
    assert "cut short" in refused({"keras_file": str(tmp_path / "cut.keras")})


def test_the_command_ends_with_two(folder, tmp_path):
    (tmp_path / "lockstep.toml").write_text(
        f'[reference]\nsaved_model = "{folder}/saved"\nsignature = "other"\n'
        f'[candidate]\nsaved_model = "{folder}/saved"\n'
        "[inputs.x]\nshape = [2, 3]\n"
    )
    done = CliRunner().invoke(main, ["check", str(tmp_path / "lockstep.toml")])
    assert done.exit_code == 2
    assert 'has no signature "other"' in done.output
    done = CliRunner().invoke(main, ["check", str(tmp_path / "none.pb"), str(folder / "saved"), "--input", "x=2,3"])
    assert done.exit_code == 2


def test_a_file_of_keras_2_without_tf_keras_names_the_extra(tmp_path, monkeypatch):
    keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2)]).save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        file.attrs["keras_version"] = "2.11.0"
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    told = refused({"keras_file": str(tmp_path / "old.h5")})
    assert "was written by Keras 2.11.0" in told
    assert "lockstep-verify[keras2]" in told
