"""Traces that were damaged, or forged by somebody who knows how they are signed.

Damage without a new signature must never change an answer: there is a sentence, or every number is what was written,
and `show --verify` sees each changed, missing or surplus file. A forged trace may say what it likes: there is a
sentence or a verdict, soon, and nothing outside of its folder is read or written.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import random
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tools.fuzz import _baseline
from tools.fuzz.outcome import Outcome, attempt, generator

NAME = "traces"
LIMIT_S = 60
SHORT = 40
SHARE = 1
MEMORY_BYTES = 16 << 30
VERDICTS = {"same": "equivalent", "other": "diverged"}
"""Of the reference with two others, as long as all of them are whole."""
_SLOW_S = 30.0
_RUN_S = 8.0
"""Seconds that a graph's run gets here, instead of the minute that `foreign_graphs` gives it."""


def prepare(folder: Path) -> None:
    """Records what is damaged: once for each process."""
    from lockstep.frameworks.tensorflow import foreign_graphs

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    foreign_graphs.SHORTEST_S = _RUN_S
    for name, factor in (("reference", "2.0"), ("same", "2.0"), ("other", "2.1")):
        _baseline.record(folder, name, factor)
    for name, verdict in VERDICTS.items():
        assert _compared(folder / "reference", folder / name) == verdict
    assert _compared(folder / "reference", None) == "equivalent"


def trials(seed: int, count: int, folder: Path) -> Iterator[Outcome]:
    """Damages the reference's trace, without and with a new signature by turns."""
    whole = _read(folder / "reference")
    for number in range(seed, seed + count):
        draw = generator(number, NAME)
        target = folder / "damaged"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "reference", target)
        if draw.random() < 0.4:
            what = draw.choice(DAMAGES)(draw, target)
            ask = functools.partial(_same_or_refused, draw, target, folder, whole)
        else:
            what = draw.choice(FORGERIES)(draw, target)
            ask = functools.partial(_answered, draw, target, folder)
        (folder / "trial").write_text(what, encoding="utf-8", errors="backslashreplace")
        yield attempt(what, ask, slow_s=_SLOW_S)


# --- what is asked


def _read(place: Path) -> dict[str, bytes]:
    """Everything that a reader gets from a trace, by where it stands: numbers, and the rest as text."""
    from lockstep.elsewhere.recorded import RecordedSubject

    subject = RecordedSubject(place)
    found = {"environment": repr(sorted(subject.environment().items())).encode(), "files": repr(subject.files).encode()}
    groups: dict[str, Any] = {"inputs": subject.inputs}
    for mode, build in subject.builds.items():
        found[f"{mode} graph"] = build.graph() or b""
        found[f"{mode}"] = repr((build.variables, build.draws, build.operations, build.outputs)).encode()
        for setting in build.settings:
            trace = build.trace(setting)
            parts = {"before": trace.before, "outputs": trace.outputs, "after": trace.after}
            parts |= {"gradients": trace.gradients, "taps": build.taps(setting)}
            parts["losses"] = {str(n): loss.value for n, loss in enumerate(trace.losses)}
            groups |= {f"{mode} {setting} {part}": tensors for part, tensors in parts.items()}
        for number, step in enumerate(build.trajectory()[0]):
            groups |= {f"{mode} step {number}": step.values, f"{mode} step {number} run": step.run.outputs}
    optimizer = subject.make_optimizer(None, {}, {})
    assert optimizer is not None
    for number in range(5):
        update = optimizer.apply({}, {})
        groups |= {f"update {number}": update.variables, f"slots {number}": update.slots}
    for group, tensors in groups.items():
        for name in tensors:
            array = np.asarray(tensors[name])
            raw = repr(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes()
            found[f"{group} {name}"] = f"{array.dtype} {array.shape} ".encode() + raw
    return found


def _same_or_refused(draw: random.Random, target: Path, folder: Path, whole: dict[str, bytes]) -> str | None:
    from lockstep.common.errors import InputError
    from lockstep.elsewhere.recorded import RecordedSubject

    try:
        RecordedSubject(target).verify()
    except InputError:
        unseen = False
    else:
        unseen = _differing(target, folder / "reference")
    try:
        same = _read(target) == whole
    except InputError:
        same = True
    if not same:
        return "other numbers are read, and nothing is said"
    if unseen:
        return "show --verify does not see that a file is missing, surplus or another one"
    if draw.random() < 0.1:
        return _verdict_is_that_of_the_whole(draw, target, folder)
    return None


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _differing(target: Path, reference: Path) -> bool:
    """Whether the folders hold other files, or other bytes in any file but the manifest, whose form is free."""
    names = _names(target)
    if names != _names(reference):
        return True
    return any((target / n).read_bytes() != (reference / n).read_bytes() for n in names if n != "manifest.json")


def _verdict_is_that_of_the_whole(draw: random.Random, target: Path, folder: Path) -> str | None:
    from lockstep.common.errors import InputError

    other = draw.choice(list(VERDICTS))
    try:
        verdict = _compared(target, folder / other)
    except InputError:
        return None
    return None if verdict == VERDICTS[other] else f"the verdict is {verdict} instead of {VERDICTS[other]}"


def _answered(draw: random.Random, target: Path, folder: Path) -> str | None:
    """Opens, lists, checks and compares a forged trace, as the commands do."""
    from click.testing import CliRunner

    from lockstep.cli import main

    part = draw.choice([[], ["--variables"], ["--operations"], ["--draws"], ["--taps"], ["--verify"]])
    shown = CliRunner().invoke(main, ["show", str(target), *part])
    told = _ill_told(shown.output, shown.exit_code)
    if told:
        return f"show {part}: {told}"
    if draw.random() < 0.4:
        return _graph_run(draw, target)
    if draw.random() < 0.1:
        _compared(target, None)
        return None
    sides = [target, folder / draw.choice(list(VERDICTS))]
    if draw.random() < 0.3:
        sides.reverse()
    _compared(*sides)
    return None


def _graph_run(draw: random.Random, target: Path) -> str | None:
    """Runs the graphs of the trace here, and follows them, as localising does."""
    from lockstep.elsewhere.recorded import RecordedSubject
    from lockstep.subjects import INITIAL

    subject = RecordedSubject(target)
    for mode in draw.sample(sorted(subject.builds, key=str), len(subject.builds)):
        instance = subject.graph_here(mode, dict(subject.inputs))
        if instance is not None:
            instance.program(instance.run(INITIAL).before)
            instance.close()
    return None


def _ill_told(output: str, status: int) -> str | None:
    if status not in (0, 2):
        return f"status {status}: {output[-2000:]}"
    if "mistake in Lockstep itself" in output or "Traceback" in output:
        return output[-3000:]
    obeyed = sorted({c for c in output if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0})
    return f"control characters are sent: {obeyed}" if obeyed else None


def _compared(reference: Path, candidate: Path | None) -> str:
    """Compares a trace with another one, or with the model itself, which runs here."""
    import lockstep
    from lockstep.elsewhere.recorded import RecordedSubject
    from lockstep.report import json as reports
    from lockstep.report import text

    subject = RecordedSubject(reference)
    inputs = dict(subject.inputs)
    given = next(iter(inputs.values())) if subject.single_input and inputs else inputs
    if candidate is None:
        code = _baseline.code()
        training = {"loss": (None, code["loss"]), "optimizers": (None, code["optimizer"])}
        report = lockstep.verify(subject, lockstep.tf1_graph(code["forward"]), given, trajectory=2, **training)
    else:
        report = lockstep.verify(subject, RecordedSubject(candidate), given)
    told = _ill_told(text.as_text(report), 0)
    assert told is None, told
    json.loads(reports.to_json(report))
    reports.to_json(report).encode()
    return str(report.verdict)


# --- damage without a new signature


def _some_file(draw: random.Random, target: Path) -> Path:
    return target / draw.choice(_names(target))


def _flipped(draw: random.Random, target: Path) -> str:
    file = _some_file(draw, target)
    content = bytearray(file.read_bytes())
    places = [draw.randrange(len(content)) for _ in range(draw.choice([1, 1, 1, 2, 20]))]
    for place in places:
        content[place] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    return f"bits flipped in {file.name} at {places}"


def _cut(draw: random.Random, target: Path) -> str:
    file = _some_file(draw, target)
    content = file.read_bytes()
    kept = draw.randrange(len(content))
    file.write_bytes(content[:kept] if draw.random() < 0.7 else content[kept:])
    return f"{file.name} cut at {kept}"


def _grown(draw: random.Random, target: Path) -> str:
    file = _some_file(draw, target)
    more = draw.choice([b"\0", b" ", b"{}", b"\n" * 100, file.read_bytes()])
    with file.open("ab") as opened:
        opened.write(more)
    return f"{file.name} grown by {len(more)} bytes"


def _overwritten(draw: random.Random, target: Path) -> str:
    file = _some_file(draw, target)
    content = bytearray(file.read_bytes())
    start = draw.randrange(len(content))
    size = min(draw.choice([1, 4, 8, 64, 512]), len(content) - start)
    source = draw.randrange(len(content) - size + 1)
    content[start : start + size] = draw.choice([bytes(size), b"\xff" * size, bytes(content[source : source + size])])
    file.write_bytes(content)
    return f"{file.name} overwritten from {start}, {size} bytes"


def _exchanged(draw: random.Random, target: Path) -> str:
    names = [name for name in _names(target) if name.endswith(".safetensors")]
    a, b = (target / name for name in draw.sample(names, 2))
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    return f"{a.name} and {b.name} exchanged"


def _gone(draw: random.Random, target: Path) -> str:
    file = _some_file(draw, target)
    file.unlink()
    return f"{file.name} deleted"


def _surplus(draw: random.Random, target: Path) -> str:
    name = draw.choice(["tensors-0099.safetensors", "graph-2.pb", ".hidden", "x" * 200, "sub"])
    file = target / name
    if name == "sub":
        file.mkdir()
    elif draw.random() < 0.5:
        shutil.copy(target / "tensors-0001.safetensors", file)
    else:
        os.mkfifo(file)
    return f"{name[:20]} added"


def _other_kind(draw: random.Random, target: Path) -> str:
    """A file becomes what never ends, or leads elsewhere; what it leads to holds the right bytes, if any."""
    file = _some_file(draw, target)
    aside = target.parent / "aside"
    shutil.copy(file, aside)
    content = file.read_bytes()
    file.unlink()
    kind = draw.choice(["pipe", "zero", "link", "hole", "folder", "loop", "socket"])
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "socket":
        _socket(file)
    elif kind == "hole":
        file.write_bytes(content)
        os.truncate(file, 1 << draw.randrange(30, 43))
    else:
        leads = {"zero": "/dev/zero", "link": str(aside), "loop": str(file)}[kind]
        file.symlink_to(leads)
    return f"{file.name} is now a {kind}"


def _socket(file: Path) -> None:
    import socket

    before = Path.cwd()
    os.chdir(file.parent)  # a socket's path has to be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(file.name)
    finally:
        os.chdir(before)


DAMAGES: tuple[Callable[[random.Random, Path], str], ...] = (
    _flipped, _flipped, _flipped, _cut, _grown, _overwritten, _overwritten, _exchanged, _gone, _surplus, _other_kind,
)  # fmt: skip


# --- forgeries


def _signed(target: Path, body: dict[str, Any], text: str | None = None) -> None:
    from lockstep.ground import folder as folders

    body.pop("sha256", None)
    written = json.dumps(body)
    if text is not None:
        written = written.replace('"FORGED"', text)
    try:
        digest = folders._digest(json.loads(written))
    except (ValueError, RecursionError, folders.RecordingError):  # 1e999
        digest = "0" * 64
    (target / folders.MANIFEST).write_text(f'{{"sha256": "{digest}", {written[1:]}', encoding="ascii")


def _body(target: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((target / "manifest.json").read_text(encoding="ascii"))
    return body


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _places(item, (*path, number))


def _place(draw: random.Random, body: dict[str, Any]) -> tuple[Any, ...]:
    """A place in the manifest: first how deep, so that the many that are deep do not hide the few that are not."""
    found = [path for path in _places(body) if path[0] != "sha256"]
    depth = draw.choice(sorted({len(path) for path in found}))
    return draw.choice([path for path in found if len(path) == depth])


def _within(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        body = body[step]
    return body


WORDS = (
    "", "a", "\x1b]0;title\x07\x1b[31m", "\x9b1m", "\u202etxt", "\ud800", "../../etc/passwd", "/etc/passwd", "x" * 5000,
    "net/w", "net/w:0", "float32", "float16", "int8", "string", "object", "constant", "distinct", "initial", "y", "\n",
    "complex64", "bfloat16", "wide/9", "a\nverdict  equivalent", "%s%n{0}", "[bold]x[/bold]", "None", "__class__",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 7, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**30, 10**400,
    0.5, -0.0, 1e-320, 1e308, -1e308,
)  # fmt: skip


def _other_value(draw: random.Random, body: dict[str, Any], old: Any) -> Any:
    kind = draw.randrange(6)
    if kind == 0:
        return draw.choice(WORDS)
    if kind == 1:
        return draw.choice(NUMBERS)
    if kind == 2:
        return draw.choice([None, True, False, [], {}, [[]], {"": ""}, [None] * 70, [1] * 70, [0, 2**62, 4]])
    if kind == 3 and isinstance(old, int):
        return draw.choice([old + 1, old - 1, -old, old * 1000, old << 40, str(old), float(old), [old]])
    if kind == 4 and isinstance(old, list):
        return draw.choice([old * 2, old[:-1], old[::-1], [*old, *old[:1]], [old]])
    other = _place(draw, body)
    return copy.deepcopy(_within(body, other)[other[-1]])


def _misstated(draw: random.Random, target: Path) -> str:
    body = _body(target)
    told = []
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        path = _place(draw, body)
        holder = _within(body, path)
        told.append(".".join(map(str, path))[:80])
        if draw.random() < 0.15 and isinstance(holder, dict):
            if draw.random() < 0.5:
                del holder[path[-1]]
            else:
                holder[draw.choice(WORDS)] = holder.pop(path[-1])
            continue
        holder[path[-1]] = _other_value(draw, body, holder[path[-1]])
    _signed(target, body)
    return f"manifest misstated at {told}"


def _odd_numbers(draw: random.Random, target: Path) -> str:
    body = _body(target)
    path = _place(draw, body)
    _within(body, path)[path[-1]] = "FORGED"
    text = draw.choice(["1e999", "-1e999", "1" * 5000, "NaN", "[" * 500 + "]" * 500, "[" * 99_999, "1.5e-9999", "-0"])
    _signed(target, body, text)
    return f"{text[:20]} at {path}"


def _entry(draw: random.Random, body: dict[str, Any]) -> dict[str, Any]:
    found = [path for path in _places(body) if path[-1] == "checksum"]
    entry: dict[str, Any] = _within(body, draw.choice(found))
    return entry


def _other_tensor(draw: random.Random, target: Path) -> str:
    """Numbers are changed, with the checksums of all who speak of them."""
    from lockstep.ground import tensors
    from lockstep.ground.checksum import checksum

    body = _body(target)
    entry = _entry(draw, body)
    file, key, old = entry["file"], entry["key"], entry["checksum"]
    content = bytearray((target / file).read_bytes())
    place = tensors.TensorFile(str(target / file)).places[key]
    values = bytearray(content[place.start : place.start + place.size])
    for _ in range(draw.choice([1, 4])):
        if values:
            start = draw.randrange(len(values)) // 8 * 8
            odd = draw.choice([b"\0" * 8, b"\xff" * 8, b"\0\0\x80\x7f" * 2, b"\xff\xff\x7f\x7f" * 2, draw.randbytes(8)])
            values[start : start + 8] = odd[: len(values[start : start + 8])]
    content[place.start : place.start + place.size] = values
    (target / file).write_bytes(content)
    for path in _places(body):
        if path[-1] == "checksum" and _within(body, path)["checksum"] == old:
            _within(body, path)["checksum"] = checksum(bytes(values))
    _signed(target, body)
    return f"other numbers in {file}, tensor {key}"


def _other_header(draw: random.Random, target: Path) -> str:
    """The header of a tensor file says something else."""
    names = [name for name in _names(target) if name.endswith(".safetensors")]
    file = target / draw.choice(names)
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    path = draw.choice(list(_places(header)))
    _within(header, path)[path[-1]] = draw.choice([*NUMBERS, *WORDS, [1] * 70, [], {}, None, [2**62, 4], [0, 2**40]])
    text = json.dumps(header).encode()
    (target / file).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return f"header of {file.name} at {path}"


def _other_shape(draw: random.Random, target: Path) -> str:
    """A tensor is described with another shape or dtype, in the manifest and in its file."""
    body = _body(target)
    entry = _entry(draw, body)
    file = target / entry["file"]
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    shape = draw.choice([[1] * 70, [0], [], [-1], [2**40], [0, 2**62], [2**62, 4], entry["shape"][::-1], [1] * 40])
    dtype = draw.choice(["F32", "F64", "I8", "BF16", "U8", "BOOL", "F8_E4M3", header[entry["key"]]["dtype"]])
    header[entry["key"]].update(shape=shape, dtype=dtype)
    entry["shape"] = shape
    entry["dtype"] = draw.choice(["float32", "float64", "bool", "string", "complex64", "bfloat16", entry["dtype"]])
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    _signed(target, body)
    return f"{file.name} {entry['key']} is {dtype} {entry['dtype']} of {shape}"


def _graph(draw: random.Random, target: Path, change: Callable[[bytes], bytes]) -> str:
    import hashlib

    body = _body(target)
    entries = [build["graph"] for build in body["builds"]]
    entry = draw.choice(entries)
    content = change((target / entry["file"]).read_bytes())
    (target / entry["file"]).write_bytes(content)
    entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    _signed(target, body)
    return str(entry["file"])


def _flipped_graph(draw: random.Random, target: Path) -> str:
    places: list[int] = []

    def change(content: bytes) -> bytes:
        flipped = bytearray(content)
        for _ in range(draw.choice([1, 1, 3, 10])):
            places.append(draw.randrange(len(flipped)))
            flipped[places[-1]] ^= 1 << draw.randrange(8)
        return bytes(flipped)

    return f"{_graph(draw, target, change)} flipped at {places}"


def _edited_graph(draw: random.Random, target: Path) -> str:
    """Nodes of a graph, or of its functions, say something else."""
    from tensorflow.compat.v1 import MetaGraphDef

    told: list[str] = []

    def change(content: bytes) -> bytes:
        parsed = MetaGraphDef.FromString(content)
        graph = parsed.graph_def
        for _ in range(draw.choice([1, 1, 2, 4])):
            lists = [graph.node, *(function.node_def for function in graph.library.function if function.node_def)]
            nodes = draw.choice(lists)
            told.append(_edited(draw, draw.choice(nodes), nodes))
        return bytes(parsed.SerializeToString())

    return f"{_graph(draw, target, change)} edited: {'; '.join(told)}"


REACHING = ("WriteFile", "ReadFile", "ImmutableConst", "DebugIdentity", "PyFuncStateless", "Abort", "MatchingFiles")


def _edited(draw: random.Random, node: Any, nodes: Any) -> str:
    from lockstep.frameworks.tensorflow.computing import COMPUTING

    kind = draw.randrange(6)
    name = f"{node.op} {node.name}"
    if kind == 0:
        node.op = draw.choice([*sorted(COMPUTING), *REACHING])
        return f"{name} becomes {node.op}"
    if kind == 1 and node.input:
        place = draw.randrange(len(node.input))
        other = draw.choice(nodes).name
        node.input[place] = draw.choice([other, f"{other}:1", f"^{other}", "nowhere", f"{other}:99999999999"])
        return f"{name} reads {node.input[place]}"
    if kind == 2 and node.input:
        del node.input[draw.randrange(len(node.input))]
        return f"{name} reads one less"
    if kind == 3:
        more = nodes.add(name=draw.choice(["more", node.name]), op=draw.choice([*sorted(COMPUTING), *REACHING]))
        return f"{more.op} {more.name} more"
    if node.attr:
        attribute = draw.choice(sorted(node.attr))
        _edited_attribute(draw, node.attr[attribute])
        return f"{name}.{attribute} becomes {str(node.attr[attribute])[:60]!r}"
    return f"{name} stays"


def _edited_attribute(draw: random.Random, value: Any) -> None:
    kind = value.WhichOneof("value")
    if kind == "i":
        value.i = draw.choice([0, -1, 2**31, 2**62, -(2**63), 17])
    elif kind == "type":
        value.type = draw.choice([0, 1, 2, 3, 7, 10, 19, 20, 21, 23, 101, 120, 999])
    elif kind == "s":
        value.s = draw.choice([b"", b"NCHW", b"\xff", b"x" * 9999, b"/etc/passwd"])
    elif kind == "b":
        value.b = not value.b
    elif kind == "f":
        value.f = draw.choice([0.0, -1.0, float("nan"), float("inf"), 1e38])
    elif kind == "shape":
        _edited_shape(draw, value.shape)
    elif kind == "tensor":
        _edited_tensor(draw, value.tensor)
    elif kind == "func":
        value.func.name = draw.choice(["WriteFile", "nowhere", ""])
    else:
        value.Clear()


def _edited_shape(draw: random.Random, shape: Any) -> None:
    if draw.random() < 0.3:
        shape.unknown_rank = not shape.unknown_rank
    for _ in range(draw.choice([1, 2, 300])):
        shape.dim.add(size=draw.choice([-1, 0, 1, -7, 2**20, 2**40, 2**62]))


def _edited_tensor(draw: random.Random, tensor: Any) -> None:
    choice = draw.randrange(5)
    if choice == 0:
        _edited_shape(draw, tensor.tensor_shape)
    elif choice == 1:
        tensor.dtype = draw.choice([0, 1, 3, 7, 9, 20, 21, 101, 999])
    elif choice == 2:
        tensor.tensor_content = draw.choice(
            [b"", b"\xff" * 7, b"\xff\xff\xff\x7f" * max(len(tensor.tensor_content) // 4, 1)]
        )
    elif choice == 3:
        tensor.int_val[:] = [draw.choice([-1, 0, 5, 2**31 - 1, -(2**31)])]
    else:
        tensor.float_val[:] = [draw.choice([float("nan"), float("inf"), 0.0, 1e38])]


def _other_collections(draw: random.Random, target: Path) -> str:
    from tensorflow.compat.v1 import MetaGraphDef

    told: list[str] = []

    def change(content: bytes) -> bytes:
        parsed = MetaGraphDef.FromString(content)
        key = draw.choice(sorted(parsed.collection_def))
        collection = parsed.collection_def[key]
        kind = collection.WhichOneof("kind")
        if kind == "bytes_list" and draw.random() < 0.7:
            place = draw.randrange(len(collection.bytes_list.value))
            raw = bytearray(collection.bytes_list.value[place])
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
            collection.bytes_list.value[place] = bytes(raw)
        elif kind == "node_list" and draw.random() < 0.7:
            collection.node_list.value[0] = draw.choice(["nowhere", "nowhere:0", "x:9", "", draw.choice(WORDS[:4])])
        else:
            parsed.collection_def[draw.choice(["queue_runners", "savers", "mine", "while_context"])].CopyFrom(
                collection
            )
        told.append(key)
        return bytes(parsed.SerializeToString())

    return f"{_graph(draw, target, change)} collection {told}"


FORGERIES: tuple[Callable[[random.Random, Path], str], ...] = (
    _misstated, _misstated, _misstated, _misstated, _odd_numbers, _other_tensor, _other_tensor, _other_header,
    _other_shape, _flipped_graph, _edited_graph, _edited_graph, _edited_graph, _other_collections,
)  # fmt: skip
