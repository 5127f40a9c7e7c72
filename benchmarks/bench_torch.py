"""A PyTorch encoder of BERT-base's size: what recording, lowering, running as lowered and checking cost.

Run `python benchmarks/bench_torch.py`. All is held against one forward pass of PyTorch as it is: durations as ratios,
and memory as the ratio of what is held at most, the parameters counted once on either side. Only the ratios carry over
to other machines. Without PyTorch that is said; where nothing tells how much memory was held, memory is left out.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TARGET_LOWERED = 3.0
REPEATS = 3
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_KILO = 1024


class Size(NamedTuple):
    """How large an encoder and its batch are."""

    words: int
    width: int
    layers: int
    heads: int
    inner: int
    batch: int
    length: int


BASE = Size(words=30_522, width=768, layers=12, heads=12, inner=3_072, batch=2, length=128)
SMALL = Size(words=60, width=32, layers=2, heads=4, inner=64, batch=2, length=8)


class Cost(NamedTuple):
    """What something took: seconds, and bytes held at most beyond what was held before; None where nothing says."""

    seconds: float
    held: int | None


def main(*, small: bool = False) -> None:
    """Prints the table."""
    if importlib.util.find_spec("torch") is None:
        print("an encoder in PyTorch: not run, PyTorch is not installed")
        return
    import torch

    size = SMALL if small else BASE
    ids = {"ids": np.random.default_rng(0).integers(0, size.words, (size.batch, size.length)).astype(np.int32)}
    module = encoder(size)
    held = sum(value.nbytes for value in module.parameters())
    count = sum(value.numel() for value in module.parameters())
    print(f"an encoder in PyTorch {torch.__version__}: {count:,} parameters, {size.batch} x {size.length} words")
    costs = measured(size, module, ids, 1 if small else REPEATS)
    what, forward = next(costs)
    print(f"  {what:<21} {forward.seconds:8.3f} s{_megabytes(forward, held)}", flush=True)
    for what, cost in costs:
        ratio = cost.seconds / forward.seconds
        told = f"  {what:<21} {cost.seconds:8.3f} s{_megabytes(cost, held)}   ratio {ratio:6.1f}"
        if cost.held is not None and forward.held is not None:
            told += f", of memory {(held + cost.held) / (held + forward.held):5.1f}"
        if what == "run as lowered":
            told += f"   target at most {TARGET_LOWERED:g}: {'met' if ratio <= TARGET_LOWERED else 'MISSED'}"
        print(told, flush=True)


def _megabytes(cost: Cost, held: int) -> str:
    return "" if cost.held is None else f" {(held + cost.held) / 1e6:8.0f} MB"


def measured(size: Size, module: Any, ids: Mapping[str, np.ndarray], repeats: int) -> Iterator[tuple[str, Cost]]:
    """Yields what each thing costs, one forward pass first."""
    yield from of_one_side(module, ids, repeats)
    yield "checked", _cost(lambda: check(size, ids), 1)


def check(size: Size, ids: Mapping[str, np.ndarray]) -> None:
    """Checks the encoder against itself written otherwise.

    Raises:
        RuntimeError: It is not equivalent, so that the figures are of something else.
    """
    import lockstep

    report = lockstep.verify(
        lockstep.torch(lambda: encoder(size)),
        lockstep.torch(lambda: encoder(size, joined=True)),
        ids,
        steps=["variables-match", "inference-fixed"],
    )
    if report.verdict != "equivalent":
        raise RuntimeError(f"a right rewrite is {report.verdict}: {report.steps}")


def of_one_side(module: Any, ids: Mapping[str, np.ndarray], repeats: int) -> Iterator[tuple[str, Cost]]:
    """Yields what one forward pass costs, and what is done with one module."""
    import torch

    import lockstep
    from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels
    from lockstep.subjects import INFERENCE, INITIAL

    given, kernels = torch.from_numpy(ids["ids"]), TensorFlowKernels()
    instance = lockstep.torch(lambda: module).build(INFERENCE, ids)
    values = instance.run(INITIAL).before  # what is imported at the first run belongs to none of the costs

    def forward() -> Any:
        with torch.no_grad():
            return module.eval()(given)

    forward()
    yield "one forward pass", _cost(forward, repeats)
    yield "recorded", _cost(lambda: instance.run(INITIAL), repeats)
    yield "lowered, exported too", _cost(lambda: instance.program(values), 1)
    yield "lowered again", _cost(lambda: instance.program(values), repeats)
    program = instance.program(values)
    _evaluated(program, kernels)
    yield "run as lowered", _cost(lambda: _evaluated(program, kernels), repeats)
    instance.close()


def _evaluated(program: Any, kernels: Any) -> dict[int, Any]:
    """Runs a lowered program once, as it is: its operations with TensorFlow's kernels, what is read no more let go."""
    last = {tensor: operation.index for operation in program.operations for tensor in operation.inputs}
    kept = set(program.outputs.values())
    values = {tensor: source.value for tensor, source in program.sources.items()}
    for operation in program.operations:
        made = kernels.run(operation, [values[tensor] for tensor in operation.inputs])
        values.update(zip(operation.outputs, made, strict=True))
        for tensor in set(operation.inputs):
            if last[tensor] == operation.index and tensor not in kept:
                values.pop(tensor, None)
    return {tensor: values[tensor] for tensor in kept}


def _cost(action: Callable[[], object], repeats: int) -> Cost:
    seconds, held = [], None
    for _ in range(repeats):
        gc.collect()
        before = _resident("VmRSS") if _forgets_the_peak() else None
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
        if before is not None:
            held = max(held or 0, _resident("VmHWM") - before, 0)
    return Cost(statistics.median(seconds), held)


def _forgets_the_peak() -> bool:
    """Has Linux count the most memory held anew from here; tells whether it could."""
    try:
        _CLEAR.write_text("5", "ascii")
    except OSError:
        return False
    return True


def _resident(what: str) -> int:
    line = next(line for line in _STATUS.read_text("ascii").splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) * _KILO


def encoder(size: Size, *, joined: bool = False) -> Any:
    """Makes an encoder.

    Args:
        size: How large it is.
        joined: Whether attention is written by `scaled_dot_product_attention`, and not product by product.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value, self.out = (nn.Linear(size.width, size.width) for _ in range(4))
            self.wide, self.narrow = nn.Linear(size.width, size.inner), nn.Linear(size.inner, size.width)
            self.first, self.second = (nn.LayerNorm(size.width, eps=1e-12) for _ in range(2))

        def forward(self, x: Any) -> Any:
            q, k, v = (
                one(x).view(size.batch, size.length, size.heads, -1).transpose(1, 2)
                for one in (self.query, self.key, self.value)
            )
            if joined:
                mixed = functional.scaled_dot_product_attention(q, k, v)
            else:
                mixed = torch.softmax(q @ k.transpose(2, 3) / (size.width // size.heads) ** 0.5, -1) @ v
            mixed = mixed.transpose(1, 2).reshape(size.batch, size.length, size.width)
            x = self.first(x + self.out(mixed))
            return self.second(x + self.narrow(functional.gelu(self.wide(x))))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(size.words, size.width), nn.Embedding(512, size.width)
            self.norm = nn.LayerNorm(size.width, eps=1e-12)
            self.blocks = nn.ModuleList([Block() for _ in range(size.layers)])

        def forward(self, ids: Any) -> Any:
            x = self.norm(self.words(ids) + self.places(torch.arange(size.length)))
            for block in self.blocks:
                x = block(x)
            return x

    torch.manual_seed(0)
    return Encoder()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    main(small=parser.parse_args().small)
