"""`python -m benchmarks`: every benchmark, each with its competitor in the same run, as a table with ratios."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_checkpoints
import bench_localise
import bench_metrics
import bench_shim
import bench_traces


def main() -> None:
    rows = bench_metrics.main()
    bench_metrics.show(rows, 50_000_000)
    print()
    bench_traces.main()
    print()
    bench_checkpoints.main()
    print()
    bench_shim.main()
    print()
    bench_localise.main()


if __name__ == "__main__":
    main()
