"""What a checkpoint or a weight file holds, and what each entry is: a variable, a moving average, a slot, a counter."""

from __future__ import annotations

import copy
import enum
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lockstep.common.errors import InputError
from lockstep.files.checkpoints import locating
from lockstep.files.checkpoints.numbered import Numbered, named_by_number
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


class Kind(str, enum.Enum):
    """What an entry of a checkpoint is."""

    VARIABLE = "variable"
    AVERAGE = "moving average"
    SLOT = "optimizer slot"
    COUNTER = "counter"
    SEED = "state of a random generator"
    METRIC = "value of a metric"

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
        place: Where it lies in the file, where that is not its name: a path of attributes, of groups.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Kind = Kind.VARIABLE
    owner: str = ""
    place: str = ""


class Checkpoint(Mapping[str, np.ndarray]):
    """A checkpoint as a mapping from variable names to values; each is read, and its checksum tested, when asked for.

    Attributes:
        path: Where it lies, as TensorFlow's readers take it.
        entries: Everything that it holds, by name.
        moving_averages: Whether a variable's value is that of its moving average, where there is one.
        numbered: Which entries have numbers in place of names.
        ordered: Whether the order of the entries is that of the model's variables, as files of Keras keep it.
    """

    def __init__(
        self,
        path: Path,
        held: Mapping[str, Held] | Mapping[str, Entry],
        read: Callable[[str], np.ndarray],
        *,
        moving_averages: bool = False,
        numbered: Sequence[Numbered] = (),
        ordered: bool = False,
    ) -> None:
        """Wraps what a reader found.

        Args:
            path: Where it lies.
            held: Name -> shape and dtype, or the entry where the format itself tells what it is.
            read: Name -> value; raises `InputError` where it is damaged.
            moving_averages: Whether shadows take the place of their variables.
            numbered: Which entries have numbers in place of names.
            ordered: Whether `held` is in the order of the model's variables.

        Raises:
            InputError: It holds nothing, or has no moving averages though they are wanted.
        """
        self.path, self.moving_averages, self._read = path, moving_averages, read
        self.numbered, self.ordered = tuple(numbered), ordered
        if not held:
            raise InputError(f"checkpoint {path} holds no variable at all.")
        told = {name: has for name, has in held.items() if isinstance(has, Entry)}
        self.entries = told or classified({n: has for n, has in held.items() if isinstance(has, Held)})
        self._places = {entry.name: entry.name for entry in self.entries.values()}
        if moving_averages:
            shadows = {entry.owner: entry.name for entry in self.entries.values() if entry.kind is Kind.AVERAGE}
            if not shadows:
                raise InputError(
                    f"checkpoint {path} holds no moving average (an entry NAME/{AVERAGE}); take moving_averages out."
                )
            self._places.update(shadows)

    def seen_by(self, variables: Sequence[VariableRecord]) -> Checkpoint:
        """Returns it with the names that a side has for entries which the file only numbers, or places otherwise.

        Args:
            variables: The side's, in order of creation.
        """
        wanted = {record.key: tuple(record.shape) for record in variables if record.key not in self._places}
        by_place = {entry.place: name for name, entry in self.entries.items() if entry.place}
        found = {key: by_place[key] for key in wanted if key in by_place}
        left = {record.key: tuple(record.shape) for record in variables if record.key in wanted.keys() - found.keys()}
        shapes = {name: entry.shape for name, entry in self.entries.items()}
        found.update(named_by_number(self.numbered, shapes, left))
        if not found:
            return self
        seen = copy.copy(self)
        seen._places = {**self._places, **found}
        return seen

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
