"""What a package of TF1 code is given as `tensorflow`: `tensorflow.compat.v1`, with `tf.contrib` where it lives on.

Most of `tf.contrib` became tf_slim: `CONTRIB` lists what each of its modules is today. A name that is gone for good may
be imported, as packages import more than a model uses; its first use is a `GoneFromTensorFlowError`. `CHANGED` lists
private names of TensorFlow that TF1 packages import and that are elsewhere today, or answer otherwise. TensorFlow's own
modules stay as they are.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import tensorflow as tf

from lockstep.common.errors import LockstepError

_v1: Any = importlib.import_module("tensorflow.compat.v1")

SWITCHES = (
    "disable_control_flow_v2",
    "disable_eager_execution",
    "disable_resource_variables",
    "disable_tensor_equality",
    "disable_v2_behavior",
    "disable_v2_tensorshape",
    "enable_control_flow_v2",
    "enable_eager_execution",
    "enable_resource_variables",
    "enable_tensor_equality",
    "enable_v2_behavior",
    "enable_v2_tensorshape",
)
"""Functions that change the whole process. A package that calls one while it is imported changes nothing here."""

CONTRIB: dict[str, tuple[str, ...]] = {
    "eager": ("tensorflow.compat.v1",),
    "eager.python.tfe": ("tensorflow.compat.v1",),
    "framework": (
        "tf_slim",
        "tf_slim.ops.arg_scope",
        "tf_slim.ops.variables",
        "tf_slim.ops.framework_ops",
        "tensorflow.compat.v1.train",
    ),
    "layers": ("tf_slim.layers", "tf_slim.layers.layers", "tf_slim.layers.utils"),
    "losses": ("tf_slim.losses",),
    "metrics": ("tf_slim.metrics",),
    "rnn": ("lockstep.tf1.rnn_cell", "tensorflow.compat.v1.nn"),
    "slim": ("tf_slim",),
    "slim.nets": ("tf_slim.nets",),
}
"""Module of `tf.contrib` -> the modules that have its names today, the first that has one counts."""


def _nest() -> Any:
    nest = importlib.import_module("tensorflow.python.util.nest")
    return StandIn("tensorflow.python.util.nest", nest, {"is_sequence": lambda: nest.is_nested})


def _rnn_cell() -> Any:
    from lockstep.tf1 import rnn_cell

    return rnn_cell


def _cell(name: str) -> Any:
    return getattr(_rnn_cell(), name)


def _smart_cond() -> Any:
    return importlib.import_module("tensorflow.python.framework.smart_cond").smart_cond


ADDED: dict[str, dict[str, Callable[[], Any]]] = {
    "eager.python.tfe": {"defun": lambda: tf.function},
    "framework": {"nest": _nest, "smart_cond": _smart_cond, "is_tensor": lambda: tf.is_tensor},
}
"""Module of `tf.contrib` -> names of it that today's modules do not have."""


CHANGED: dict[str, dict[str, Callable[[], Any]]] = {
    # A package that asks is told that it runs in TensorFlow 1: else it takes Keras's layers, which nobody owns.
    "tensorflow.python.tf2": {"enabled": lambda: lambda: False},
    "tensorflow.python.ops.rnn": {"rnn_cell_impl": _rnn_cell},
    "tensorflow.python.ops.rnn_cell_impl": {
        name: partial(_cell, name)
        for name in (
            *("BasicLSTMCell", "BasicRNNCell", "DropoutWrapper", "GRUCell", "LSTMCell", "LSTMStateTuple"),
            *("MultiRNNCell", "ResidualWrapper", "RNNCell"),
        )
    },
    "tensorflow.python.util.nest": {"is_sequence": lambda: _nest().is_sequence},
}
"""Private module of TensorFlow -> name -> what TF1 code finds there: what is elsewhere today, or answers otherwise."""


class StandIn(types.ModuleType):
    """A module with some names of its own in front of another module's."""

    def __init__(self, name: str, module: Any, added: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__(name)
        self.__dict__.update(_module=module, _added=added, __path__=[])

    def __getattr__(self, name: str) -> Any:
        added = self._added.get(name)
        return getattr(self._module, name) if added is None else added()

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._module), *self._added})


class GoneFromTensorFlowError(LockstepError, NotImplementedError):
    """TF1 code uses something that TensorFlow has no more, and that nothing has taken the place of."""


class _GoneType(type):
    """The class of what is gone. Packages name such things while they are imported; only use is an error."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise GoneFromTensorFlowError(
            f"{cls.__qualname__} is gone from TensorFlow, and Lockstep knows nothing that has taken its place (it has "
            f"most of tf.contrib's {', '.join(sorted(name for name in CONTRIB if '.' not in name))}). "
            "Write this part of the model with what TensorFlow has."
        )

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _gone(f"{cls.__qualname__}.{name}")


def _gone(path: str) -> _GoneType:
    return _GoneType(path.rpartition(".")[2], (), {"__qualname__": path, "__path__": []})


class _Contrib(types.ModuleType):
    """`tf.contrib`, or a module below it: what of it still exists somewhere."""

    def __init__(self, path: str = "") -> None:
        super().__init__(f"tensorflow.contrib.{path}".rstrip("."))
        self.__dict__.update(_path=path, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self._path}.{name}".lstrip(".")
        added = ADDED.get(self._path, {}).get(name)
        if added is not None:
            return added()
        if any(known == path or known.startswith(f"{path}.") for known in CONTRIB):
            return _Contrib(path)
        for place in CONTRIB.get(self._path, ()):
            module = _imported(place, path)
            if not hasattr(module, name) and _has_module(module, name):
                importlib.import_module(f"{place}.{name}")
            if hasattr(module, name):
                return getattr(module, name)
        if name == "python" and self._path:
            return _Inside(self)
        return _gone(f"tf.contrib.{path}")


class _Inside(types.ModuleType):
    """`tf.contrib.layers.python` and below: TF1's folders, in which every name is one of `tf.contrib.layers`."""

    def __init__(self, contrib: _Contrib) -> None:
        super().__init__(f"{contrib.__name__}.python")
        self.__dict__.update(_contrib=contrib, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in {"layers", "ops", "slim"}:
            return self
        return getattr(self._contrib, name)


def _imported(place: str, wanted: str) -> Any:
    if place.startswith("tensorflow.compat.v1"):  # of which some are attributes and no modules
        found = _v1
        for part in place.split(".")[3:]:
            found = getattr(found, part)
        return found
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != "tf_slim":
            raise
        raise AttributeError(f"tf.contrib.{wanted} is tf_slim's today; run: pip install tf-slim==1.1.0") from error


def _has_module(module: Any, name: str) -> bool:
    """Tells whether a folder of tf_slim has a module that nobody has imported yet."""
    place = module.__name__
    return place.startswith("tf_slim") and hasattr(module, "__path__") and bool(find_spec(f"{place}.{name}"))


def _do_nothing() -> None:
    """Stands for a switch that would change the whole process."""


def _compat() -> Any:
    return StandIn("tensorflow.compat", tf.compat, {"v1": lambda: TENSORFLOW_1})


def _private_module(name: str) -> Any:
    """Returns a module below `tensorflow`, with what `CHANGED` says of it and of the modules in it."""
    module = importlib.import_module(name)
    below = {path.removeprefix(f"{name}.").partition(".")[0] for path in CHANGED if path.startswith(f"{name}.")}
    within: dict[str, Callable[[], Any]] = {part: partial(_private_module, f"{name}.{part}") for part in below}
    added = {**within, **CHANGED.get(name, {})}
    return StandIn(name, module, added) if added else module


TENSORFLOW_1 = StandIn(
    "tensorflow",
    _v1,
    {
        "compat": _compat,
        "contrib": _Contrib,
        "core": partial(_private_module, "tensorflow.core"),
        "python": partial(_private_module, "tensorflow.python"),
        **{name: lambda: _do_nothing for name in SWITCHES},
    },
)
"""What a package of TF1 code gets for `import tensorflow`."""


def imported(name: str, *, leaf: bool) -> Any:
    """Returns what `import name` (or `from name import ...`, if `leaf`) binds in a package of TF1 code.

    Args:
        name: `tensorflow` or a module below it.
        leaf: whether the module itself is wanted, in place of the first in its path.

    Raises:
        ImportError: TensorFlow has it no more; for a module of `tf.contrib` the text says so.
    """
    _, _, below = name.partition(".")
    if not below.startswith(("compat", "contrib")) and below:
        module = _private_module(name)
        return module if leaf else TENSORFLOW_1
    found: Any = TENSORFLOW_1
    for part in filter(None, below.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ModuleNotFoundError(str(error), name=name) from error
    return found if leaf else TENSORFLOW_1
