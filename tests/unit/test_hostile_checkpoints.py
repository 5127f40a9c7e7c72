"""Checkpoints whose index says what cannot be: refused in a sentence before TensorFlow, which would end the process.

They are crafted with checksums that are right; `tools/fuzz/checkpoints.py` makes more of them and reads them all.
"""

import os
import re
import struct
import sys

import numpy as np
import pytest
from tools.fuzz.tables import field, masked_crc, written

from lockstep.common.errors import InputError
from lockstep.files.checkpoints import slices, wire
from lockstep.files.checkpoints.judging import judged
from lockstep.files.checkpoints.slices import Slice
from lockstep.ground.restoring import Held

FLOAT, STRING = 1, 7
HEADER = field(1, 1)
VALUES = np.arange(6, dtype=np.float32)
DATA = VALUES.tobytes()


def shape(*sizes):
    return b"".join(field(2, field(1, size)) for size in sizes)


def extents(*pairs):
    return b"".join(field(1, field(1, start) + field(2, length)) for start, length in pairs)


def entry(sizes=(2, 3), dtype=FLOAT, shard=0, offset=0, size=24, more=b""):
    return field(1, dtype) + field(2, shape(*sizes)) + field(3, shard) + field(4, offset) + field(5, size) + more


def bundle(folder, entries, header=HEADER, data=DATA):
    (folder / "m.index").write_bytes(written([(b"", header), *sorted(entries.items())]))
    (folder / "m.data-00000-of-00001").write_bytes(data)
    return folder / "m"


def told(prefix):
    with pytest.raises(InputError) as raised:
        judged(prefix)
    message = str(raised.value)
    assert message.startswith("checkpoint ")
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_what_is_right_is_told_as_it_is(tmp_path):
    texts = b"\x01\x03" + b"crc!" + b"abcd"
    found = judged(
        bundle(
            tmp_path,
            {
                b"net/w": entry(),
                b"net/scalar": entry((), size=4),
                b"net/empty": entry((0, 5), size=0),
                b"net/texts": entry((2,), dtype=STRING, offset=24, size=len(texts)),
                b"net/later": entry((6,), more=field(15, b"what a later TensorFlow may add")),
            },
            data=DATA + texts,
        )
    )
    assert found == {
        "net/w": Held((2, 3), "float32"),
        "net/scalar": Held((), "float32"),
        "net/empty": Held((0, 5), "float32"),
        "net/texts": Held((2,), "string"),
        "net/later": Held((6,), "float32"),
    }


ENTRIES = {
    "a negative dimension": (entry((-2, -3)), "a dimension is negative"),
    "the least dimension": (entry((-(2**63),)), "a dimension is negative"),
    "an overflow": (entry((2**32, 2**32), size=0), "more elements than there are bytes"),
    "an overflow that is empty": (entry((2**40, 2**40, 0), size=0), "more elements than there are bytes"),
    "rank 300": (entry((1,) * 300, size=4), "300 dimensions"),
    "rank 33": (entry((1,) * 33, size=4), "33 dimensions"),
    "an unknown rank": (field(1, 1) + field(2, field(3, 1)), "its rank is unknown"),
    "a reference": (entry(dtype=101), "dtype 101 is none"),
    "dtype 0": (entry(dtype=0), "dtype 0 is none"),
    "dtype 999": (entry(dtype=999), "dtype 999 is none"),
    "a negative dtype": (entry(dtype=-1), "dtype -1 is none"),
    "a dtype beyond 32 bits": (entry(dtype=2**32 + 1), "too large for its field"),
    "a handle": (entry(dtype=20), "dtype 20 is none"),
    "a variant": (entry(dtype=21), "dtype 21 is none"),
    "four bits": (entry(dtype=29), "dtype 29 is none"),
    "nothing": (b"", "dtype 0 is none"),
    "no message": (b"\xff\xff", "a number does not end"),
    "a group": (b"\x0b\x0c", "a field has type 3"),
    "a field cut short": (b"\x12\x7f\x00", "a field is longer than its message"),
    "a field of another type": (field(1, b"\x01"), "field 1 is of another type"),
    "two dtypes": (entry() + field(1, 2), "field 1 occurs twice"),
    "two shapes": (entry() + field(2, shape(5)), "field 2 occurs twice"),
    "a number of eleven bytes": (b"\x08" + b"\xff" * 10 + b"\x01", "does not end, or is too large"),
    "a negative place": (entry(offset=-8), "outside of the data file"),
    "a negative size": (entry(size=-24), "outside of the data file"),
    "a place behind the data": (entry(offset=2**62), "outside of the data file"),
    "more data than there are": (entry((2, 4), size=32), "outside of the data file"),
    "a place and a size that overflow": (entry(offset=2**63 - 1, size=2**63 - 1), "outside of the data file"),
    "fewer data than the shape": (entry((2, 3), size=20), "20 bytes of data"),
    "another data file": (entry(shard=1), "number 1 of 1"),
    "a negative data file": (entry(shard=-1), "number -1 of 1"),
    "texts that are too long": (entry((1,), dtype=STRING), "other lengths than their data"),
    "more texts than bytes": (entry((2**40,), dtype=STRING), "texts are cut short"),
    "a slice of another rank": (entry(more=field(7, extents((0, 2)))), "another rank"),
    "a slice outside": (entry(more=field(7, extents((1, 2), (0, 3)))), "outside of its tensor"),
    "a slice before the start": (entry(more=field(7, extents((-1, 2), (0, 3)))), "outside of its tensor"),
    "a slice that overflows": (entry(more=field(7, extents((1, 2**63 - 1), (0, 3)))), "outside of its tensor"),
    "a slice of negative length": (entry(more=field(7, extents((0, -2), (0, 3)))), "outside of its tensor"),
    "a malformed slice": (entry(more=field(7, b"\x0a\x05")), "longer than its message"),
    "an empty slice": (entry(more=field(7, b"")), "another rank"),
    "a slice that is missing": (entry(more=field(7, extents((0, 2), (0, 3)))), "is missing, or of another shape"),
    "slices that are not the whole": (entry(more=field(7, extents((0, 1), (0, 3)))), "not the whole of it"),
    "slices that overlap": (entry(more=field(7, extents((0, 1), (0, 3))) * 2), "slices overlap"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_an_entry_that_cannot_be_is_refused_with_its_name(tmp_path, case):
    content, words = ENTRIES[case]
    message = told(bundle(tmp_path, {b"net/w": content, b"net/other": entry()}))
    assert words in message
    assert "net/w" in message


HEADERS = {
    "no shards": b"",
    "many": field(1, 2**31 - 1),
    "negative": field(1, -1),
    "an order of bytes": HEADER + field(2, 9),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_cannot_be_is_refused(tmp_path, case):
    assert "header" in told(bundle(tmp_path, {b"net/w": entry()}, header=HEADERS[case]))


def test_slices_are_found_and_must_be_of_their_tensor(tmp_path):
    halves = [Slice((0, 0), (1, -1)), Slice((1, 0), (1, -1))]
    described = b"".join(
        field(7, field(1, field(1, part.starts[0]) + field(2, 1)) + field(1, b"")) for part in halves
    )  # fmt: skip
    keys = [slices.key_of(b"net/w", part) for part in halves]
    right = {b"net/w": entry(size=0, more=described), keys[0]: entry((1, 3), size=12), keys[1]: entry((1, 3), size=12)}
    assert judged(bundle(tmp_path, right)) == {"net/w": Held((2, 3), "float32")}
    for other in (entry((3, 1), size=12), entry((1, 3), dtype=3, size=12), entry((1, 3), size=0, more=described)):
        assert "net/w" in told(bundle(tmp_path, {**right, keys[0]: other}))
    assert "no tensor has" in told(bundle(tmp_path, {b"net/w": entry(), keys[0]: entry((1, 3), size=12)}))


def test_the_key_of_a_slice_is_tensorflows():
    """Taken from checkpoints that TensorFlow 2.21 wrote (`SaveV2` and `SaveSlices`)."""
    assert slices.key_of(b"p", Slice((0, 0), (2, 3))) == b"\x00p\x00\x01\x01\x02\x80\x82\x80\x83"
    assert slices.key_of(b"p", Slice((2, 0), (2, 3))) == b"\x00p\x00\x01\x01\x02\x82\x82\x80\x83"
    assert slices.key_of(b"p", Slice((0, 0), (2, -1))) == b"\x00p\x00\x01\x01\x02\x80\x82\x80\x7f"
    assert slices.key_of(b"p", Slice((64,), (20000,))) == b"\x00p\x00\x01\x01\x01\xc0\x40\xe0\x4e\x20"
    escaped = slices.key_of(b"p\x00\xff", Slice((0, 0), (2, -1)))
    assert escaped == b"\x00p\x00\xff\xff\x00\x00\x01\x01\x02\x80\x82\x80\x7f"


@pytest.mark.parametrize("way", ["cut", "magic", "compressed", "order", "twice", "places"])
def test_an_index_that_is_no_table_is_refused(tmp_path, way):
    prefix = bundle(tmp_path, {b"net/w": entry()})
    index = tmp_path / "m.index"
    content = bytearray(index.read_bytes())
    if way == "cut":
        content = content[:-1]
    elif way == "magic":
        content[-1] ^= 1
    elif way == "compressed":
        content[content.index(b"net/w") + 6 + len(entry()) + 11] = 1
    elif way == "order":
        content = bytearray(written([(b"", HEADER), (b"b", entry()), (b"a", entry())]))
    elif way == "twice":
        content = bytearray(written([(b"", HEADER), (b"a", entry()), (b"a", entry())]))
    else:
        content[-48:-40] = b"\xff" * 8
    index.write_bytes(content)
    told(prefix)


# The format V1: one table that holds the data too.


def floats(values):
    return field(5, np.asarray(values, np.float32).tobytes())


def saved(name=b"net/w", part=b"", tensor=None):
    return field(
        2, field(1, name) + field(2, part) + field(3, field(1, 1) + floats(VALUES) if tensor is None else tensor)
    )


def table(folder, described=None, data=None, key=None):
    whole = extents((0, 2), (0, 3))
    if described is None:
        described = field(1, b"net/w") + field(2, shape(2, 3)) + field(3, FLOAT) + field(4, whole)
    key = slices.key_of(b"net/w", Slice((0, 0), (2, 3))) if key is None else key
    entries = [(b"", field(1, field(1, described))), (key, saved(part=whole) if data is None else data)]
    (folder / "m").write_bytes(written(entries))
    return folder / "m"


def meta(sizes=(2, 3), dtype=FLOAT, part=((0, 2), (0, 3))):
    return field(1, b"net/w") + field(2, shape(*sizes)) + field(3, dtype) + field(4, extents(*part))


def test_a_table_of_the_first_format_is_told_as_it_is(tmp_path):
    assert judged(table(tmp_path)) == {"net/w": Held((2, 3), "float32")}


TABLES = {
    "a negative dimension": ({"described": meta((-2, 3))}, "a dimension is negative"),
    "an overflow": ({"described": meta((2**40, 2**40))}, "more elements than there are bytes"),
    "rank 300": ({"described": meta((1,) * 300)}, "300 dimensions"),
    "a reference": ({"described": meta(dtype=101)}, "dtype 101 is none"),
    "dtype 0": ({"described": meta(dtype=0)}, "dtype 0 is none"),
    "a dtype of later years": ({"described": meta(dtype=24)}, "its dtype float8_e5m2 came after this format"),
    "nothing": ({"described": b""}, "dtype 0 is none"),
    "no slices": ({"described": field(1, b"net/w") + field(2, shape(2, 3)) + field(3, 1)}, "no tensor has"),
    "a slice outside": ({"described": meta(part=((0, 3), (0, 3)))}, "outside of its tensor"),
    "twice": ({"described": meta() + field(1, b"x")}, "occurs twice"),
    "no data": ({"data": b""}, "has no data"),
    "fewer data": ({"data": saved(tensor=field(1, 1) + floats(VALUES[:5]))}, "more or fewer values"),
    "more data": ({"data": saved(tensor=field(1, 1) + floats([*VALUES, 1]))}, "more or fewer values"),
    "data cut short": ({"data": saved(tensor=field(1, 1) + field(5, b"abc"))}, "cut short"),
    "data of another dtype": ({"data": saved(tensor=field(1, 3) + field(7, b"\1" * 6))}, "of another dtype"),
    "data in another field": ({"data": saved(tensor=field(1, 1) + field(7, b"\1" * 6))}, "more or fewer values"),
    "another name": ({"data": saved(name=b"net/v")}, "another name"),
    "another key": ({"key": slices.key_of(b"net/v", Slice((0, 0), (2, 3)))}, "no tensor has"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_says_what_cannot_be_is_refused(tmp_path, case):
    changes, words = TABLES[case]
    assert words in told(table(tmp_path, **changes))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
@pytest.mark.parametrize("what", ["nothing in it", "a pickle", "an archive", "HDF5", "a terabyte"])
def test_a_file_of_another_kind_is_refused(tmp_path, what):
    file = tmp_path / "m"
    if what == "a terabyte":
        (tmp_path / "m.index").touch()
        os.truncate(tmp_path / "m.index", 10**12)
    else:
        file.write_bytes({"nothing in it": b"", "a pickle": b"\x80\x04N.", "an archive": b"PK\x03\x04" * 99,
                          "HDF5": b"\x89HDF\r\n\x1a\n" * 99}[what])  # fmt: skip
    told(file)


def test_numbers_are_read_as_they_are_written():
    for value in (0, 1, -1, 127, 128, 2**31, -(2**31), 2**63 - 1, -(2**63)):
        found = wire.fields(memoryview(field(3, value)), {3: wire.VARINT})
        assert wire.number(found[3]) == value


def test_the_checksum_of_these_tests_is_the_formats():
    """CRC-32C of the digits is 0xe3069283 (RFC 3720's polynomial); masked as LevelDB masks it."""
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert re.fullmatch(r"(?s).{4}", struct.pack("<I", masked_crc(b"")).decode("latin-1"))
