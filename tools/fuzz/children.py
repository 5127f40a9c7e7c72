"""Runs trials in child processes. Each serves many until it dies or hangs: the outcome of the trial that it was at."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from tools.fuzz.outcome import Outcome

START_S = 180
"""Seconds for a child to import what it needs and to make what its target damages."""
LIMIT_S = 30
"""Seconds for one trial, where a target has no `LIMIT_S` of its own."""
SEEDS = 1_000_000
"""How many trials one seed has; the next seed's follow."""
_TAIL = 3_000  # characters of what a dead child said
_ROOT = Path(__file__).resolve().parents[2]


def target(name: str) -> ModuleType:
    """Imports a target."""
    return importlib.import_module(f"tools.fuzz.{name}")


def run(name: str, seed: int, first: int, count: int) -> Iterator[tuple[int, Outcome]]:
    """Runs trials of a target, in order, and yields each one's number and outcome."""
    limit_s = getattr(target(name), "LIMIT_S", LIMIT_S)
    number, end = first, first + count
    while number < end:
        with tempfile.TemporaryDirectory(prefix="lockstep-fuzz-") as folder:
            for outcome in _served(name, seed, number, end - number, Path(folder), limit_s):
                yield number, outcome
                number += 1


def _served(name: str, seed: int, first: int, count: int, folder: Path, limit_s: float) -> Iterator[Outcome]:
    """One child's outcomes; the last one may be its death."""
    work, said = folder / "work", folder / "stderr"
    work.mkdir()
    with said.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", __spec__.name, name, str(seed), str(first), str(count), work],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,  # what lay in a buffer of Python's `select` would not see, and take for silence
            start_new_session=True,
        )
    assert child.stdout is not None
    left, ended = count, ""
    try:
        if _line(child.stdout, START_S) != b"ready\n":
            raise RuntimeError(f"the target {name} does not start:\n{_tail(said)}")
        while left:
            line = _line(child.stdout, limit_s)
            if line is None:
                ended = "hang"
                break
            if not line.endswith(b"\n"):
                ended = "abort"
                break
            yield Outcome(**json.loads(line))
            left -= 1
    finally:
        _end(child)
    if ended:
        status = "" if ended == "hang" else f"ended with {child.returncode}\n"
        what = (work / "trial").read_text(encoding="utf-8") if (work / "trial").exists() else name
        yield Outcome(what, "hang" if ended == "hang" else "abort", f"{status}{_tail(said)}")


def _line(stream: IO[bytes], limit_s: float) -> bytes | None:
    """Reads a line: None where none comes in time, and one without its end where the child is gone."""
    ready, _, _ = select.select([stream], [], [], limit_s)
    # A child writes whole lines, each in one go, and waits for none: what has begun will end.
    return stream.readline() if ready else None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child and what it started; one that hangs writes first where it is."""
    if child.poll() is None:
        child.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def _tail(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")[-_TAIL:]


def serve(name: str, seed: int, first: int, count: int, folder: Path) -> None:
    """What a child does: writes `ready`, and then a line of JSON for each trial, to its standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the target prints is no answer
    module: Any = target(name)
    if hasattr(module, "MEMORY_BYTES"):
        resource.setrlimit(resource.RLIMIT_AS, (module.MEMORY_BYTES, module.MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if hasattr(module, "prepare"):
        module.prepare(folder)
    answers.write(b"ready\n")
    answers.flush()
    for outcome in module.trials(seed * SEEDS + first, count, folder):
        answers.write(json.dumps(dataclasses.asdict(outcome)).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
