"""The guide's tool that makes random numbers agree between a TF1 graph, eager execution and `tf.function`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lockstep.common.errors import InputError, nearest

MODES = ("constant", "num_random_ops")

# TensorFlow draws a random operation's numbers from a pair: the global seed and the operation's own.
_Seeds = tuple[int, int]


class _CompiledDrawError(InputError):
    """A random operation that XLA compiles."""

    # AutoGraph makes the exceptions that pass through it anew, and loses the class of those it does not know.
    ag_pass_through = True


class DeterministicRandomTestTool:
    """Gives stateful random operations the same seeds wherever they run, in the order of the program.

    In mode `"constant"` every operation draws with the same seeds, whatever came before it. In mode
    `"num_random_ops"` the operation seed is the number of random operations seen before, so that each
    draws different numbers and the order of the program matters.

    It reaches everything that asks TensorFlow for a seed: `tf.random.*`, `tf.nn.dropout`, TF1 initializers,
    tf_slim; and, on Keras's TensorFlow backend, all that rests on `keras.random`: initializers, dropout, noise and
    augmentation layers, whatever seed or `SeedGenerator` they were given. These draw what TF1's draw, and leave
    their seed generators as they are.

    A `tf.function` traced in a scope (`fit` traces one) keeps the seeds of its trace: its draws go on from call to
    call, as a TF1 graph's go on from one `Session.run` to the next, and start anew when another scope is entered.

    Args:
        seed: The global seed of the pair.
        mode: `"constant"` or `"num_random_ops"`.
        keras: Whether Keras's own random functions are aligned too; False leaves them as Keras has them.

    Raises:
        InputError: The mode is neither (it is a `ValueError` too). In a scope: a random operation is compiled by XLA
            (`jit_compile=True`), which ignores seeds.

    Example:
        >>> import tensorflow as tf
        >>> tool = DeterministicRandomTestTool(mode="num_random_ops")
        >>> with tool.scope():
        ...     a = tf.random.uniform([3]) * 3
        >>> a.numpy().tolist(), tool.operation_seed
        ([2.5063772201538086, 2.748891830444336, 1.4839485883712769], 1)
    """

    def __init__(self, seed: int = 42, mode: str = "constant", *, keras: bool = True) -> None:
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(map(repr, MODES))}, not {mode!r}{nearest(mode, MODES)}")
        self._seed = seed
        self._mode = mode
        self._keras = keras
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
        entry = _patch.enter(self._next_seeds, keras=self._keras)
        try:
            yield self
        finally:
            _patch.leave(entry)

    def _next_seeds(self, op_seed: int | None) -> _Seeds:
        del op_seed  # what the program asked for would differ between the sides
        import tensorflow as tf

        from lockstep.tf1 import private

        if private.in_symbolic_build():
            # Keras traces a layer once more only to learn its shapes; nothing of that is ever run. Variables made
            # during it are lifted out of the trace, ask from outside it, and do count.
            return self._seed, self._operation_seed
        if private.in_xla_compilation():
            raise _CompiledDrawError(
                "a random operation is compiled by XLA (jit_compile=True), whose generator ignores every seed, so that "
                "its numbers cannot be aligned; compile without while a DeterministicRandomTestTool is open: "
                "model.compile(..., jit_compile=False) or tf.function(..., jit_compile=False)."
            )
        with self._lock:
            self._draws += 1
            operation_seed = self._take()
        if self._mode == "constant":
            tf.random.set_seed(operation_seed)
        return self._seed, operation_seed

    def _take(self) -> int:
        """Returns the operation seed of the next draw; called with the lock held."""
        if self._mode == "constant":
            return self._operation_seed
        if self._operation_seed in self._used:
            raise ValueError(
                f"This `DeterministicRandomTestTool` object is trying to re-use the already-used operation seed "
                f"{self._operation_seed}. It cannot guarantee random numbers will match between eager and sessions "
                "when an operation seed is reused. You most likely set `operation_seed` explicitly but used a "
                "value that caused the naturally-incrementing operation seed sequences to overlap with an "
                "already-used seed."
            )
        self._used.add(self._operation_seed)
        self._operation_seed += 1
        return self._operation_seed - 1


_GetSeed = Callable[[Any], _Seeds]


@dataclass(frozen=True, eq=False)  # each entry is itself alone: a tool's scope may be open twice in one thread
class _Open:
    """One open scope."""

    thread: int
    get_seed: _GetSeed
    keras: bool


class _Patch:
    """The one replacement of TensorFlow's `get_seed` and of Keras's random functions, for all open scopes.

    Scopes may be left in another order than they were entered (two threads, a generator that is closed
    late), so the originals come back when the last one is gone, not when the first one was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[_Open] = []
        self._original: _GetSeed | None = None
        self._restore = contextlib.ExitStack()
        self._keras = False

    def enter(self, get_seed: _GetSeed, *, keras: bool) -> _Open:
        from lockstep.tf1 import private

        entry = _Open(threading.get_ident(), get_seed, keras)
        # Outside the lock: this may import Keras.
        functions = private.keras_random_module() if keras else None
        with self._lock:
            try:
                if not self._open:
                    self._replace_get_seed()
                if functions is not None and not self._keras:
                    from lockstep.frameworks.tensorflow import (
                        keras_randomness,  # imports Keras, which need not be installed
                    )

                    self._restore.enter_context(keras_randomness.replaced(functions, self._reaches_keras))
                    self._keras = True
                self._open.append(entry)
            finally:
                self._restore_if_unused()
        return entry

    def leave(self, entry: _Open) -> None:
        with self._lock:
            self._open.remove(entry)
            self._restore_if_unused()

    def _replace_get_seed(self) -> None:
        from lockstep.tf1 import private

        module = private.random_seed_module()
        self._original, module.get_seed = module.get_seed, self._dispatch
        self._restore.callback(setattr, module, "get_seed", self._original)

    def _restore_if_unused(self) -> None:
        if not self._open:
            self._keras = False
            self._restore.close()

    def _innermost(self) -> _Open | None:
        """This thread's innermost scope; a thread without one (a replica's) belongs to the one entered last."""
        entries = list(self._open)
        thread = threading.get_ident()
        own = [entry for entry in entries if entry.thread == thread]
        candidates = own or entries
        return candidates[-1] if candidates else None

    def _dispatch(self, op_seed: int | None) -> _Seeds:
        entry = self._innermost()
        if entry is None:  # another thread left its scope while this one was on its way here
            assert self._original is not None
            return self._original(op_seed)
        return entry.get_seed(op_seed)

    def _reaches_keras(self) -> bool:
        entry = self._innermost()
        return entry is not None and entry.keras


_patch = _Patch()
