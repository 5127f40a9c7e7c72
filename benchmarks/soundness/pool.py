"""Runs checks in worker processes: a crash or a hang ends one process, and is an outcome."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.soundness.outcome import Outcome

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT_S = 600.0
CASES_PER_PROCESS = 80
"""TensorFlow keeps something of every graph and kernel; a process is replaced before that counts."""


class WorkerError(Exception):
    """A worker process died, or did not answer in time."""

    def __init__(self, outcome: str, note: str) -> None:
        super().__init__(note)
        self.outcome = outcome


class Worker:
    """One process, started when it is first asked and again after it died."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None
        self._answered = 0

    def ask(self, request: dict[str, Any]) -> Any:
        """Returns the answer to a request.

        Raises:
            WorkerError: There is none.
        """
        if self._answered >= CASES_PER_PROCESS:
            self.close()
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = self._line(process.stdout)
        except BrokenPipeError:
            line = ""
        if line:
            self._answered += 1
            return json.loads(line)
        status = process.wait()
        note = f"the process ended with {status}: {self._last_error()}"
        self.close()
        raise WorkerError("crash", note)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _start(self) -> subprocess.Popen[str]:
        environment = dict(os.environ)
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        # Closed with the process: it is read where that ends by itself.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soundness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self._answered = 0
        return self._process

    def _line(self, answers: IO[str]) -> str:
        ready, _, _ = select.select([answers], [], [], self._time_limit_s)
        if not ready:
            self.close()
            raise WorkerError("hang", f"no answer within {self._time_limit_s:g} s")
        return answers.readline()

    def _last_error(self) -> str:
        assert self._errors is not None
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1][:300] if lines else "(nothing)"


@dataclass(frozen=True)
class Job:
    """Checks that one worker does one after the other, because they share what is costly to make.

    Attributes:
        part: The part.
        group: The pair, or the kinds' stand-in for cases.
        names: The checks.
    """

    part: str
    group: str
    names: tuple[str, ...]


def run(jobs: Iterable[Job], count: int, time_limit_s: float = TIME_LIMIT_S) -> Iterator[Outcome]:
    """Runs all jobs in `count` processes and yields outcomes as they come."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    # None says that a thread is done.
    outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()
    threads = [threading.Thread(target=_work, args=(waiting, outcomes, stopped, time_limit_s)) for _ in range(count)]
    for thread in threads:
        thread.start()
    running = count
    try:
        while running:
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is None:
                running -= 1
            else:
                yield outcome
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _work(
    waiting: queue.SimpleQueue[Job],
    outcomes: queue.SimpleQueue[Outcome | BaseException | None],
    stopped: threading.Event,
    time_limit_s: float,
) -> None:
    """Does jobs in a process of its own until there are none, or it is stopped."""
    with contextlib.closing(Worker(time_limit_s)) as worker:
        try:
            while not stopped.is_set():
                job = waiting.get_nowait()
                for name in job.names:
                    if not stopped.is_set():
                        outcomes.put(_checked(worker, job, name))
        except queue.Empty:
            pass
        except BaseException as error:  # told by the main thread
            outcomes.put(error)
    outcomes.put(None)


def _checked(worker: Worker, job: Job, name: str) -> Outcome:
    start = time.perf_counter()
    try:
        return Outcome.of_json(worker.ask({"part": job.part, "do": "check", "name": name}))
    except WorkerError as error:
        duration_s = time.perf_counter() - start
        return Outcome(job.part, name, job.group, error.outcome, duration_s=duration_s, note=str(error))


def listed(part: str, groups: Sequence[str]) -> dict[str, dict[str, str]]:
    """Asks a worker what there is to check: group -> name -> kind; of one that cannot tell, a name that fails again."""
    found: dict[str, dict[str, str]] = {}
    with contextlib.closing(Worker()) as worker:
        for group in groups:
            try:
                found[group] = worker.ask({"part": part, "do": "list", "name": group})
            except WorkerError:
                found[group] = {"cannot be listed": ""}
    return found
