"""Runs trials of all targets and prints how many went wrong, in which way, and how to run each of those again.

    python -m tools.fuzz                                     10,000 trials
    python -m tools.fuzz --short                             some hundred, under a minute
    python -m tools.fuzz --target inputs --count 500
    python -m tools.fuzz --target inputs --seed 3 --trial 17

A target is a module of this package with `NAME` and `trials(seed, count, folder)`. Trial i of `trials(seed, count, f)`
is that of `trials(seed + i, 1, f)`: it takes its random numbers from `outcome.generator(seed + i, NAME)` alone, and
works below `folder`, which other trials of the same process use too. It may have `prepare(folder)`, which is called
once in each process and not timed; `LIMIT_S`, seconds for one trial; `MEMORY_BYTES`, how much address space a process
of it gets; `SHARE` and `SHORT`, its share of all trials beside the others' (1) and its trials with `--short` (60). It
may write what it is about to try into `folder / "trial"`; this is shown when the process dies. No target imports
TensorFlow before `prepare` or `trials` is called.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from tools.fuzz import children
from tools.fuzz.outcome import Kind, Outcome

TRIALS = 10_000
SHORT = 60
_SHOWN = 10  # failures of each target that are printed
_JOBS = 2  # processes at the same time; each takes a core, and a GB where its target needs TensorFlow

Failure = tuple[int, Outcome]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; returns 1 where anything was not right."""
    asked = _parsed(arguments)
    names = [asked.target] if asked.target else targets()
    if asked.trial is not None:
        return _again(names[0], asked.seed, asked.trial)
    started = time.monotonic()
    counts = {name: asked.count or count for name, count in _shares(names, short=asked.short).items()}
    print(f"{sum(counts.values()):,} trials, seed {asked.seed}", flush=True)
    print(f"{'target':<16}{'tried':>8}{'wrong':>8}{'tracebacks':>12}{'hangs':>8}{'aborts':>8}{'seconds':>9}")
    tally: Counter[str] = Counter()
    for name in names:
        found, failures = _tried(name, asked.seed, counts[name], asked.jobs)
        tally += found
        for number, outcome in failures[:_SHOWN]:
            print(f"\n{name} --seed {asked.seed} --trial {number}: {outcome.kind}: {outcome.what}\n{outcome.detail}")
        if len(failures) > _SHOWN:
            print(f"\n... and {len(failures) - _SHOWN} more of {name}")
    print(_row("all", tally, time.monotonic() - started))
    return 0 if tally["right"] == sum(counts.values()) else 1


def targets() -> list[str]:
    """The names of all targets."""
    here = [str(Path(__file__).parent)]
    names = [module.name for module in pkgutil.iter_modules(here) if not module.name.startswith("_")]
    return [name for name in names if hasattr(children.target(name), "trials")]


def _shares(names: Sequence[str], *, short: bool) -> dict[str, int]:
    modules = {name: children.target(name) for name in names}
    if short:
        return {name: getattr(module, "SHORT", SHORT) for name, module in modules.items()}
    shares = {name: getattr(module, "SHARE", 1) for name, module in modules.items()}
    return {name: -(-TRIALS * share // sum(shares.values())) for name, share in shares.items()}


def _tried(name: str, seed: int, count: int, jobs: int) -> tuple[Counter[str], list[Failure]]:
    started = time.monotonic()
    jobs = min(jobs, count)
    edges = [count * part // jobs for part in range(jobs + 1)]
    with ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(lambda a, b: list(children.run(name, seed, a, b - a)), edges[:-1], edges[1:])
        outcomes = [pair for part in parts for pair in part]
    tally = Counter(outcome.kind for _, outcome in outcomes)
    print(_row(name, tally, time.monotonic() - started), flush=True)
    return Counter(tally), [(number, outcome) for number, outcome in outcomes if outcome.kind != "right"]


def _row(name: str, tally: Counter[str], taken_s: float) -> str:
    found = [tally[kind] for kind in ("wrong", "traceback", "hang", "abort")]
    assert set(tally) <= set(get_args(Kind))
    return "{:<16}{:>8,}{:>8,}{:>12,}{:>8,}{:>8,}{:>9.1f}".format(name, sum(tally.values()), *found, taken_s)


def _again(name: str, seed: int, number: int) -> int:
    [(_, outcome)] = children.run(name, seed, number, 1)
    print(f"{outcome.kind}: {outcome.what}\n{outcome.detail}".rstrip())
    return 0 if outcome.kind == "right" else 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description="See this module's docstring.")
    parser.add_argument("--target", choices=targets(), help="one target alone")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--count", type=int, help="trials of each target")
    parser.add_argument("--trial", type=int, help="this trial alone; it needs --target")
    parser.add_argument("--short", action="store_true", help="under a minute, for every change")
    parser.add_argument("--jobs", type=int, default=_JOBS, help=f"processes at the same time ({_JOBS})")
    asked = parser.parse_args(arguments)
    if asked.trial is not None and asked.target is None:
        parser.error("--trial needs --target")
    return asked


if __name__ == "__main__":
    sys.exit(main())
