"""What the real libraries write is read back bit for bit: safetensors, NumPy, h5py as Keras 2, Keras 3, TensorFlow."""

import h5py
import keras
import ml_dtypes
import numpy as np
import safetensors.numpy
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lockstep.files.checkpoints.entries import Kind
from lockstep.files.checkpoints.formats import write_npz
from lockstep.frameworks.runtimes import open_checkpoint
from lockstep.ground.restoring import Held
from lockstep.ground.structure import same_bits

DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "uint16", "bool")
LETTERS = st.characters(blacklist_categories=("Cs",))
OF_HDF5 = tuple(dtype for dtype in DTYPES if dtype != "bfloat16")
SHAPES = st.one_of(st.just(()), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
PARTS = st.text(LETTERS.filter(lambda letter: letter not in "/\0"), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
SOME = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@st.composite
def arrays(draw, dtypes=DTYPES):
    name = draw(st.sampled_from(dtypes))
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    shape = draw(SHAPES)
    count = int(np.prod(shape))
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    if name == "bool":
        return (np.frombuffer(raw, np.uint8) % 2).astype(bool).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)


def named(names=PATHS, dtypes=DTYPES):
    return st.dictionaries(names, arrays(dtypes), min_size=1, max_size=5)


def assert_read_back(path, written, names=lambda name: name):
    checkpoint = open_checkpoint(path)
    assert set(checkpoint) == {names(name) for name in written}
    for name, array in written.items():
        read = checkpoint[names(name)]
        entry = checkpoint.entries[names(name)]
        assert (entry.shape, entry.dtype) == (array.shape, array.dtype.name)
        assert same_bits(np.asarray(read), np.asarray(array, order="C")), name
    return checkpoint


@SOME
@given(written=named(st.one_of(PATHS, st.text(LETTERS, max_size=20))))
def test_safetensors(tmp_path, written):
    written.pop("__metadata__", None)
    if written:
        safetensors.numpy.save_file(written, tmp_path / "m.safetensors")
        assert_read_back(tmp_path / "m.safetensors", written)


@SOME
@given(written=named(PATHS.filter(lambda name: name != "file")), packed=st.booleans())
def test_npz(tmp_path, written, packed):
    (np.savez_compressed if packed else np.savez)(tmp_path / "m.npz", **written)
    assert_read_back(tmp_path / "m.npz", written)


@SOME
@given(written=named())
def test_the_arrays_that_lockstep_writes(tmp_path, written):
    """NumPy's own reader finds in them what was written, but for bfloat16, which it has no name for."""
    path = tmp_path / "m.npz"
    path.unlink(missing_ok=True)
    write_npz(path, {n: Held(a.shape, a.dtype.name) for n, a in written.items()}, written.__getitem__)
    assert_read_back(path, written)
    with np.load(path) as loaded:
        for name, array in written.items():
            assert array.dtype == ml_dtypes.bfloat16 or same_bits(loaded[name], array)


def as_keras_2(path, layers, *, whole, long):
    """Writes what `tf.keras.Model.save_weights`, or `save`, of Keras 2.2 to 2.15 writes, optimizer included."""
    with h5py.File(path, "w") as file:
        weights = file.create_group("model_weights") if whole else file
        listed = np.array([name.encode() for name in layers])
        for number, part in enumerate(np.array_split(listed, 2) if long else [listed]):
            weights.attrs[f"layer_names{number}" if long else "layer_names"] = part
        for layer, tensors in layers.items():
            group = weights.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{name}:0".encode() for name in tensors])
            for name, array in tensors.items():
                group.create_dataset(f"{name}:0", data=array)
        if whole:
            group = file.create_group("optimizer_weights")
            group.attrs["weight_names"] = np.array([b"Adam/iter:0"])
            group.create_dataset("Adam/iter:0", data=np.int64(3))


@SOME
@given(
    layers=st.dictionaries(
        PARTS,
        st.dictionaries(PARTS, arrays([d for d in DTYPES if d != "bfloat16"]), max_size=3),
        min_size=1,
        max_size=4,
    ),
    whole=st.booleans(),
    long=st.booleans(),
)
def test_h5_of_keras_2(tmp_path, layers, whole, long):
    reserved = {"model_weights", "optimizer_weights", "top_level_model_weights"}
    if reserved & layers.keys() or not any(layers.values()):
        return
    as_keras_2(tmp_path / "m.h5", layers, whole=whole, long=long and len(layers) > 1)
    names = [name for tensors in layers.values() for name in tensors]
    written = {
        (name if names.count(name) == 1 else f"{layer}/{name}"): array
        for layer, tensors in layers.items()
        for name, array in tensors.items()
    }
    if len(written) < len(names) or any("/" in name and name in names for name in written):
        return
    slots = {"optimizer_weights/Adam/iter": np.array(3, np.int64)} if whole else {}
    checkpoint = assert_read_back(tmp_path / "m.h5", {**written, **slots})
    assert all(checkpoint.entries[name].kind is Kind.SLOT for name in slots)


class Holder(keras.layers.Layer):
    """A layer with variables of any dtype, and layers below."""

    def __init__(self, tensors, inner=(), **options):
        super().__init__(**options)
        self.inner = [Holder(*one, name=f"inner_{number}") for number, one in enumerate(inner)]
        self.own = [
            self.add_weight(shape=array.shape, dtype=array.dtype.name, name=f"w{number}", initializer="zeros")
            for number, array in enumerate(tensors)
        ]
        for variable, array in zip(self.own, tensors, strict=True):
            variable.assign(array)

    def build(self, shape):
        self.built = True

    def get_config(self):
        return {}

    def call(self, inputs):
        return inputs


FEW = arrays(("float32", "float16", "bfloat16", "int8", "int32", "bool"))


@settings(SOME, max_examples=12, phases=(Phase.explicit, Phase.generate))  # shrinking takes minutes
@given(
    first=st.lists(FEW, min_size=1, max_size=3),
    inner=st.lists(st.tuples(st.lists(FEW, min_size=1, max_size=12)), max_size=2),
    suffix=st.sampled_from([".weights.h5", ".keras"]),
)
def test_files_of_keras_3_are_the_layers_variables_by_their_numbers(tmp_path, first, inner, suffix):
    x = keras.Input((2,))
    model = keras.Model(x, Holder(first, inner, name="outer")(x))
    path = tmp_path / f"m{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(str(path))
    checkpoint = open_checkpoint(path)
    records = [(variable.path, variable) for variable in model.weights]
    seen = checkpoint.seen_by([_record(name, variable) for name, variable in records])
    for name, variable in records:
        assert same_bits(np.asarray(seen[name]), np.asarray(variable)), name
    assert len(checkpoint) == len(records)


def _record(name, variable):
    from lockstep.traces.trace import VariableRecord

    return VariableRecord(name, name, tuple(variable.shape), str(variable.dtype), True)


@settings(SOME, max_examples=25)
@given(written=named(st.text(LETTERS.filter(lambda letter: letter != "\0"), min_size=1, max_size=8)))
def test_checkpoints_of_objects(tmp_path, written):
    """Attributes of any name, each a variable or an object with one; all variables bear the name `Variable`."""
    variables = {name: tf.Variable(array) for name, array in written.items() if name not in ("root", "self")}
    if "optimizer" in variables or not variables:
        return
    inner = tf.train.Checkpoint(**variables)
    tf.train.Checkpoint(inner=inner).write(str(tmp_path / "m"))
    assert_read_back(
        tmp_path / "m",
        {name: np.array(v) for name, v in variables.items()},
        lambda name: "inner/" + name.replace(".", "..").replace("/", ".S") if len(variables) > 1 else "Variable",
    )


def assert_told_apart(checkpoint, variables, slots):
    kinds = {kind: [e.name for e in checkpoint.entries.values() if e.kind is kind] for kind in Kind}
    assert set(kinds[Kind.VARIABLE]) == variables.keys()
    assert kinds[Kind.COUNTER] == ["save_counter"]
    assert len(kinds[Kind.SLOT]) == slots
    for name, variable in variables.items():
        assert same_bits(checkpoint[name], np.asarray(variable))


def test_of_a_trained_model_of_keras_the_variables_are_told_from_what_its_optimizer_holds(tmp_path):
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(2, name="second")(keras.layers.Dense(4, name="first")(x)))
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    step = tf.Variable(1, name="step")
    tf.train.Checkpoint(step=step, trainer=optimizer, model=model).save(str(tmp_path / "m"))
    variables = {variable.path: variable for variable in model.weights}
    assert_told_apart(open_checkpoint(tmp_path), {"step": step, **variables}, 2 + 2 * len(variables))


def test_of_variables_the_slots_are_told_that_an_optimizer_of_tensorflow_1_made(tmp_path):
    variables = {name: tf.Variable(value, name=name) for name, value in (("w", [1.0, 2.0]), ("b", [3.0]))}
    optimizer = tf.compat.v1.train.AdamOptimizer()
    optimizer.apply_gradients([(tf.ones_like(v), v) for v in variables.values()])
    tf.train.Checkpoint(trainer=optimizer, **variables).save(str(tmp_path / "m"))
    assert_told_apart(open_checkpoint(tmp_path), variables, 2 + 2 * len(variables))


def test_a_text_that_ends_in_zeros_keeps_them(tmp_path):
    tf.train.Checkpoint(text=tf.Variable(b"a\0\0", name="text")).write(str(tmp_path / "m"))
    assert open_checkpoint(tmp_path / "m")["text"].item() == b"a\0\0"
