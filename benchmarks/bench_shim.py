"""The shim against tf_keras's, each in a process of its own, taking turns; and `tf.function` against the plain graph.

Run `python benchmarks/bench_shim.py`. tf_keras lives in an environment of its own, made on the first run, because with
it installed TensorFlow behaves differently. Only the ratios carry over to other machines.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPEATS = 15
FIRST_CALLS = 5  # a process gives one first call


class Worker:
    """A process that measures on request."""

    def __init__(self, python: Path | str, side: str, example: str) -> None:
        self._process = subprocess.Popen(
            [str(python), str(HERE / "shim_worker.py"), side, example],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit(
                f"the {side} side did not start; run benchmarks/shim_worker.py {side} {example} to see why"
            )

    def measure(self, name: str) -> float:
        """Measures once: wall time, in seconds."""
        return self.measure_both(name)[0]

    def measure_both(self, name: str) -> tuple[float, float]:
        """Measures once: wall time and the processor time of all threads, in seconds."""
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        wall, processor = self._process.stdout.readline().split()
        return float(wall), float(processor)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


def tf_keras_python() -> Path:
    """Makes the competitor's environment beside this one, with the same TensorFlow."""
    folder = Path(sys.prefix) / "bench-tf_keras"
    python = folder / "bin" / "python"
    if not python.exists():
        uv = Path(sys.prefix) / "bin" / "uv"
        pins = dict(
            line.strip().split("==")
            for line in (HERE.parent / "constraints.txt").read_text().splitlines()
            if "==" in line
        )
        wanted = [f"tensorflow=={pins['tensorflow-cpu']}", f"tf_keras=={pins['tensorflow-cpu']}", "tf_slim==1.1.0"]
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


def main(example: str = "inception_resnet_v2", *, small: bool = False) -> None:
    """Prints all rows.

    Args:
        example: What is run.
        small: Whether few turns are taken, against ourselves: the competitor is an environment that has to be made.
    """
    turns, firsts = (2, 1) if small else (REPEATS, FIRST_CALLS)
    competitor = ("lockstep", sys.executable) if small else ("tf_keras", tf_keras_python())
    pythons = {"lockstep": ("lockstep", sys.executable), "tf_keras": competitor}
    first, floor = first_calls(pythons, example, firsts)
    workers = {name: Worker(python, side, example) for name, (side, python) in pythons.items()}
    try:
        for worker in workers.values():
            worker.measure("call")
        calls = take_turns({side: (worker, "call") for side, worker in workers.items()}, turns)
        ours = workers["lockstep"]
        for name in ("function", "graph"):  # tracing, building and the first run are not what is timed
            ours.measure(name)
            ours.measure(name)
        traced = take_turns({name: (ours, name) for name in ("function", "graph")}, turns)
    finally:
        for worker in workers.values():
            worker.close()
    print(f"{example}, inference; medians of {turns} turns")
    kernels = median(traced["graph"])
    for what, index in (("wall", 0), ("processor", 1)):
        ours, theirs = ([times[index] for times in first[side]] for side in ("lockstep", "tf_keras"))
        show(f"first call, median {what} time", median(ours), median(theirs), "tf_keras", 0.7)
        show(f"first call, fastest of {firsts}, {what} time", min(ours), min(theirs), "tf_keras", 0.7)
    made = min(processor for _, processor in floor)
    print(f"    floor: as many times tf.Variable, same shapes, initializers:  {made:.3f} s processor time")
    print(f"    floor: one call of the kernels alone, as a plain graph:       {kernels:.3f} s")
    show("eager call", median(calls["lockstep"]), median(calls["tf_keras"]), "tf_keras", 0.6)
    show("eager call, fastest", min(calls["lockstep"]), min(calls["tf_keras"]), "tf_keras", 0.6)
    show("tf.function call", median(traced["function"]), median(traced["graph"]), "plain graph", 1.05)
    show(
        "eager call against graph (the kernels alone)",
        median(calls["lockstep"]),
        kernels,
        "plain graph",
        None,
    )
    for part in ("growth", "memory"):  # each in a process where nothing else has grown
        command = [sys.executable, str(HERE / "shim_sizes.py"), part, *(["small"] if small else [])]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


Times = list[tuple[float, float]]
"""Wall and processor times, in seconds."""


def first_calls(pythons: dict[str, tuple[str, Path | str]], example: str, count: int) -> tuple[dict[str, Times], Times]:
    """Measures first calls in fresh processes taking turns, and in ours, afterwards, the making of variables alone."""
    first: dict[str, Times] = {side: [] for side in pythons}
    floor = []
    for _ in range(count):
        for name, (side, python) in pythons.items():
            worker = Worker(python, side, example)
            try:
                first[name].append(worker.measure_both("call"))
                if name == "lockstep":
                    floor.append(worker.measure_both("variables"))
            finally:
                worker.close()
    return first, floor


def take_turns(workers: dict[str, tuple[Worker, str]], turns: int) -> dict[str, list[float]]:
    durations: dict[str, list[float]] = {side: [] for side in workers}
    for _ in range(turns):
        for side, (worker, name) in workers.items():
            durations[side].append(worker.measure(name))
    return durations


def median(durations: list[float]) -> float:
    return statistics.median(durations)


def show(what: str, ours: float, theirs: float, competitor: str, target: float | None) -> None:
    ratio = ours / theirs
    judged = "" if target is None else f"  target at most {target}: {'met' if ratio <= target else 'MISSED'}"
    print(f"  {what:<48} {ours:7.3f} s   {competitor} {theirs:7.3f} s   ratio {ratio:5.2f}{judged}")


if __name__ == "__main__":
    main()
