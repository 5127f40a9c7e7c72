"""Configurations that nobody could mean: hostile values at every place, and texts that are no TOML.

Each is read, its inputs are made, its sides' files are looked for and imported, and its rules are applied to names.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tools.fuzz.outcome import LONGEST, Outcome, attempt, generator

from lockstep import config
from lockstep.common.errors import LockstepError
from lockstep.compare.align import align
from lockstep.subjects.variable_parts import cut_by
from lockstep.traces.trace import VariableRecord

NAME = "configurations"
MEMORY_BYTES = 6 << 30
LIMIT_S = 60
SHARE = 3
SHORT = 150
_SLOW_S = 30  # the largest inputs that are filled take some seconds, with a normal fill some ten

_TREE: dict[str, Any] = {
    "batches": 2,
    "gradients": True,
    "trajectory": 3,
    "loss": "model.py:loss",
    "reference": {"runtime": "tf1", "entry": "model.py:forward"},
    "candidate": {"runtime": "keras", "entry": "model.py:forward", "files": ["*.txt"], "environment": ["TF_X"]},
    "inputs": {
        "image": {"shape": [2, 3], "fill": "uniform", "dtype": "float32", "low": 0, "high": 1},
        "ids": {"shape": [4], "dtype": "int32", "low": 0, "high": 9},
        "file": {"path": "batch.npy", "dtype": "float32", "shape": [4, 3]},
        "archive": {"path": "batch.npz", "key": "a"},
    },
    "variables": {
        "rename": [["^net/(.*)/weights$", "model/\\1/kernel"]],
        "transform": [["/kernel$", "transpose(1,0)"]],
        "parts": [["^gru/kernel$", 1, [2, 2]]],
        "ignore": ["/Adam(_1)?$"],
    },
    "tolerance": {"rtol": 1e-6, "atol": 1e-5, "rule": "noise budget"},
    "checkpoint": {"path": "model.ckpt", "moving_averages": False, "allow_missing": ["/global_step$"]},
}
_ISOLATED = {
    "python": "3.11", "requirements": ["six==1.16.0"], "interpreter": "python", "timeout_s": 60, "unknown": 1,
    "optimizer": "model.py:loss", "loss": "model.py:loss",
}  # fmt: skip
_LONG = ["a" * 256, "a" * 5000, "é" * 200, "a/" * 3000 + "a", "a" * 1_000_000]
_TEXTS = [
    "", " ", ".", "..", "/", "//", "~", "~nobody", "**", "**x", "*", "**/*", "[", "[!", "a[", "?", "nul\0", "\n",
    "\x1b[31m", "\u202e", "C:\\x",
    "model.py", "model.py:", ":forward", "model.py:forward:x", "model.py:missing", "broken.py:forward", "raises.py:f",
    "silent.py:f", "exits.py:f", "pipe.py:f", "folder.py:f", "nul.py:f", "deep.py:f", "pipe", "endless", "loop",
    "folder", "batch.npy", "tf1", "keras",
    "/dev/zero", "/dev/null", "/proc/self/mem", "../x", "a/../../b", "3.7", "3", "3.999", "-e .", "six @ file:///tmp",
    "six @ file:///tmp#sha256=" + "0" * 64, "git+https://x/y", "a[b", "six==" + "9" * 5000, "six" * 2000, "uniform",
    "normal", "ones", "bool", "int8", "float16", "inf", "nan", "1e999",
]  # fmt: skip
_PATTERNS = [
    "(a+)+b", "(a|a)*b", "(.*)*x", "(.*a){30}b", "(x+x+)+y", "([a-z]+)*=", "a{99999999999}", "a{4294967294}",
    "((a{1000}){1000}){1000}",
    "(" * 50, "(" * 500 + ")" * 500, "(" * 5000 + ")" * 5000, "(?:" * 3000 + "a" + ")*" * 3000, "[", "(?P<n>a)(?P<n>b)",
    "\\1", "(?(1)a|b)", "(?<=a+)b", "(?i)[\0-\U0010ffff]" * 20, "[[a]]", "(?L)a", "(?a)(?u)a", "\\", "*", "a**", "(?",
    "(?#", "\\g<1>",
    "^(\\w+\\s?)*$", "(a?){64}a{64}", "(.+)+\\1z", "^((a|b|ab)*)*c$", "(?=(a+))a*b\\1", "(?:a{0,60000}){0,60000}b",
    "a|b|" * 20_000, ".*" * 60 + "=",
]  # fmt: skip
_TRANSFORMS = [
    "transpose(0,0)", "reshape(" + "9" * 400 + ")", "reshape(" + "9" * 5000 + ",-1)",
    "split(0,0,[" + "9" * 400 + ",1])", "forget_bias(1e999,ijfo)",
    "forget_bias(" + "9" * 400 + ",ijfo)", "transpose(" + "9" * 400 + ")", "|" * 5000, "flip(99999999999999999999)",
    "expand(1)|" * 200 + "squeeze",
    "(" * 5000, "gates(ij->ji," + "9" * 5000 + ")", "squeeze(" + "1," * 5000 + ")", "nonsense", "transpose(",
    "transpose(nan)", "",
]  # fmt: skip
_REPLACEMENTS = ["\\1", "\\99", "\\g<nobody>", "\\g<" + "9" * 5000 + ">", "\\", "x" * 100_000, "\\g<0>" * 1000]
_NUMBERS = [
    0, -1, 1, 2, 3, 7, 2**31, 2**63 - 1, 2**63, 2**64, 10**11, 10**18, 10**400, -(10**400), 0.0, -0.0, 1e308, -1e308,
    5e-324,    float("inf"), float("-inf"), float("nan"), 0.5, True, False,
]  # fmt: skip
_FILES = {
    "model.py": "def forward(inputs, training=False):\n    return inputs\n\n\ndef loss(outputs):\n    return 0\n",
    "broken.py": "def forward(:\n",
    "raises.py": "class E(Exception):\n    def __str__(self):\n        raise RuntimeError('no')\n\n\nraise E()\n",
    "silent.py": "class E(Exception):\n    def __str__(self):\n        return 3\n\n\nraise E()\n",
    "exits.py": "import os\nos._exit(0)\n",
    "nul.py": "x = 1\0\n",
    "deep.py": "x = " + "(" * 100_000,
    "words.txt": "a",
}


def prepare(folder: Path) -> None:
    """Writes the folder that the configurations lie in."""
    place = folder / "migration"
    place.mkdir()
    for name, text in _FILES.items():
        (place / name).write_text(text, encoding="utf-8")
    np.save(place / "batch.npy", np.ones((4, 3), np.float32))
    np.savez(place / "batch.npz", a=np.ones((4, 3)))
    os.mkfifo(place / "pipe")
    os.mkfifo(place / "pipe.py")
    (place / "folder.py").mkdir()
    (place / "folder").mkdir()
    (place / "endless").symlink_to("/dev/zero")
    (place / "loop").symlink_to("loop")


def trials(seed: int, count: int, folder: Path) -> Iterator[Outcome]:
    """Writes a configuration and does with it all that needs no framework."""
    for number in range(seed, seed + count):
        random_ = generator(number, NAME)
        text, what = _text(random_)
        path = folder / "migration" / "lockstep.toml"
        path.write_bytes(text)
        (folder / "trial").write_text(f"{what}\n{text[:2000]!r}", encoding="utf-8")
        with contextlib.chdir(folder) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
            yield attempt(what, lambda p=path, r=random_: _used(p, r), slow_s=_SLOW_S)
        shutil.rmtree(folder / "migration" / "__pycache__", ignore_errors=True)


def _used(path: Path, random_: random.Random) -> str | None:
    settings = config.read(path)
    batches = config.make_batches(settings)
    if len(batches) != settings.batches or not all(_finite(batch) for batch in batches):
        return "the inputs are not what was asked for"
    for side in ("reference", "candidate"):
        if settings.environments[side] is None:
            # A side that cannot be had is no reason not to go on.
            table = getattr(settings, side)
            for key in ("entry", "loss", "optimizer"):
                with contextlib.suppress(LockstepError):
                    named = {**table, "loss": table.get(key, "missing.py:f")}
                    config.training_function(named, settings.folder, side, "loss", isolated=False)
        else:
            # What an environment is kept by: nothing is made or looked for.
            said = repr(settings.environments[side].digest)
            if len(said) > LONGEST:
                return "a digest of that length"
    names = [f"net/{'a' * random_.choice([1, 24, 40])}_{i}/weights" for i in range(40)] + [
        "gru/kernel",
        "model/a/kernel",
    ]
    ours = [VariableRecord(name, name, (4, 4), "float32", True) for name in names]
    theirs = cut_by(settings.parts, ours)
    found = align(ours, theirs, settings.rename, settings.transforms, settings.ignore)
    return None if len(found.pairs) <= len(theirs) else "more pairs than variables"


def _finite(batch: dict[str, np.ndarray]) -> bool:
    return all(np.isfinite(array).all() for array in batch.values() if array.dtype.kind in "fc")


def _text(random_: random.Random) -> tuple[bytes, str]:
    tree = _copied(_TREE)
    way = random_.random()
    if random_.random() < 0.5:
        del tree["checkpoint"]
    if way < 0.75:
        places = [_changed(tree, random_) for _ in range(random_.choice([1, 1, 1, 2, 3]))]
        return _toml(tree).encode("utf-8", "surrogatepass"), "a value: " + ", ".join(places)
    if way < 0.9:
        return _damaged(_toml(tree).encode(), random_), "bytes"
    name, text = random_.choice(list(_odd_texts().items()))
    return text if isinstance(text, bytes) else text.encode(), name


def _odd_texts() -> dict[str, str | bytes]:
    return {
        "arrays within arrays": "a = " + "[" * 20_000,
        "tables within tables": "a = " + "{a = " * 5000,
        "a key of many parts": ".".join("a" * 100_000) + " = 1",
        "a header of many parts": "[" + ".".join("a" * 50_000) + "]",
        "a key of many quoted parts": ".".join(['"a.b"'] * 5000) + " = 1",
        "many tables": "".join(f"[t{i}]\n" for i in range(50_000)),
        "many keys": "".join(f"k{i} = 1\n" for i in range(100_000)),
        "a number of 5,000 digits": "batches = " + "9" * 5000,
        "a hexadecimal number of 50,000 digits": "batches = 0x" + "f" * 50_000,
        "a long number with a fraction": "batches = 1." + "0" * 1_000_000,
        "a string without end": 'a = "' + "x" * 1_000_000,
        "another string without end": 'a = """' + '"" ' * 300_000,
        "backslashes": 'a = "' + "\\\\" * 500_000,
        "no UTF-8": b"\xff\xfe\x00",
        "zeros": b"\0" * 100_000,
        "ten megabytes": "#" * (10 << 20),
        "dates": "batches = 1979-05-27T07:32:00Z\ngradients = 07:32:00\ntrajectory = 9999-99-99",
        "nothing": "",
        "spaces": " " * 1_000_000,
        "line ends": "\r\n" * 500_000 + "\r",
        "an array of 300,000": "batches = [" + "1," * 300_000 + "]",
        "dots": "." * 100_000,
        "brackets": "[[" * 50_000 + "a" + "]]" * 50_000,
        "quotes": "'" * 100_000,
    }


def _copied(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, dict) else [*v] if isinstance(v, list) else v for k, v in tree.items()}


def _changed(tree: dict[str, Any], random_: random.Random) -> str:
    """Puts something else to a random place; returns the place."""
    path = random_.choice(_PLACES)
    table = tree
    for key in path[:-1]:
        if not isinstance(table.get(key), dict):  # an earlier change took it away
            return ".".join(path)
        table = table[key]
    key = path[-1]
    if random_.random() < 0.15:
        key = random_.choice([*_ISOLATED, *_LONG[:3], *_TEXTS])
    table[key] = _value((*path[:-1], key), table.get(key), random_)
    return ".".join(part[:40] for part in (*path[:-1], key))


def _places(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _places(value, (*path, key))
        elif path:
            yield from [(*path, key)] * (8 if path == ("variables",) else 3)


_PLACES = tuple(_places(_TREE))


def _value(path: tuple[str, ...], old: Any, random_: random.Random) -> Any:
    key = path[-1]
    if path[0] == "variables" and random_.random() < 0.85:
        return _rule(key, random_)
    anything: list[Any] = [*_NUMBERS, *_TEXTS, *_LONG, [], [[]], [[[[1]]]], {}, {"a": {"b": 1}}, [1, "a"], [None]]
    found = random_.choice(anything)
    if random_.random() < 0.2:
        return found
    if key in _ISOLATED and old is None:
        found = _ISOLATED[key]
    elif key == "shape":
        length = random_.choice([0, 1, 2, 31, 33, 65, 300, 10_000])
        found = [random_.choice([1, 1, 2, 3, *_NUMBERS]) for _ in range(length)]
    elif isinstance(old, list):
        found = [random_.choice(_TEXTS + _LONG + _PATTERNS) for _ in old]
    elif isinstance(old, str):
        found = random_.choice(_TEXTS + _LONG)
    elif isinstance(old, (int, float)) and not isinstance(old, bool):
        found = random_.choice(_NUMBERS)
    return found


def _rule(key: str, random_: random.Random) -> Any:
    """Returns rules that are rules by their form, most of them with one hostile part."""
    pattern = random_.choice(_PATTERNS)
    usual = random_.choice([pattern, "kernel$", "weights"])
    rules = {
        "rename": [[pattern, random_.choice([*_REPLACEMENTS, "x", "x"])]],
        "transform": [[usual, random_.choice(_TRANSFORMS)], [pattern, "transpose(1,0)", random_.choice(_REPLACEMENTS)]],
        "parts": [[usual, random_.choice([*_NUMBERS, 0, 1]), [random_.choice([*_NUMBERS, 2]), 2]]],
        "ignore": [pattern],
    }
    return rules.get(key, pattern)


def _damaged(text: bytes, random_: random.Random) -> bytes:
    changed = bytearray(text)
    for _ in range(random_.choice([1, 2, 5, 20])):
        place = random_.randrange(len(changed))
        if random_.random() < 0.5:
            changed[place] = random_.randrange(256)
        else:
            changed[place : place + random_.randrange(5)] = random_.choice(
                [b"", b'"', b"[", b"]", b".", b"\n", b"=", b"'''"]
            )
    return bytes(changed)


def _toml(tree: dict[str, Any], place: str = "") -> str:
    lines = [f"{_key(k)} = {_literal(v)}" for k, v in tree.items() if not isinstance(v, dict)]
    for key, value in tree.items():
        if isinstance(value, dict):
            inner = f"{place}{_key(key)}"
            lines += [f"[{inner}]", _toml(value, f"{inner}.")]
    return "\n".join(lines)


def _key(key: str) -> str:
    return _literal(key)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**300:
        return hex(value) if value > 0 else f"-{'9' * 400}"
    if isinstance(value, (int, float)) or value is None:
        return "1979-05-27" if value is None else repr(value)
    if isinstance(value, list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(k)} = {_literal(v)}' for k, v in value.items())}}}"
    return '"' + "".join(c if c >= " " and c not in '"\\' and c != "\x7f" else f"\\u{ord(c):04x}" for c in value) + '"'
