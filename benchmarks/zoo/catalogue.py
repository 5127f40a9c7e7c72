"""What a zoo is made of, as data: families of models, and the faults that their migrations can be built with.

A zoo is a folder with one folder for each family. A family's folder holds `family.py`, whose `FAMILY` is a `Family`,
and three modules beside it: `reference.py` with the TF1 function `forward(inputs, training)`, and `shim.py` and
`native.py`, each with `build(faults)`, which makes a Keras layer or model with the faults of those names planted.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

BUILT_IN = Path(__file__).parent / "families"
MIGRATIONS = ("shim", "native")
KINDS = ("operation", "variable", "initializer", "regularizer", "draw", "state")
SEED = 20
"""Of the inputs; any number would do."""


class ZooError(Exception):
    """A zoo or what was asked of it does not fit together."""


@dataclass(frozen=True)
class Place:
    """Where a fault is, in words of the reference: what a report has to name.

    Attributes:
        pattern: A regular expression that has to match the whole name of an operation or variable of the reference.
        kinds: The kinds that a culprit there may have; of those in `KINDS`.
    """

    pattern: str
    kinds: tuple[str, ...] = ("operation",)

    def __post_init__(self) -> None:
        unknown = set(self.kinds) - set(KINDS)
        if unknown or not self.kinds:
            raise ZooError(f"place {self.pattern!r} has the kinds {self.kinds}; expected some of {KINDS}.")

    def matches(self, name: str) -> bool:
        """Tells whether this is a name that the place stands for."""
        return re.fullmatch(self.pattern, name) is not None


def operation(*patterns: str) -> tuple[Place, ...]:
    """Places that are operations of the forward pass."""
    return tuple(Place(pattern) for pattern in patterns)


def norm(*patterns: str) -> tuple[Place, ...]:
    """Places that are a normalisation as a whole: what it computes, and the moving averages that it keeps."""
    return tuple(Place(pattern, ("operation", "state")) for pattern in patterns)


def draw(*patterns: str) -> tuple[Place, ...]:
    """Places that draw random numbers in the forward pass; they are operations too."""
    return tuple(Place(pattern, ("draw", "operation")) for pattern in patterns)


def variable(*patterns: str) -> tuple[Place, ...]:
    """Places that are variables without a partner, and the operation that has nothing to read then."""
    return tuple(Place(pattern, ("variable", "operation")) for pattern in patterns)


def initializer(*patterns: str) -> tuple[Place, ...]:
    """Places that are variables which start from other values."""
    return tuple(Place(pattern, ("initializer",)) for pattern in patterns)


def regularizer(*patterns: str) -> tuple[Place, ...]:
    """Places that are variables with another regularization loss."""
    return tuple(Place(pattern, ("regularizer",)) for pattern in patterns)


def state(*patterns: str) -> tuple[Place, ...]:
    """Places that are variables which the forward pass updates otherwise."""
    return tuple(Place(pattern, ("state",)) for pattern in patterns)


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
        name: What `build(faults)` knows it by.
        pitfall: The slug of its cause: `"epsilon"`, `"keep-prob-as-rate"`.
        places: Where it is, all of them: each has to be named, and nothing else.
        mode: `"inference"` where it shows in inference, `"training"` where it shows in training only.
        also: Slugs of other causes that say the same: where no check could tell them apart.
    """

    name: str
    pitfall: str
    places: tuple[Place, ...]
    mode: str = "inference"
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in {"inference", "training"}:
            raise ZooError(f"fault {self.name!r} shows in mode {self.mode!r}; expected inference or training.")
        if not self.places:
            raise ZooError(f"fault {self.name!r} has no place.")


def training(name: str, pitfall: str, places: tuple[Place, ...]) -> Fault:
    """A fault that shows in training mode only."""
    return Fault(name, pitfall, places, mode="training")


@dataclass(frozen=True)
class Family:
    """Models of one kind.

    Attributes:
        inputs: Makes the inputs: input name -> array. Those of floating type may be replaced by ones.
        shim: The faults that `shim.py` can plant.
        native: The faults that `native.py` can plant.
        pairs: `(migration, fault, fault)`: mistakes that are made together.
        rename: Rename rules, reference -> native rewrite; a shim migration keeps the names.
        reference: `file.py:function`, relative to the family's folder.
        requirements: What the reference needs in an environment of its own.
        slow: Whether a check takes more than seconds.
        unseen: Names of bugs that nobody looks at while rules are made; their figures are given apart.
    """

    inputs: Callable[[np.random.Generator], Mapping[str, np.ndarray]]
    shim: tuple[Fault, ...]
    native: tuple[Fault, ...]
    pairs: tuple[tuple[str, str, str], ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    reference: str = "reference.py:forward"
    requirements: tuple[str, ...] = ("tensorflow==1.15.5",)
    slow: bool = False
    unseen: tuple[str, ...] = ()

    def faults(self, migration: str) -> dict[str, Fault]:
        """Returns the faults of one migration by name."""
        return {fault.name: fault for fault in (self.shim if migration == "shim" else self.native)}


@dataclass(frozen=True)
class Bug:
    """What is planted into one migration: one fault, or two at once."""

    family: str
    migration: str
    faults: tuple[Fault, ...]
    unseen: bool = False

    @property
    def name(self) -> str:
        """`epsilon`, or `epsilon+padding`."""
        return "+".join(fault.name for fault in self.faults)

    def __str__(self) -> str:
        return f"{self.family}/{self.migration}/{self.name}"


@dataclass(frozen=True)
class Exhibit:
    """A family together with the folder that its modules are in."""

    name: str
    folder: Path
    family: Family

    def arrays(self, *, ones: bool = False) -> dict[str, np.ndarray]:
        """Makes the inputs; with `ones`, the floating ones are ones everywhere, as in the guide."""
        arrays = self.family.inputs(np.random.default_rng(SEED))
        return {n: np.ones_like(a) if ones and a.dtype.kind == "f" else a for n, a in arrays.items()}

    def rename(self, migration: str) -> tuple[tuple[str, str], ...]:
        """Returns the rename rules of one migration."""
        return self.family.rename if migration == "native" else ()

    def forward(self) -> Callable[..., Any]:
        """Imports the reference's function into this process."""
        file, _, function = self.family.reference.rpartition(":")
        found: Callable[..., Any] = getattr(module(self.folder / file), function)
        return found

    def build(self, migration: str, *faults: str) -> Callable[[], Any]:
        """Returns a function that makes the migration with these faults; none for the right one.

        Raises:
            ZooError: The migration has no fault of such a name.
        """
        known = self.family.faults(migration)
        unknown = [name for name in faults if name not in known]
        if unknown:
            raise ZooError(f"{self.name}/{migration} has no fault {unknown[0]!r}; there are: {', '.join(known)}.")
        make = module(self.folder / f"{migration}.py").build
        planted = frozenset(faults)
        return lambda: make(planted)

    def bugs(self, migration: str) -> list[Bug]:
        """Returns what is planted into one migration: every fault alone, then the pairs."""
        known = self.family.faults(migration)
        pairs = [pair[1:] for pair in self.family.pairs if pair[0] == migration]
        missing = [name for pair in pairs for name in pair if name not in known]
        if missing:
            raise ZooError(f"{self.name}: a pair for {migration} names {missing[0]!r}, which is no fault of it.")
        planted: list[tuple[Fault, ...]] = [(fault,) for fault in known.values()]
        planted += [tuple(known[name] for name in pair) for pair in pairs]
        bugs = [Bug(self.name, migration, faults) for faults in planted]
        return [dataclasses.replace(bug, unseen=bug.name in self.family.unseen) for bug in bugs]


def load(folder: Path = BUILT_IN) -> dict[str, Exhibit]:
    """Opens a zoo: every folder in `folder` that holds a `family.py`, by name.

    Raises:
        ZooError: There is none.
    """
    files = sorted(folder.glob("*/family.py"))
    if not files:
        raise ZooError(f"{folder} holds no zoo: no folder in it has a family.py.")
    return {file.parent.name: Exhibit(file.parent.name, file.parent, module(file).FAMILY) for file in files}


def module(file: Path) -> ModuleType:
    """Imports a file under a name of its own: families have files of equal names."""
    file = file.resolve()
    name = f"zoo {file}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None or not file.is_file():
            raise ZooError(f"there is no file {file}.")
        made = importlib.util.module_from_spec(spec)
        sys.modules[name] = made
        try:
            spec.loader.exec_module(made)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
