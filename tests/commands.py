"""`lockstep ...` as a person types it: in the process of the tests, or in one of its own.

A process of its own imports TensorFlow again, which takes longer than most checks. It is needed for what only a process
shows: that nothing chatters on standard error, what is imported, signals. The same command in this process has the same
standard output, errors and exit status.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from lockstep.cli import main

PROGRESS = re.compile(r"^lockstep: +\d+ s   .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it wrote, without the lines of progress of a slow machine."""

    status: int
    stdout: str
    stderr: str


def lockstep(*arguments: object, cwd: Path | None = None) -> Outcome:
    """Runs a command in this process, from a folder; an exception that is no exit is a bug and comes through."""
    with inside(cwd or Path.cwd()):
        done = CliRunner().invoke(main, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Outcome(done.exit_code, done.stdout, PROGRESS.sub("", done.stderr))


def lockstep_alone(*arguments: object, cwd: Path | None = None, timeout_s: float = 300) -> Outcome:
    """Runs a command in a process of its own, from a folder."""
    command = [sys.executable, "-m", "lockstep", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
    return Outcome(done.returncode, done.stdout, PROGRESS.sub("", done.stderr))


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Makes a folder the current one within the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
