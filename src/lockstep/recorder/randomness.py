"""Aligned seeds for the random operations of a TF1 graph, in whatever TensorFlow the recorder runs in."""

import contextlib
import functools
import inspect
from typing import Any, Iterator, List, Tuple

MODES = ("constant", "num_random_ops")


class GraphSeeds:
    """Gives every random operation of a graph its pair of seeds, in the order of the program.

    This is `lockstep.DeterministicRandomTestTool` for graphs alone: mode `"constant"` gives each the same pair,
    `"num_random_ops"` counts them. Checked on TensorFlow 1.15.5, and bit for bit against the other on 2.21.0.

    Attributes:
        taken: The operation seeds handed out so far, in order.
    """

    def __init__(self, seed: int = 42, mode: str = "constant") -> None:
        if mode not in MODES:
            raise ValueError("mode must be one of %s, not %r" % (", ".join(MODES), mode))
        self._seed = seed
        self._mode = mode
        self.taken: List[int] = []

    @contextlib.contextmanager
    def scope(self) -> Iterator["GraphSeeds"]:
        """Seeds the random operations that are made inside it."""
        # Every TensorFlow from 1.0 to 2.21 has this module, and every stateful random operation asks its `get_seed`.
        from tensorflow.python.framework import random_seed

        before, random_seed.get_seed = random_seed.get_seed, self._next_seeds
        try:
            yield self
        finally:
            random_seed.get_seed = before

    def _next_seeds(self, op_seed: Any) -> Tuple[int, int]:
        del op_seed  # what the program asked for would differ between the sides
        operation_seed = len(self.taken) if self._mode == "num_random_ops" else 0
        self.taken.append(operation_seed)
        if self._mode == "constant" and _executes_eagerly():
            from tensorflow.python.eager import context

            context.set_global_seed(operation_seed)  # eager operations of equal seeds share a stream, which starts anew
        return self._seed, operation_seed


def _executes_eagerly() -> bool:
    from tensorflow.python.eager import context

    return bool(context.executing_eagerly())


@contextlib.contextmanager
def loops_in_order() -> Iterator[None]:
    """Has loops within functions run one round after the other: once made, a function cannot be changed.

    `parallel_iterations` decides nothing but the order of the rounds, and with it what each of them draws. TensorFlow
    1.15 and 2.x make such functions of a loop within a loop or a branch; before, `while_v2` was an experiment that
    took no `parallel_iterations`.
    """
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import while_v2

    original = while_v2.while_loop
    if "parallel_iterations" not in inspect.signature(original).parameters:
        yield
        return

    @functools.wraps(original)
    def in_order(*args: Any, **kwargs: Any) -> Any:
        if ops.get_default_graph().building_function and "parallel_iterations" in kwargs:
            kwargs["parallel_iterations"] = 1
        return original(*args, **kwargs)

    while_v2.while_loop = in_order
    try:
        yield
    finally:
        while_v2.while_loop = original
