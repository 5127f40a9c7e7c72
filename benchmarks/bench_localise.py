"""Forced lockstep: what a pass costs beside a plain eager call, how it grows, what it holds, how sure its budgets are.

Run `python benchmarks/bench_localise.py`; with `--no-network` without the guide's network, with `--distribution` only
the table of error over noise budget on migrations that are right, which `docs/design/localisation.md` shows. Only the
ratios carry over to other machines.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench_metrics import durations  # noqa: E402

TARGET_WITHOUT, TARGET_WITH = 2.5, 6.0
BOUND = 300_000_000
SIZES = (1_000, 4_000, 16_000)
LINEAR = 2.0  # a cost that grew with the square would be 16 times as much
REPEATS = 3
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
SLOWEST = "inception_resnet_v2"
SMALL = ("perceptron", "quickstart", "mlp")
EXAMPLES = ("quickstart", "mlp", "decoder", "lstm_text", "from_shim_to_keras/lockstep-stage-3.toml")


class Both(NamedTuple):
    """Two programs of a migration, and what a pass over them needs."""

    reference: Any
    candidate: Any
    partners: Mapping[str, str]
    call: Callable[[], object]
    taken_down: Callable[[], object]


def main(*, network: str | None = SLOWEST, small: bool = False) -> None:
    """Prints all tables.

    Args:
        network: The family of the zoo that costs and memory are measured with; None to leave that out.
        small: Whether chains are short, and of the right migrations only those of `SMALL` are looked at.
    """
    growth(SIZES if not small else tuple(size // 50 for size in SIZES))
    if network is not None:
        cost(network, "shim", "every operation identical, no budget needed", TARGET_WITHOUT)
        cost(network, "native", "with budgets", TARGET_WITH)
        memory(network)
    distribution(network=network is not None, only=SMALL if small else ())


def subjects(family: str, migration: str) -> tuple[Any, Any, Mapping[str, np.ndarray], Sequence[tuple[str, str]]]:
    """Opens a right migration of the zoo."""
    from benchmarks.zoo import catalogue

    import lockstep

    exhibit = catalogue.load()[family]
    sides = lockstep.tf1_graph(exhibit.forward()), lockstep.keras(exhibit.build(migration))
    return (*sides, exhibit.arrays(), exhibit.rename(migration))


def both(reference: Any, candidate: Any, inputs: Any, rules: Sequence[Any], *, training: bool) -> Both:
    """Takes down both sides at distinct values."""
    from lockstep.compare import filling
    from lockstep.compare.align import align
    from lockstep.localise.matching import reads_all, without_duplicates
    from lockstep.subjects import INITIAL, Mode

    mode = Mode(training=training, randomness="num_random_ops")
    built = [subject.build(mode, inputs) for subject in (reference, candidate)]
    traces = [instance.run(INITIAL) for instance in built]
    alignment = align(traces[0].variables, traces[1].variables, tuple(rules))
    ours, theirs = filling.filled("distinct", alignment)
    programs = (
        built[0].program({**traces[0].before, **ours.values}).without_the_unused(),
        built[1].program(theirs.values).without_the_unused(),
    )
    partners = {c.key: r.key for r, c in alignment.pairs}
    if reads_all(*programs, partners):
        programs = programs[0], without_duplicates(programs[1], programs[0])
    return Both(*programs, partners, built[1]._call, lambda: built[1].program(theirs.values))


def cost(network: str, migration: str, what: str, target: float) -> None:
    """Times a forced pass over a network of the zoo, in training mode, against a plain eager call of the candidate."""
    from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
    from lockstep.localise.forcing import localise

    pair = both(*subjects(network, migration), training=True)
    kernels = TensorFlowKernels()
    runs = {
        "plain": pair.call,
        "taken down": pair.taken_down,
        "pass": lambda: localise(pair.reference, pair.candidate, pair.partners, kernels),
    }
    taken = {name: statistics.median(seconds) for name, seconds in durations(runs, REPEATS).items()}
    found = localise(pair.reference, pair.candidate, pair.partners, kernels)
    ratio = taken["pass"] / taken["plain"]
    print(f"{network}, training mode, {migration}: {len(pair.candidate.operations):,} operations, {what}")
    print(f"  {found.identical:,} identical, {found.compared:,} places compared, {len(found.blames)} blamed")
    print(f"  plain eager call    {taken['plain']:6.2f} s   taken down {taken['taken down']:6.2f} s")
    show("forced pass", f"{taken['pass']:6.2f} s   ratio {ratio:5.2f}", f"at most {target:g}", ratio <= target)


def memory(network: str) -> None:
    """Holds a network's forward pass in a bound that is smaller."""
    from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
    from lockstep.localise.values import Values

    pair = both(*subjects(network, "shim"), training=True)
    with Values(pair.reference, TensorFlowKernels()) as unbounded:
        whole = unbounded.peak
    start = time.perf_counter()
    with Values(pair.reference, TensorFlowKernels(), BOUND) as bounded:
        peak = bounded.peak
    taken = time.perf_counter() - start
    largest = max(np.prod(spec.shape, dtype=np.int64) * 4 for spec in pair.reference.specs)
    print(f"the reference's values: {whole / 1e6:.0f} MB, the largest tensor {largest / 1e6:.1f} MB")
    show("held at most", f"{peak / 1e6:6.0f} MB   {taken:.2f} s", f"at most {BOUND / 1e6:.0f} MB", peak <= BOUND)


def growth(sizes: Sequence[int] = SIZES) -> None:
    """Passes over chains of small operations: where all are identical, and where every second has to be compared."""
    from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
    from lockstep.localise.forcing import localise

    kernels = TensorFlowKernels()
    factors = {"identical": np.float32(0.99), "compared": np.nextafter(np.float32(0.99), np.float32(1))}
    for name, factor in factors.items():
        per_operation = []
        for size in sizes:
            sides = chain(size, np.float32(0.99)), chain(size, factor)
            start = time.perf_counter()
            found = localise(*sides, {}, kernels)
            taken = time.perf_counter() - start
            per_operation.append(taken / size)
            assert found.complete
            assert not found.blames
            assert (found.compared > 0) == (name == "compared")
            counted = f"{found.identical:6,} identical, {found.compared:6,} compared"
            print(f"  chain of {size:6,}   {counted}   {taken:6.2f} s   {1e6 * taken / size:6.0f} us an operation")
        ratio = per_operation[-1] / per_operation[0]
        show(f"growth, {name}", f"{ratio:5.2f} times as long an operation", f"at most {LINEAR:g}", ratio <= LINEAR)


def chain(size: int, factor: np.float32) -> Any:
    """Takes down a chain of multiplications and additions."""
    import tensorflow as tf

    from lockstep.frameworks.tensorflow.eager_program import EagerRecorder
    from lockstep.tf1 import private

    x = tf.constant(np.random.default_rng(0).uniform(-1, 1, (8, 16)).astype(np.float32))
    recorder = EagerRecorder({}, {"x": x})
    with private.watched_operations(recorder):
        net = x
        for _ in range(size // 2):
            net = tf.multiply(net, factor) + 0.01
    return recorder.recorded({"": net})


def pairs(*, network: bool, only: Sequence[str] = ()) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Yields every right migration, or those of the names in `only`: `(name, migration, arguments of both)`."""
    from benchmarks.zoo import catalogue

    for family in catalogue.load():
        for migration in ("shim", "native"):
            if family in only or (not only and (network or family != SLOWEST)):
                yield family, migration, subjects(family, migration)
    from lockstep import config

    for example in only or EXAMPLES:
        if example not in EXAMPLES:
            continue
        path = ROOT / "examples" / example
        settings = config.read(path if path.suffix else path / "lockstep.toml")
        sides = [
            config.subject_from_table(getattr(settings, side), settings.folder, side)
            for side in ("reference", "candidate")
        ]
        migration = "native" if "stage" in example else "example"
        yield example.partition("/")[0], migration, (*sides, config.make_inputs(settings), settings.rename)


def distribution(*, network: bool = True, only: Sequence[str] = ()) -> None:
    """Prints quantiles of error over noise budget where nothing is wrong."""
    from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
    from lockstep.localise.forcing import localise

    ratios: dict[str, list[float]] = {}
    counts: dict[str, list[int]] = {}
    for name, migration, arguments in pairs(network=network, only=only):
        for training in (False, True):
            pair = both(*arguments, training=training)
            found = localise(pair.reference, pair.candidate, pair.partners, TensorFlowKernels())
            if found.blames or found.unchanged or not found.complete:
                print(f"  {name}, {migration}: {len(found.blames)} places of a right migration are blamed")
            ratios.setdefault(migration, []).extend(found.ratios)
            totals = counts.setdefault(migration, [0, 0])
            totals[0] += found.identical
            totals[1] += len(found.blames) + len(found.unchanged)
    print("error over noise budget, migrations that are right (1 is blamed)")
    heading = " | ".join("largest" if q == 1.0 else f"{100 * q:g} %" for q in QUANTILES)
    print(f"| migration | identical operations | places compared | blamed | {heading} |")
    print(f"| --- |{' ---: |' * (3 + len(QUANTILES))}")
    for migration, found_ratios in ratios.items():
        cells = [f"{q:.2g}" for q in np.quantile(found_ratios or [0.0], QUANTILES)]
        identical, blamed = counts[migration]
        print(f"| {migration} | {identical:,} | {len(found_ratios):,} | {blamed} | {' | '.join(cells)} |")


def show(what: str, figures: str, target: str, met: bool) -> None:
    """Prints a figure and its target."""
    print(f"  {what:<19} {figures}   target {target}: {'met' if met else 'MISSED'}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-network", action="store_true")
    parser.add_argument("--distribution", action="store_true")
    options = parser.parse_args()
    if options.distribution:
        distribution(network=not options.no_network)
    else:
        main(network=None if options.no_network else SLOWEST)
