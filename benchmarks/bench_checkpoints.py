"""Checkpoints: mapping 10,000 variables (2 GB) to other names and writing them as safetensors, against a plain copy.

Run `python benchmarks/bench_checkpoints.py`; `--variables` and `--megabytes` make it smaller. The checkpoint is one of
the V2 format, written in parts. The competitor reads its bytes and writes them again, block by block, and knows
nothing of them; the conversion tests every checksum, proposes a mapping, and writes every tensor under its new name.
Both run in one process, taking turns, with the file in the system's cache; that process's resident memory is printed.
Only the ratio carries over.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_metrics import durations

VARIABLES, MEGABYTES = 10_000, 2_000
TARGET_RATIO, TARGET_MB = 2.0, 1_000.0
REPEATS = 3
_PARTS = 20
_BLOCK = 4 << 20


def shapes(count: int, megabytes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes as uneven as a network's: of five variables one is a large kernel, the others are small."""
    side = int((megabytes * 1e6 / 4 / (count / 5)) ** 0.5)
    found: dict[str, tuple[int, ...]] = {}
    for block in range(count // 5):
        scope = f"net/block_{block}/conv"
        found[f"{scope}/weights"] = (side - block % 7, side)
        for name in ("BatchNorm/gamma", "BatchNorm/beta", "BatchNorm/moving_mean", "BatchNorm/moving_variance"):
            found[f"{scope}/{name}"] = (side,)
    return found


def make(prefix: Path, wanted: dict[str, tuple[int, ...]]) -> None:
    """Writes the checkpoint in parts, so that it never is in memory as a whole."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    names = list(wanted)
    parts = []
    for number in range(_PARTS):
        held = names[number::_PARTS]
        values = [generator.standard_normal(wanted[name], dtype=np.float32) for name in held]
        parts.append(f"{prefix}.part-{number}")
        tf.raw_ops.SaveV2(prefix=parts[-1], tensor_names=held, shape_and_slices=[""] * len(held), tensors=values)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(prefix), delete_old_dirs=False)


def convert(prefix: Path, target: Path) -> int:
    """Opens, maps and writes; returns how many pairs of the mapping are not sure."""
    from lockstep.convert.proposing import proposal_for
    from lockstep.files.checkpoints.formats import write_safetensors
    from lockstep.frameworks.tensorflow.checkpoint_reader import open_checkpoint
    from lockstep.ground.restoring import Held
    from lockstep.traces.trace import VariableRecord

    target.unlink(missing_ok=True)
    checkpoint = open_checkpoint(prefix)
    renamed = {
        name: name.replace("net/", "model/").replace("weights", "kernel").replace("BatchNorm", "normalization")
        for name in checkpoint
    }
    records = tuple(
        VariableRecord(new, new, checkpoint.entries[name].shape, "float32", True) for name, new in renamed.items()
    )
    proposal = proposal_for(checkpoint, records)
    assert not proposal.entries
    assert not proposal.records
    sources = {pair.record.key: pair.entry for pair in proposal.pairs}
    held = {key: Held(entry.shape, entry.dtype) for key, entry in sources.items()}
    write_safetensors(target, held, lambda key: checkpoint[sources[key].name])
    wrong = [pair for pair in proposal.pairs if renamed[pair.entry.name] != pair.record.key]
    assert not wrong, f"{len(wrong)} variables are mapped wrongly"
    return len(proposal.unsure)


def copy(prefix: Path, target: Path) -> None:
    """Reads the checkpoint's bytes and writes them again."""
    with target.open("wb") as out:
        for file in sorted(prefix.parent.glob(f"{prefix.name}.*")):
            with file.open("rb") as source:
                while block := source.read(_BLOCK):
                    out.write(block)


def worker(prefix: Path) -> None:
    """Measures in this process and prints JSON."""
    import tensorflow as tf  # noqa: F401 - its import is not what is measured

    before = resident_mb()
    unsure = 0

    def converted() -> None:
        nonlocal unsure
        unsure = convert(prefix, prefix.parent / "out.safetensors")

    taken = durations({"convert": converted, "copy": lambda: copy(prefix, prefix.parent / "copy")}, REPEATS)
    print(json.dumps({"seconds": taken, "peak_mb": resident_mb(), "before_mb": before, "unsure": unsure}))


def resident_mb() -> float:
    """Returns the largest resident memory of this process so far (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


def main(variables: int = VARIABLES, megabytes: int = MEGABYTES) -> None:
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-", dir=os.environ.get("LOCKSTEP_BENCH_FOLDER")) as place:
        prefix = Path(place) / "model.ckpt"
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, __file__, "--make", prefix, "--variables", str(variables), "--megabytes", str(megabytes)],
            check=True,
            capture_output=True,
        )
        written = time.perf_counter() - start
        size = sum(file.stat().st_size for file in Path(place).iterdir())
        command = [sys.executable, __file__, "--worker", str(prefix)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    converted, copied = (statistics.median(found["seconds"][name]) for name in ("convert", "copy"))
    print(f"checkpoint of {variables:,} variables, {size / 1e6:,.0f} MB, made in {written:.0f} s; medians of {REPEATS}")
    ratio = converted / copied
    figures = f"{converted:6.3f} s   plain read and write {copied:6.3f} s   ratio {ratio:5.2f}"
    show("map and convert", figures, f"at most {TARGET_RATIO:g}", ratio <= TARGET_RATIO)
    peak, before = found["peak_mb"], found["before_mb"]
    show("resident memory", f"{peak:6.0f} MB  ({before:.0f} MB before)", f"below {TARGET_MB:g}", peak < TARGET_MB)
    print(f"  {found['unsure']:,} of the mapping's pairs are left for review; all of them are right")


def show(what: str, figures: str, target: str, met: bool) -> None:
    print(f"  {what:<19} {figures}   target {target}: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variables", type=int, default=VARIABLES)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--make", type=Path)
    parser.add_argument("--worker", type=Path)
    options = parser.parse_args()
    if options.make:
        make(options.make, shapes(options.variables, options.megabytes))
    elif options.worker:
        worker(options.worker)
    else:
        main(options.variables, options.megabytes)
