"""How long all figures of two large arrays take, against the two ways NumPy offers.

Run `python benchmarks/bench_metrics.py`. Only the ratios carry over to other machines. The two NumPy functions give
less: `allclose` one boolean, `assert_allclose` a pass without figures, as long as nothing is beyond tolerance.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lockstep.compare.metrics import compare_arrays, traversal

TARGET_RATIO = 8.0  # times faster than numpy.testing.assert_allclose, with full statistics
TARGET_MEMORY_MB = 64.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What ran.
        median_s: Median duration.
        fastest_s: Shortest duration.
        ratio: Median duration of `assert_allclose` divided by this one's.
        fastest_ratio: The same of the shortest durations. `assert_allclose` allocates 1.1 GB a run, which on a machine
            that is short of free pages makes its median three times its minimum; the target has to hold for both.
        peak_mb: Peak of what it allocated beyond the two arrays, or None if not measured.
        target: What was aimed at, or empty.
        met: Whether it was reached; None without a target.
    """

    name: str
    median_s: float
    fastest_s: float
    ratio: float
    fastest_ratio: float
    peak_mb: float | None
    target: str = ""
    met: bool | None = None


def peak_mb(run: Callable[[], object]) -> float:
    """Largest size of Python's and NumPy's allocations alive at one time while `run` runs."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def durations(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Runs everything once to warm up, then takes turns, so that a busy moment of the machine hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                taken[name].append(time.perf_counter() - start)
    return taken


def main(elements: int = 50_000_000, repeats: int = 7) -> list[Row]:
    """Measures and returns the rows, the reference (`assert_allclose`) first."""
    generator = np.random.default_rng(0)
    reference = generator.standard_normal(elements, dtype=np.float32)
    candidate = generator.standard_normal(elements, dtype=np.float32)
    candidate *= np.float32(1e-7)
    candidate += 1
    candidate *= reference
    pool = ThreadPoolExecutor(2)

    def one_core() -> object:
        threads, traversal._MAX_THREADS = traversal._MAX_THREADS, 1
        try:
            return compare_arrays(reference, candidate, rtol=1e-5, atol=1e-8)
        finally:
            traversal._MAX_THREADS = threads

    runs: dict[str, Callable[[], object]] = {
        "numpy.testing.assert_allclose": lambda: np.testing.assert_allclose(candidate, reference, rtol=1e-5, atol=1e-8),
        "numpy.allclose": lambda: np.allclose(candidate, reference, rtol=1e-5, atol=1e-8),
        "compare_arrays": lambda: compare_arrays(reference, candidate, rtol=1e-5, atol=1e-8),
        "compare_arrays, one thread": one_core,
        "compare_arrays, no tolerance": lambda: compare_arrays(reference, candidate),
        "compare_arrays, 25 % beyond rtol": lambda: compare_arrays(reference, candidate, rtol=1.2e-7),
        "floor: reading both arrays once": lambda: list(pool.map(np.max, (reference, candidate))),
    }
    taken = durations(runs, repeats)
    base = taken["numpy.testing.assert_allclose"]
    rows = []
    for name, run in runs.items():
        median, fastest = statistics.median(taken[name]), min(taken[name])
        ratio, fastest_ratio = statistics.median(base) / median, min(base) / fastest
        peak = None if name.startswith("floor") else peak_mb(run)
        target, met = "", None
        if name == "compare_arrays":
            target = f"ratio >= {TARGET_RATIO:g}, < {TARGET_MEMORY_MB:g} MB"
            met = min(ratio, fastest_ratio) >= TARGET_RATIO and (peak or 0.0) < TARGET_MEMORY_MB
        rows.append(Row(name, median, fastest, ratio, fastest_ratio, peak, target, met))
    pool.shutdown()
    return rows


def show(rows: list[Row], elements: int) -> None:
    print(
        f"{elements:,} float32 pairs, {os.cpu_count()} cores, NumPy {np.__version__}, Python {sys.version.split()[0]}"
    )
    print(f"{'':34}{'median ms':>10}{'min ms':>8}{'ratio':>7}{'of mins':>9}{'peak MB':>9}  target")
    for row in rows:
        peak = "" if row.peak_mb is None else f"{row.peak_mb:.1f}"
        verdict = "" if row.met is None else f"{row.target}: {'met' if row.met else 'MISSED'}"
        figures = (
            f"{row.median_s * 1e3:10.1f}{row.fastest_s * 1e3:8.1f}{row.ratio:7.1f}{row.fastest_ratio:9.1f}{peak:>9}"
        )
        print(f"{row.name:34}{figures}  {verdict}".rstrip())
    floor = rows[-1].median_s
    bandwidth = 2 * 4 * elements / floor / 1e9
    print(f"read bandwidth {bandwidth:.0f} GB/s; compare_arrays takes {rows[2].median_s / floor:.1f} times the floor")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=50_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    show(main(arguments.elements, arguments.repeats), arguments.elements)
