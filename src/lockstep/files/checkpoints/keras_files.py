"""Weight files of Keras: `.h5` of Keras 2, `.weights.h5` and `.keras` of Keras 3.

Keras 2 lists its layers and the weights of each by name. Keras 3 puts the variables of each layer into a group `vars`
and counts them; beside them it notes what the layer is called, from 3.4 on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.common.errors import InputError
from lockstep.common.values import shown_path
from lockstep.files.checkpoints import hdf5
from lockstep.files.checkpoints.entries import Checkpoint, Entry, Kind
from lockstep.files.checkpoints.numbered import Numbered

MEMBER = "model.weights.h5"
"""Where an archive `.keras` has its weights."""

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_VARS, _SEEDS = "vars", "seed_generator"
_OTHERS = {"optimizer": Kind.SLOT, "metrics": Kind.METRIC}
"""What Keras 3 and the last Keras 2 save beside the layers of a model that is compiled."""
_WHOLE_MODEL, _OF_OPTIMIZER, _OF_MODEL = "model_weights", "optimizer_weights", "top_level_model_weights"


def read_file(path: Path, *, moving_averages: bool = False) -> Checkpoint:
    """Opens a weight file of Keras: names, shapes and dtypes are read at once, each value when it is asked for.

    Args:
        path: A file of HDF5, or an archive `.keras`, told by what is in it.
        moving_averages: As of `Checkpoint`.

    Raises:
        InputError: It is neither, is damaged, or has something in it that leads elsewhere.
    """
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    opened = hdf5.opened(path, MEMBER if archive else "")
    with hdf5.told(path):
        listed = list(_named(opened)) or list(_counted(opened))
        entries = {entry.name: entry for entry, _ in listed}
        if not entries:
            raise InputError(f"{shown_path(path)} holds no variables that can be listed.")
        held = {entry.name: dataset for entry, dataset in listed}
        numbered = tuple(_layers(opened, [entry for entry, _ in listed]))

    def read(name: str) -> np.ndarray:
        with hdf5.told(path, name):
            return hdf5.value(held[name])

    return Checkpoint(path, entries, read, moving_averages=moving_averages, numbered=numbered, ordered=True)


def _named(file: Any) -> Iterator[tuple[Entry, Any]]:
    """Yields what Keras 2 wrote: each layer says how its variables are called."""
    weights = hdf5.link_of(file, _WHOLE_MODEL) if _WHOLE_MODEL in file else file
    layers = hdf5.texts(weights, "layer_names")
    found = [(layer, name) for layer in layers for name in hdf5.texts(hdf5.link_of(weights, layer), "weight_names")]
    if _OF_MODEL in weights and layers:
        group = hdf5.link_of(weights, _OF_MODEL)
        found += [(_OF_MODEL, name) for name in hdf5.texts(group, "weight_names")]
    counts = Counter(_plain(name) for _, name in found)
    for layer, name in dict.fromkeys(found):
        dataset = hdf5.link_of(hdf5.link_of(weights, layer), name)
        # Layers of the same name in two models, of which each is a layer of this one, have names that occur twice.
        plain = _plain(name) if counts[_plain(name)] == 1 else f"{layer}/{_plain(name)}"
        yield _entry(plain, dataset, Kind.VARIABLE, f"{layer}/{name}"), dataset
    if _OF_OPTIMIZER in file and layers:
        group = hdf5.link_of(file, _OF_OPTIMIZER)
        for name in dict.fromkeys(hdf5.texts(group, "weight_names")):
            dataset = hdf5.link_of(group, name)
            yield _entry(f"{_OF_OPTIMIZER}/{_plain(name)}", dataset, Kind.SLOT, ""), dataset


def _counted(file: Any) -> Iterator[tuple[Entry, Any]]:
    """Yields what Keras 3 wrote: layers within layers, the variables of each by their numbers."""
    found = list(hdf5.datasets(file))
    plain = {path: "/".join(_short(path)) for path, _ in found}
    counts = Counter(plain.values())
    for path, dataset in found:
        kind = _OTHERS.get(path[0], Kind.SEED if _SEEDS in path else Kind.VARIABLE)
        name = plain[path] if counts[plain[path]] == 1 else "/".join(path)
        yield _entry(name, dataset, kind, "/".join(path)), dataset


def _layers(file: Any, entries: list[Entry]) -> Iterator[Numbered]:
    """Yields the layers of a file of Keras 3, each with the names of the layers that it is in."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        path = tuple(entry.place.split("/"))
        if entry.kind is Kind.VARIABLE and len(path) > 1 and path[-2] == _VARS and path[-1].isdecimal():
            groups.setdefault(path[:-2], []).append(entry.name)
    for path, names in groups.items():
        yield Numbered(tuple(_scopes(file, path)), tuple(names))


def _scopes(file: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Yields the names of a layer and those around it; where none is noted, what its group is called."""
    for length in range(len(path) + 1):
        group = hdf5.link_of(file, "/".join(path[:length])) if length else file
        noted = hdf5.text(group[_VARS], "name") if _VARS in group and hdf5.link_of(group, _VARS) else ""
        if noted or (length and path[length - 1] not in _CONTAINERS):
            yield noted or path[length - 1]


def _short(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in path if part not in (*_CONTAINERS, _VARS))


def _entry(name: str, dataset: Any, kind: Kind, place: str) -> Entry:
    held = hdf5.judged(dataset, name)
    return Entry(name, held.shape, held.dtype, kind, place=place)


def _plain(name: str) -> str:
    return name.removesuffix(":0")
