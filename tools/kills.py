"""Interrupts Lockstep at random moments and looks what is left: `make kills`.

    python tools/kills.py                        # 200 interruptions; about an hour on two cores
    python tools/kills.py --count 20 --seed 7 --only environment --only eviction

Each trial runs an operation (tools/kill_operations.py), sends it SIGINT, SIGTERM or SIGKILL at a random moment, and
runs it again. Nothing half written may load in between; the next run must work; after it no process may be left that
belongs to the trial, no temporary folder, and nothing unfinished beside a target or in the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kill_operations import BEGUN, Operation, operations, write_checkpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_TOKEN = "LOCKSTEP_KILLS_TRIAL"
_ENDS_WITHIN_S = 60.0
_GONE_WITHIN_S = 10.0
"""How long what a killed process has started may live on: its supervisor gives it half a second."""


@dataclass(frozen=True)
class Trial:
    """One interruption and what came of it.

    Attributes:
        operation: The operation's name.
        number: The signal.
        moment_s: When it was sent, in seconds after the start.
        early: Whether the operation had ended by itself before; such a trial counts only if anything is wrong.
        faults: What was wrong besides leftovers: a hang, a traceback, a next run that failed, something half written.
        processes: Those that were left.
        files: Those that were left after the next run.
    """

    operation: str
    number: signal.Signals
    moment_s: float
    early: bool
    faults: tuple[str, ...]
    processes: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def wrong(self) -> bool:
        """Whether anything was not as it should be."""
        return bool(self.faults or self.leftovers)

    @property
    def leftovers(self) -> int:
        """How many processes and files were left."""
        return len(self.processes) + len(self.files)


@dataclass
class Bench:
    """A folder of its own with everything that the operations use.

    Attributes:
        place: The folder.
        generator: Where the moments come from.
        durations_s: How long an operation takes uninterrupted, from its start and from where it begins.
    """

    place: Path
    generator: random.Random
    durations_s: dict[str, tuple[float, float]] = field(default_factory=dict)

    def variables(self, operation: Operation, token: str) -> dict[str, str]:
        """The environment variables of a trial."""
        own = {
            "TMPDIR": str(self.place / "tmp"),
            "LOCKSTEP_CACHE": str(self.place / "cache"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            _TOKEN: token,
        }
        return {**os.environ, **own, **operation.variables}

    def run(self, operation: Operation, trial: int) -> Trial:
        """Interrupts an operation once, and runs it again."""
        operation.prepare()
        token = f"{os.getpid()}-{trial}"
        variables = self.variables(operation, token)
        if operation.name not in self.durations_s:
            self.durations_s[operation.name] = self._measured(operation, trial, variables)
            operation.prepare()
        number = self.generator.choice(SIGNALS)
        argv, faults = operation.command(trial), []
        with _started(argv, variables, self.place) as process:
            moment_s, early = self._interrupt(operation, process, number)
            status, output = _ended(process)
        faults += _conduct(status, number, output, early=early)
        processes = _left(token)
        faults += [f"half written: {one}" for one in operation.sound(False)]
        done = subprocess.run(
            operation.next_command(trial), env=variables, cwd=self.place, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            faults.append(f"the next run ended with status {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
        faults += [f"after the next run: {one}" for one in operation.sound(True)]
        processes += _left(token)
        return Trial(
            operation.name, number, moment_s, early, tuple(faults), tuple(processes), tuple(self._files_left())
        )

    def _measured(self, operation: Operation, trial: int, variables: Mapping[str, str]) -> tuple[float, float]:
        begin = time.monotonic()
        with _started(operation.command(trial + 10_000), variables, self.place) as process:
            self._wait_until_begun(process)
            begun = time.monotonic()
            status, output = _ended(process)
        if status != 0:
            raise SystemExit(f"{operation.name} does not work uninterrupted: status {status}\n{output}")
        end = time.monotonic()
        return end - begin, end - begun

    def _interrupt(
        self, operation: Operation, process: subprocess.Popen[str], number: signal.Signals
    ) -> tuple[float, bool]:
        """Sends the signal: at any moment of the run, or at one after what is worth interrupting has begun."""
        begin = time.monotonic()
        whole_s, rest_s = self.durations_s[operation.name]
        if self.generator.random() < 0.3:
            wait_s = self.generator.uniform(0, whole_s)
        else:
            wait_s = self.generator.uniform(0, rest_s)
            self._wait_until_begun(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=wait_s)
        early = process.poll() is not None
        if not early:
            process.send_signal(number)
        return time.monotonic() - begin, early

    def _wait_until_begun(self, process: subprocess.Popen[str]) -> None:
        """Waits for the first folder of this run, or its sign in the output."""
        seen = set(self._unfinished())
        log = self.place / "output.log"
        while process.poll() is None and set(self._unfinished()) <= seen and BEGUN not in log.read_text():
            time.sleep(0.002)

    def _unfinished(self) -> Iterator[str]:
        for folder in (self.place / "tmp", self.place / "out", self.place / "cache" / "traces"):
            if folder.is_dir():
                yield from (path.name for path in folder.iterdir() if path.name.startswith((".", "lockstep-")))

    def _files_left(self) -> Iterator[str]:
        """Yields what an operation may not leave, and removes it."""
        environments = self.place / "cache" / "environments"
        found = [*(self.place / "tmp").iterdir(), *self.place.glob("out/.*"), *self.place.glob("migration/.*")]
        found += self.place.glob("cache/traces/.*")
        for home in environments.iterdir() if environments.is_dir() else ():
            if home.name == "locks":
                continue  # one empty file for each environment that ever was asked for
            attempts = list(home.glob("venv-*"))
            if not (home / "environment.json").exists() or len(attempts) != 1 or list(home.glob(".*")):
                found.append(home)
        for path in found:
            yield str(path.relative_to(self.place))
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def _started(argv: Sequence[str], variables: Mapping[str, str], place: Path) -> Iterator[subprocess.Popen[str]]:
    with (place / "output.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            argv, env=variables, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
        )
        process.log = place / "output.log"  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _ended(process: subprocess.Popen[str]) -> tuple[int | None, str]:
    try:
        status: int | None = process.wait(timeout=_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        status = None
    return status, process.log.read_text(encoding="utf-8", errors="replace")  # type: ignore[attr-defined]


def _conduct(status: int | None, number: signal.Signals, output: str, *, early: bool) -> Iterator[str]:
    """Yields what is wrong with how an interrupted process ended."""
    if status is None:
        yield f"still running {_ENDS_WITHIN_S:.0f} s after {number.name}"
    elif not early and status not in (0, -number, 128 + number):
        yield f"status {status} after {number.name}: {output[-500:]}"
    # Python itself ends with a traceback where the signal comes before Lockstep has been imported.
    elif "Traceback" in output and status != -number:
        yield f"a traceback after {number.name}: {output[-800:]}"


def _left(token: str) -> list[str]:
    """Returns the living processes of a trial, after they had time to end, and ends them."""
    limit = time.monotonic() + _GONE_WITHIN_S
    while (found := list(_processes(token))) and time.monotonic() < limit:
        time.sleep(0.05)
    for pid, _ in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [command for _, command in found]


def _processes(token: str) -> Iterator[tuple[int, str]]:
    mark = f"{_TOKEN}={token}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # gone meanwhile; a zombie has no variables
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]


def run(count: int, seed: int, only: Sequence[str], place: Path) -> Iterator[Trial]:
    """Interrupts operations so many times in a folder, each once at first."""
    generator = random.Random(seed)
    bench = Bench(place, generator)
    for folder in ("tmp", "cache"):
        (place / folder).mkdir()
    chosen = [one for one in operations(place) if not only or one.name in only]
    if any(one.name == "convert" for one in chosen):
        subprocess.run(write_checkpoint(), cwd=place / "migration", check=True, capture_output=True)
    plan = [*chosen, *generator.choices(chosen, [one.weight for one in chosen], k=max(count - len(chosen), 0))][:count]
    numbers = itertools.count()
    for operation in plan:
        yield next(trial for number in numbers if not (trial := bench.run(operation, number)).early or trial.wrong)


def told(number: int, trial: Trial) -> Iterator[str]:
    """Yields the lines about one trial."""
    early = " (it had ended before)" if trial.early else ""
    yield f"{number:>4}  {trial.operation:<12} {trial.number.name:<8} at {trial.moment_s:6.2f} s{early}"
    for line in (*trial.faults, *(f"left: {one}" for one in (*trial.processes, *trial.files))):
        yield f"      {line}"


def table(trials: Sequence[Trial]) -> Iterator[str]:
    """Yields the lines of a summary."""
    rows: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        rows[trial.operation].append(trial)
    heads = f"{'operation':<12} {'SIGINT':>7} {'SIGTERM':>8} {'SIGKILL':>8} {'moments (s)':>15}"
    yield f"{heads} {'faults':>7} {'processes':>10} {'files':>6}"
    for name, of_it in rows.items():
        counts = Counter(trial.number for trial in of_it)
        moments = [trial.moment_s for trial in of_it]
        yield (
            f"{name:<12} {counts[signal.SIGINT]:>7} {counts[signal.SIGTERM]:>8} {counts[signal.SIGKILL]:>8} "
            f"{f'{min(moments):.2f} to {max(moments):.2f}':>15} {sum(len(t.faults) for t in of_it):>7} "
            f"{sum(len(t.processes) for t in of_it):>10} {sum(len(t.files) for t in of_it):>6}"
        )
    yield f"{len(trials)} and {sum(trial.leftovers for trial in trials)} leftovers"


def main() -> int:
    """Runs the trials and prints what came of them; the status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="how many interruptions (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="an operation; may be repeated")
    options = parser.parse_args()
    # Started with & a shell has it ignored, and so would everything below.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as place, contextlib.suppress(KeyboardInterrupt):
        for trial in run(options.count, options.seed, options.only, Path(place)):
            trials.append(trial)
            for line in told(len(trials), trial):
                print(line, flush=True)
    for line in table(trials):
        print(line)
    return int(any(trial.wrong for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
