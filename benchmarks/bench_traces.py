"""Traces on disk: writing and comparing a whole forward pass, and what recording it costs.

Run `python benchmarks/bench_traces.py`; with `--network` also the guide's network in this TensorFlow, tapped against
plain. Two traces of 878 tensors and 416 MB, as Inception-ResNet-v2's forward pass has them, are written, loaded and
compared, each tensor checked byte by byte; beside it stand a plain file copy, a NumPy loop over the same bytes, and the
floor, reading each byte once on one core. The comparison runs in a process of its own, whose resident memory is
printed. Only the ratios carry over.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_metrics import durations

TENSORS, TOTAL_BYTES = 878, 416_000_000
NETWORK = "inception_resnet_v2"
TARGET_GB_S, TARGET_MB = 2.0, 500.0
TARGET_TAPPED = 1.5
REPEATS = 5


def tensors(count: int = TENSORS, total_bytes: int = TOTAL_BYTES) -> dict[str, np.ndarray]:
    """Makes tensors of sizes as uneven as a network's: the largest take 11 MB, most some hundred KB."""
    generator = np.random.default_rng(0)
    weights = 1.0 / np.arange(1, count + 1) ** 0.6
    counts = (weights / weights.sum() * total_bytes / 4).astype(int)
    return {f"scope/operation_{i}:0": generator.standard_normal(n, dtype=np.float32) for i, n in enumerate(counts)}


def write(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    from lockstep.ground.folder import TraceWriter

    with TraceWriter(str(folder)) as writer:
        writer.finish({"taps": writer.add(arrays)})


def compare(folders: list[Path]) -> float:
    """Loads and compares two traces, every byte checked; returns the largest difference."""
    from lockstep.compare.pairs import compare_named
    from lockstep.compare.tolerance import FixedTolerance
    from lockstep.elsewhere.recorded import Tensors
    from lockstep.ground.folder import TraceReader

    readers = [TraceReader(str(folder)) for folder in folders]
    ours, theirs = (Tensors(reader, reader.body["taps"], {}) for reader in readers)
    return compare_named(ours, theirs, FixedTolerance()).largest_error


def numpy_loop(folders: list[Path]) -> float:
    """What one writes oneself: both files mapped, the largest difference tensor by tensor, nothing checked."""
    files = [sorted(folder.glob("*.safetensors")) for folder in folders]
    largest = 0.0
    for a, b in zip(*files, strict=True):
        x, y = (np.memmap(file, np.float32, "r", offset=file.stat().st_size % 4) for file in (a, b))
        for start in range(0, len(x), 250_000):
            part = slice(start, start + 250_000)
            largest = max(largest, float(np.nanmax(np.abs(x[part] - y[part]))))
    return largest


def read_once(folders: list[Path]) -> int:
    """Adds up all words of both traces: nobody can compare or check them without reading them."""
    total = 0
    for file in (file for folder in folders for file in sorted(folder.glob("*.safetensors"))):
        words = np.memmap(file, np.uint64, "r", shape=(file.stat().st_size // 8,))
        total += int(np.add.reduce(words))
    return total


def worker(folders: list[Path]) -> None:
    """Measures in this process and prints JSON."""
    import lockstep.compare.pairs
    import lockstep.elsewhere.recorded  # noqa: F401 - imports are not what is measured

    before = resident_mb()
    taken = durations({"compare": lambda: compare(folders)}, REPEATS)
    peak = resident_mb()
    others = {"loop": lambda: numpy_loop(folders), "floor": lambda: read_once(folders)}
    taken.update(durations(others, REPEATS))
    print(json.dumps({"seconds": taken, "peak_mb": peak, "before_mb": before}))


def resident_mb() -> float:
    """Returns the largest resident memory of this process so far (Linux; getrusage would count the parent's too)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


def main(count: int = TENSORS, total_bytes: int = TOTAL_BYTES, *, network: str | None = NETWORK) -> None:
    """Prints both tables; `network` is the example that is tapped, None for none."""
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as place:
        folders = [Path(place) / name for name in ("reference", "candidate")]
        arrays = tensors(count, total_bytes)
        start = time.perf_counter()
        write(folders[0], arrays)
        written = time.perf_counter() - start
        write(folders[1], {name: array * np.float32(1 + 1e-7) for name, array in arrays.items()})
        size = sum(file.stat().st_size for file in folders[0].iterdir())
        start = time.perf_counter()
        shutil.copytree(folders[0], Path(place) / "copy")
        copied = time.perf_counter() - start
        del arrays
        done = subprocess.run(
            [sys.executable, __file__, "--worker", *map(str, folders)], check=True, capture_output=True, text=True
        )
        found = json.loads(done.stdout)
        compared, looped, floor = (statistics.median(found["seconds"][n]) for n in ("compare", "loop", "floor"))
        rate = 2 * size / compared / 1e9
        print(f"two traces of {count} tensors, {size / 1e6:.0f} MB each; medians of {REPEATS}")
        ratio = written / copied
        print(f"  writing one         {written:6.3f} s   plain copy of its files {copied:6.3f} s   ratio {ratio:5.2f}")
        show(
            "comparing, checked",
            f"{compared:6.3f} s   {rate:.1f} GB/s",
            f"at least {TARGET_GB_S:g}",
            rate >= TARGET_GB_S,
        )
        print(f"  plain NumPy loop    {looped:6.3f} s   ratio {compared / looped:5.2f} (one figure, unchecked)")
        print(f"  floor, read once    {floor:6.3f} s   ratio {compared / floor:5.2f} (one core)")
        peak, before = found["peak_mb"], found["before_mb"]
        show("resident memory", f"{peak:6.0f} MB  ({before:.0f} MB before)", f"below {TARGET_MB:g}", peak < TARGET_MB)
    checksums()
    if network is not None:
        tapped_network(network)


def checksums() -> None:
    """Prints how fast a trace's checksum is, beside a library's: in the cache and from memory, on one core."""
    from lockstep.ground.checksum import checksum

    sums: dict[str, Callable[[bytes], object]] = {
        "lockstep": checksum,
        "zlib.crc32": zlib.crc32,
        "SHA-256": lambda data: hashlib.sha256(data).digest(),
    }
    for size in (1 << 20, 64 << 20):
        data = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
        taken = durations({name: functools.partial(f, data) for name, f in sums.items()}, 5 * REPEATS)
        rates = "   ".join(f"{name} {size / min(taken[name]) / 1e9:.1f} GB/s" for name in sums)
        print(f"  checksum of {size >> 20:2d} MB   {rates}   (zlib {zlib.ZLIB_RUNTIME_VERSION})")


def tapped_network(example: str) -> None:
    """Runs an example plain and with every floating tensor of the forward pass fetched, taking turns."""
    import tensorflow as tf

    from lockstep import config, tf1
    from lockstep.recorder import graph, taps
    from lockstep.recorder.modules import Modules
    from lockstep.recorder.randomness import GraphSeeds

    settings = config.read(Path(__file__).resolve().parent.parent / "examples" / example)
    modules = Modules(str(settings.folder))
    legacy_model = modules.module(str(settings.folder / "legacy_model.py"))
    tf1.enable()
    arrays = dict(config.make_inputs(settings))
    with modules.active():
        model = graph.build(legacy_model.forward, arrays, training=True, seeds=GraphSeeds(mode="num_random_ops"))
    plan = taps.plan(model, [taps.EVERYTHING], 2 << 30)
    (block,) = plan.blocks
    with tf.compat.v1.Session(graph=model.graph, config=graph.session_config(0)) as session:
        session.run([variable.initializer for variable in model.raw_variables])
        feed = {model.inputs[name]: array for name, array in arrays.items()}
        plain, outputs = list(model.outputs.values()), list(model.outputs.values())
        runs = {"plain": lambda: session.run(plain, feed), "tapped": lambda: session.run([outputs, block], feed)}
        taken = durations(runs, REPEATS)
        size = sum(value.nbytes for value in session.run(block, feed))
    plain_s, tapped_s = (statistics.median(taken[name]) for name in ("plain", "tapped"))
    ratio = tapped_s / plain_s
    print(f"{example}, training mode: {len(block)} tensors, {size / 1e6:.0f} MB fetched along, nothing written")
    figures = f"{tapped_s:6.3f} s   plain run {plain_s:6.3f} s   ratio {ratio:5.2f}"
    show("tapped run", figures, f"at most {TARGET_TAPPED}", ratio <= TARGET_TAPPED)


def show(what: str, figures: str, target: str, met: bool) -> None:
    print(f"  {what:<19} {figures}   target {target}: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", nargs=2, type=Path)
    parser.add_argument("--no-network", action="store_true")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
    else:
        main(network=None if options.no_network else NETWORK)
