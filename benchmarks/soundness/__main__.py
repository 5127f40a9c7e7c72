"""`python -m benchmarks.soundness`: how often Lockstep says something wrong; docs/design/soundness.md tells of what.

Exit status: 0 if nothing was wrong, 1 if something was, 2 if nothing could be checked.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.soundness import pool, table
from benchmarks.soundness.outcome import PARTS, Outcome
from benchmarks.soundness.specimens import pairs

SHORT_PAIRS, SHORT_MUTANTS, SHORT_CASES = 10, 5, 12
"""About three minutes on two idle cores."""
_CHUNK = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for."""
    options = _parser().parse_args(arguments)
    if options.table:
        print("\n".join(table.readme(_read(options.table))))
        return 0
    start = time.perf_counter()
    parts = [part for part in options.part or PARTS if _is_there(part)]
    done = _read(options.json) if options.resume and options.json and options.json.is_file() else []
    known = {(one.part, one.name) for one in done}
    jobs = [job for part in parts for job in _jobs(part, options)]
    jobs = [
        pool.Job(job.part, job.group, names)
        for job in jobs
        if (names := tuple(name for name in job.names if (job.part, name) not in known))
    ]
    if not jobs and not done:
        print("nothing is asked for", file=sys.stderr)
        return 2
    outcomes = [*done]
    total = len(done) + sum(len(job.names) for job in jobs)
    written = 0.0
    for outcome in pool.run(jobs, options.jobs, options.time_limit):
        outcomes.append(outcome)
        _say(outcome, len(outcomes), total)
        if options.json and time.perf_counter() - written > 5:
            _write(options.json, outcomes, options)
            written = time.perf_counter()
    if options.json:
        _write(options.json, outcomes, options)
    print("\n".join(table.lines(outcomes)))
    print(f"{len(outcomes)} checks in {time.perf_counter() - start:.0f} s, {options.jobs} at a time")
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soundness", description=__doc__.partition("\n")[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given again")
    parser.add_argument("--short", action="store_true", help="a sample, for about three minutes on two idle cores")
    parser.add_argument("--per-pair", type=int, default=1000, metavar="N", help="at most so many mutants of each pair")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="processes (default: the cores)")
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="only what has a name that it is found in, all of it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome there, as they come")
    parser.add_argument("--resume", action="store_true", help="leave out what --json's file holds already")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the README's table from such a file, and end")
    parser.add_argument(
        "--time-limit", type=float, default=pool.TIME_LIMIT_S, metavar="S", help="of one check (default: %(default)g)"
    )
    return parser


def _is_there(part: str) -> bool:
    return part == "mutants" or importlib.util.find_spec(f"benchmarks.soundness.{part}") is not None


def _jobs(part: str, options: argparse.Namespace) -> list[pool.Job]:
    """Returns what is to be checked, in jobs that a process can do one after the other."""
    if part == "mutants":
        return list(_mutants(options))
    wanted = re.compile(options.only)
    names = [name for name in pool.listed(part, [part])[part] if wanted.search(name)]
    if options.short and not options.only:
        names = _sample(f"{options.seed} {part}", names, SHORT_CASES)
    return [pool.Job(part, part, tuple(names[start : start + _CHUNK])) for start in range(0, len(names), _CHUNK)]


def _mutants(options: argparse.Namespace) -> Iterator[pool.Job]:
    known = pairs()
    groups = _pairs_of(options.only, list(known))
    if options.short and not options.only:
        cheap = [name for name in groups if not name.startswith("zoo-") or known[name].share > 20]
        groups = _sample(f"{options.seed} pairs", cheap, SHORT_PAIRS)
    wanted = re.compile(options.only)
    for group, families in pool.listed("mutants", groups).items():
        named = {f"{group}|{name}": family for name, family in families.items()}
        names = [name for name in named if wanted.search(name)]
        if not options.only:
            share = SHORT_MUTANTS if options.short else min(options.per_pair, known[group].share)
            names = _spread(f"{options.seed} {group}", {name: named[name] for name in names}, share)
        for start in range(0, len(names), _CHUNK):
            yield pool.Job("mutants", group, tuple(names[start : start + _CHUNK]))


def _pairs_of(only: str, names: list[str]) -> list[str]:
    """Returns the pairs that a pattern may speak of: the one that it begins with, or all."""
    plain = only.removeprefix("^").replace("\\", "")
    return [name for name in names if plain.startswith(f"{name}|")] or names


def _sample(seed: str, names: list[str], count: int) -> list[str]:
    chosen = set(random.Random(seed).sample(names, min(count, len(names))))
    return [name for name in names if name in chosen]


def _spread(seed: str, named: dict[str, str], count: int) -> list[str]:
    """Takes names of all families in turn, at random within each."""
    generator = random.Random(seed)
    families: dict[str, list[str]] = {}
    for name, family in named.items():
        families.setdefault(family, []).append(name)
    order = list(families)
    generator.shuffle(order)
    for names in families.values():
        generator.shuffle(names)
    chosen: list[str] = []
    while len(chosen) < min(count, len(named)):
        chosen += [families[family].pop() for family in order if families[family]]
    return chosen[:count]


def _say(outcome: Outcome, number: int, total: int) -> None:
    mark = "  <-- WRONG" if outcome.wrong else ""
    print(
        f"{number} of {total}  {outcome.outcome:16} {outcome.name}  {outcome.duration_s:.1f} s{mark}", file=sys.stderr
    )


def _write(file: Path, outcomes: Sequence[Outcome], options: argparse.Namespace) -> None:
    """Writes a file that is whole at any time."""
    content = {"seed": options.seed, "short": options.short, "checks": [one.as_json() for one in outcomes]}
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    new.replace(file)


def _read(file: Path) -> list[Outcome]:
    return [Outcome.of_json(record) for record in json.loads(file.read_text(encoding="utf-8"))["checks"]]


if __name__ == "__main__":
    sys.exit(main())
