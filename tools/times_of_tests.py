"""Processor time of the tests, for a machine that others use too: `python -m tools.times_of_tests tests/unit`.

The clock says how busy the machine was; processor time says what a test costs: of the process that runs it, and of the
child processes that it waited for. What a module-scoped fixture takes is counted with the first test that asks for it.
The table adds up by file, the dearest first; `--tests N` lists the N dearest tests as well. With `--sample N` at most N
cases of each parametrised test are run, spread evenly, and count for all of them.

Every other argument is pytest's. What was measured is kept in `--json`'s file, a line each, and `--table FILE` prints
the table of such a file without running anything.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE, SAMPLE = "LOCKSTEP_TEST_TIMES", "LOCKSTEP_TEST_SAMPLE"
"""Environment variables: the file that gets a line of each test, and how many cases of a parametrised test run."""


@dataclass(frozen=True)
class Cost:
    """What one test took.

    Attributes:
        file: The test file, relative to the project's folder.
        test: The test's name in it.
        weight: How many cases of the same test it stands for; 1 without a sample.
        processor_s: Seconds of processor time of the process and of its children.
        clock_s: Seconds by the clock.
    """

    file: str
    test: str
    weight: float
    processor_s: float
    clock_s: float


def processor_s() -> float:
    """Returns the seconds of processor time of this process and of all its children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


_WEIGHT = pytest.StashKey[float]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the cases that no sample needs; what `-m` and `-k` leave out is out already."""
    most = int(os.environ.get(SAMPLE, "0"))
    if not most:
        return
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    for same in cases.values():
        some = sampled(same, most)
        for item in some:
            item.stash[_WEIGHT] = len(same) / len(some)
    kept = [item for item in items if _WEIGHT in item.stash]
    config.hook.pytest_deselected(items=[item for item in items if _WEIGHT not in item.stash])
    items[:] = kept


def sampled(cases: Sequence[pytest.Item], most: int) -> list[pytest.Item]:
    """Returns at most so many of the cases, spread evenly over them."""
    count = min(most, len(cases))
    return [cases[number * len(cases) // count] for number in range(count)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Writes what a test took, set-up and tear-down included."""
    before, clock = processor_s(), time.monotonic()
    result = yield
    cost = Cost(
        item.location[0],
        item.nodeid.partition("::")[2],
        item.stash.get(_WEIGHT, 1.0),
        processor_s() - before,
        time.monotonic() - clock,
    )
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(cost)) + "\n")
    return result


def table(costs: Iterable[Cost], tests: int = 0) -> str:
    """Lays out the files, the dearest first, and as many of the dearest tests.

    >>> print(table([Cost("tests/a.py", "one", 1, 2, 3), Cost("tests/a.py", "two[x]", 4, 1, 1)], tests=1))
    processor s  clock s  tests
            6.0        7      5  tests/a.py
            6.0        7      5  all
            2.0        3         tests/a.py::one
    """
    costs = list(costs)
    files: dict[str, list[Cost]] = defaultdict(list)
    for cost in costs:
        files[cost.file].append(cost)
    rows = [(_sums(of_file), name) for name, of_file in files.items()]
    lines = ["processor s  clock s  tests"]
    for sums, name in [*sorted(rows, reverse=True), (_sums(costs), "all")]:
        lines.append("{:11.1f} {:8.0f} {:6.0f}  {}".format(*sums, name))
    dearest = sorted(costs, key=lambda cost: -cost.processor_s)[:tests]
    lines += [f"{cost.processor_s:11.1f} {cost.clock_s:8.0f}         {cost.file}::{cost.test}" for cost in dearest]
    return "\n".join(lines)


def _sums(costs: Sequence[Cost]) -> tuple[float, float, float]:
    return (
        sum(cost.weight * cost.processor_s for cost in costs),
        sum(cost.weight * cost.clock_s for cost in costs),
        sum(cost.weight for cost in costs),
    )


def read(file: Path) -> list[Cost]:
    """Reads what was measured; of a test that was measured twice the later one counts."""
    costs = [Cost(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    return list({(cost.file, cost.test): cost for cost in costs}.values())


def main() -> int:
    """Runs pytest with this module as a plugin, in one process, and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.times_of_tests", description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="run at most N cases of each test")
    parser.add_argument("--tests", type=int, default=0, metavar="N", help="list the N dearest tests as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the lines here, added to what it holds")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file, and end")
    options, more = parser.parse_known_args()
    if options.table:
        print(table(read(options.table), options.tests))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = (options.json or Path(folder) / "times").resolve()
        environ = {**os.environ, FILE: str(file), SAMPLE: str(options.sample)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, "-p", "tools.times_of_tests", *more], cwd=ROOT, env=environ, check=False)
        if file.exists():
            print(table(read(file), options.tests))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
