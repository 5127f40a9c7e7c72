"""What a name-based checkpoint holds, and what each entry is: a variable, a moving average, a slot, a counter."""

from __future__ import annotations

import enum
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lockstep.common.errors import InputError
from lockstep.files.checkpoints import locating
from lockstep.ground.restoring import Held, Matched, match, part_of, value
from lockstep.traces.trace import VariableRecord

AVERAGE = "ExponentialMovingAverage"
"""The last part of a shadow's name, `tf.train.ExponentialMovingAverage`'s default."""

# The names that the classes in `tf.compat.v1.train` give their slots by default, as the checkpoints of TensorFlow 1.15
# show them; a second slot of the same name gets `_1`.
_SLOTS = re.compile(r"(Adam|Momentum|RMSProp|Adagrad|AdagradDA|Adadelta|Ftrl|ProximalAdagrad|adam_[mv])(_[0-9]+)?")
# Others are told by what all slots have in common: they lie below their variable's name, in its shape.
_NAMED_LIKE_A_CLASS = re.compile(r"[A-Z]\w*")
_OPTIMIZERS_OWN = re.compile(r"(.*/)?(beta[12]_power(_[0-9]+)?)")
_COUNTERS = ("global_step", "save_counter")
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_OBJECT_KEY = "/.ATTRIBUTES/"


class Kind(str, enum.Enum):
    """What an entry of a checkpoint is."""

    VARIABLE = "variable"
    AVERAGE = "moving average"
    SLOT = "optimizer slot"
    COUNTER = "counter"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint.

    Attributes:
        name: Its name.
        shape: Its whole shape, also where it was saved in slices.
        dtype: The name of its dtype, `"float32"`.
        kind: What it is.
        owner: The variable that a shadow or a slot belongs to; empty for the others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Kind = Kind.VARIABLE
    owner: str = ""


class Checkpoint(Mapping[str, np.ndarray]):
    """A checkpoint as a mapping from variable names to values; each is read, and its checksum tested, when asked for.

    Attributes:
        path: Where it lies, as TensorFlow's readers take it.
        entries: Everything that it holds, by the names in the file.
        moving_averages: Whether a variable's value is that of its moving average, where there is one.
    """

    def __init__(
        self,
        path: Path,
        held: Mapping[str, Held],
        read: Callable[[str], np.ndarray],
        *,
        moving_averages: bool = False,
    ) -> None:
        """Wraps what a reader found.

        Args:
            path: Where it lies.
            held: Name -> shape and dtype.
            read: Name -> value; raises `InputError` where it is damaged.
            moving_averages: Whether shadows take the place of their variables.

        Raises:
            InputError: It is no name-based checkpoint, holds nothing, or has no moving averages though they are wanted.
        """
        self.path, self.moving_averages, self._read = path, moving_averages, read
        if _OBJECTS in held or any(_OBJECT_KEY in name for name in held):
            raise InputError(
                f"checkpoint {path} is an object-based one (tf.train.Checkpoint of TensorFlow 2), which holds paths of "
                "Python attributes instead of variable names; expected is one that tf.compat.v1.train.Saver wrote."
            )
        if not held:
            raise InputError(f"checkpoint {path} holds no variable at all.")
        self.entries = classified(held)
        self._places = {entry.name: entry.name for entry in self.entries.values()}
        if moving_averages:
            shadows = {entry.owner: entry.name for entry in self.entries.values() if entry.kind is Kind.AVERAGE}
            if not shadows:
                raise InputError(
                    f"checkpoint {path} holds no moving average (an entry NAME/{AVERAGE}); take moving_averages out."
                )
            self._places.update(shadows)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._read(self._places[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    @property
    def held(self) -> dict[str, Held]:
        """Variable name -> shape and dtype of its value."""
        return {
            name: Held(self.entries[place].shape, self.entries[place].dtype) for name, place in self._places.items()
        }

    def match(self, variables: tuple[VariableRecord, ...]) -> Matched:
        """Finds for each variable of a graph what it is restored from."""
        return match(variables, self.held)

    def restored(self, matched: Matched) -> Mapping[str, np.ndarray]:
        """Returns variable key -> value, each read when it is asked for."""
        return _Restored(self, matched)

    def unused(self, matched: Matched) -> list[Entry]:
        """Lists the entries that no variable is restored from."""
        used = {self._places[name] for source in matched.sources.values() for name in source.entries}
        used |= {self._places[key] for key in matched.clashes if key in self._places}
        return [entry for name, entry in self.entries.items() if name not in used]

    def digest(self) -> str:
        """Returns a digest of its files, and of which values are taken from them."""
        digest = hashlib.sha256(f"{self.moving_averages}".encode())
        for file in locating.files(self.path):
            with file.open("rb") as opened:
                while block := opened.read(1 << 22):
                    digest.update(block)
        return digest.hexdigest()


class _Restored(Mapping[str, np.ndarray]):
    def __init__(self, checkpoint: Checkpoint, matched: Matched) -> None:
        self._checkpoint, self._sources = checkpoint, matched.sources

    def __getitem__(self, key: str) -> np.ndarray:
        return value(self._sources[key], self._checkpoint.__getitem__)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, key: object) -> bool:
        return key in self._sources


def classified(held: Mapping[str, Held]) -> dict[str, Entry]:
    """Tells for each entry what it is, by its name and by the variable that the name leads to.

    A shadow is `OWNER/ExponentialMovingAverage`; a slot is `OWNER/Adam` or another optimizer's name; both only where
    OWNER, or a part of it, is among the entries too.
    """
    parts = {part[0] for part in map(part_of, held) if part is not None}
    return {name: _entry(name, held, parts) for name in sorted(held)}


def counted(entries: Mapping[str, Entry] | list[Entry]) -> str:
    """Says how many entries of each kind there are: `3 optimizer slots, 1 counter`."""
    listed = entries.values() if isinstance(entries, Mapping) else entries
    counts = Counter(entry.kind for entry in listed)
    return ", ".join(f"{n:,} {kind}{'' if n == 1 else 's'}" for kind in Kind if (n := counts[kind]))


def _entry(name: str, held: Mapping[str, Held], parts: set[str]) -> Entry:
    has = held[name]
    owner, _, last = name.rpartition("/")
    if owner and (owner in held or owner in parts):
        if last == AVERAGE or last.startswith(f"{AVERAGE}_"):
            return Entry(name, has.shape, has.dtype, Kind.AVERAGE, owner)
        alike = _NAMED_LIKE_A_CLASS.fullmatch(last) and owner in held and held[owner].shape == has.shape
        if _SLOTS.fullmatch(last) or alike:
            return Entry(name, has.shape, has.dtype, Kind.SLOT, owner)
    if _OPTIMIZERS_OWN.fullmatch(name):
        return Entry(name, has.shape, has.dtype, Kind.SLOT)
    if (last or name) in _COUNTERS and has.shape == ():
        return Entry(name, has.shape, has.dtype, Kind.COUNTER)
    return Entry(name, has.shape, has.dtype)
