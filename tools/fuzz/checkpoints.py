"""Checkpoints of TensorFlow and files of weights: damaged, and crafted with right checksums.

What is damaged must be refused, or have the values that were written. What is crafted must be refused, or be read as
what it says it is; and no process may die of it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tools.fuzz.inputs import damaged
from tools.fuzz.outcome import Outcome, attempt, generator
from tools.fuzz.tables import field, masked_crc, written

from lockstep.files.checkpoints import wire

NAME = "checkpoints"
SHARE = 2
_NUMBERS = (
    0, 1, 2, 3, 6, 7, 14, 19, 20, 21, 23, 24, 26, 29, 30, 100, 101, 107, 127, 128, 255, 256, 999, 2**31 - 1, 2**31,
    2**32, 2**40, 2**62, 2**63 - 1, -1, -2, -(2**31), -(2**62), -(2**63),
)  # fmt: skip
_Bytes = memoryview


class _Originals:
    """What is damaged: files by kind, and the values that they hold."""

    files: Mapping[str, Path] = {}
    values: Mapping[str, Any] = {}
    model: Any = None
    graph: tuple[Mapping[str, Any], bytes] = ({}, b"")


def prepare(folder: Path) -> None:
    """Writes a checkpoint of each kind."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    values = {
        "net/weights": np.arange(12, dtype=np.float32).reshape(3, 4),
        "net/scalar": np.array(1.5),
        "net/bools": np.array([True, False]),
        "net/halves": np.arange(3, dtype=np.float16),
        "net/complex": np.array([1 + 2j], np.complex64),
        "net/texts": np.array([b"a", b"longer", b""], object),
        "global_step": np.array(7, np.int64),
        "net/empty": np.zeros((0, 3), np.int32),
    }
    for kind, version in (("v1", 1), ("v2", 2)):
        with tf.Graph().as_default(), tf1.Session() as session:
            made = [tf1.get_variable(n, initializer=tf.constant(v), use_resource=False) for n, v in values.items()
                    if kind == "v2" or n not in ("net/empty", "net/texts")]  # fmt: skip
            made.append(
                tf1.get_variable(
                    "net/parted", shape=[6, 2], partitioner=tf1.fixed_size_partitioner(3), use_resource=False
                )
            )
            session.run(tf1.global_variables_initializer())
            place = folder / kind
            place.mkdir()
            tf1.train.Saver(write_version=version).save(session, str(place / "m"), write_meta_graph=False)
    from lockstep.files.checkpoints.formats import write_safetensors
    from lockstep.ground.restoring import Held

    plain = {name: value for name, value in values.items() if value.dtype.kind in "fib"}
    (folder / "safe").mkdir()
    held = {name: Held(value.shape, value.dtype.name) for name, value in plain.items()}
    write_safetensors(folder / "safe" / "m.safetensors", held, plain.__getitem__)
    _Originals.model = _written_model(folder)
    _write_others(folder, plain)
    kinds = ("v1", "v2", "safe", "keras", "keras2", "npz", "objects")
    _Originals.files = {kind: folder / kind for kind in kinds}
    _Originals.values = {
        "v1": _read(folder / "v1" / "m"),
        "v2": _read(folder / "v2" / "m"),
        "safe": _read_safe(folder / "safe" / "m.safetensors"),
        "npz": _read(folder / "npz" / "m.npz"),
        "objects": _read(folder / "objects" / "m"),
    }


class _Weights:
    """What `weight_formats` needs of a candidate: a model whose weights are loaded."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def in_place(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def as_model(self) -> Any:
        return self._model


def _written_model(folder: Path) -> _Weights:
    import keras

    layers = [keras.Input((3,), name="x"), keras.layers.Dense(4, name="a"), keras.layers.BatchNormalization(name="b")]
    model = keras.Sequential(layers)
    (folder / "keras").mkdir()
    model.save_weights(str(folder / "keras" / "m.weights.h5"))
    model.save(str(folder / "keras" / "m.keras"))
    return _Weights(model)


def _write_others(folder: Path, plain: Mapping[str, np.ndarray]) -> None:
    """Writes the formats that a checkpoint is read from too: of Keras 2, of NumPy, of objects."""
    import h5py
    import tensorflow as tf

    for kind in ("keras2", "npz", "objects"):
        (folder / kind).mkdir()
    with h5py.File(folder / "keras2" / "m.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"net", b"packed"])
        group = file.create_group("net")
        group.attrs["weight_names"] = np.array([name.encode() for name in plain])
        for name, value in plain.items():
            group.create_dataset(name, data=value)
        group = file.create_group("packed")
        group.attrs["weight_names"] = np.array([b"kernel:0"])
        group.create_dataset("kernel:0", data=np.arange(600.0).reshape(20, 30), chunks=(10, 10), compression="gzip")
    np.savez_compressed(folder / "npz" / "m.npz", **plain)
    inner = tf.train.Checkpoint(**{name.replace("/", "_"): tf.Variable(value) for name, value in plain.items()})
    tf.train.Checkpoint(inner=inner, w=tf.Variable([1.0, 2.0], name="w")).write(str(folder / "objects" / "m"))
    from lockstep.files.checkpoints.judging import judged
    from lockstep.files.checkpoints.object_graph import GRAPH

    read = tf.train.load_checkpoint(str(folder / "objects" / "m")).get_tensor(GRAPH)
    _Originals.graph = judged(folder / "objects" / "m"), read


def trials(seed: int, count: int, folder: Path) -> Iterator[Outcome]:
    """Makes a checkpoint in some way, and reads all of it."""
    for number in range(seed, seed + count):
        random_ = generator(number, NAME)
        place = folder / "trial-files"
        shutil.rmtree(place, ignore_errors=True)
        way = random_.choice(_WAYS)
        (folder / "trial").write_text(f"{way.__name__.strip('_')}, seed {number}", encoding="utf-8")
        yield attempt(way.__name__.strip("_"), lambda w=way, r=random_, p=place: w(r, p))


def _read(prefix: Path) -> dict[str, np.ndarray]:
    from lockstep.frameworks.runtimes import open_checkpoint

    checkpoint = open_checkpoint(prefix)
    found = {name: np.array(checkpoint[name]) for name in checkpoint}
    for name, value in found.items():
        if checkpoint.held[name].shape != value.shape:
            raise AssertionError(f"{name} is said to be {checkpoint.held[name]} and is {value.shape}")
    return found


def _read_safe(path: Path) -> dict[str, np.ndarray]:
    from lockstep.frameworks.tensorflow.weight_formats import read_safetensors

    return {name: np.array(value) for name, value in read_safetensors(path, ["net/weights", "net/scalar"]).items()}


def _copied(kind: str, place: Path) -> Path:
    shutil.copytree(_Originals.files[kind], place)
    return place


def _differs(kind: str, found: Mapping[str, np.ndarray]) -> str | None:
    wanted = _Originals.values[kind]
    if found.keys() != wanted.keys():
        return f"other names: {sorted(found)}"[:300]
    other = [
        n for n, v in wanted.items() if v.dtype != found[n].dtype or not np.array_equal(v, found[n], equal_nan=False)
    ]
    return f"other values: {other}" if other else None


def _v2_damaged(random_: random.Random, place: Path) -> str | None:
    files = sorted(_copied("v2", place).glob("m.*"))
    file = random_.choice(files)
    file.write_bytes(damaged(file.read_bytes(), random_))
    return _differs("v2", _read(place / "m"))


def _v1_damaged(random_: random.Random, place: Path) -> str | None:
    file = _copied("v1", place) / "m"
    file.write_bytes(damaged(file.read_bytes(), random_))
    return _differs("v1", _read(file))


def _safetensors_damaged(random_: random.Random, place: Path) -> str | None:
    """The format has no checksums: a changed value is read as it is."""
    file = _copied("safe", place) / "m.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[: 8 + length], content[8 + length :]
    way = random_.randrange(3)
    if way == 0:
        header = damaged(header, random_)
    elif way == 1:
        data = damaged(data, random_)
    else:
        text = header[8:].replace(random_.choice([b"[3,4]", b"F32", b"[0,", b"net/"]), random_.choice(_SAFE))
        header = struct.pack("<Q", random_.choice([len(text), len(text), 2**40, 2**63])) + text
    file.write_bytes(header + data)
    _read_safe(file)
    _read(file)
    return None


def _h5_damaged(random_: random.Random, place: Path) -> str | None:
    from lockstep.files.checkpoints.formats import Format
    from lockstep.frameworks.tensorflow import weight_formats

    file = _copied("keras", place) / "m.weights.h5"
    file.write_bytes(damaged(file.read_bytes(), random_))
    weight_formats.load(_Originals.model, file, Format.WEIGHTS_H5)
    return None


def _keras_damaged(random_: random.Random, place: Path) -> str | None:
    from lockstep.frameworks.tensorflow import weight_formats

    file = _copied("keras", place) / "m.keras"
    if random_.random() < 0.5:
        file.write_bytes(damaged(file.read_bytes(), random_))
    else:
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        changed = random_.choice(list(members))
        members[changed] = damaged(members[changed], random_)
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    weight_formats.run_archive(file, np.ones((1, 3), np.float32))
    return None


def _weights_damaged(random_: random.Random, place: Path) -> str | None:
    """Reads a damaged file of HDF5 as weights, without Keras; HDF5 has no checksums of values."""
    kind, name = random_.choice([("keras", "m.weights.h5"), ("keras2", "m.h5"), ("keras2", "m.h5")])
    file = _copied(kind, place) / name
    content = file.read_bytes()
    for _ in range(random_.choice([1, 1, 3, 20])):
        content = damaged(content, random_)
    file.write_bytes(content)
    _read(file)
    return None


def _weights_cut(random_: random.Random, place: Path) -> str | None:
    """Overwrites bytes of HDF5's own structures, which begin a file, with numbers that may be sizes and places."""
    file = _copied("keras2", place) / "m.h5"
    content = bytearray(file.read_bytes())
    for _ in range(random_.choice([1, 2, 5])):
        at = random_.randrange(0, len(content) - 8, random_.choice([1, 8]))
        content[at : at + 8] = struct.pack("<Q", random_.choice(_NUMBERS) & (1 << 64) - 1)
    file.write_bytes(content)
    _read(file)
    return None


def _npz_damaged(random_: random.Random, place: Path) -> str | None:
    file = _copied("npz", place) / "m.npz"
    if random_.random() < 0.5:
        file.write_bytes(damaged(file.read_bytes(), random_))
        return _differs("npz", _read(file))
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = random_.choice(list(members))
    members[changed] = damaged(members[changed], random_)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    _read(file)
    return None


def _objects_crafted(random_: random.Random, place: Path) -> str | None:
    """Changes the graph of objects, each field as it may be, and reads what it makes of a checkpoint."""
    from lockstep.files.checkpoints import object_graph

    del place
    held, graph = _Originals.graph
    for _ in range(random_.choice([1, 1, 3])):
        graph = _message(graph, random_)
    with contextlib.suppress(wire.DamagedError):
        for name, entry in object_graph.named(held, graph).values():
            if name != entry.name:
                return f"{name} is called {entry.name}"
    return None


def _objects_damaged(random_: random.Random, place: Path) -> str | None:
    file = random_.choice(sorted(_copied("objects", place).glob("m.*")))
    file.write_bytes(damaged(file.read_bytes(), random_))
    return _differs("objects", _read(place / "m"))


_SAFE = (
    b"[-3,-4]", b"[9999999999999999999999]", b"[" + b"1," * 100 + b"12]", b"[3,4e0]", b"[1e999]", b"F16", b"X99",
    b"\xff", b"null", b"[" * 5000, b"[-1,", b"[18446744073709551615,", b"\\u0000", b"\\ud800", b"[true,12]",
)  # fmt: skip


def _v2_resigned(random_: random.Random, place: Path) -> str | None:
    """Changes entries of the index, each field as it may be, and signs it."""
    index = _copied("v2", place) / "m.index"
    entries = _entries(index)
    for _ in range(random_.choice([1, 1, 2, 3])):
        at = random_.randrange(len(entries))
        key, value = entries[at]
        entries[at] = (_key(key, random_), value) if random_.random() < 0.1 else (key, _message(value, random_))
    if random_.random() < 0.1:
        random_.shuffle(entries)
    index.write_bytes(written(entries))
    _read(place / "m")
    return None


def _v2_texts(random_: random.Random, place: Path) -> str | None:
    """Changes the lengths of texts in the data file."""
    _copied("v2", place)
    entries = dict(_entries(place / "m.index"))
    found = wire.fields(memoryview(entries[b"net/texts"]), {4: 0})[4]
    data = bytearray((place / "m.data-00000-of-00001").read_bytes())
    at = int(str(found[0])) if found else 0
    lengths = random_.choice(
        [b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\x01\x07\x00", b"\xff\xff\x7f", b"\xff" * 16]
    )
    data[at : at + len(lengths)] = lengths
    (place / "m.data-00000-of-00001").write_bytes(data)
    value = entries[b"net/texts"][:-5] + b"\x35" + struct.pack("<I", masked_crc(bytes(data[at : at + 7])))
    entries[b"net/texts"] = random_.choice(
        [value, entries[b"net/texts"], field(1, 7) + field(2, b"") + field(5, 2**30)]
    )
    (place / "m.index").write_bytes(written(sorted(entries.items())))
    _read(place / "m")
    return None


def _v1_resigned(random_: random.Random, place: Path) -> str | None:
    """Changes what a V1 file says of its tensors, or their data, and signs it."""
    file = _copied("v1", place) / "m"
    entries = _entries(file)
    for _ in range(random_.choice([1, 1, 2])):
        at = random_.choice([0, 0, random_.randrange(len(entries))])
        key, value = entries[at]
        entries[at] = (_key(key, random_), value) if random_.random() < 0.1 else (key, _message(value, random_))
    file.write_bytes(written(entries))
    _read(file)
    return None


def _table_crafted(random_: random.Random, place: Path) -> str | None:
    """Makes tables of messages that were never a checkpoint's."""
    place.mkdir()
    entries = [(random_.choice([b"", b"a", b"\x00", b"\xff\xfe", b"a" * 5000]), _anything(random_, 4))
               for _ in range(random_.choice([0, 1, 3, 50]))]  # fmt: skip
    header = field(1, random_.choice([1, 1, 1, *_NUMBERS])) + field(2, random_.choice([0, 0, 1, 2]))
    content = written([(b"", random_.choice([header, header, b"", _anything(random_, 2)])), *sorted(entries)])
    if random_.random() < 0.3:
        content = damaged(content, random_)
    if random_.random() < 0.5:
        (place / "m").write_bytes(content)
    else:
        (place / "m.index").write_bytes(content)
        (place / "m.data-00000-of-00001").write_bytes(b"\0" * 64)
    _read(place / "m")
    return None


def _strange_files(random_: random.Random, place: Path) -> str | None:
    """Puts something else in place of one of the files."""
    kind = random_.choice(["v1", "v2"])
    file = random_.choice(sorted(_copied(kind, place).glob("m*")))
    file.unlink()
    way = random_.randrange(6)
    if way == 0:
        os.mkfifo(file)
    elif way == 1:
        file.symlink_to("/dev/zero")
    elif way == 2:
        file.mkdir()
    elif way == 3:
        file.touch()
    elif way == 4:
        file.symlink_to(file.name)
    else:
        file.touch()
        os.truncate(file, 10**12)
    _read(place / "m")
    return "something was read"


def _entries(file: Path) -> list[tuple[bytes, bytes]]:
    return [(key, bytes(value)) for key, value in wire.table(memoryview(file.read_bytes()))]


def _key(key: bytes, random_: random.Random) -> bytes:
    return random_.choice(
        [damaged(key or b"a", random_), b"", b"\x00", key + b"x", b"\xff\xff", b"\x00" + key, key[:-1]]
    )


def _message(value: bytes, random_: random.Random) -> bytes:
    """Changes something in a message, at any depth; a part that can be read as a message may be one."""
    if random_.random() < 0.1:
        return damaged(value, random_)
    parts = _parts(value)
    if not parts:
        return value + field(random_.randrange(1, 9), random_.choice(_NUMBERS))
    at = random_.randrange(len(parts))
    number, content = parts[at]
    way = random_.random()
    if way < 0.1:
        del parts[at]
    elif way < 0.2:
        parts.insert(at, parts[at])
    elif way < 0.3:
        parts.append((random_.randrange(1, 10), random_.choice([*_NUMBERS, b"", field(1, 3), _anything(random_, 2)])))
    elif way < 0.35 and isinstance(content, bytes):
        parts[at] = number, content * random_.choice([2, 40, 300])
    elif isinstance(content, bytes):
        parts[at] = number, _message(content, random_)
    else:
        parts[at] = number, random_.choice(_NUMBERS)
    return b"".join(field(number, content) for number, content in parts)


def _parts(value: bytes) -> list[tuple[int, int | bytes | bytearray]]:
    """Takes a message apart, whatever its fields mean; nothing where it is none."""
    found: list[tuple[int, int | bytes | bytearray]] = []
    data, at = memoryview(value), 0
    try:
        while at < len(data):
            tag, at = wire.varint(data, at)
            if tag & 7 == wire.VARINT:
                content, at = wire.varint(data, at)
                found.append((tag >> 3, wire.signed(content)))
            elif tag & 7 == wire.LENGTH:
                size, at = wire.varint(data, at)
                found.append((tag >> 3, bytes(data[at : at + size])))
                at += size
            else:
                size = 4 if tag & 7 == wire.FIXED32 else 8
                found.append((tag >> 3, bytearray(data[at : at + size])))
                at += size
    except wire.DamagedError:
        return []
    return found


def _anything(random_: random.Random, depth: int) -> bytes:
    """Returns a random message."""
    contents: list[Callable[[], int | bytes]] = [
        lambda: random_.choice(_NUMBERS),
        lambda: random_.choice([b"", b"a", b"net/weights", random_.randbytes(9)]),
        lambda: _anything(random_, depth - 1) if depth else b"",
    ]
    return b"".join(field(random_.randrange(1, 9), random_.choice(contents)()) for _ in range(random_.randrange(5)))


_WAYS: tuple[Callable[[random.Random, Path], str | None], ...] = (
    _v2_damaged, _v1_damaged, _safetensors_damaged, _v2_resigned, _v2_resigned, _v2_resigned, _v2_texts, _v1_resigned,
    _v1_resigned, _v1_resigned, _table_crafted, _table_crafted, _strange_files, _h5_damaged, _keras_damaged,
    _weights_damaged, _weights_damaged, _weights_cut, _npz_damaged, _objects_crafted, _objects_damaged,
)  # fmt: skip
