"""The global random generators of NumPy and Python: seeded alike for both sides, and given back as they were."""

import contextlib
import hashlib
import itertools
import random
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple

import numpy as np

SEED = 42
"""What a build, and what follows it, begins with."""
IMPORT_SEED = 43
"""What an import begins with: a module that draws a table gets other numbers than the first initializer."""
_INITIAL_SEED = 44

_NOTHING = ""
_SPREAD = (0.03, 0.97, 0.15, 0.85, 0.3, 0.7, 0.5, 0.07, 0.93, 0.22, 0.6, 0.4)
_FORWARD, _INITIAL = "forward", "initial"


class Generators:
    """The states of both generators for one build of one side.

    There are two streams. Initial values have one of their own: a graph draws them among the draws of the forward pass,
    and so does the first eager call; later calls draw those of the forward pass alone, and have to meet the same
    numbers.

    The process's own states are put back whenever the code of a side has run, so that whoever called Lockstep draws on
    where they stopped. `np.random.default_rng()` and `random.SystemRandom` have no global state, and are left alone.
    """

    def __init__(self, seed: int = SEED) -> None:
        self._states = {_FORWARD: _seeded(seed), _INITIAL: _seeded(_INITIAL_SEED)}
        self._stream = _FORWARD

    def copy(self) -> "Generators":
        """Returns others in the same states."""
        copied = Generators()
        copied._states = dict(self._states)
        return copied

    def drawn(self) -> Tuple[str, str]:
        """Returns how far NumPy's and Python's generators have come in the forward pass; empty where nothing was drawn.

        Two sides that have come equally far have drawn equally much, and so the same.
        """
        now, start = (_digests(state) for state in (self._states[_FORWARD], _seeded(SEED)))
        numpy, python = (_NOTHING if one == other else one for one, other in zip(now, start))
        return numpy, python

    def stirred(self, kinds: Iterable[str], number: int) -> "Generators":
        """Returns others, of which those of `kinds` (`"numpy"`, `"python"`) begin with other numbers.

        Their first numbers are spread over the whole range: who draws lots at `random() < 0.1` gets some of each.
        """
        copied = self.copy()
        wanted = _SPREAD[number % len(_SPREAD)]
        copied._states[_FORWARD] = dict(self._states[_FORWARD], **{kind: _near(wanted, kind) for kind in kinds})
        return copied

    def moved(self, start: "Generators") -> Tuple[bool, bool]:
        """Tells whether NumPy's and Python's generators are elsewhere in the forward pass than those of `start`."""
        now, before = (_digests(each._states[_FORWARD]) for each in (self, start))
        return now[0] != before[0], now[1] != before[1]

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Has the global generators draw from here."""
        outside = _state()
        _set(self._states[_FORWARD])
        try:
            yield
        finally:
            self._states[_FORWARD] = _state()
            _set(outside)

    @contextlib.contextmanager
    def initial_values(self) -> Iterator[None]:
        """Has them draw from the stream of initial values; within `active`, and not twice."""
        if self._stream == _INITIAL:
            yield
            return
        forward, self._stream = _state(), _INITIAL
        _set(self._states[_INITIAL])
        try:
            yield
        finally:
            self._states[_INITIAL], self._stream = _state(), _FORWARD
            _set(forward)

    @contextlib.contextmanager
    def unmoved(self) -> Iterator[None]:
        """Has what is drawn inside drawn again behind it: code that is called for its shapes alone, say."""
        before = _state()
        try:
            yield
        finally:
            _set(before)

    def create_variable(self, next_creator: Callable[..., Any], **arguments: Any) -> Any:
        """Makes a variable, as TensorFlow asks a creator to."""
        with self.initial_values():
            return next_creator(**arguments)


def _seeded(seed: int) -> Dict[str, Any]:
    return {"python": random.Random(seed).getstate(), "numpy": np.random.RandomState(seed).get_state()}


def _digests(state: Dict[str, Any]) -> Tuple[str, str]:
    numpy = state["numpy"]
    if isinstance(numpy, dict) and "key" in numpy.get("state", ()):
        inner = numpy["state"]
        numpy = ("MT19937", inner["key"], inner["pos"], numpy["has_gauss"], numpy["gauss"])
    plain = numpy[1].tolist() if isinstance(numpy, tuple) else []
    rest = [plain, *numpy[2:]] if isinstance(numpy, tuple) else [numpy]
    numpy_text, python_text = (repr(part).encode() for part in (rest, state["python"]))
    return hashlib.sha256(numpy_text).hexdigest()[:16], hashlib.sha256(python_text).hexdigest()[:16]


def _near(wanted: float, kind: str) -> Any:
    """Returns the state of a generator whose first number is near one."""
    for seed in itertools.count(1000):
        first = random.Random(seed).random() if kind == "python" else np.random.RandomState(seed).rand()
        if abs(first - wanted) < 0.02:
            break
    return _seeded(seed)[kind]


def _state() -> Dict[str, Any]:
    return {"python": random.getstate(), "numpy": _numpy_state()}


def _set(state: Dict[str, Any]) -> None:
    random.setstate(state["python"])
    if state["numpy"] is not None:
        np.random.set_state(state["numpy"])


def _numpy_state() -> Optional[Any]:
    # `np.random.set_bit_generator` may have put another generator there, whose state is another dictionary; both are
    # taken as they are.
    try:
        return np.random.get_state(legacy=False)
    except TypeError:  # before NumPy 1.17 there is one kind of state
        return np.random.get_state()
