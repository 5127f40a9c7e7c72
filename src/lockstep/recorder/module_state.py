"""Tells whether the modules of a side still hold what they held when they had been imported."""

import collections
import functools
import hashlib
import itertools
import random
import re
import types
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import numpy as np

LIMIT = 100000
"""How many values of a module are looked at; one that holds more counts as changed. Plain sequences count as one."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)
_PLAIN_TYPES = frozenset(_PLAIN[:-1])
_BY_IDENTITY = (types.ModuleType, types.BuiltinFunctionType, np.dtype, np.ufunc, type(re.compile("")))
_SEQUENCES = (tuple, list, collections.deque)
_SETS = (set, frozenset)
# What Python and its tools write into a module, a class or a function; it is nothing that the user's code remembers.
_IGNORED = frozenset(
    ["__builtins__", "__warningregistry__", "__cached__", "__dict__", "__weakref__", "__abstractmethods__", "_abc_impl",
     "__annotations__", "__annotate__", "__annotations_cache__", "__static_attributes__", "__firstlineno__",
     "__loader__", "__spec__"]
)  # fmt: skip


def state_of(module: Any, is_users: Callable[[str], bool], held: List[Any]) -> Optional[str]:
    """Returns a digest of all that a module's names lead to, as far as Python can tell; None where that is too much.

    Containers, arrays, generators, closures, defaults, attributes of functions, of the user's classes and of instances
    are followed. Modules, and functions and classes of libraries, are what they are.

    Args:
        module: The module.
        is_users: Tells of a module's name whether it is the user's.
        held: Gets the objects that are known by their identity, so that no other one can take it.
    """
    return _Walk(is_users, held).of(vars(module))


class _Walk:
    def __init__(self, is_users: Callable[[str], bool], held: List[Any]) -> None:
        self._is_users, self._held = is_users, held
        self._seen: Dict[int, Any] = {}
        self._digest = hashlib.sha256()
        self._waiting: List[Any] = []

    def of(self, names: Dict[str, Any]) -> Optional[str]:
        self._names(names)
        steps = 0
        while self._waiting:
            steps += 1
            if steps + len(self._waiting) > LIMIT:
                return None
            self._look_at(self._waiting.pop())
        return self._digest.hexdigest()

    def _write(self, *texts: Any) -> None:
        for text in texts:
            self._digest.update(str(text).encode("utf-8", "surrogatepass") + b"\0")

    def _names(self, names: Any) -> None:
        for name in list(names):
            if name not in _IGNORED:
                self._write("name", name)
                self._waiting.append(names[name])

    def _all(self, *sequences: List[Any]) -> None:
        for values in sequences:
            self._write(len(values))
            if _PLAIN_TYPES.issuperset(map(type, values)):
                self._write(values)  # a vocabulary, say: as fast as Python is
            else:
                self._waiting.extend(values)

    def _look_at(self, value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN_TYPES or isinstance(value, np.generic):
            self._write(kind.__name__, repr(value))
            return
        if id(value) in self._seen:
            self._write("again", self._seen[id(value)][0])
            return
        self._seen[id(value)] = len(self._seen), value  # held, as long as its number stands for it
        self._write(kind.__name__)
        if isinstance(value, _BY_IDENTITY):
            self._identity(value)
        elif isinstance(value, type):
            self._identity(value)
            if self._is_users(value.__module__):
                self._names(vars(value))
        elif isinstance(value, np.ndarray):
            self._array(value)
        else:
            self._object(value)

    def _identity(self, value: Any) -> None:
        self._held.append(value)
        self._write(id(value))

    def _array(self, value: Any) -> None:
        self._write(value.dtype, value.shape)
        if value.dtype.hasobject:
            self._all(value.ravel().tolist())
        else:
            self._digest.update(np.ascontiguousarray(value).tobytes())

    def _object(self, value: Any) -> None:
        for kinds, look in _WAYS:
            if issubclass(type(value), kinds):
                look(self, value)
                break
            if isinstance(value, kinds):  # a proxy that says it is one, as TensorFlow's of a model's dicts and lists
                self._identity(value)
                self._all([getattr(value, "__wrapped__", None)])
                return
        else:
            self._identity(value)
            self._instance(value)
            return
        if type(value).__module__ != "builtins" and isinstance(getattr(value, "__dict__", None), dict):
            self._names(vars(value))  # of a class derived from one of these

    def _dict(self, value: Any) -> None:
        self._all(list(dict.values(value)), list(dict.keys(value)))

    def _sequence(self, value: Any) -> None:
        kind: Any = type(value)
        self._all(list(kind.__iter__(value)))

    def _set(self, value: Any) -> None:
        self._write(sorted(_name(item) for item in value))

    def _generator(self, value: Any) -> None:
        frame = value.gi_frame
        self._write("ended" if frame is None else frame.f_lasti)
        self._dict({} if frame is None else dict(frame.f_locals))

    def _as_its_repr(self, value: Any) -> None:
        self._write(repr(value))

    def _function(self, value: Any) -> None:
        self._identity(value)
        if not self._is_users(value.__module__ or ""):
            return
        self._names(vars(value))
        self._all([value.__defaults__, value.__kwdefaults__])
        for cell in value.__closure__ or ():
            try:
                self._waiting.append(cell.cell_contents)
            except ValueError:  # a name that has no value yet
                self._write("empty")

    def _instance(self, value: Any) -> None:
        read = getattr(type(value), "numpy", None)
        if callable(read) and hasattr(type(value), "assign"):  # a variable; it has a value where there is no graph
            try:
                self._waiting.append(np.array(read(value)))
            except Exception:  # whatever a framework says of a variable that it cannot read now
                self._write("unreadable")
            return
        names = getattr(value, "__dict__", None)
        if isinstance(names, dict):
            self._names(names)
        for slot in _slots(type(value)):
            self._waiting.append(getattr(value, slot, None))


def _following(*attributes: str) -> Callable[[_Walk, Any], None]:
    def look(walk: _Walk, value: Any) -> None:
        walk._all([getattr(value, attribute, None) for attribute in attributes])

    return look


def _calling(method: str) -> Callable[[_Walk, Any], None]:
    def look(walk: _Walk, value: Any) -> None:
        walk._all([getattr(value, method)()])

    return look


def _cached(walk: _Walk, value: Any) -> None:
    walk._all([value.__wrapped__, tuple(value.cache_info())])


def _state_of_bits(walk: _Walk, value: Any) -> None:
    walk._all([value.bit_generator.state])


_WAYS: Tuple[Tuple[Any, Any], ...] = (
    (dict, _Walk._dict),
    (_SEQUENCES, _Walk._sequence),
    (_SETS, _Walk._set),
    (itertools.count, _Walk._as_its_repr),
    (random.Random, _calling("getstate")),
    (np.random.RandomState, _calling("get_state")),
    (getattr(np.random, "Generator", ()), _state_of_bits),  # since NumPy 1.17
    (types.GeneratorType, _Walk._generator),
    (types.FunctionType, _Walk._function),
    (types.MethodType, _following("__func__", "__self__")),
    ((staticmethod, classmethod), _following("__func__")),
    (property, _following("fget", "fset", "fdel")),
    (type(functools.lru_cache(None)(repr)), _cached),
    (functools.partial, _following("func", "args", "keywords")),
)
"""Kind of object -> what of it is looked at; the first that fits. Of other objects it is their attributes."""


def _slots(kind: type) -> Set[str]:
    found: Set[str] = set()
    for each in kind.__mro__:
        slots = vars(each).get("__slots__", ())
        found.update([slots] if isinstance(slots, str) else slots)
    return found - {"__dict__", "__weakref__"}


def _name(item: Any) -> str:
    return repr(item) if type(item) in _PLAIN else "%s %d" % (type(item).__name__, id(item))
