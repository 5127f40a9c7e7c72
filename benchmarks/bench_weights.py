"""Files of weights: reading every tensor once, against reading the file's bytes, and the memory that it takes.

Each format is read in a process of its own, from the system's cache, one tensor after the other. Only the ratio and the
memory above the largest tensor carry over.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from bench_checkpoints import resident_mb, show

MEGABYTES, TENSORS = 400, 8
TARGET_RATIO, TARGET_TENSORS = 8.0, 1.5
_BLOCK = 4 << 20


def make(folder: Path, megabytes: int) -> list[Path]:
    """Writes the same tensors in each format that needs no framework."""
    import h5py
    import safetensors.numpy

    generator = np.random.default_rng(0)
    size = int(megabytes * 1e6 / 4 / TENSORS)
    tensors = {f"t{number}": generator.standard_normal(size, dtype=np.float32) for number in range(TENSORS)}
    files = [folder / f"m{suffix}" for suffix in (".weights.h5", ".keras", ".npz", ".safetensors")]
    with h5py.File(files[0], "w") as file:
        for name, value in tensors.items():
            file.create_dataset(f"layers/{name}/vars/0", data=value)
    with zipfile.ZipFile(files[1], "w") as archive:
        archive.write(files[0], "model.weights.h5")
    np.savez(files[2], **tensors)
    safetensors.numpy.save_file(tensors, files[3])
    return files


def worker(path: Path) -> None:
    """Reads in this process and prints JSON."""
    from lockstep.files.checkpoints.weight_files import open_weights, stored_as

    start = time.perf_counter()
    with path.open("rb") as file:
        while file.read(_BLOCK):
            pass
    plain, before = time.perf_counter() - start, resident_mb()
    start = time.perf_counter()
    checkpoint = open_weights(path, stored_as(path))
    total = sum(float(checkpoint[name].sum(dtype=np.float64)) for name in checkpoint)
    taken = time.perf_counter() - start
    print(json.dumps({"plain": plain, "taken": taken, "mb": resident_mb() - before, "total": total}))


def main(megabytes: int = MEGABYTES) -> None:
    print(f"weights of {megabytes:,} MB in {TENSORS} tensors, each read and summed once")
    largest = megabytes / TENSORS
    totals = set()
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as place:
        for path in make(Path(place), megabytes):
            command = [sys.executable, __file__, "--worker", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            totals.add(round(found["total"], 3))
            ratio, tensors = found["taken"] / found["plain"], found["mb"] / largest
            figures = f"{found['taken']:6.3f} s   plain read {found['plain']:6.3f} s   ratio {ratio:5.2f}"
            show(path.name, figures, f"at most {TARGET_RATIO:g}", ratio <= TARGET_RATIO)
            figures = f"{found['mb']:6.0f} MB more   largest tensor {largest:.0f} MB   ratio {tensors:5.2f}"
            show("", figures, f"at most {TARGET_TENSORS:g}", tensors <= TARGET_TENSORS)
    assert len(totals) == 1, "the formats do not hold the same"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--worker", type=Path)
    options = parser.parse_args()
    worker(options.worker) if options.worker else main(options.megabytes)
