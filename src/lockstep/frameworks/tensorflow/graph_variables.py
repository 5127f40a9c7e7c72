"""What operations on variables do to a program: they read, they write, and what they compute is said plainly."""

# ruff: noqa: ARG001 - all handlers take the same, whether they need it or not
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.frameworks.tensorflow.graph_values import Handler, Held, Known, Site, Variable


def _handle(site: Site, given: list[Any]) -> Sequence[Held]:
    return [given[0]]


def _read(site: Site, given: list[Any]) -> Sequence[Held]:
    return [site.recorder.read(given[0], site.place)]


def _shape(site: Site, given: list[Any]) -> Sequence[Held]:
    value = site.recorder.read(given[0], site.place).value
    return [site.recorder.constant(tf.shape(value, out_type=site.attribute("out_type")))]


def _initialized(site: Site, given: list[Any]) -> Sequence[Held]:
    return [site.recorder.constant(np.asarray(True))]


def _destroyed(site: Site, given: list[Any]) -> Sequence[Held]:
    return []


def _written(site: Site, variable: Variable, value: Known) -> Sequence[Held]:
    """A reference goes on from an assignment; one to a resource gives nothing."""
    site.recorder.write(variable, value)
    return [variable] * len(site.op.outputs)


def _assign(site: Site, given: list[Any]) -> Sequence[Held]:
    return _written(site, given[0], given[1])


def _assigning(kind: str) -> Handler:
    def assign(site: Site, given: list[Any]) -> Sequence[Held]:
        before = site.recorder.read(given[0], site.place)
        return _written(site, given[0], site.run(kind, [before, given[1]]))

    return assign


def _scattering(kind: str, *, rows: bool) -> Handler:
    """`rows` is whether the indices count along the first axis, instead of being vectors of indices themselves."""

    def scatter(site: Site, given: list[Any]) -> Sequence[Held]:
        variable, indices, updates = given
        before = site.recorder.read(variable, site.place)
        if rows:
            wanted = [*indices.value.shape, *before.value.shape[1:]]
            if list(updates.value.shape) != wanted:  # one number for all
                updates = site.run("BroadcastTo", [updates, site.recorder.constant(np.asarray(wanted, np.int32))])
            indices = site.run("ExpandDims", [indices, site.recorder.constant(np.asarray(-1, np.int32))])
        return _written(site, variable, site.run(kind, [before, indices, updates]))

    return scatter


def _gather(site: Site, given: list[Any]) -> Sequence[Held]:
    value = site.recorder.read(given[0], site.place) if isinstance(given[0], Variable) else given[0]
    batch_dims = int(site.attribute("batch_dims")) if site.op.type == "ResourceGather" else 0
    axis = site.recorder.constant(np.asarray(batch_dims, np.int32))
    return [site.run("GatherV2", [value, given[1], axis], batch_dims=batch_dims)]


def _gather_nd(site: Site, given: list[Any]) -> Sequence[Held]:
    return [site.run("GatherNd", [site.recorder.read(given[0], site.place), given[1]])]


_SCATTERED = {"Add": "TensorScatterAdd", "Sub": "TensorScatterSub", "Update": "TensorScatterUpdate",
              "Min": "TensorScatterMin", "Max": "TensorScatterMax"}  # fmt: skip

HANDLERS: dict[str, Handler] = {
    "ReadVariableOp": _read,
    "VariableShape": _shape,
    "VarIsInitializedOp": _initialized,
    "IsVariableInitialized": _initialized,
    "DestroyResourceOp": _destroyed,
    "RefIdentity": _handle,
    "Assign": _assign,
    "AssignVariableOp": _assign,
    "AssignAdd": _assigning("AddV2"),
    "AssignAddVariableOp": _assigning("AddV2"),
    "AssignSub": _assigning("Sub"),
    "AssignSubVariableOp": _assigning("Sub"),
    "Gather": _gather,
    "ResourceGather": _gather,
    "ResourceGatherNd": _gather_nd,
    **{f"Scatter{name}": _scattering(kind, rows=True) for name, kind in _SCATTERED.items()},
    **{f"ResourceScatter{name}": _scattering(kind, rows=True) for name, kind in _SCATTERED.items()},
    **{f"ScatterNd{name}": _scattering(kind, rows=False) for name, kind in _SCATTERED.items()},
    **{f"ResourceScatterNd{name}": _scattering(kind, rows=False) for name, kind in _SCATTERED.items()},
}
