"""The table of a side that names a file in place of an entry: a SavedModel, a graph, a file of Keras."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockstep.common import patterns
from lockstep.common.errors import InputError
from lockstep.common.values import quoted, shown
from lockstep.config import originals
from lockstep.config.isolation import KEYS as ISOLATION_KEYS
from lockstep.config.tables import Table, leaves, type_name
from lockstep.files.originals import KEYS, KINDS, OriginalFile
from lockstep.frameworks import runtimes

ALL_KEYS = tuple(dict.fromkeys((*KINDS, *(key for keys in KEYS.values() for key in keys))))
"""What the table of a side may hold about files."""
_TENSOR = re.compile(r"[^\s:^]+(:[0-9]+)?")
_GRAPHS = frozenset({"saved_model", "frozen_graph", "meta_graph"})


def kind_in(values: Mapping[str, Any]) -> str | None:
    """Returns the key that names a file in a side's table; None where an entry is named."""
    return next((kind for kind in KINDS if kind in values), None)


def check_file(table: Table, folder: Path) -> dict[str, Any]:
    """Checks the table of a side that names a file; the file itself is not looked at yet.

    Args:
        table: The table.
        folder: What its path is relative to.

    Returns:
        The table, with the runtime that the kind of file implies.

    Raises:
        InputError: A key has the wrong type, or does not go with another.
    """
    named = [kind for kind in (*KINDS, "entry") if kind in table.values]
    if len(named) > 1:
        raise InputError(f"{table.place} has both {named[0]} and {named[1]}; a side is one of them. Take one out.")
    kind = named[0]
    _refuse_what_does_not_go(table, kind)
    path = table.text(kind)
    assert path is not None
    if not Path(path).is_absolute() and leaves(path, folder):
        raise InputError(f"{table.place}: {kind} {quoted(path)} leaves the folder of the configuration; copy the file.")
    runtime = runtimes.RUNTIME_OF[kind]
    if table.choice("runtime", runtimes.RUNTIMES, runtime) != runtime:
        raise InputError(
            f'{table.place}: {kind} is run by the runtime "{runtime}", and runtime is '
            f"{quoted(str(table.values['runtime']))}; take runtime out."
        )
    if "signature" in KEYS[kind]:
        table.text("signature")
    _tags(table)
    for key in ("inputs", "outputs"):
        _tensors(table, key)
    _feeds(table)
    pattern = table.text("weights")
    if pattern is not None:
        patterns.check(pattern, what=f"{table.place}: weights is {shown(pattern)}")
    return {**table.values, "runtime": runtime}


def original_from(table: Mapping[str, Any], folder: Path) -> OriginalFile:
    """Returns what a checked table says of its file."""
    kind = kind_in(table)
    assert kind is not None
    return OriginalFile(
        kind,
        folder / table[kind],
        table[kind],
        table.get("signature", ""),
        tuple(table.get("tags", ())),
        dict(table.get("inputs", {})),
        dict(table.get("outputs", {})),
        dict(table.get("inference_feeds", {})),
        table.get("weights", ""),
    )


def _refuse_what_does_not_go(table: Table, kind: str) -> None:
    for key in ISOLATION_KEYS:
        if key in table.values and key != "environment" and kind in _GRAPHS:
            raise InputError(
                f"{table.place} has {kind} and {key}; a graph is imported by this process's TensorFlow, which runs "
                f"what TensorFlow 1.15 to 2.21 wrote. Take {key} out."
            )
    if "metrics" in table.values:
        raise InputError(
            f"{table.place} has {kind} and metrics; a model in a file is given no labels, so that no metrics are "
            "compared with it. Take [metrics] out."
        )
    if kind in _GRAPHS:
        for key in ("loss", "optimizer"):
            if key in table.values:
                raise InputError(
                    f"{table.place} has {kind} and {key}; a graph in a file knows inference alone, and is not trained. "
                    f"Take {key} out."
                )
    for key in (*ALL_KEYS, *originals.ALL_KEYS):
        if key in table.values and key not in (kind, *KEYS[kind]):
            raise InputError(f"{table.place} has {kind} and {key}, which does not go with it. Take {key} out.")


def _tags(table: Table) -> None:
    tags = table.values.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise InputError(f'{table.place}: tags is {shown(tags)}; it must be an array of strings, as in ["serve"].')


def _tensors(table: Table, key: str) -> None:
    form = f'it must be a table of names of tensors, as in {key} = {{{"x" if key == "inputs" else "y"} = "net/x:0"}}'
    value = table.values.get(key, {})
    if not isinstance(value, Mapping):
        raise InputError(f"{table.place}: {key} is {type_name(value)}; {form}.")
    for name, tensor in value.items():
        if not isinstance(tensor, str) or not _TENSOR.fullmatch(tensor):
            raise InputError(f"{table.place}: {key}.{name} is {shown(tensor)}; {form}.")


def _feeds(table: Table) -> None:
    value = table.values.get("inference_feeds", {})
    form = 'it must be a table of numbers and flags by tensor, as in inference_feeds = {"keep_prob:0" = 1.0}'
    if not isinstance(value, Mapping):
        raise InputError(f"{table.place}: inference_feeds is {type_name(value)}; {form}.")
    for name, one in value.items():
        if not _TENSOR.fullmatch(name) or not isinstance(one, (bool, int, float)):
            raise InputError(f"{table.place}: inference_feeds holds {shown(name)} = {shown(one)}; {form}.")
