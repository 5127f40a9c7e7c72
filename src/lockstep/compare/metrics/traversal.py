"""The one pass through both arrays, block by block, on several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lockstep.compare.metrics.blocks import cut_blocks, take_block
from lockstep.compare.metrics.dtypes import Array
from lockstep.compare.metrics.evaluation import evaluate
from lockstep.compare.metrics.plan import Plan
from lockstep.compare.metrics.screening import Screen
from lockstep.compare.metrics.tally import Tally

_PARALLEL_FROM = 1 << 21  # below this many elements starting threads costs more than it saves
_MAX_THREADS = 4  # bounds the scratch memory, about 10 MB each; memory bandwidth is used up soon anyway


def traverse(reference: Array, candidate: Array, plan: Plan) -> Tally:
    """Goes once through both arrays, block by block, on all cores if the arrays are large."""
    if reference.flags.c_contiguous and candidate.flags.c_contiguous:
        reference, candidate = reference.reshape(-1), candidate.reshape(-1)
    blocks = cut_blocks(reference.shape, plan.block)
    lock = threading.Lock()

    def work() -> Tally:
        tally = Tally()
        add = _adder(plan, tally)
        # Warnings are switched off here and not outside: NumPy keeps that setting per thread.
        with np.errstate(all="ignore"):
            while True:
                with lock:
                    start, where = next(blocks, (-1, ()))
                if start < 0:
                    return tally
                add(start, take_block(reference, where), take_block(candidate, where))

    threads = _threads(plan, reference.size)
    if threads == 1:
        return work()
    total = Tally()
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            total.merge(future.result())
    return total


def _threads(plan: Plan, elements: int) -> int:
    if elements < _PARALLEL_FROM or plan.common.kind == "O":  # objects need the interpreter's lock all the time
        return 1
    return max(1, min(_cores(), _MAX_THREADS, elements // plan.block))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _adder(plan: Plan, tally: Tally) -> Callable[[int, Array, Array], None]:
    """Returns the function that takes one block (start, reference, candidate) into the tally."""
    screen = Screen(plan, tally) if plan.screened else None

    def add(start: int, reference: Array, candidate: Array) -> None:
        if screen is None or not screen.add(start, reference, candidate):
            evaluate(start, reference, candidate, plan, tally)

    return add
