"""A layer's TF1-style variables in Keras's weight files (`.keras`, `.weights.h5`), under their names.

Keras numbers a layer's own variables in the order in which they were made. TF1-style code makes them in the
order in which it runs, which another branch, or another first call, changes. So an entry is called
`scope|weights:0`: the variable's name, with a bar for the slash, which HDF5 keeps for groups.
"""

from __future__ import annotations

import collections
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError, nearest
from lockstep.tf1 import private
from lockstep.tf1.ownership import LAYERS, AdoptedVariable, pending_of

_SUBLAYER = ":layer"
_SHOWN = 5


def save(layer: Any, store: Any, keras_save: Callable[..., Any]) -> None:
    """Writes the layer's own variables into `store`: those of TF1-style code by name, native ones as Keras does."""
    adopted = _adopted(layer)
    with private.variables_hidden(layer, list(adopted.values())):
        keras_save(layer, store)
    for name, variable in adopted.items():
        store[_key(name)] = variable
    # What was loaded for variables that are not made yet must not be lost by saving again.
    for name, value in pending_of(layer).items():
        store[_key(name)] = value
    # Keras saves the sublayers themselves, but says nothing when it finds none to load into.
    for name in vars(layer).get(LAYERS, ()):
        store[_key(name) + _SUBLAYER] = np.zeros([], np.int8)


def load(layer: Any, store: Any, keras_load: Callable[..., Any]) -> None:
    """Gives the layer's own variables the values in `store`, by name.

    Entries for variables that the layer has not made yet wait until its code makes them.

    Raises:
        InputError: A variable has no entry, or one of another shape; or a sublayer has not been made yet.
    """
    # Read at once: Keras 3.3 hands datasets of a file that it closes. And a store of Keras is no mapping.
    by_name = {_name(key): np.array(store[key]) for key in store.keys() if key.endswith(":0")}  # noqa: SIM118
    numbered = {key: np.array(store[key]) for key in store.keys() if key.isdecimal()}  # noqa: SIM118
    adopted = _adopted(layer)
    if not by_name and len(numbered) > len(private.own_variables(layer)) - len(adopted):
        if adopted:
            _load_numbered(layer, numbered)
            return
        if not private.own_variables(layer) and not _has_native_weights(layer):
            raise InputError(
                f"The weight file holds {len(numbered)} variables of layer {layer.name!r} by order, not by name, and "
                "the layer has not been called yet, so it has no variables to put them in. Call it once on a batch "
                "(in every mode that makes variables: training=True and training=False), then load."
            )
    _check_sublayers(layer, store)
    _check(layer, adopted, by_name)
    with private.variables_hidden(layer, list(adopted.values())):
        keras_load(layer, numbered)
    for name, variable in adopted.items():
        variable.assign(by_name.pop(name))
    pending = pending_of(layer)
    pending.clear()
    if by_name:
        pending.update(by_name)
        warnings.warn(
            f"The weight file holds {len(by_name)} variables that layer {layer.name!r} has not made yet: "
            f"{_some(by_name)}. They are kept, and given to the variables when the layer makes them. To have them "
            "at once, call the layer on a batch in every mode (training=True and training=False) before loading.",
            stacklevel=3,
        )


def _adopted(layer: Any) -> dict[str, AdoptedVariable]:
    return {v.name: v for v in private.own_variables(layer) if isinstance(v, AdoptedVariable)}


def _has_native_weights(layer: Any) -> bool:
    return not private.has_default_build(layer)


def _key(name: str) -> str:
    return name.replace("/", "|")


def _name(key: str) -> str:
    return key.replace("|", "/")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _check(layer: Any, adopted: dict[str, AdoptedVariable], values: dict[str, Any]) -> None:
    complaints = []
    if adopted and not values:
        complaints.append("it has no entry for this layer at all: its class, or its place in the model, is another")
    missing = [name for name in adopted if name not in values]
    if missing and values:
        left = [name for name in values if name not in adopted]
        first = missing[0]
        complaints.append(
            f"it has no entry for {len(missing)} of {len(adopted)} variables: "
            f"{_some(f'{name} {tuple(adopted[name].shape)}' for name in missing)}"
            f"{nearest(first, left)}"
            + (f"; entries without a variable: {_some(f'{n} {values[n].shape}' for n in left)}" if left else "")
        )
    clashes = [
        f"{name} is {tuple(v.shape)} in the layer, {values[name].shape} in the file"
        for name, v in adopted.items()
        if name in values and tuple(v.shape) != tuple(values[name].shape)
    ]
    if clashes:
        complaints.append(f"shapes differ: {_some(clashes)}")
    if complaints:
        raise InputError(
            f"The weight file does not fit layer {layer.name!r}: {'; '.join(complaints)}. Nothing of this layer was "
            "loaded. The file must come from the same TF1-style code; if scopes were renamed since, assign those "
            "values by hand."
        )


def _check_sublayers(layer: Any, store: Any) -> None:
    saved = [_name(k.removesuffix(_SUBLAYER)) for k in store.keys() if k.endswith(_SUBLAYER)]  # noqa: SIM118
    absent = [name for name in saved if name not in vars(layer).get(LAYERS, ())]
    if absent:
        raise InputError(
            f"The weight file holds the weights of Keras layers that {layer.name!r} has not made yet with "
            f"get_or_create_layer: {_some(absent)}. Call {layer.name!r} once on a batch, then load."
        )


def _load_numbered(layer: Any, numbered: dict[str, Any]) -> None:
    """Loads a file that numbers the variables, as Keras itself and Lockstep 0.1 wrote it."""
    variables = private.own_variables(layer)
    values = [numbered[key] for key in sorted(numbered, key=int)]
    wanted, found = [tuple(v.shape) for v in variables], [tuple(v.shape) for v in values]
    if sorted(wanted) != sorted(found):
        raise InputError(
            f"The weight file numbers the variables of layer {layer.name!r} instead of naming them, and they do not "
            f"fit: it holds {len(found)} of shapes {_some(map(str, found))}; the layer has {len(wanted)}: "
            f"{_some(f'{v.name} {tuple(v.shape)}' for v in variables)}. If some are made in training mode only, call "
            "the layer in that mode first; else load the file where it was written and save it again by name."
        )
    alike = [shape for shape, count in collections.Counter(wanted).items() if count > 1]
    if wanted != found:
        if alike:
            raise InputError(
                f"The weight file numbers the variables of layer {layer.name!r} in another order than the layer made "
                f"them, and several have the shape {alike[0]}, so nobody can tell them apart. Call a fresh layer "
                "first in the way in which the saved one was first called; or load the file where it was written "
                "and save it again: it is then keyed by name."
            )
        by_shape = dict(zip(found, values, strict=True))
        values = [by_shape[shape] for shape in wanted]
    elif alike:
        same = [v.name for v in variables if tuple(v.shape) == alike[0]]
        warnings.warn(
            f"The weight file numbers the variables of layer {layer.name!r} instead of naming them. Those of equal "
            f"shape ({_some(same)}) were taken in the order in which the layer made them. Save again to key by name.",
            stacklevel=4,
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(tf.convert_to_tensor(value))
