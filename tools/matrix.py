"""Runs the tests of the shim on the oldest, a middle and the newest supported TensorFlow: `make matrix`.

    python tools/matrix.py                      # all
    python tools/matrix.py --only oldest        # one; may be repeated
    python tools/matrix.py --tests test_tf1_slim -- -x -k pools

Each row has an environment of its own below `.matrix/`, made by uv from this project and a file of pins, and made anew
when the pins, the interpreter's version or `pyproject.toml` change. The whole output of a row is in
`.matrix/<row>.log`; what failed is printed, and the exit status is 1 if anything did or could not run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".matrix"
EXTRAS = "tensorflow-cpu,slim,dev"


@dataclass(frozen=True)
class Row:
    """One line of the matrix: a name, the interpreter's version and the file of pins below the project's folder."""

    name: str
    python: str
    pins: str

    def versions(self) -> str:
        """Returns what is special about it, from its pins."""
        pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / self.pins).read_text(), re.MULTILINE))
        return f"TensorFlow {pinned['tensorflow-cpu']}, Keras {pinned['keras']}, Python {self.python}"


ROWS = (
    Row("oldest", "3.10", "tools/constraints/oldest.txt"),
    Row("middle", "3.11", "tools/constraints/middle.txt"),
    Row("newest", "3.13", "constraints.txt"),
)

# What uses the shim: patterns below tests/integration. `test_guide.py` runs the guide's own code, block by block.
TESTS = (
    "test_tf1_*.py",
    "test_guards.py",
    "test_randomness.py",
    "test_keras_randomness.py",
    "test_native_keras.py",
    "test_guide.py",
)
# It makes an environment of its own, with the newest versions, whichever row it would run in.
OF_ONE_VERSION = ("test_tf1_tf_keras.py",)
# As `make test` has them, see the Makefile.
PARALLEL = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile", "--no-loadscope-reorder")
CHOSEN = {True: "not release", False: "not slow and not release"}


@dataclass(frozen=True)
class Outcome:
    """What came of one row: pytest's counts, the lines about failures, seconds, and why it could not run, if so."""

    row: Row
    counts: dict[str, int]
    failures: tuple[str, ...]
    duration_s: float
    trouble: str = ""

    @property
    def good(self) -> bool:
        """Whether it ran and nothing failed; a run without a test that passed is no good one."""
        broken = self.counts.get("failed", 0) + self.counts.get("error", 0) + self.counts.get("errors", 0)
        return not (self.trouble or self.failures or broken) and bool(self.counts.get("passed"))


def interpreters(version: str) -> Iterator[Path]:
    """Yields interpreters of a version that answer: from PATH, from pyenv's folders, from uv's own.

    A shim of pyenv answers with an error unless its version is switched on, so each one is asked.
    """
    found = [Path(folder, f"python{version}") for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found += sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"), reverse=True)
    uvs = os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python"
    found += sorted(Path(uvs).glob(f"cpython-{version}.*/bin/python{version}"), reverse=True)
    for path in found:
        if path.is_file() and _answers(path, version):
            yield path


def _answers(path: Path, version: str) -> bool:
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", question], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def environment(row: Row) -> Path:
    """Returns the interpreter of a row's environment, making the environment if it is missing or out of date.

    Raises:
        RuntimeError: no interpreter of the version was found, or uv failed; the text says what to do.
    """
    folder = PLACE / row.name
    python, stamp = folder / "bin/python", folder / "made-from"
    made_from = hashlib.sha256(
        "\n".join([row.python, EXTRAS, *((ROOT / f).read_text() for f in (row.pins, "pyproject.toml"))]).encode()
    ).hexdigest()
    if stamp.is_file() and stamp.read_text() == made_from and python.exists():
        return python
    base = next(interpreters(row.python), None)
    if base is None:
        raise RuntimeError(
            f"no Python {row.python} was found on PATH, in pyenv's or in uv's folders; "
            f"run: uv python install {row.python}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--quiet", "--python", str(base), str(folder))
    # Compiled at once: the tests write no bytecode, so each import of TensorFlow would take 6 seconds instead of 2.
    install = ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    install += ["--constraint", str(ROOT / row.pins)]
    _uv(*install, "--editable", f"{ROOT}[{EXTRAS}]")
    stamp.write_text(made_from)
    return python


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is missing; `make setup` installs it into .venv")
    done = subprocess.run([uv, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr.strip()}")


def files_of_tests(only: str) -> list[str]:
    """Lists the test files of the shim whose name contains `only`, relative to the project's folder."""
    folder = ROOT / "tests/integration"
    found = {path for pattern in TESTS for path in folder.glob(pattern) if only in path.name}
    files = sorted(path for path in found if path.name not in OF_ONE_VERSION)
    return [path.relative_to(ROOT).as_posix() for path in files]


def run(row: Row, files: list[str], more: list[str], slow: bool) -> Outcome:
    """Runs the tests of one row; the output goes to `.matrix/<row>.log`."""
    started = time.monotonic()
    try:
        python = environment(row)
    except RuntimeError as error:
        return Outcome(row, {}, (), time.monotonic() - started, str(error))
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *PARALLEL]
    command += ["-m", CHOSEN[slow], *more, *files]
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    trouble = "" if done.returncode in {0, 1} else f"pytest ended with status {done.returncode}: {output[-500:]}"
    (PLACE / f"{row.name}.log").write_text(output)
    return Outcome(row, counts(done.stdout), tuple(failures), time.monotonic() - started, trouble)


def counts(output: str) -> dict[str, int]:
    r"""Returns the numbers in pytest's last line.

    >>> counts("....\n3 passed, 1 skipped, 2 deselected in 0.12s")
    {'passed': 3, 'skipped': 1, 'deselected': 2}
    """
    last = output.strip().splitlines()[-1] if output.strip() else ""
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?|deselected)", last)}


def table(outcomes: list[Outcome]) -> str:
    """Lays out the outcomes, one line each, with what failed below."""
    lines = [f"{'':8}{'versions':46}{'passed':>8}{'failed':>8}{'skipped':>9}{'time':>9}"]
    for outcome in outcomes:
        failed = len(outcome.failures)
        numbers = f"{outcome.counts.get('passed', 0):8}{failed:8}{outcome.counts.get('skipped', 0):9}"
        lines.append(f"{outcome.row.name:8}{outcome.row.versions():46}{numbers}{outcome.duration_s:7.0f} s")
    for outcome in outcomes:
        lines += [f"{outcome.row.name}: {failure}" for failure in outcome.failures]
        if outcome.trouble:
            lines.append(f"{outcome.row.name}: {outcome.trouble}")
        if not outcome.good:
            lines.append(f"{outcome.row.name}: the whole output is in .matrix/{outcome.row.name}.log")
    return "\n".join(lines)


def main() -> int:
    """Reads the command line and runs the rows one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", choices=names, help="a row; may be repeated; default: all")
    parser.add_argument("--tests", default="", help="a part of the names of the test files to run")
    parser.add_argument("--fast", action="store_true", help="leave out what takes more than seconds")
    parser.add_argument("pytest", nargs="*", help="further arguments for pytest, behind --")
    options = parser.parse_args()
    files = files_of_tests(options.tests)
    if not files:
        parser.error(f"no test file of the shim has {options.tests!r} in its name")
    PLACE.mkdir(exist_ok=True)
    outcomes = []
    for row in ROWS:
        if not options.only or row.name in options.only:
            print(f"{row.name}: {row.versions()} ...", file=sys.stderr, flush=True)
            outcomes.append(run(row, files, options.pytest, slow=not options.fast))
    print(table(outcomes))
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
