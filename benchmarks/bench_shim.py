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


class Worker:
    """A process that measures on request."""

    def __init__(self, python: Path | str, side: str) -> None:
        self._process = subprocess.Popen(
            [str(python), str(HERE / "shim_worker.py"), side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit(f"the {side} side did not start; run benchmarks/shim_worker.py {side} to see why")

    def measure(self, name: str) -> float:
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

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


def main() -> None:
    workers = {"lockstep": Worker(sys.executable, "lockstep"), "tf_keras": Worker(tf_keras_python(), "tf_keras")}
    try:
        first = {side: worker.measure("call") for side, worker in workers.items()}
        calls = take_turns({side: (worker, "call") for side, worker in workers.items()})
        ours = workers["lockstep"]
        for name in ("function", "graph"):  # tracing, building and the first run are not what is timed
            ours.measure(name)
            ours.measure(name)
        traced = take_turns({name: (ours, name) for name in ("function", "graph")})
    finally:
        for worker in workers.values():
            worker.close()
    print("Inception-ResNet-v2, 1 x 299 x 299 x 3, inference; medians of", REPEATS, "turns")
    show("first eager call (makes 1,114 variables)", first["lockstep"], first["tf_keras"], "tf_keras", None)
    show("eager call", median(calls["lockstep"]), median(calls["tf_keras"]), "tf_keras", 0.75)
    show("tf.function call", median(traced["function"]), median(traced["graph"]), "plain graph", 1.05)
    show(
        "eager call against graph (the kernels alone)",
        median(calls["lockstep"]),
        median(traced["graph"]),
        "plain graph",
        None,
    )


def take_turns(workers: dict[str, tuple[Worker, str]]) -> dict[str, list[float]]:
    durations: dict[str, list[float]] = {side: [] for side in workers}
    for _ in range(REPEATS):
        for side, (worker, name) in workers.items():
            durations[side].append(worker.measure(name))
    return durations


def median(durations: list[float]) -> float:
    return statistics.median(durations)


def show(what: str, ours: float, theirs: float, competitor: str, target: float | None) -> None:
    ratio = ours / theirs
    judged = "" if target is None else f"  target at most {target}: {'met' if ratio <= target else 'MISSED'}"
    print(f"  {what:<46} {ours:7.3f} s   {competitor} {theirs:7.3f} s   ratio {ratio:5.2f}{judged}")


if __name__ == "__main__":
    main()
