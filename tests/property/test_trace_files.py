"""A trace on disk gives back what was written, or a sentence: never anything else."""

import json
import shutil
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lockstep.common.arrays import numpy_dtype
from lockstep.ground import folder as folders
from lockstep.ground import tensors
from lockstep.ground.checksum import checksum
from lockstep.ground.failures import RecordingError
from lockstep.ground.folder import MANIFEST, TraceReader, TraceWriter

DTYPES = [*tensors.STORED_DTYPES, "complex64", "complex128"]
SHAPES = st.one_of(
    st.just(()), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5), st.just((0, 2**40)), st.just((3000,))
)
NAMES = st.one_of(st.text(max_size=300), st.sampled_from(["a/b:0", "__metadata__", "../x", "é/ß", "n" * 300, ""]))


@st.composite
def tensors_of_any_kind(draw):
    name = draw(st.sampled_from(DTYPES))
    shape = draw(SHAPES)
    count = tensors.count(shape)
    raw = draw(st.binary(min_size=0, max_size=64))
    dtype = numpy_dtype(name)
    repeated = (raw or b"\0") * (count * dtype.itemsize // max(len(raw), 1) + 1)
    values = np.frombuffer(repeated[: count * dtype.itemsize], dtype)
    if name == "bool":
        values = values.view(np.uint8) % 2 == 1
    return values.reshape(shape)


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def write(target, arrays, **body):
    with TraceWriter(str(target)) as writer:
        writer.finish({"tensors": writer.add(arrays), **body})


def read(target):
    reader = TraceReader(str(target), numpy_dtype)
    return {name: reader.tensor(entry) for name, entry in reader.body["tensors"].items()}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.dictionaries(NAMES, tensors_of_any_kind(), max_size=6))
def test_every_dtype_shape_and_name_comes_back(tmp_path_factory, arrays):
    target = tmp_path_factory.mktemp("traces") / "trace"
    write(target, arrays)
    back = read(target)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert same(back[name], array)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=20)), max_size=5))
def test_strings_come_back_as_bytes(tmp_path_factory, items):
    target = tmp_path_factory.mktemp("traces") / "trace"
    array = np.empty(len(items), object)
    array[:] = items
    write(target, {"s": array})
    expected = [item if isinstance(item, bytes) else item.encode("utf-8", "surrogatepass") for item in items]
    assert read(target)["s"].tolist() == expected


def test_big_endian_and_strided_arrays_come_back_by_value(tmp_path):
    arrays = {"big": np.arange(6, dtype=">f8"), "strided": np.arange(24).reshape(4, 6)[::2, ::-3]}
    write(tmp_path / "t", arrays)
    for name, array in read(tmp_path / "t").items():
        np.testing.assert_array_equal(array, arrays[name])


def test_the_files_are_read_by_the_formats_own_reader(tmp_path):
    from safetensors.numpy import load_file

    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True), "c": np.zeros((0, 2), np.int64)}
    write(tmp_path / "t", arrays)
    entries = TraceReader(str(tmp_path / "t")).body["tensors"]
    for name, array in arrays.items():
        assert same(load_file(tmp_path / "t" / entries[name]["file"])[entries[name]["key"]], array)


def test_files_of_the_formats_own_writer_are_read(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"a": np.arange(6, dtype=np.float16), "b": np.arange(3, dtype=np.uint8)}
    save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "np"})
    file = tensors.TensorFile(str(tmp_path / "x.safetensors"))
    for name, array in arrays.items():
        assert same(file.tensor(name), array)


def test_a_dtype_that_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(RecordingError, match="dtype int4 cannot be recorded; known are bool"):
        write(tmp_path / "t", {"x": np.zeros(3, ml_dtypes.int4)})
    assert names_in(tmp_path) == []


def test_an_equal_tensor_is_written_once_and_one_that_differs_in_two_signs_is_not_taken_for_it(tmp_path):
    values = np.arange(1, 100_001, dtype=np.float64)
    flipped = values.copy()
    flipped[[3, 5]] *= -1
    write(tmp_path / "t", {"a": values, "b": values.copy(), "c": flipped})
    stored = sum(f.stat().st_size for f in (tmp_path / "t").iterdir())
    assert 1_600_000 < stored < 1_700_000
    assert same(read(tmp_path / "t")["c"], flipped)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 9999), st.integers(0, 7), st.data())
def test_the_checksum_sees_every_flipped_bit_and_every_swap(position, bit, data):
    content = bytearray(np.random.default_rng(7).bytes(10_000))
    before = checksum(content)
    content[position] ^= 1 << bit
    assert checksum(content) != before
    content[position] ^= 1 << bit
    other = data.draw(st.integers(0, 9999))
    content[position], content[other] = content[other], content[position]
    assert (checksum(content) == before) == (content[position] == content[other])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    target = tmp_path_factory.mktemp("whole") / "trace"
    arrays = {"a": np.arange(400, dtype=np.float32), "s": np.array([b"x", b"yz"]), "c": np.array(1 + 2j)}
    write(target, arrays, note="é")
    return target, arrays


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_or_a_cut_anywhere_is_refused_or_harmless(whole, tmp_path_factory, data):
    original, arrays = whole
    target = tmp_path_factory.mktemp("damaged") / "trace"
    shutil.copytree(original, target)
    file = target / data.draw(st.sampled_from(sorted(f.name for f in original.iterdir())))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
    else:
        file.write_bytes(content[:position])
    try:
        back = read(target)
    except RecordingError as error:
        assert str(error).endswith(".")  # noqa: PT017 - harmless damage raises nothing
    else:  # white space of a header, say
        assert {name: array.tobytes() for name, array in back.items()} == {
            name: read(original)[name].tobytes() for name in arrays
        }


def resigned(target, change):
    """Changes a manifest as somebody would who knows how it is signed."""
    path = Path(target) / MANIFEST
    body = json.loads(path.read_text())
    del body["sha256"]
    change(body)
    body["sha256"] = folders._digest(body)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda b: b["tensors"]["a"].update(file="../secret.safetensors"), "is no file of a trace"),
        (lambda b: b["tensors"]["a"].update(file="/etc/passwd"), "is no file of a trace"),
        (lambda b: b["tensors"]["a"].update(file="link.safetensors"), "is a link"),
        (lambda b: b["tensors"]["a"].update(file="absent.safetensors"), "is not whole"),
        (lambda b: b["tensors"]["a"].update(key="nope"), "has no tensor"),
        (lambda b: b["tensors"]["a"].update(dtype="int32"), "described as int32"),
        (lambda b: b["tensors"]["a"].update(shape=[401]), r"described as float32 \(401,\)"),
        (lambda b: b["tensors"]["a"].update(shape=[-1]), r"shape \[-1\]"),
        (lambda b: b["tensors"]["a"].pop("checksum"), "incompletely"),
        (lambda b: b.update(version=2), "Update Lockstep"),
        (lambda b: b.update(version=0), "never wrote"),
        (lambda b: b.update(format="other"), "does not say so"),
    ],
)
def test_a_foreign_newer_or_forged_trace_is_refused_with_the_reason(whole, tmp_path, change, told):
    shutil.copytree(whole[0], tmp_path / "t")
    (tmp_path / "t" / "link.safetensors").symlink_to(whole[0] / "tensors-0000.safetensors")
    resigned(tmp_path / "t", change)
    with pytest.raises(RecordingError, match=told):
        read(tmp_path / "t")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}}, "cannot be"),
        ({"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, "cannot be"),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, "cannot be"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, "overlap or leave holes"),
        ({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
          "b": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}, "overlap or leave holes"),
        ({"a": {"dtype": "U8", "shape": [2**62, 4], "data_offsets": [0, 0]}}, "cannot be"),
        ({"a": "x"}, "cannot be"),
        ([], "no JSON object"),
    ],
)  # fmt: skip
def test_a_hostile_header_is_refused(tmp_path, header, told):
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(RecordingError, match=told):
        tensors.TensorFile(str(tmp_path / "x"))


@pytest.mark.parametrize("content", [b"", b"\xff" * 7, b"\xff" * 8, b"\xff" * 20, struct.pack("<Q", 3) + b"[[[" * 9])
def test_what_is_no_tensor_file_is_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(RecordingError, match=r"no tensor file|no JSON"):
        tensors.TensorFile(str(tmp_path / "x"))


def test_a_deeply_nested_manifest_is_refused(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(RecordingError, match="no JSON"):
        read(tmp_path / "t")


def test_what_exists_is_not_written_over(tmp_path):
    write(tmp_path / "t", {"a": np.ones(2)})
    with pytest.raises(RecordingError, match="exists already"):
        write(tmp_path / "t", {"a": np.ones(3)})
    (tmp_path / "mine").mkdir()
    with pytest.raises(RecordingError, match="is no trace and is left as it is"):
        TraceWriter(str(tmp_path / "mine"), replace=True)
    with TraceWriter(str(tmp_path / "t"), replace=True) as writer:
        writer.finish({"tensors": writer.add({"a": np.ones(3)})})
    assert read(tmp_path / "t")["a"].shape == (3,)
    assert names_in(tmp_path) == ["mine", "t"]


def test_a_missing_parent_folder_is_told(tmp_path):
    with pytest.raises(RecordingError, match="there is no folder"):
        TraceWriter(str(tmp_path / "no" / "t"))


RECORDING = textwrap.dedent(
    """
    import sys
    import numpy as np
    from lockstep.ground.folder import TraceWriter
    with TraceWriter(sys.argv[1]) as writer:
        print("begun", flush=True)
        entries = {}
        for i in range(30):
            entries.update(writer.add({str(i): np.full(300_000, i, np.float64)}))
        writer.finish({"tensors": entries})
    print("done", flush=True)
    """
)


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1])
def test_a_recording_killed_at_any_moment_leaves_no_trace_or_a_whole_one(tmp_path, delay_s):
    target = tmp_path / "trace"
    process = subprocess.Popen([sys.executable, "-c", RECORDING, target], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    time.sleep(delay_s)
    process.kill()
    process.wait()
    process.stdout.close()
    if target.exists():
        assert len(read(target)) == 30
    else:
        with pytest.raises(RecordingError, match="there is no trace"):
            read(target)
        for left in tmp_path.iterdir():
            with pytest.raises(RecordingError):
                TraceReader(str(left))
        write(target, {"a": np.ones(1)})  # and what was left is swept away
        assert names_in(tmp_path) == ["trace"]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(path, arrays):
        Path(path).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "write", full)
    with pytest.raises(RecordingError, match=r"No space left on device. Free some space"):
        write(tmp_path / "t", {"a": np.ones(10)})
    assert names_in(tmp_path) == []


def test_loading_reads_nothing_until_a_tensor_is_asked_for(tmp_path, monkeypatch):
    write(tmp_path / "t", {"a": np.ones(1000), "b": np.ones(2000)})
    mapped = []
    original = tensors.TensorFile.tensor
    monkeypatch.setattr(tensors.TensorFile, "tensor", lambda *a: mapped.append(a) or original(*a))
    reader = TraceReader(str(tmp_path / "t"))
    assert mapped == []
    array = reader.tensor(reader.body["tensors"]["a"])
    assert len(mapped) == 1
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_a_trace_of_many_tensors_is_one_open_file_and_none_when_it_is_done_with(tmp_path):
    def files():
        return len(list(Path("/proc/self/fd").iterdir()))

    write(tmp_path / "t", {str(i): np.full(1000, i) for i in range(50)})
    before = files()
    reader = TraceReader(str(tmp_path / "t"))
    arrays = [reader.tensor(entry) for entry in reader.body["tensors"].values()]
    assert files() == before + 1
    del reader
    assert [int(array[0]) for array in arrays] == list(range(50))
    del arrays
    assert files() == before


def test_what_was_read_of_a_tensor_leaves_memory_with_it_and_harms_no_neighbour(tmp_path):
    def resident():  # MB of this process, the file's mapped pages included
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("RssFile")).split()[1]) / 1e3

    size = 40
    values = np.random.default_rng(0).random(size * 125_000)  # of `size` MB
    write(tmp_path / "t", {"a": values, "b": values[:1000] + 1, "c": values + 2})
    reader = TraceReader(str(tmp_path / "t"))
    before = resident()
    for name, expected in (("a", values), ("c", values + 2)):
        neighbour = reader.tensor(reader.body["tensors"]["b"])
        array = reader.tensor(reader.body["tensors"][name])
        assert resident() > before + size * 0.9
        again = reader.tensor(reader.body["tensors"][name])
        part = array[1:].reshape(-1)
        del array
        assert np.array_equal(part, expected[1:])
        del part, again
        assert resident() < before + size * 0.1
        assert np.array_equal(neighbour, values[:1000] + 1)
