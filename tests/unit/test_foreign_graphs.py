"""A graph from elsewhere computes, and does nothing else: no file is read or written, whatever it says."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session
from tests.data import recorded

from lockstep import config, tf1
from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow import computing, foreign_graphs
from lockstep.recorder import graph
from lockstep.recorder.graph import imported, session_config
from lockstep.recorder.modules import Modules
from lockstep.recorder.randomness import GraphSeeds

v1 = tf.compat.v1
EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "what nobody may read"


def registered():
    """All operations that this TensorFlow knows, by name."""
    everything = op_def_pb2.OpList()
    everything.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {definition.name: definition for definition in everything.op}


def exported(make):
    """The exported graph of a function of one placeholder."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2], "x")
        tf.identity(make(x), name="y")
        return v1.train.export_meta_graph(graph=graph, clear_devices=True)


def run(meta_graph):
    model = imported(meta_graph, {"x": "x:0"}, {"": "y:0"}, training=False)
    return model.run({}, {"x": np.ones(2, np.float32)}).outputs[""]


REACHING = re.compile(
    r"file|path|url|uri|address|host|port(?!ion)|proto|token|prefix|basename|checkpoint|vocab|directory|server|job|task"
    r"|target|program|module|func|serialized_(?!sparse|summary)|descriptor|handle_str|library|callable",
    re.IGNORECASE,
)
"""In the names of attributes and inputs: what may lead out of a graph."""
HARMLESS = {
    ("Case", "branches"), ("StatelessCase", "branches"),
    ("PartitionedCall", "config_proto"), ("StatefulPartitionedCall", "config_proto"),  # replaced by our own
}  # fmt: skip


def test_whatever_is_admitted_is_on_the_list_and_nothing_registered_slips_through():
    known = registered()
    assert len(known) > 1_000
    for name in known:
        graph = v1.MetaGraphDef()
        graph.graph_def.node.add(name="n", op=name)
        if name in computing.COMPUTING:
            foreign_graphs.admitted(graph)
        else:
            with pytest.raises(InputError, match=r"reaches beyond itself \(" + re.escape(name)):
                foreign_graphs.admitted(graph)


def test_nothing_on_the_list_takes_a_path_an_address_a_program_or_somebody_elses_function():
    known = registered()
    found = []
    for name in sorted(computing.COMPUTING & known.keys()):
        definition = known[name]
        strings = [a.name for a in definition.attr if a.type in ("string", "list(string)")]
        inputs = [a.name for a in definition.input_arg if tf.string.as_datatype_enum in (a.type, 0)]
        found += [(name, place) for place in strings + inputs if REACHING.search(place)]
        functions = [a.name for a in definition.attr if "func" in a.type]
        assert not functions or name in computing.CALLING_FUNCTIONS
    assert set(found) <= HARMLESS, sorted(set(found) - HARMLESS)


REACHING_OUT = (
    "ReadFile", "WriteFile", "ImmutableConst", "DebugIdentity", "DecodeProtoV2", "RestoreV2", "SaveV2", "RemoteCall",
    "GenerateVocabRemapping", "PyFuncStateless", "SnapshotDataset", "InitializeTableFromTextFile", "LoadAndRemapMatrix",
    "MergeV2Checkpoints", "FixedUnigramCandidateSampler",
)  # fmt: skip


def test_the_operations_that_are_known_to_reach_out_are_found_by_their_attributes_too():
    """The rule of the test before this one tells attackers' operations: it could fail."""
    known = registered()
    for name in REACHING_OUT:
        definition = known[name]
        places = [a.name for a in (*definition.attr, *definition.input_arg)]
        assert any(REACHING.search(place) for place in places) or name == "ImmutableConst", name
        assert name not in computing.COMPUTING


def test_the_list_names_what_tensorflow_has():
    """A misspelt name would admit nothing, and be seen by nobody."""
    unknown = computing.COMPUTING - registered().keys()
    if tf.__version__.startswith("2.21"):
        assert unknown == set()
    assert len(unknown) < 60


def test_what_is_stateful_is_not_what_decides():
    known = registered()
    assert any(known[name].is_stateful for name in computing.COMPUTING & known.keys())
    refused = [name for name, definition in known.items() if not definition.is_stateful]
    assert not set(refused) <= computing.COMPUTING


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET)
    return file


def reads(file):
    return tf.cast(tf.strings.length(tf.io.read_file(str(file))), tf.float32)


def writes(file):
    with tf.control_dependencies([tf.io.write_file(str(file), "x")]):
        return tf.constant(1.0)


def within(kind, work):
    """The operations of `work` in the body of a function."""

    @tf.function(autograph=False)
    def called(x):
        return x + work()

    def make(x):
        if kind == "call":
            return called(x)
        if kind == "call of a call":
            return tf.function(lambda v: called(v) * 1.0, autograph=False)(x)
        if kind == "branch":
            return tf.compat.v1.cond(tf.reduce_sum(x) > 0, lambda: called(x), lambda: x)
        if kind == "loop":
            return v1.while_loop(lambda i, _: i < 1, lambda i, v: (i + 1, called(v)), [0, x])[1]
        return tf.switch_case(tf.cast(x[0], tf.int32), [lambda: called(x), lambda: x])

    return make


ATTACKS = {
    "ImmutableConst": lambda s, w: lambda x: x + tf.cast(tf.reduce_sum(tf.cast(tf.raw_ops.ImmutableConst(
        dtype=tf.uint8, shape=[len(SECRET)], memory_region_name=str(s)), tf.int32)), tf.float32),
    "ReadFile": lambda s, w: lambda x: x + reads(s),
    "MatchingFiles": lambda s, w: lambda x: x + tf.cast(tf.size(tf.io.matching_files(str(s))), tf.float32),
    "WriteFile": lambda s, w: lambda x: x + writes(w),
    "WriteFile in a call": lambda s, w: within("call", lambda: writes(w)),
    "WriteFile in a call of a call": lambda s, w: within("call of a call", lambda: writes(w)),
    "WriteFile in a branch": lambda s, w: within("branch", lambda: writes(w)),
    "WriteFile in a loop": lambda s, w: within("loop", lambda: writes(w)),
    "WriteFile in a case": lambda s, w: within("case", lambda: writes(w)),
    "DebugIdentity": lambda s, w: lambda x: _identity_to_a_file(x, w),
    "PrintV2": lambda s, w: lambda x: _printed(x, w),
    "SaveV2": lambda s, w: lambda x: _saved(x, w),
    "InitializeTableFromTextFileV2": lambda s, w: lambda x: x + _looked_up(s),
    "LoadAndRemapMatrix": lambda s, w: lambda x: x + tf.reduce_sum(tf.raw_ops.LoadAndRemapMatrix(
        ckpt_path=str(s), old_tensor_name="t", row_remapping=np.zeros(1, np.int64), col_remapping=np.zeros(0, np.int64),
        initializing_values=np.zeros(0, np.float32), num_rows=1, num_cols=1)),
    "PyFunc": lambda s, w: lambda x: tf.ensure_shape(v1.py_func(lambda v: (w.write_text("x"), v)[1], [x], tf.float32),
                                                     [2]),
    "DatasetToTFRecord": lambda s, w: lambda x: _records(x, w),
}  # fmt: skip


def _identity_to_a_file(x, file):
    return x + tf.raw_ops.DebugIdentity(input=x, tensor_name="x:0", debug_urls=[f"file://{file}"])


def _printed(x, file):
    with tf.control_dependencies([tf.print(x, output_stream=f"file://{file}")]):
        return tf.identity(x)


def _saved(x, file):
    save = tf.raw_ops.SaveV2(prefix=str(file), tensor_names=["t"], shape_and_slices=[""], tensors=[x])
    with tf.control_dependencies([save]):
        return tf.identity(x)


def _looked_up(file):
    initializer = tf.lookup.TextFileInitializer(
        str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(initializer, -1)
    return tf.cast(table.lookup(tf.constant([SECRET, "other"])), tf.float32)


def _records(x, file):
    dataset = tf.data.Dataset.from_tensors(tf.constant(["x"])).unbatch()
    done = tf.raw_ops.DatasetToTFRecord(
        input_dataset=dataset._variant_tensor, filename=str(file), compression_type=tf.constant("")
    )
    with tf.control_dependencies([done]):
        return tf.identity(x)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_by_the_operations_name_and_nothing_is_written(attack, secret, tmp_path):
    written = tmp_path / "written"
    meta_graph = exported(ATTACKS[attack](secret, written))
    refused = re.escape(attack.partition(" ")[0])
    with pytest.raises(InputError, match=r"reaches beyond itself \(.*" + refused):
        foreign_graphs.admitted(meta_graph)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret"]


@pytest.mark.parametrize("attack", ["ImmutableConst", "WriteFile in a loop", "PrintV2", "DebugIdentity"])
def test_without_the_refusal_the_attack_works(attack, secret, tmp_path):
    """What the test before this one refuses is real."""
    written = tmp_path / "written"
    got = run(exported(ATTACKS[attack](secret, written)))
    assert bool(list(tmp_path.glob("written*"))) or got[0] == 1 + sum(SECRET.encode())


def function_named(name):
    meta_graph = exported(lambda x: within("call", lambda: tf.constant(1.0))(x))
    library = meta_graph.graph_def.library
    old = library.function[0].signature.name
    library.function[0].signature.name = name
    for node in meta_graph.graph_def.node:
        if node.op == old:
            node.op = name
        for value in node.attr.values():
            if value.func.name == old:
                value.func.name = name
    return meta_graph


def test_a_function_may_not_take_an_operations_name():
    with pytest.raises(InputError, match="a function that calls itself ReadFile"):
        foreign_graphs.admitted(function_named("ReadFile"))
    assert foreign_graphs.admitted(function_named("mine"))


def crafted(change, make=lambda x: x * 2.0):
    meta_graph = exported(make)
    change(meta_graph)
    return meta_graph


def _calls(meta_graph, value):
    node = meta_graph.graph_def.node.add(name="c", op="PartitionedCall")
    node.attr["f"].CopyFrom(value)


def nested_function():
    value = v1.AttrValue(func=v1.NameAttrList(name="mine"))
    value.func.attr["inner"].func.name = "ReadFile"
    return value


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: _calls(m, v1.AttrValue(func=v1.NameAttrList(name="WriteFile"))), "calls WriteFile"),
        (lambda m: m.graph_def.node[0].attr["_gradient"].func.MergeFrom(v1.NameAttrList(name="f")), "calls f"),
        (lambda m: m.graph_def.node[0].attr["_a"].list.func.add(name="f"), "calls f"),
        (lambda m: m.graph_def.node[0].attr["_a"].CopyFrom(nested_function()), "calls ReadFile"),
        (lambda m: m.graph_def.library.function.add().attr["_f"].func.MergeFrom(v1.NameAttrList(name="g")), "calls g"),
        (lambda m: m.graph_def.node[0].attr["value"].tensor.resource_handle_val.add(), "holds a handle"),
        (lambda m: m.graph_def.node[0].attr["v"].tensor.MergeFrom(tf.make_tensor_proto(1.0).__class__(dtype=21)),
         "holds a handle"),
        (lambda m: m.graph_def.node.add(name="n"), "an operation without a type"),
        (lambda m: m.graph_def.node.add(name="n", op="NobodyKnowsThis"), "NobodyKnowsThis"),
        (lambda m: m.graph_def.node.add(name="n", op="A" * 9999), r"AAA\.\.\."),
    ],
)  # fmt: skip
def test_what_an_attribute_leads_to_is_the_graphs_own(change, told):
    with pytest.raises(InputError, match=told) as refused:
        foreign_graphs.admitted(crafted(change))
    assert len(str(refused.value)) < 600


def test_a_constant_beyond_memory_is_refused_before_it_is_made():
    def change(meta_graph):
        node = meta_graph.graph_def.node.add(name="vast", op="Const")
        node.attr["dtype"].type = 1
        node.attr["value"].tensor.MergeFrom(tf.make_tensor_proto(1.0))
        node.attr["value"].tensor.tensor_shape.dim.add(size=1 << 45)

    with pytest.raises(InputError, match="constants of 140,737,488"):
        foreign_graphs.admitted(crafted(change))


def test_how_a_graph_wants_to_be_run_is_not_followed():
    def change(meta_graph):
        for node in meta_graph.graph_def.node:
            node.device = "/job:elsewhere/task:3"
            node.attr["_kernel"].s = b"other"
            node.attr["_output_shapes"].list.shape.add()
        meta_graph.saver_def.filename_tensor_name = "x:0"
        meta_graph.collection_def["queue_runners"].bytes_list.value.append(b"\n\x01q")
        meta_graph.collection_def["mine"].node_list.value.append("x:0")
        call = next(node for node in meta_graph.graph_def.node if "config_proto" in node.attr)
        call.attr["executor_type"].s = b"NO_SUCH"

    meta_graph = foreign_graphs.admitted(crafted(change, within("call", lambda: tf.constant(1.0))))
    assert {node.device for node in meta_graph.graph_def.node} == {""}
    assert not any("_kernel" in node.attr for node in meta_graph.graph_def.node)
    assert all("_output_shapes" in node.attr for node in meta_graph.graph_def.node)
    assert set(meta_graph.collection_def) == {"mine"}
    call = next(node for node in meta_graph.graph_def.node if "config_proto" in node.attr)
    assert call.attr["config_proto"].s == session_config(0).SerializeToString()
    np.testing.assert_array_equal(run(meta_graph), [2, 2])


@pytest.mark.parametrize("version_1", [True, False])
def test_loops_branches_arrays_tables_and_draws_compute_what_they_computed(version_1):
    def make(x):
        looped = v1.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, tf.tanh(v) * 2.0), [0, x])[1]
        chosen = v1.cond(tf.reduce_sum(x) > 0, lambda: looped + 1.0, lambda: looped)
        array = tf.TensorArray(tf.float32, 2).unstack(chosen)
        drawn = tf.random.normal([2], seed=3)
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [7.0]), 0.0)
        counted = table.lookup(tf.strings.lower(tf.constant(["A", "b"])))
        return array.stack() + drawn + counted + tf.gradients(chosen, x)[0]

    switch = v1.disable_control_flow_v2 if version_1 else v1.enable_control_flow_v2
    was = v1.control_flow_v2_enabled()
    switch()
    try:
        meta_graph = exported(make)
    finally:
        (v1.enable_control_flow_v2 if was else v1.disable_control_flow_v2)()
    expected = run(meta_graph)
    np.testing.assert_array_equal(run(foreign_graphs.admitted(meta_graph)), expected)
    assert np.isfinite(expected).all()


def refused_in(build):
    """The operations of a graph that would be refused."""
    with tf.Graph().as_default() as graph:
        build()
        meta_graph = v1.train.export_meta_graph(graph=graph, clear_devices=True)
    try:
        foreign_graphs.admitted(meta_graph)
    except InputError as error:
        return str(error)
    return ""


LAYERS, NETWORKS, DRAWS, OPTIMIZERS = (
    recorded.load(name) for name in ("layer_cases", "rnn_cases", "random_cases", "optimizer_cases")
)


@pytest.mark.parametrize("name", sorted(case.name for case in LAYERS.CASES))
def test_the_layers_of_tensorflow_1_consist_of_what_only_computes(name):
    case = next(case for case in LAYERS.CASES if case.name == name)

    def build():
        tf1.enable()
        case.body(v1, tf1.layers, v1.placeholder(case.dtype, case.shape), True)

    assert refused_in(build) == ""


@pytest.mark.parametrize("name", sorted(case.name for case in NETWORKS.CASES))
def test_its_recurrent_networks_with_their_gradients_do(name):
    case = next(case for case in NETWORKS.CASES if case.name == name)

    def build():
        tf1.enable()
        x = v1.placeholder(case.dtype, NETWORKS.SHAPE)
        outputs = [t for t in tf.nest.flatten(case.body(v1, x)) if tf.is_tensor(t) and t.dtype.is_floating]
        variables = v1.trainable_variables()
        tf.gradients(outputs, [x, *variables])

    assert refused_in(build) == ""


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.CASES))
@pytest.mark.parametrize("resource", [True, False])
def test_its_optimizers_do(name, resource):
    def build():
        weights = v1.get_variable("w", [3, 2], use_resource=resource)
        looked_up = tf.nn.embedding_lookup(v1.get_variable("e", [5, 2], use_resource=resource), [1, 2])
        loss = tf.reduce_sum(tf.square(weights)) + tf.reduce_sum(looked_up)
        OPTIMIZERS.CASES[name]().minimize(loss, v1.train.get_or_create_global_step())

    assert refused_in(build) == ""


def test_its_draws_do():
    def build():
        for make, _ in DRAWS.CASES.values():
            make(v1)
        for make, _, _ in DRAWS.INITIALIZERS.values():
            make(v1)((5, 7))

    assert refused_in(build) == ""


@pytest.mark.parametrize(
    "example",
    ["decoder", "lstm_text", "mlp", "quickstart", pytest.param("inception_resnet_v2", marks=pytest.mark.slow)],
)
def test_the_examples_do(example):
    settings = config.read(EXAMPLES / example)
    arrays = config.make_inputs(settings)
    modules = Modules(str(settings.folder))

    def build():
        tf1.enable()
        with modules.active():
            legacy_model = modules.module(str(settings.folder / "legacy_model.py"))
            model = graph.build(legacy_model.forward, arrays, training=True, seeds=GraphSeeds())
            assert foreign_graphs.admitted(v1.MetaGraphDef.FromString(graph.export(model)))

    assert refused_in(build) == ""
