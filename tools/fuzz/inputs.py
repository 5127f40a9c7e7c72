"""`.npy` and `.npz` files as inputs: damaged, crafted, and no files at all.

What is read must be what NumPy itself reads; of an archive, whose members have checksums, what was saved.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tools.fuzz.outcome import Outcome, attempt, generator

from lockstep.common.errors import InputError
from lockstep.config.arrays import InputSpec
from lockstep.config.arrays import _load as load

NAME = "inputs"
MEMORY_BYTES = 6 << 30
SHARE = 2
_ARRAYS = {
    "floats": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "integers": np.arange(7, dtype=np.int64),
    "scalar": np.array(1.5),
    "booleans": np.array([True, False, True]),
    "texts": np.array(["a", "longer", ""]),
    "bytes": np.array([b"a", b"bc"]),
    "complex": np.array([1 + 2j], np.complex64),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(5, dtype=">i4"),
}
_INTEGERS = (0, 1, -1, 2, 3, 24, 255, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64, 10**14, 10**400)
_DESCRIPTIONS = (
    "'<f4'", "'>f8'", "'|b1'", "'|O'", "'<U0'", "'<U1'", "'|S0'", "'|S9999999999'", "'V0'", "'<m8'", "'<M8[s]'",
    "'<f4,<f4'", "'f'", "''", "'nonsense'", "'<f99'", "1", "None", "[('a', '<f4')]", "[('a', '|O')]", "[]", "{}", "()",
    "('<f4', (1000000000,))", "('<f4', (-1,))", "[('a', '<f4', (2, 3))]", "{'names': ['a'], 'formats': ['<f4']}",
    "'<c8'", "'<i8'", "'<e'", "'|u1'", "b'<f4'", "'<f4' '<f8'", "[[[[]]]]", "'\\x00'", "'object'", "'<f4'*3",
)  # fmt: skip


class _Traitor:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self._mark),))


def trials(seed: int, count: int, folder: Path) -> Iterator[Outcome]:
    """Makes a file in some way, and reads it."""
    for number in range(seed, seed + count):
        random_ = generator(number, NAME)
        place = folder / "inputs"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        way = random_.choice(_WAYS)
        outcome = attempt(way.__name__.strip("_"), lambda w=way, r=random_, p=place: w(r, p))
        yield Outcome(outcome.what, "wrong", "it was unpickled") if (place / "mark").exists() else outcome


def _array(path: Path, random_: random.Random) -> np.ndarray:
    key = random_.choice([None, None, None, "floats", "x", "a" * 400, "\0", "../x"])
    return load("floats", InputSpec("[inputs.floats]", None, None, path=path, key=key), path)


def _like_numpy(path: Path, random_: random.Random) -> str | None:
    """Compares with what NumPy reads of a `.npy` file."""
    found = _array(path, random_)
    with path.open("rb") as file:
        wanted = np.lib.format.read_array(file, allow_pickle=False)
    if found.shape != wanted.shape or found.dtype != wanted.dtype.newbyteorder("="):
        return f"read as {found.dtype} {found.shape}, and it is {wanted.dtype} {wanted.shape}"
    return None if found.astype(wanted.dtype).tobytes() == wanted.tobytes() else "other values"


def damaged(content: bytes, random_: random.Random) -> bytes:
    """Changes a few bytes: flips, cuts, takes out, puts in."""
    changed = bytearray(content)
    for _ in range(random_.choice([1, 1, 2, 8])):
        place = random_.randrange(len(changed) or 1)
        what = random_.randrange(6)
        if what == 0:
            changed[place : place + 1] = bytes([random_.randrange(256)])
        elif what == 1:
            changed[place : place + 1] = bytes([changed[place] ^ 1 << random_.randrange(8)]) if changed else b""
        elif what == 2:
            del changed[place:]
        elif what == 3:
            del changed[place : place + random_.randrange(1, 40)]
        elif what == 4:
            changed[place:place] = random_.randbytes(random_.randrange(1, 40))
        else:
            changed[place : place + 4] = random_.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"PK\x01\x02"])
    return bytes(changed)


def _saved(random_: random.Random) -> bytes:
    stream = io.BytesIO()
    np.save(stream, random_.choice(list(_ARRAYS.values())))
    return stream.getvalue()


def _archive(random_: random.Random) -> bytes:
    stream = io.BytesIO()
    save = random_.choice([np.savez, np.savez_compressed])
    save(stream, **_ARRAYS)
    return stream.getvalue()


def _npy_damaged(random_: random.Random, place: Path) -> str | None:
    path = place / "a.npy"
    path.write_bytes(damaged(_saved(random_), random_))
    return _like_numpy(path, random_)


def _npy_crafted(random_: random.Random, place: Path) -> str | None:
    sizes = [str(random_.choice(_INTEGERS)) for _ in range(random_.choice([0, 1, 1, 2, 3, 33, 65, 300]))]
    shape = random_.choice([f"({','.join(sizes)}{',' if sizes else ''})", "[1]", "1", "None", "(1.5,)", "('a',)"])
    if random_.random() < 0.5:
        shape = "(2,)"
    order = random_.choice(["False", "False", "True", "1", "None", "'x'"])
    keys = f"{{'descr': {random_.choice(_DESCRIPTIONS)}, 'fortran_order': {order}, 'shape': {shape}, }}"
    deep = "(" * random_.choice([100, 5000, 50_000])
    strange = [
        "",
        "{",
        deep,
        f"{{'descr': {deep}",
        "{[]: 1}",
        "{{}: 1}",
        "'a'",
        "1",
        "\0",
        "é",
        "lambda: 1",
        "{'descr'}",
    ]
    text = random_.choice(strange) if random_.random() < 0.2 else keys
    header = text.encode("utf-8") + b"\n"
    version = random_.choice([(1, 0), (1, 0), (2, 0), (3, 0), (4, 0), (255, 255), (0, 0)])
    short = version == (1, 0) and len(header) < 65536
    told = len(header) + random_.choice([0, 0, 0, 0, -1, 5, 60_000])
    length = struct.pack("<H", told % 65536) if short else struct.pack("<I", told)
    data = b"\0" * random_.choice([0, 1, 8, 16, 96, 4096])
    (place / "a.npy").write_bytes(b"\x93NUMPY" + bytes(version) + length + header + data)
    return _like_numpy(place / "a.npy", random_)


def _pickled(random_: random.Random, place: Path) -> str | None:
    array = np.empty(2, object)
    array[0] = _Traitor(place / "mark")
    way = random_.randrange(4)
    path = place / "a.npy"
    if way == 0:
        path.write_bytes(pickle.dumps(array[0]))
    elif way == 1:
        np.save(path, array, allow_pickle=True)
    elif way == 2:
        with path.open("wb") as file:
            np.savez(file, floats=array, other=np.zeros(2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("floats.npy", pickle.dumps(array[0]))
    _array(path, random_)
    return "an array of objects was read"


def _npz_damaged(random_: random.Random, place: Path) -> str | None:
    path = place / "a.npz"
    path.write_bytes(damaged(_archive(random_), random_))
    found = load("floats", InputSpec("[inputs.floats]", None, None, path=path), path)
    same = found.dtype == np.float32 and np.array_equal(found, _ARRAYS["floats"])
    return None if same else "other values than were saved"


def _npz_crafted(random_: random.Random, place: Path) -> str | None:
    """Changes what an archive says of its members, in its directory and before each of them."""
    content = bytearray(_archive(random_))
    marks = {b"PK\x01\x02": (8, 10, 12, 16, 20, 24, 28, 30, 42), b"PK\x03\x04": (6, 8, 14, 18, 22, 26, 28)}
    mark = random_.choice([b"PK\x01\x02", b"PK\x01\x02", b"PK\x03\x04"])
    starts = [i for i in range(len(content)) if content[i : i + 4] == mark]
    for start in starts if random_.random() < 0.7 else starts[:1]:
        at = start + random_.choice(marks[mark])
        value = random_.choice([1, 8, 9, 12, 14, 99, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, random_.randrange(2**32)])
        content[at : at + 4] = struct.pack("<I", value)
        if random_.random() < 0.3:
            content[start + 8] |= 1  # encrypted
    (place / "a.npz").write_bytes(content)
    found = load("floats", InputSpec("[inputs.floats]", None, None, path=place / "a.npz"), place / "a.npz")
    return None if np.array_equal(found, _ARRAYS["floats"]) else "other values than were saved"


def _npz_members(random_: random.Random, place: Path) -> str | None:
    """Packs members that are no arrays, or in ways that NumPy does not, or far more than there is."""
    path = place / "a.npz"
    packing = random_.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (random_.choice([4, 10**7, 10**10, 25 * 10**12]),)}
    )
    zeros = bytes(random_.choice([0, 16, 4 * 10**7]))
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name in random_.sample(
            ["floats.npy", "floats", "floats.npy", "../floats.npy", "a/b.npy", "/", "x" * 5000], 3
        ):
            with contextlib.suppress(UserWarning):
                archive.writestr(name, random_.choice([b"", b"text", header.getvalue() + zeros, _saved(random_)]))
    _array(path, random_)
    return None


def _no_file(random_: random.Random, place: Path) -> str | None:
    path = place / random_.choice(["a.npy", "a" * 300, "a" * 300 + ".npz", "b" * 5000, "no/such/folder", "nul\0.npy"])
    with contextlib.suppress(OSError, ValueError):
        random_.choice(_STRANGERS)(path)
    try:
        _array(path, random_)
    except InputError:
        return None
    return "something was read"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _terminal(path: Path) -> None:
    path.symlink_to("/dev/null")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _folder(path: Path) -> None:
    path.mkdir()


def _sparse(path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    path.write_bytes(stream.getvalue())
    os.truncate(path, len(stream.getvalue()) + 4 * 10**12)


def _empty(path: Path) -> None:
    path.touch()


def _locked(path: Path) -> None:
    path.parent.joinpath("file").touch()
    path.symlink_to("file/below")


_STRANGERS: tuple[Callable[[Path], None], ...] = (
    _fifo, _endless, _terminal, _loop, _folder, _sparse, _empty, _locked
)  # fmt: skip
_WAYS = (
    _npy_damaged, _npy_damaged, _npy_crafted, _npy_crafted, _npy_crafted, _pickled, _npz_damaged, _npz_damaged,
    _npz_crafted, _npz_crafted, _npz_members, _no_file
)  # fmt: skip
