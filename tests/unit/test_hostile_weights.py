"""Files of weights that were damaged, or made to harm: each is refused in one sentence before a value is read."""

import json
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.fuzz.tables import field

from lockstep.common.errors import InputError
from lockstep.files.checkpoints import object_graph
from lockstep.files.checkpoints.weight_files import Stored, open_weights, stored_as
from lockstep.files.checkpoints.wire import DamagedError
from lockstep.frameworks.torch import checkpoint_reader as torch_checkpoints
from lockstep.ground.restoring import Held

W = np.arange(6, dtype=np.float32).reshape(2, 3)


def values_of(path):
    checkpoint = open_weights(path, stored_as(path))
    return {name: np.array(checkpoint[name]) for name in checkpoint}


def told(path):
    with pytest.raises(InputError) as raised:
        values_of(path)
    message = str(raised.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def keras_3(path, make):
    """Writes a file as Keras 3 does, with one more thing in it."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.create_dataset("0", data=W)
        make(file, group)
    return path


def external(file, group):
    group.create_dataset("1", shape=(4,), dtype="f4", external=[("/etc/hostname", 0, 16)])


def virtual(file, group):
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", (2, 3))
    group.create_virtual_dataset("1", layout)


def external_link(file, group):
    group["1"] = h5py.ExternalLink("/etc/other.h5", "/w")


def soft_link(file, group):
    group["1"] = h5py.SoftLink("/layers/dense/vars/0")


def itself(file, group):
    group["more"] = file["layers"]


def holes(file, group):
    group.create_dataset("1", shape=(10**6, 10**6), dtype="f4")


def bomb(file, group):
    group.create_dataset("1", shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000), compression="gzip")


def words(file, group):
    group.create_dataset("1", data=np.array([b"a", b"b"], object), dtype=h5py.string_dtype())


def compound(file, group):
    group.create_dataset("1", data=np.zeros(2, [("a", "f4"), ("b", "i4")]))


def nothing(file, group):
    group.create_dataset("1", data=h5py.Empty("f4"))


def reference(file, group):
    group.create_dataset("1", data=np.array([file.ref], h5py.ref_dtype), dtype=h5py.ref_dtype)


def unknown_bytes(file, group):
    group.create_dataset("1", data=np.zeros(3, "V2"))


HDF5 = {
    external: "has its values in another file, which is not opened",
    virtual: "has its values in another file, which is not opened",
    external_link: "is a link to '/etc/other.h5' '/w'; links are not followed",
    soft_link: "is a link to '/layers/dense/vars/0'; links are not followed",
    itself: "holds itself",
    holes: "claims 4,000,000,000,000 bytes, and the file has 0 of it",
    bomb: "claims 4,000,000,000,000 bytes, and the file has 0 of it",
    words: "is no array of numbers",
    compound: "is no array of numbers",
    nothing: "is no array of numbers",
    reference: "is no array of numbers",
    unknown_bytes: "is no array of numbers",
}


@pytest.mark.parametrize("make", HDF5, ids=lambda make: make.__name__)
def test_what_hdf5_can_do_besides_holding_arrays_is_refused(tmp_path, make):
    assert HDF5[make] in told(keras_3(tmp_path / "m.weights.h5", make))


@pytest.mark.parametrize("make", [external_link, soft_link, external, holes], ids=lambda make: make.__name__)
def test_the_same_of_a_file_of_keras_2(tmp_path, make):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"dense"])
        group = file.create_group("dense")
        group.attrs["weight_names"] = np.array([b"1"])
        make(file, group)
    assert HDF5[make] in told(path)


def test_names_that_lead_nowhere_are_told(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"dense", b"lost"])
        file.create_group("dense").attrs["weight_names"] = np.array([b"kernel:0"])
    assert "'the file' has no 'lost'" in told(tmp_path / "m.h5")
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"dense"])
        file.create_group("dense").attrs["weight_names"] = np.array([b"../../kernel:0"])
    assert "'/dense' has no '../../kernel:0'" in told(tmp_path / "n.h5")


def test_a_packed_array_within_reason_is_read(tmp_path):
    zeros = np.zeros((1000, 1000), np.float32)
    path = keras_3(tmp_path / "m.weights.h5", lambda _, g: g.create_dataset("1", data=zeros, compression="gzip"))
    checkpoint = open_weights(path, Stored.HDF5)
    np.testing.assert_array_equal(checkpoint["dense/1"], zeros)


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_archives_of_keras_are_read_where_they_lie_and_refused_where_they_lie_about_their_size(tmp_path):
    content = keras_3(tmp_path / "w.h5", lambda *_: None).read_bytes()
    for name, way in (("stored.keras", zipfile.ZIP_STORED), ("packed.keras", zipfile.ZIP_DEFLATED)):
        path = archive(tmp_path / name, {"config.json": "{}", "model.weights.h5": content}, way)
        checkpoint = open_weights(path, stored_as(path))
        np.testing.assert_array_equal(checkpoint["dense/0"], W)
        for at in (0, len(content) // 2):  # as somebody changed it on its way
            damaged = bytearray(path.read_bytes())
            start = damaged.index(b"model.weights.h5") + 16
            damaged[start + at // (1 if way == zipfile.ZIP_STORED else 50)] ^= 0x55
            path.with_suffix(".damaged.keras").write_bytes(damaged)
            told(path.with_suffix(".damaged.keras"))
    assert "is no weight file" in told(archive(tmp_path / "no.keras", {"config.json": "{}"}))
    lying = bytearray((tmp_path / "stored.keras").read_bytes())
    directory = lying.index(b"PK\x01\x02", lying.index(b"PK\x01\x02") + 1)
    lying[directory + 24 : directory + 28] = struct.pack("<I", 0xFFFFFFF0)
    (tmp_path / "lying.keras").write_bytes(lying)
    told(tmp_path / "lying.keras")


class Harm:
    def __reduce__(self):
        return print, ("harm",)


@pytest.mark.parametrize("name", ["m.npz", "m.safetensors", "m.h5", "m.keras", "m.weights.h5"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", pickle.dumps(Harm()), b"\0" * 99])
def test_what_is_no_such_file_is_refused_and_nothing_is_unpickled(tmp_path, name, content, capsys):
    (tmp_path / name).write_bytes(content)
    told(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_arrays_of_objects_and_arrays_that_claim_more_are_refused(tmp_path, capsys):
    np.savez(tmp_path / "o.npz", w=np.array([Harm()], object))
    assert "which Lockstep never unpickles" in told(tmp_path / "o.npz")
    assert capsys.readouterr().out == ""
    header = str({"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}).encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 24
    assert "the data are of another size" in told(archive(tmp_path / "c.npz", {"w.npy": array}))
    np.savez(tmp_path / "t.npz", w=np.array(["a"]))
    assert "is no array of numbers" in told(tmp_path / "t.npz")


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 24]}},
        {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 4 * 10**12]}},
        {"w": {"dtype": "C64", "shape": [3], "data_offsets": [0, 24]}},
        {"w": {"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}},
        {"w": {"dtype": "F32", "shape": [1] * 60 + [6], "data_offsets": [0, 24]}},
        {"w": {"dtype": "BOOL", "shape": [24], "data_offsets": [0, 24]}},
        [],
    ],
)
def test_a_header_of_tensors_that_cannot_be_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\x07" * 24)
    told(tmp_path / "m.safetensors")


def test_a_path_that_is_none_is_told():
    for path in ("a\0b", "x" * 5000):
        with pytest.raises(InputError):
            stored_as(Path(path))


def test_without_pytorch_its_files_are_told_with_the_extra_that_reads_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "m.pt").write_bytes(b"\x80\x02}q\x00.")
    assert stored_as(tmp_path / "m.pt") is Stored.TORCH
    with pytest.raises(InputError, match=r"pip install 'lockstep-verify\[torch\]'"):
        torch_checkpoints.open_checkpoint(tmp_path / "m.pt")


# Graphs of objects.


def child(number, name):
    return field(1, field(1, number) + field(2, name))


def tensor(key, full=b"", attribute=b"VARIABLE_VALUE"):
    return field(2, field(1, attribute) + field(2, full) + field(3, key))


def graph(*nodes):
    return b"".join(field(1, node) for node in nodes)


HELD = {"a/.ATTRIBUTES/VARIABLE_VALUE": Held((2,), "float32"), "b/.ATTRIBUTES/VARIABLE_VALUE": Held((), "float32")}
A, B = (key.encode() for key in HELD)


def test_a_graph_of_objects_is_read_as_it_is():
    found = object_graph.named(HELD, graph(child(1, b"a") + child(2, b"b"), tensor(A, b"net/w"), tensor(B, b"net/w")))
    assert [entry.name for _, entry in found.values()] == ["a", "b"]  # two of one full name are told by their paths
    found = object_graph.named(HELD, graph(child(1, b"a") + child(2, b"b"), tensor(A, b"net/w"), tensor(B, b"net/v")))
    assert [(entry.name, entry.place) for _, entry in found.values()] == [("net/w", "a"), ("net/v", "b")]


def test_objects_that_know_each_other_end():
    found = object_graph.named(HELD, graph(child(1, b"a"), child(0, b"up") + child(1, b"me") + tensor(A)))
    assert [entry.name for _, entry in found.values()] == ["a"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "its object graph is empty"),
        (b"\xff", "a number does not end"),
        (graph(child(7, b"a")), "speaks of object 7 of 1"),
        (graph(child(-1, b"a")), "speaks of object -1 of 1"),
        (graph(child(2**33, b"a")), "too large for its field"),
        (graph(child(0, b"\xff")), "is no UTF-8"),
        (graph(child(1, b"a") + tensor(A), tensor(A)), "to two objects"),
        (graph(tensor(B, A) + tensor(A)), "to two objects"),
        (graph(tensor(b"c/.ATTRIBUTES/VARIABLE_VALUE")), "which it does not hold"),
        (graph(field(3, field(1, 0) + field(3, 5))), "speaks of object 5 of 1"),
        (graph(field(1, 3)), "field 1 is of another type"),
    ],
)
def test_a_graph_of_objects_that_cannot_be_is_refused(content, words):
    with pytest.raises(DamagedError, match=words):
        object_graph.named(HELD, content)
