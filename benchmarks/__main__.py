"""`python -m benchmarks`: every benchmark, each with its competitor in the same run, as a table with ratios.

`--small` runs all of them in sizes that tell nothing, to see that they run; `--only NAME` one of them.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_check
import bench_checkpoints
import bench_localise
import bench_metrics
import bench_shim
import bench_torch
import bench_traces
import bench_weights

ELEMENTS = 50_000_000


def check(*, small: bool) -> None:
    """A whole small check against the import of TensorFlow."""
    bench_check.main(1 if small else bench_check.REPEATS)


def metrics(*, small: bool) -> None:
    """The comparison of two arrays against NumPy's."""
    elements, repeats = (100_000, 1) if small else (ELEMENTS, 7)
    bench_metrics.show(bench_metrics.main(elements, repeats), elements)


def traces(*, small: bool) -> None:
    """Traces on disk, and what recording costs."""
    if small:
        bench_traces.main(20, 1_000_000, network="quickstart")
    else:
        bench_traces.main()


def checkpoints(*, small: bool) -> None:
    """Mapping and converting a checkpoint."""
    bench_checkpoints.main(*((100, 1) if small else ()))


def weights(*, small: bool) -> None:
    """Reading files of weights."""
    bench_weights.main(*((2,) if small else ()))


def shim(*, small: bool) -> None:
    """TF1 code through the shim."""
    bench_shim.main("quickstart" if small else "inception_resnet_v2", small=small)


def localise(*, small: bool) -> None:
    """Forced lockstep."""
    bench_localise.main(network="perceptron" if small else bench_localise.SLOWEST, small=small)


def torch(*, small: bool) -> None:
    """A PyTorch encoder of BERT-base's size: recorded, lowered, run as lowered, checked."""
    bench_torch.main(small=small)


PARTS: Mapping[str, Callable[..., None]] = {
    part.__name__: part for part in (check, metrics, traces, checkpoints, weights, shim, localise, torch)
}


def main(*, small: bool = False, only: str | None = None) -> None:
    """Runs the parts one after the other, in this process."""
    for name, part in PARTS.items():
        if only in (None, name):
            part(small=small)
            print(flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    main(small=options.small, only=options.only)
