"""The tables of layers, cells and slim nets that the shim is tested with, as programs of the identity corpus."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from benchmarks.soundness.case import Case
from benchmarks.soundness.lazily import lockstep, tf
from benchmarks.soundness.migrated import migrated

_TESTS = Path(__file__).resolve().parents[3] / "tests"
_DATA, _INTEGRATION = _TESTS / "data", _TESTS / "integration"

NOT_IN_EAGER_CODE = {
    "layers/dense_partitioned": "a partitioner, which the shim refuses with the way out",
    "cells/lstm_sharded": "a partitioner, likewise",
    "cells/partitioned_by_scope": "a partitioner, likewise",
    "cells/keras_style_layers": "layers that are made anew at each call, outside of any variable scope",
    "cells/keras_style_cells": "cells that are made anew at each call, outside of any variable scope",
    "slim/batch_norm_own_collection": "updates in a collection that no training loop of the case runs",
}
"""Case of the tables -> the construct in it that has no meaning outside of a graph: the shim cannot run it as it is."""


def _loaded(file: Path) -> ModuleType:
    """Imports a table, which is in no package."""
    name = f"soundness_{file.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def _tensors(outputs: Any) -> Any:
    """Returns the tensors of a structure: the tables return names and numbers beside them."""
    return [part for part in tf.nest.flatten(outputs) if tf.is_tensor(part)]


def _case(kind: str, name: str, forward: Callable[[Any, bool], Any], inputs: Callable[[], Any]) -> Case:
    def tensors(x: Any, training: bool) -> Any:
        return _tensors(forward(x, training))

    return Case(
        name=f"{kind}/{name}",
        reference=lambda: lockstep.tf1_graph(tensors, label=name),
        candidate=lambda: migrated(tensors),
        inputs=inputs,
        kind=kind,
    )


def all_tables() -> list[Case]:
    """Every case of the three tables that runs outside of a graph."""
    return [
        case for table in (_layers(), _cells(), _slim_nets()) for case in table if case.name not in NOT_IN_EAGER_CODE
    ]


def _layers() -> Iterator[Case]:
    """Every configuration of `tf.layers` that was recorded in TF 1.15."""
    table = _loaded(_DATA / "layer_cases.py")

    def forward(entry: Any, x: Any, training: bool) -> Any:
        return entry.body(tf, tf.layers, x, training)

    for entry in table.CASES:
        inputs = functools.partial(table.input_of, entry)
        yield _case("layers", entry.name, functools.partial(forward, entry), inputs)


def _cells() -> Iterator[Case]:
    """Every recurrent network that was recorded in TF 1.15."""
    table = _loaded(_DATA / "rnn_cases.py")

    def forward(entry: Any, x: Any, training: bool) -> Any:
        del training
        return entry.body(tf, x)

    for entry in table.CASES:
        inputs = functools.partial(table.input_of, entry)
        yield _case("cells", entry.name, functools.partial(forward, entry), inputs)


def _slim_nets() -> Iterator[Case]:
    """Every small net of tf_slim that was recorded in TF 1.15; the table itself imports TensorFlow."""
    names = json.loads((_INTEGRATION / "recorded_slim_cases.json").read_text(encoding="utf-8"))

    def forward(name: str, x: Any, training: bool) -> Any:
        import tf_slim as slim

        with slim.arg_scope([slim.batch_norm, slim.dropout], is_training=training):
            return _loaded(_INTEGRATION / "slim_cases.py").CASES[name][1](x)

    def inputs(name: str) -> Any:
        return np.asarray(_loaded(_INTEGRATION / "slim_cases.py").input_of(name))

    for name in sorted(names):
        yield _case("slim", name, functools.partial(forward, name), functools.partial(inputs, name))
