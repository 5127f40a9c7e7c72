"""What `tools/kills.py` interrupts: record, check, convert, the making of an environment, and the eviction of traces.

    python tools/kill_operations.py environment|eviction [ARGUMENT]

runs one of the last two by itself, as a command of Lockstep would.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lockstep.cli import interruptions
from lockstep.common.arrays import numpy_dtype
from lockstep.elsewhere import trace_cache
from lockstep.environments import EnvironmentSpec, inspection, leftovers, provide, uv
from lockstep.ground.failures import RecordingError
from lockstep.ground.folder import TraceReader, TraceWriter

ROOT = Path(__file__).resolve().parent.parent
BEGUN = "begun"
"""What an operation prints when what is worth interrupting begins."""
_TRACES = 120
_LOCKSTEP = (sys.executable, "-m", "lockstep")
_THIS = (sys.executable, str(Path(__file__).resolve()))
_MODEL = """
    import tensorflow.compat.v1 as tf

    def forward(inputs, training):
        with tf.variable_scope("net"):
            w = tf.get_variable("w", [4, 5])
            return {"y": tf.matmul(inputs["x"], w) + tf.get_variable("b", [5])}
"""
_NATIVE = """
    import keras

    def build():
        x = keras.Input([4], name="x")
        return keras.Model({"x": x}, {"y": keras.layers.Dense(5, name="net", bias_initializer="glorot_uniform")(x)})
"""
_CONFIGURATION = """
    gradients = false
    [reference]
    runtime = "tf1"
    entry = "legacy.py:forward"
    {interpreter}
    [candidate]
    runtime = "keras"
    entry = "native.py:build"
    [inputs.x]
    shape = [3, 4]
    fill = "normal"
    [variables]
    rename = [["^net/w$", "net/kernel"], ["^net/b$", "net/bias"]]
"""
_CHECKPOINT = """
    import tensorflow as tf
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, shape in (("net/w", [4, 5]), ("net/b", [5])):
            v1.get_variable(name, shape)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, "model.ckpt", write_meta_graph=False)
"""
_UV = """#!/bin/sh
case "$1" in
  python) exit 2 ;;
  venv) mkdir -p "$4/bin"; sleep 0.05; cp "{python}" "$4/bin/python" ;;
  pip) sleep 30 & i=0; while [ $i -lt 30 ]; do i=$((i + 1)); echo x > "$(dirname "$4")/package$i"; sleep 0.01; done ;;
esac
"""


@dataclass(frozen=True)
class Operation:
    """One thing that is interrupted.

    Attributes:
        name: What it is called.
        weight: How many of a hundred interruptions are its.
        command: Trial number -> the command that is interrupted.
        next_command: Trial number -> the run that follows.
        sound: What is wrong with what lies there, right after the interruption and after the next run.
        prepare: Makes what a trial starts from.
        variables: Environment variables besides those of every operation.
    """

    name: str
    weight: int
    command: Callable[[int], list[str]]
    next_command: Callable[[int], list[str]]
    sound: Callable[[bool], Iterator[str]]
    prepare: Callable[[], None] = lambda: None
    variables: Mapping[str, str] = field(default_factory=dict)


def operations(place: Path) -> list[Operation]:
    """Makes the operations, each in what is there of a folder; its files are made."""
    migration = place / "migration"
    _write_migration(migration, "")
    isolated = place / "isolated"
    _write_migration(isolated, f"interpreter = {json.dumps(sys.executable)}")
    trace, weights = place / "out" / "trace", place / "out" / "model.weights.h5"
    trace.parent.mkdir()
    record = [*_LOCKSTEP, "record", str(migration), "--to", str(trace), "--replace"]
    check = [*_LOCKSTEP, "check", str(isolated), "--json", str(place / "out" / "report.json")]
    convert = [*_LOCKSTEP, "convert", str(migration / "model.ckpt"), str(migration), str(weights), "--replace"]
    pretended = {"HOME": str(place / "home"), "PATH": f"{place / 'bin'}:{os.defpath}", "UV": str(place / "bin/uv")}
    tiny = {"LOCKSTEP_TRACE_CACHE_GB": "1e-9"}
    return [
        Operation("record", 6, lambda _: record, lambda _: record, lambda done: _sound_trace(trace, done)),
        Operation(
            "check", 5, lambda _: [*check, "--fresh"], lambda _: check,
            lambda done: _sound_check(place, done), variables=tiny,
        ),
        Operation("convert", 4, lambda _: convert, lambda _: convert, lambda done: _sound_weights(weights, done)),
        Operation(
            "environment", 45, lambda n: [*_THIS, "environment", str(n)],
            # The same again, or another, which finds what was left of it.
            lambda n: [*_THIS, "environment", str(n + n % 2 * 100_000)], lambda _: iter(()),
            prepare=lambda: _pretend_uv(place),
            variables=pretended,
        ),
        Operation(
            "eviction", 40, lambda _: [*_THIS, "eviction"], lambda _: [*_THIS, "eviction"],
            lambda done: _sound_cache(place / "cache" / "traces", done),
            prepare=lambda: _plant(place), variables=tiny,
        ),
    ]  # fmt: skip


def write_checkpoint() -> list[str]:
    """Returns the command that writes the checkpoint which is converted, into the current folder."""
    return [sys.executable, "-c", textwrap.dedent(_CHECKPOINT)]


def _write_migration(folder: Path, interpreter: str) -> None:
    folder.mkdir()
    for name, text in (("legacy.py", _MODEL), ("native.py", _NATIVE)):
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    text = textwrap.dedent(_CONFIGURATION).format(interpreter=interpreter)
    (folder / "lockstep.toml").write_text(text, encoding="utf-8")


def _sound_trace(trace: Path, done: bool) -> Iterator[str]:
    if trace.exists():
        yield from _damage(trace)
    elif done:
        yield f"there is no {trace.name}"


def _damage(trace: Path) -> Iterator[str]:
    try:
        reader = TraceReader(str(trace), numpy_dtype)
        for entry in _entries(reader.body):
            reader.tensor(entry)
    except RecordingError as error:
        yield str(error)


def _entries(body: object) -> Iterator[Mapping[str, object]]:
    if isinstance(body, dict):
        if {"file", "key", "checksum"} <= body.keys():
            yield body
        body = list(body.values())
    if isinstance(body, list):
        for part in body:
            yield from _entries(part)


def _sound_check(place: Path, done: bool) -> Iterator[str]:
    report = place / "out" / "report.json"
    if report.exists():
        try:
            if json.loads(report.read_text(encoding="utf-8"))["verdict"] != "equivalent":
                yield "the report has another verdict"
        except ValueError:
            yield "the report is no JSON"
    elif done:
        yield "there is no report"
    yield from _sound_cache(place / "cache" / "traces", False)


def _sound_weights(weights: Path, done: bool) -> Iterator[str]:
    if not weights.exists():
        if done:
            yield f"there is no {weights.name}"
        return
    import h5py

    sizes: list[int] = []

    def read(name: str, item: object) -> None:
        del name
        if isinstance(item, h5py.Dataset):
            sizes.append(item[()].size)

    try:
        with h5py.File(weights) as file:
            file.visititems(read)
    except OSError as error:
        yield f"{weights.name}: {error}"
        return
    if sorted(sizes)[-2:] != [5, 20]:
        yield f"{weights.name} has variables of {sizes} elements"


def _sound_cache(traces: Path, done: bool) -> Iterator[str]:
    kept = [entry for entry in traces.iterdir() if not entry.name.startswith(".")] if traces.is_dir() else []
    for trace in kept:
        yield from _damage(trace)
    if done and kept:
        yield f"{len(kept)} traces are kept beyond the limit"


def _pretend_uv(place: Path) -> None:
    for folder in ("bin", "home"):
        (place / folder).mkdir(exist_ok=True)
    told = {"version": "3.7.16", "final": True, "implementation": "cpython", "free_threaded": False, "packages": []}
    python = place / "bin" / "python3.7"
    python.write_text(f"#!/bin/sh\necho '{inspection._MARK}{json.dumps(told)}'\n", encoding="utf-8")
    (place / "bin" / "uv").write_text(_UV.format(python=python), encoding="utf-8")
    for file in (place / "bin").iterdir():
        file.chmod(0o755)


def _plant(place: Path) -> None:
    template, traces = place / "template", place / "cache" / "traces"
    if not template.exists():
        with TraceWriter(str(template)) as writer:
            entries = {}
            for number in range(12):
                entries.update(writer.add({str(number): np.full(100, number, np.float32)}))
            writer.finish({"tensors": entries})
    shutil.rmtree(traces, ignore_errors=True)
    for number in range(_TRACES):
        shutil.copytree(template, traces / f"{number:024x}-00000000", copy_function=os.link)


def _make_environment(number: str) -> None:
    uv._of_package = lambda: Path(os.environ["UV"])  # type: ignore[assignment]
    provide(EnvironmentSpec("3.7", (f"six==1.{number}.0",)), say=lambda _: None)


def main(name: str, *arguments: str) -> int:
    """Runs an operation; returns the exit status."""
    try:
        with interruptions.raised():
            leftovers.reclaim()
            print(BEGUN, flush=True)
            if name == "environment":
                _make_environment(*arguments)
            else:
                trace_cache.make_room()
    except KeyboardInterrupt as error:
        return interruptions.status(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
