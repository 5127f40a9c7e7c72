"""What a side's table says beyond its entry: of an Estimator, a script, a `train_op`, a training loop of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockstep.common.errors import InputError
from lockstep.common.values import quoted, shown
from lockstep.config.tables import Table, type_name
from lockstep.subjects import Original

KEYS: Mapping[str, tuple[str, ...]] = {
    "tf1": ("train_op",),
    "keras": ("train_step", "labels"),
    "estimator": ("features", "labels", "params"),
    "script": ("feeds", "fetches", "training_feeds", "inference_feeds", "arguments", "as_main", "train_op"),
}
"""Runtime -> the keys that only it has."""
LOOPS = ("fit", "train_on_batch")
"""What `train_step` can be besides a function: the loops that Keras has for a compiled model."""
ALL_KEYS = tuple(dict.fromkeys(key for keys in KEYS.values() for key in keys))
TENSOR = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*(:[0-9]+)?")
"""The name of a tensor or an operation of a graph."""
_LOSS = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*:[0-9]+")


def names_tensor(runtime: str, loss: str) -> bool:
    """Tells whether a side's `loss` names a tensor of its graph, and no function.

    >>> names_tensor("script", "Mean:0"), names_tensor("script", "training.py:loss"), names_tensor("keras", "Mean:0")
    (True, False, False)
    """
    return runtime in ("tf1", "script") and _LOSS.fullmatch(loss) is not None


def check_keys(table: Table, runtime: str) -> dict[str, Any]:
    """Checks the keys that only some runtimes have.

    Raises:
        InputError: A key has the wrong type, or belongs to another runtime.
    """
    for key in table.values:
        owners = [name for name, keys in KEYS.items() if key in keys]
        if owners and runtime not in owners:
            also = " or ".join(f'"{name}"' for name in owners)
            raise InputError(f"{table.place}: {key} goes with runtime {also}, and the runtime is {quoted(runtime)}.")
    for key in ("feeds", "fetches"):
        _names_by_name(table, key)
    for key in ("training_feeds", "inference_feeds"):
        _values_by_name(table, key)
    _train_op(table)
    _texts(table, "labels", '["label"]')
    _texts(table, "arguments", '["--hidden=128"]')
    if len(set(table.values.get("labels", ()))) < len(table.values.get("labels", ())):
        raise InputError(f"{table.place}: labels names an input twice.")
    table.text("features")
    _params(table)
    if not isinstance(table.values.get("as_main", False), bool):
        raise InputError(f"{table.place}: as_main is {shown(table.values['as_main'])}; it must be true or false.")
    return {key: table.values[key] for key in KEYS.get(runtime, ()) if key in table.values}


def is_whole_script(table: Mapping[str, Any]) -> bool:
    """Tells whether a checked table's entry is a script as it stands, and no function of it."""
    return table["runtime"] == "script" and ":" not in table["entry"]


def of_table(table: Mapping[str, Any], folder: Path) -> Original:
    """Returns what a checked table says of a TF1 program."""
    runtime = table["runtime"]
    loss = table.get("loss", "") if names_tensor(runtime, table.get("loss", "")) else ""
    step = table.get("train_op", "")
    own_loss, own_optimizer = bool(loss), bool(step)
    if runtime == "estimator":
        told = {"labels": list(table.get("labels", ())), "params": dict(table.get("params", {}))}
        described = {"kind": "estimator", **told, "features": table.get("features", "")}
        return Original(described, own_loss=True, own_optimizer=True)
    if runtime == "script":
        whole = is_whole_script(table)
        described = {
            "kind": "script",
            "folder": str(folder),
            "whole": whole,
            **{key: dict(table.get(key, {})) for key in ("feeds", "fetches", "training_feeds", "inference_feeds")},
            "arguments": list(table.get("arguments", ())),
            "loss": loss,
            "train_op": step,
        }
        return Original(
            described, ("main" if table.get("as_main") else "import") if whole else None, own_loss, own_optimizer
        )
    if loss or step:
        return Original({"kind": "forward", "loss": loss, "train_op": step}, None, own_loss, own_optimizer)
    return Original()


def _names_by_name(table: Table, key: str) -> None:
    for name, value in table.table(key).values.items():
        if not isinstance(value, str) or not TENSOR.fullmatch(value):
            raise InputError(f'{table.place}: {key}.{name} is {shown(value)}; it must name a tensor, as in "x:0".')


def _values_by_name(table: Table, key: str) -> None:
    for name, value in table.table(key).values.items():
        if not TENSOR.fullmatch(name):
            raise InputError(
                f'{table.place}: {key} has the key {shown(name)}; it must name a placeholder: "keep_prob:0".'
            )
        if not isinstance(value, (bool, int, float, str, list)):
            raise InputError(
                f"{table.place}: {key} gives {name} {type_name(value)}; it must be a number, a boolean, a string or an "
                "array of them."
            )


def _train_op(table: Table) -> None:
    name = table.text("train_op")
    if name is not None and not TENSOR.fullmatch(name):
        raise InputError(
            f'{table.place}: train_op is {shown(name)}; it must name an operation of the graph, as in "train/Adam".'
        )


def _texts(table: Table, key: str, example: str) -> None:
    value = table.values.get(key, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InputError(
            f"{table.place}: {key} is {type_name(value)}; it must be an array of strings, as in {example}."
        )


def _params(table: Table) -> None:
    waiting = list(table.table("params").values.values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, (Mapping, list)):
            waiting.extend(value.values() if isinstance(value, Mapping) else value)
        elif not isinstance(value, (bool, int, float, str)):
            raise InputError(
                f"{table.place}: params holds {type_name(value)}; it may hold strings, numbers and booleans."
            )
