"""Which calls made a layer's TF1-style variables, so that a loaded layer can make them before its first call.

A record is JSON: the method's name and the shapes, dtypes and plain values of its arguments. Only calls that
made variables are kept; for most layers that is one, for one with a head for training only it is two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lockstep.common.errors import LockstepError
from lockstep.tf1 import private
from lockstep.tf1.ownership import CALL_RECORDS

_RECORDS = CALL_RECORDS
_CONFIG = "tf1_style_calls"
_ORDER = "tf1_style_variables"


class RebuildError(LockstepError, ValueError):
    """The variables of a layer cannot be made from its saved configuration."""


def record(layer: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Notes a call that made variables."""
    try:
        noted = {"method": method, "args": _encode(list(args)), "kwargs": _encode(kwargs)}
    except TypeError:
        return  # an argument that no file can hold: Keras's own way of building has to do
    records = records_of(layer)
    if noted not in records:
        records.append(noted)


def records_of(layer: Any) -> list[dict[str, Any]]:
    """Returns the records of a layer, to be added to."""
    records = vars(layer).get(_RECORDS)
    if records is None:
        records = []
        # Past Keras's __setattr__, which would wrap the list.
        object.__setattr__(layer, _RECORDS, records)
    return records  # type: ignore[no-any-return]


def describe(layer: Any, config: dict[str, Any] | None) -> dict[str, Any] | None:
    """Adds the records, and the order of the variables, to Keras's build configuration."""
    records = records_of(layer)
    if not records:
        return config
    # An optimizer's slots are saved in the order of the variables.
    return {**(config or {}), _CONFIG: records, _ORDER: [v.name for v in private.own_variables(layer)]}


def build(layer: Any, config: dict[str, Any], keras_build: Callable[..., Any]) -> None:
    """Makes the layer's variables as the saved one made them, symbolically: no value is computed.

    Raises:
        RebuildError: The layer's code fails on inputs of the recorded shapes.
    """
    calls = (config or {}).get(_CONFIG, [])
    # Keras builds a model by calling it on float32 of the recorded shape, whatever dtype it was called with; so does a
    # VariableScopeLayer.
    calls_itself = isinstance(layer, keras.Model) and private.has_default_build(layer)
    if not (calls and (calls_itself or getattr(layer, "_builds_symbolically", False))):
        keras_build(layer, config)
    for noted in calls:
        args, kwargs = _decode(noted["args"]), _decode(noted["kwargs"])
        try:
            private.call_symbolically(getattr(layer, noted["method"]), *args, **kwargs)
        except Exception as error:
            raise RebuildError(
                f"Layer {layer.name!r} could not be built as it was saved: {type(layer).__name__}.{noted['method']} "
                f"on {_told(args, kwargs)} raised {type(error).__name__}: {error}. Its code must be the code that "
                "was saved, and must run on symbolic inputs."
            ) from error
    if calls:
        layer.built = True
        records_of(layer)[:] = calls
        private.order_variables(layer, config.get(_ORDER, []))


def _told(args: Any, kwargs: dict[str, Any]) -> str:
    inputs = [f"{a.dtype} {a.shape}" if isinstance(a, keras.KerasTensor) else repr(a) for a in args]
    return ", ".join([*inputs, *(f"{key}={value!r}" for key, value in kwargs.items())])


def _encode(value: Any) -> Any:
    if tf.is_tensor(value) and not hasattr(value, "shape"):
        raise TypeError(type(value))
    if isinstance(value, (tf.Tensor, tf.Variable, np.ndarray)):
        shape = value.shape
        static = None if getattr(shape, "rank", 0) is None else [None if d is None else int(d) for d in shape]
        if static is None:
            raise TypeError("a tensor of unknown rank")
        return {"shape": static, "dtype": tf.as_dtype(value.dtype).name}
    if isinstance(value, (list, tuple)) and type(value) in {list, tuple}:
        return {type(value).__name__: [_encode(item) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode(item) for key, item in value.items()}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(type(value))


def _decode(noted: dict[str, Any]) -> Any:
    if "shape" in noted:
        return keras.KerasTensor(tuple(noted["shape"]), noted["dtype"])
    if "list" in noted:
        return [_decode(item) for item in noted["list"]]
    if "tuple" in noted:
        return tuple(_decode(item) for item in noted["tuple"])
    if "dict" in noted:
        return {key: _decode(item) for key, item in noted["dict"].items()}
    return noted["value"]
