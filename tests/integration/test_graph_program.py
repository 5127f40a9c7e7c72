"""A graph as a program: run again operation by operation, it gives the session's numbers, bit for bit."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_slim as slim

import lockstep
from lockstep import tf1
from lockstep.common.errors import KernelError, ProgramError
from lockstep.frameworks.tensorflow import kernels
from lockstep.frameworks.tensorflow.graph_program import program_of
from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
from lockstep.recorder import graph, operations
from lockstep.subjects import Mode, Setting

v1 = tf.compat.v1


def instance(forward, inputs, *, training=True, randomness="num_random_ops"):
    mode = Mode(training=training, randomness=randomness)
    return lockstep.tf1_graph(forward).build(mode, inputs)


def some(shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def values_of(built):
    """A value away from the initial one for every floating variable, the same for every run."""
    return {r.key: some(r.shape, len(r.key)) * 0.5 if r.dtype == "float32" else np.ones(r.shape, r.dtype)
            for r in built.variables}  # fmt: skip


def test_an_attribute_that_an_operation_does_not_have_is_an_error():
    one = [tf.ones((2,))]
    with pytest.raises(KernelError, match="TensorFlow's Sigmoid has no attribute alpha; it has T"):
        kernels.call("Sigmoid", {"alpha": 0.5}, one, 1)
    noted = kernels.call("LeakyRelu", {"alpha": 0.5, "_output_shapes": [], "axis": None}, one, 1)
    assert kernels.plain_attributes("LeakyRelu", noted) == {"alpha": 0.5}


def rerun(program):
    """Runs the operations of a program from its sources; returns all tensors."""
    tensors = {tensor: tf.convert_to_tensor(source.value) for tensor, source in program.sources.items()}
    for operation in program.operations:
        given = [tensors[tensor] for tensor in operation.inputs]
        for tensor, value in zip(operation.outputs, TensorFlowKernels().run(operation, given), strict=True):
            assert kernels.spec_of(value) == program.specs[tensor]
            tensors[tensor] = value
    return tensors


def same(one, other):
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype == object:  # of text the bytes are addresses
        return one.tolist() == other.tolist()
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def followed(forward, inputs, *, limits=0, **mode):
    """Follows a graph, runs the program again, compares with the session, and returns the program."""
    built = instance(forward, inputs, **mode)
    values = values_of(built)
    program = built.program(values)
    assert len(program.limits) == limits, program.limits
    trace = built.run(Setting("given", values))
    tensors = rerun(program)
    assert list(program.outputs) == list(trace.outputs)
    for path, tensor in program.outputs.items():
        assert same(trace.outputs[path], tensors[tensor]), path
    for key, tensor in program.writes.items():
        assert same(trace.after.get(key, trace.before[key]), tensors[tensor]), key
    assert set(trace.after) <= set(program.writes)
    places = {tensor: operation.index for operation in program.operations for tensor in operation.outputs}
    for operation in program.operations:
        assert all(places.get(tensor, -1) < operation.index for tensor in operation.inputs)
    return program


def types(program):
    return [operation.type for operation in program.operations]


def mlp(inputs, training):
    net = v1.layers.dense(inputs["x"], 8, activation=tf.nn.relu, name="one")
    net = v1.layers.dropout(net, 0.5, training=training)
    return {"logits": v1.layers.dense(net, 3, name="two")}


def test_an_mlp_with_dropout_is_followed_as_it_was_written():
    program = followed(mlp, {"x": some((4, 5))})
    drawn = program.sources[program.draws[0]]
    assert (drawn.kind, drawn.name, drawn.value.shape) == ("draw", "RandomUniform", (4, 8))
    assert types(program) == ["MatMul", "BiasAdd", "Relu", "Mul", "GreaterEqual", "SelectV2", "MatMul", "BiasAdd"]
    first = program.operations[0]
    assert program.variables_read(first) == ("one/kernel",)
    assert (first.place.name, first.place.scope) == ("one/MatMul", "one")
    assert first.place.source.endswith(f"{Path(__file__).name}:{mlp.__code__.co_firstlineno + 1}")


def test_inference_draws_nothing():
    assert followed(mlp, {"x": some((4, 5))}, training=False).draws == []


def convolutional(inputs, training):
    with slim.arg_scope([slim.batch_norm], is_training=training, decay=0.9):
        net = slim.conv2d(inputs["x"], 4, 3, normalizer_fn=slim.batch_norm, scope="conv")
    return slim.flatten(slim.max_pool2d(net, 2))


@pytest.mark.parametrize("fused", [True, False])
def test_updates_of_moving_averages_are_writes(fused):
    def forward(inputs, training):
        with slim.arg_scope([slim.batch_norm], fused=fused):
            return convolutional(inputs, training)

    tf1.enable()
    program = followed(forward, {"x": some((2, 6, 6, 3))})
    assert sorted(program.writes) == ["conv/BatchNorm/moving_mean", "conv/BatchNorm/moving_variance"]
    assert [program.producers[tensor].type for tensor in program.writes.values()] == ["Sub", "Sub"]
    assert any(operation.family == "FusedBatchNorm" for operation in program.operations) == fused


def lstm(inputs, training):
    cell = v1.nn.rnn_cell.LSTMCell(4, name="cell")
    outputs, state = v1.nn.dynamic_rnn(cell, inputs["x"], dtype=tf.float32, sequence_length=[3, 5])
    return {"outputs": outputs, "state": state.h}


def static_lstm(inputs, training):
    cell = v1.nn.rnn_cell.LSTMCell(4, name="cell")
    outputs, state = v1.nn.static_rnn(cell, tf.unstack(inputs["x"], axis=1), dtype=tf.float32)
    return {"outputs": tf.stack(outputs, 1), "state": state.h}


def branches(inputs, training):
    x, steep = inputs["x"], inputs["steep"]
    once = tf.cond(steep, lambda: x * 3.0, lambda: tf.sin(x) + 1.0)

    def loop():
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 1.5), (0, x))[1]

    # A loop on a branch, and a branch on a branch.
    inner = tf.cond(steep, loop, lambda: tf.cond(tf.reduce_sum(x) > 1e3, lambda: x, lambda: tf.cos(x)))
    return {"once": once, "inner": inner}


def nested_loops(inputs, training):
    w = v1.get_variable("w", (3, 3))

    def outer(i, x):
        _, inner = tf.while_loop(
            lambda j, _: j <= i, lambda j, y: (j + 1, tf.tanh(tf.matmul(y, w)) * tf.cast(i, tf.float32)), (0, x)
        )
        return i + 1, inner + x

    return tf.while_loop(lambda i, _: i < 3, outer, (tf.constant(1), inputs["x"]))[1]


def drawing_loop(inputs, training):
    size = tf.shape(inputs["x"])

    def body(i, x):
        # Two with the same seeds: each has a stream of its own, as the one before the loop has.
        drawn = v1.random_normal(size, seed=5) - 3.0 * v1.random_normal(x.shape, seed=5)
        return i + 1, x * 0.5 + drawn + v1.nn.dropout(x, rate=0.5, seed=6)

    once = v1.random_normal((3,), seed=5)
    once += tf.cond(tf.reduce_sum(once) < 1e6, lambda: v1.random_uniform((3,), seed=7), lambda: inputs["x"])
    return once + tf.while_loop(lambda i, _: i < 4, body, (0, inputs["x"]), parallel_iterations=1)[1]


def arrays(inputs, training):
    x = inputs["x"]
    given = tf.TensorArray(tf.float32, 0, dynamic_size=True, clear_after_read=False, infer_shape=False).unstack(x)
    made = tf.TensorArray(tf.float32, 6, element_shape=(3,), clear_after_read=False)
    made = made.write(1, given.read(0)).write(0, given.read(1) * 2.0)
    parts = tf.TensorArray(tf.float32, 2, infer_shape=False).split(x, [1, x.shape[0] - 1])
    given = given.write(given.size(), x[0])
    return {
        "gathered": given.gather([1, 0]),
        "all": given.stack(),
        "unwritten": made.stack(),
        "joined": parts.concat(),
        "chosen": made.gather([1, 4]),
    }


def embedded(inputs, training):
    table = v1.get_variable("table", (7, 3))
    return tf.nn.embedding_lookup(table, inputs["ids"]) + tf.gather(table, tf.reverse(inputs["ids"], [0]))


def after(before, assign, variable):
    with tf.control_dependencies([before]):
        assigned = assign()
    with tf.control_dependencies([assigned]):
        return variable.read_value() * 1.0


def counted(inputs, training):
    """Assignments of all kinds, in an order that control dependencies give.

    What is read is used before it is overwritten: TensorFlow overwrites variables of the old kind in place, and what
    was read before may show that.
    """
    w = v1.get_variable("w", (4, 3))
    read = w.read_value() * 1.0
    added = after(read, lambda: v1.assign_add(w, inputs["x"]), w)
    scattered = after(added, lambda: v1.scatter_sub(w, [0, 2], inputs["x"][:2]), w)
    last = after(scattered, lambda: v1.assign(w, tf.exp(scattered)), w)
    v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, last.op)
    return {"read": read, "added": added, "scattered": scattered, "last": last, "picked": tf.gather(last, [1, 1])}


def gradients(inputs, training):
    """Through loops, with the stacks and tensor arrays of gradients that TensorFlow makes for that."""
    through_arrays = lstm(inputs, training)["outputs"]
    w = v1.get_variable("w", (3, 3))
    squared = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(tf.matmul(y, w))), (0, inputs["x"][0]))[1]
    # A branch that is not taken gives dead gradients.
    branched = tf.cond(tf.reduce_sum(squared) < 1e6, lambda: tf.square(squared), lambda: squared * 2.0)
    return tf.gradients([through_arrays, branched], [inputs["x"], w])


CASES = {
    "lstm": (lstm, {"x": some((2, 5, 3))}),
    "static_lstm": (static_lstm, {"x": some((2, 5, 3))}),
    "steep": (branches, {"x": some((2, 3)), "steep": np.array(True)}),
    "flat": (branches, {"x": some((2, 3)), "steep": np.array(False)}),
    "gradients": (gradients, {"x": some((2, 5, 3))}),
    "nested_loops": (nested_loops, {"x": some((3, 3))}),
    "drawing_loop": (drawing_loop, {"x": some((3,))}),
    "arrays": (arrays, {"x": some((4, 3))}),
    "embedded": (embedded, {"ids": np.array([3, 1, 3], np.int32)}),
    "counted": (counted, {"x": some((4, 3))}),
    "convolutional": (convolutional, {"x": some((2, 6, 6, 3))}),
    "mlp": (mlp, {"x": some((4, 5))}),
}


def as_tensorflow_115_did():
    v1.disable_control_flow_v2()
    v1.disable_resource_variables()


FLAVOURS = {
    "control_flow_v1": v1.disable_control_flow_v2,
    "control_flow_v2": v1.enable_control_flow_v2,
    "ref_variables": as_tensorflow_115_did,
}


@pytest.fixture
def flavours():
    tf1.enable()
    yield FLAVOURS.values()
    v1.enable_resource_variables()
    v1.enable_control_flow_v2()
    tf1.disable()


@pytest.mark.parametrize("case", CASES)
def test_every_flavour_of_control_flow_and_variables_gives_the_same_program(case, flavours):
    programs = []
    for choose in flavours:
        choose()
        programs.append(followed(*CASES[case]))
    assert types(programs[0]) == types(programs[2])
    if case != "gradients":  # each flavour has its own way of adding up
        assert types(programs[0]) == types(programs[1])
    assert len({tuple(sorted(program.writes)) for program in programs}) == 1


@pytest.mark.parametrize("choose", FLAVOURS.values(), ids=FLAVOURS)
def test_a_graph_that_was_exported_gives_the_same_program(choose, flavours):
    choose()
    forward, inputs = CASES["nested_loops"]
    model = instance(forward, inputs)._model
    there = graph.imported(graph.export(model), {"x": model.inputs["x"].name}, {"": model.outputs[""].name}, True)
    values = {record.key: some(record.shape) for record in model.variables}
    ours, theirs = (program_of(one, values, inputs) for one in (model, there))
    assert types(ours) == types(theirs)
    assert ours.limits == theirs.limits == []


def test_the_forward_pass_of_a_recording_reaches_into_loops(flavours):
    next(iter(flavours))()
    model = instance(*CASES["lstm"])._model
    forward = [op.name for op in operations.forward_pass(model.inputs.values(), model.outputs.values())]
    assert {"rnn/while/TensorArrayReadV3", "rnn/while/cell/MatMul"} <= set(forward)
    assert "cell/kernel/Read/ReadVariableOp" not in forward


def test_a_loop_is_unrolled_under_the_names_of_the_graph(flavours):
    next(iter(flavours))()
    program = followed(*CASES["lstm"])
    products = [operation for operation in program.operations if operation.type == "MatMul"]
    assert len(products) == 5
    assert {operation.place.name for operation in products} == {"rnn/while/cell/MatMul"}
    assert types(program).index("Pack") > max(operation.index for operation in products)
    rounds = [operation.place.name for operation in program.operations if operation.place.name.startswith("rnn/while/")]
    assert len(rounds) % 5 == 0
    assert rounds[: len(rounds) // 5] * 5 == rounds  # one round after the other


def test_assignments_that_outputs_wait_for_are_followed_in_inference_too(flavours):
    inputs = {"x": some((4, 3))}
    built = instance(counted, inputs, training=False)
    program = built.program(values := values_of(built))
    assert program.limits == []
    assert list(program.writes) == ["w"]
    assert same(rerun(program)[program.writes["w"]], built.run(Setting("given", values)).outputs["last"])


def test_a_branch_that_is_not_taken_is_not_in_the_program(flavours):
    next(iter(flavours))()
    assert set(types(followed(*CASES["steep"]))) == {"Mul"}
    assert set(types(followed(*CASES["flat"]))) == {"Sin", "AddV2", "Sum", "Greater", "Cos"}


def test_each_draw_of_a_loop_is_one_draw_of_the_program(flavours):
    next(iter(flavours))()
    for randomness, different in (("num_random_ops", 14), ("constant", 8)):
        program = followed(*CASES["drawing_loop"], randomness=randomness)
        names = [program.sources[tensor].name for tensor in program.draws]
        assert (names.count("RandomStandardNormal"), names.count("RandomUniform")) == (9, 5)
        drawn = {program.sources[tensor].value.numpy().tobytes() for tensor in program.draws}
        # With the same seeds everywhere, three streams of one kind and two of the other begin alike and go on alike.
        assert len(drawn) == different


def test_draws_may_be_left_out():
    inputs = {"x": some((4, 5))}
    built = instance(mlp, inputs)
    program = program_of(built._model, values_of(built), inputs, keep_draws=False)
    assert [program.sources[tensor].value for tensor in program.draws] == [None]
    assert program.limits == []


def long_chain(inputs, training):
    x = inputs["x"]
    for _ in range(3000):
        x = tf.negative(x)
    return x


def test_a_long_chain_is_followed_and_its_tensors_are_let_go(monkeypatch):
    references, most = [], []
    execute = kernels.execute

    def watching(call, inputs):
        outputs = execute(call, inputs)
        references.extend(weakref.ref(output) for output in outputs)
        references[:] = [reference for reference in references if reference() is not None]
        most.append(len(references))
        return outputs

    monkeypatch.setattr(kernels, "execute", watching)
    program = instance(long_chain, {"x": some((8,))}).program({})
    assert types(program) == ["Neg"] * 3000
    assert len(most) == 3000
    assert max(most) <= 4


def test_what_only_a_session_can_run_is_taken_from_it():
    def forward(inputs, training):
        keys, found = tf.constant([1, 5], tf.int64), tf.constant([0.25, 8.0])
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, found), -1.0)
        called = v1.py_func(lambda x: x * np.float32(2), [inputs["x"]], tf.float32)
        called.set_shape((3,))
        return table.lookup(inputs["ids"]) * called

    inputs = {"ids": np.array([5, 1, 2], np.int64), "x": some((3,))}
    program = followed(forward, inputs, limits=2)
    assert all("can be run in a session alone" in limit for limit in program.limits)
    assert sorted(source.name for source in program.sources.values() if source.kind == "opaque") == [
        "LookupTableFindV2",
        "PyFunc",
    ]
    assert types(program) == ["Mul"]


@pytest.mark.parametrize("choose", [v1.disable_control_flow_v2, v1.enable_control_flow_v2])
def test_in_a_loop_it_is_an_error_that_tells_where(choose, flavours):
    def forward(inputs, training):
        def body(i, x):
            called = v1.py_func(lambda x: x * np.float32(2), [x], tf.float32, name="foreign")
            called.set_shape(x.shape)
            return i + 1, called

        return tf.while_loop(lambda i, _: i < 2, body, (0, inputs["x"]))[1]

    choose()
    with pytest.raises(ProgramError, match=r"PyFunc while/foreign\w* can be run in a session alone") as raised:
        instance(forward, {"x": some((3,))}).program({})
    assert raised.value.operation.startswith("while/foreign")


def test_an_operation_that_does_not_run_eagerly_is_fetched(monkeypatch):
    execute = kernels.execute

    def refusing(call, inputs):
        if call.type == "Sin":
            raise tf.errors.UnimplementedError(None, None, "no such kernel")
        return execute(call, inputs)

    monkeypatch.setattr(kernels, "execute", refusing)
    built = instance(lambda inputs, training: tf.sin(tf.sin(inputs["x"]) + 1.0), {"x": some((3,))})
    runs, run = [], graph.GraphModel.run
    monkeypatch.setattr(graph.GraphModel, "run", lambda *given, **more: runs.append(1) or run(*given, **more))
    program = built.program({})
    assert types(program) == ["AddV2"]
    assert [source.name for source in program.sources.values() if source.kind == "opaque"] == ["Sin", "Sin"]
    assert len(program.limits) == 2
    assert len(runs) == 2  # one for the program, one for all of the type


def test_numbers_that_are_not_the_sessions_are_told(monkeypatch):
    execute = kernels.execute

    def inexact(call, inputs):
        return [output + 0.25 if call.type == "Exp" else output for output in execute(call, inputs)]

    monkeypatch.setattr(kernels, "execute", inexact)
    program = instance(lambda inputs, training: tf.exp(inputs["x"]), {"x": np.zeros(3, np.float32)}).program({})
    assert program.limits == [
        "the output is not what the session computed, followed operation by operation: it differs by up to 0.25."
    ]


def test_text_integers_and_switches_are_ordinary_tensors():
    def forward(inputs, training):
        known = tf.equal(inputs["word"], "cat")
        return {"where": tf.where(known, inputs["n"], tf.ones_like(inputs["n"])), "words": inputs["word"] + "s"}

    inputs = {"word": np.array(["cat", "dog"], object), "n": np.array([7, 8], np.int64)}
    program = followed(forward, inputs)
    assert types(program) == ["Equal", "SelectV2", "Add"]


def test_an_imported_graph_has_the_lines_that_it_is_given_and_no_others():
    x = {"x": some((4, 5))}
    model = instance(mlp, x)._model
    there = graph.imported(graph.export(model), {"x": "x:0"}, {"logits": model.outputs["logits"].name}, True)
    values = {record.key: some(record.shape) for record in model.variables}
    program = program_of(there, values, x, sources={"one/MatMul": "legacy.py:7"})
    assert [operation.place.source for operation in program.operations][:2] == ["legacy.py:7", ""]
    assert program.limits == []


def test_where_eager_execution_is_off_a_graph_is_followed_all_the_same():
    body = (
        "import numpy as np, tensorflow.compat.v1 as tf, lockstep\n"
        "tf.disable_v2_behavior()\n"
        "from lockstep.subjects.declared import Mode\n"
        "def forward(inputs, training):\n"
        "    w = tf.get_variable('w', (3, 3))\n"
        "    return tf.while_loop(lambda i, _: i < 2, lambda i, x: (i + 1, tf.matmul(x, w)), (0, inputs['x']))[1]\n"
        "inputs = {'x': np.ones((2, 3), np.float32)}\n"
        "built = lockstep.tf1_graph(forward).build(Mode(training=True, randomness='constant'), inputs)\n"
        "program = built.program({'w': np.ones((3, 3), np.float32)})\n"
        "print([o.type for o in program.operations], program.limits)\n"
    )
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert done.stdout == "['MatMul', 'MatMul'] []\n", done.stderr[-2000:]


@pytest.mark.slow
def test_the_guides_network_is_followed_bit_for_bit(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples" / "inception_resnet_v2"))
    import legacy_model

    tf1.enable()
    image = np.random.default_rng(0).uniform(size=(1, 299, 299, 3)).astype(np.float32)
    built = instance(legacy_model.forward, {"image": image})
    values = built.run(Setting("initial")).before
    program = built.program(values)
    sys.modules.pop("legacy_model")
    tf1.disable()
    assert program.limits == []  # outputs and all variables that it writes are the session's, bit for bit
    assert types(program).count("Conv2D") == 246
    assert len(program.writes) == 412
