"""The guide's tool that makes random numbers agree between a TF1 graph, eager execution and `tf.function`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from lockstep.errors import InputError, nearest

MODES = ("constant", "num_random_ops")

# TensorFlow draws a random operation's numbers from a pair: the global seed and the operation's own.
_Seeds = tuple[int, int]


class DeterministicRandomTestTool:
    """Gives stateful random operations the same seeds wherever they run, in the order of the program.

    In mode `"constant"` every operation draws with the same seeds, whatever came before it. In mode
    `"num_random_ops"` the operation seed is the number of random operations seen before, so that each
    draws different numbers and the order of the program matters.

    It reaches everything that asks TensorFlow for a seed: `tf.random.*`, `tf.nn.dropout`, TF1 initializers,
    tf_slim; initializers and layers of Keras 3 have generators of their own.

    Args:
        seed: The global seed of the pair.
        mode: `"constant"` or `"num_random_ops"`.

    Raises:
        InputError: The mode is neither (it is a `ValueError` too).

    Example:
        >>> import tensorflow as tf
        >>> tool = DeterministicRandomTestTool(mode="num_random_ops")
        >>> with tool.scope():
        ...     a = tf.random.uniform([3]) * 3
        >>> a.numpy().tolist(), tool.operation_seed
        ([2.5063772201538086, 2.748891830444336, 1.4839485883712769], 1)
    """

    def __init__(self, seed: int = 42, mode: str = "constant") -> None:
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(map(repr, MODES))}, not {mode!r}{nearest(mode, MODES)}")
        self._seed = seed
        self._mode = mode
        self._operation_seed = 0
        self._used: set[int] = set()
        self._draws = 0
        self._lock = threading.Lock()

    @property
    def operation_seed(self) -> int:
        """The operation seed that the next random operation gets; may be set in mode `"num_random_ops"`."""
        return self._operation_seed

    @operation_seed.setter
    def operation_seed(self, value: int) -> None:
        self._operation_seed = value

    @property
    def draws(self) -> int:
        """How many seeds it has handed out so far."""
        return self._draws

    @contextlib.contextmanager
    def scope(self) -> Iterator[DeterministicRandomTestTool]:
        """Aligns the random operations made inside it; what it patches is restored on leaving, whatever happens."""
        import tensorflow as tf

        # In eager mode this also forgets the kernels, whose generators would otherwise go on where an earlier
        # operation with the same seeds left them.
        tf.random.set_seed(self._seed)
        with _patched(self._next_seeds):
            yield self

    def _next_seeds(self, op_seed: int | None) -> _Seeds:
        del op_seed  # what the program asked for would differ between the sides
        import tensorflow as tf

        from lockstep.tf1 import private

        if private.in_symbolic_build():
            # Keras traces a layer once more only to learn its shapes; nothing of that is ever run. Variables made
            # during it are lifted out of the trace, ask from outside it, and do count.
            return self._seed, self._operation_seed
        with self._lock:
            self._draws += 1
        if self._mode == "constant":
            tf.random.set_seed(self._operation_seed)
            return self._seed, self._operation_seed
        with self._lock:
            if self._operation_seed in self._used:
                raise ValueError(
                    f"This `DeterministicRandomTestTool` object is trying to re-use the already-used operation seed "
                    f"{self._operation_seed}. It cannot guarantee random numbers will match between eager and sessions "
                    "when an operation seed is reused. You most likely set `operation_seed` explicitly but used a "
                    "value that caused the naturally-incrementing operation seed sequences to overlap with an "
                    "already-used seed."
                )
            seeds = self._seed, self._operation_seed
            self._used.add(self._operation_seed)
            self._operation_seed += 1
        return seeds


_GetSeed = Callable[[Any], _Seeds]


class _Patch:
    """The one replacement of TensorFlow's `get_seed`, for however many scopes are open in whichever threads.

    Scopes may be left in another order than they were entered (two threads, a generator that is closed
    late), so the original comes back when the last one is gone, not when the first one was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[tuple[int, _GetSeed]] = []
        self._original: _GetSeed | None = None

    def enter(self, get_seed: _GetSeed) -> tuple[int, _GetSeed]:
        from lockstep.tf1 import private

        entry = (threading.get_ident(), get_seed)
        with self._lock:
            if not self._open:
                module = private.random_seed_module()
                self._original, module.get_seed = module.get_seed, self._dispatch
            self._open.append(entry)
        return entry

    def leave(self, entry: tuple[int, _GetSeed]) -> None:
        from lockstep.tf1 import private

        with self._lock:
            # By identity: two scopes of one tool in one thread are equal, but either may be removed then.
            self._open.remove(entry)
            if not self._open:
                private.random_seed_module().get_seed = self._original

    def _dispatch(self, op_seed: int | None) -> _Seeds:
        """Asks this thread's innermost tool; a thread without one (a replica's) asks the one entered last."""
        entries = list(self._open)
        if not entries:  # another thread left its scope while this one was on its way here
            assert self._original is not None
            return self._original(op_seed)
        thread = threading.get_ident()
        own = [get_seed for ident, get_seed in entries if ident == thread]
        return (own or [entries[-1][1]])[-1](op_seed)


_patch = _Patch()


@contextlib.contextmanager
def _patched(get_seed: _GetSeed) -> Iterator[None]:
    entry = _patch.enter(get_seed)
    try:
        yield
    finally:
        _patch.leave(entry)
