"""A whole small check from the command line, beside the import of TensorFlow and Keras that it cannot do without.

Run `python benchmarks/bench_check.py`. Each side is a process of its own; they take turns. Only the ratio carries over
to other machines. Modules are compiled, as an installed package's are: a first turn that is not measured does it.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "lockstep.toml"
FLOOR = (sys.executable, "-c", "import tensorflow, keras")
CHECK = (sys.executable, "-m", "lockstep", "check", str(QUICKSTART), "--quiet")
REPEATS = 9


def measured(command: tuple[str, ...]) -> tuple[float, float]:
    """Runs a command to its end.

    Returns:
        Wall time, and the processor time of all its threads and children, in seconds.
    """
    before, start = _processor(), time.perf_counter()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return wall, _processor() - before


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(repeats: int = REPEATS) -> None:
    """Prints both and their ratio; each ratio is of two runs that followed one another."""
    measured(CHECK)
    turns = [(measured(FLOOR), measured(CHECK)) for _ in range(repeats)]
    print(f"`lockstep check` of the quickstart; medians of {repeats} turns")
    print("| | import tensorflow, keras | lockstep check | ratio | lowest and highest |")
    print("| --- | --- | --- | --- | --- |")
    for number, what in enumerate(("wall", "processor")):
        floor, check = ([turn[side][number] for turn in turns] for side in (0, 1))
        ratios = sorted(ours / theirs for theirs, ours in zip(floor, check, strict=True))
        print(
            f"| {what} | {statistics.median(floor):.2f} s | {statistics.median(check):.2f} s | "
            f"{statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )


if __name__ == "__main__":
    main()
