"""What a test gives as a side, as a subject: plain functions, classes and models where only one thing can be meant."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

from lockstep.check.sides import subject_of
from lockstep.common.errors import InputError
from lockstep.config.guessing import framework_of
from lockstep.elsewhere.loading import load
from lockstep.frameworks.tensorflow.subjects import keras as keras_subject
from lockstep.frameworks.tensorflow.subjects import tf1_graph
from lockstep.frameworks.torch.subjects import torch as torch_subject
from lockstep.subjects import Subject

__tracebackhide__ = True  # pytest shows the test's line, and not these

_WRAP = (
    "wrap it: lockstep.tf1_graph(forward) for TF1-style code forward(inputs, training), lockstep.keras(build) for a "
    "function that makes a Keras layer or model, lockstep.torch(build) for one that makes a PyTorch module"
)


def side_of(given: Any, side: str) -> Subject:
    """Returns the subject that a test means.

    Args:
        given: A subject; a table of the configuration as a dict; the path of a trace folder; a function
            `forward(inputs, training)`; a function or class without required arguments, which makes a Keras layer or
            model; or a functional or `Sequential` Keras model, of which copies with its weights are checked.
        side: `"reference"` or `"candidate"`.

    Raises:
        InputError: More than one thing could be meant, or nothing.
    """
    if isinstance(given, (Subject, Mapping)):
        return subject_of(given, side)
    if isinstance(given, (str, os.PathLike)):
        if not os.path.isdir(given):  # noqa: PTH112 - a path in any of its types
            raise InputError(
                f"the {side} is {os.fspath(given)!r}, which is no folder; a path must be that of a trace which "
                "`lockstep record` wrote. Give a function itself, or a table with its runtime and entry."
            )
        return load(given)
    if _is_keras_object(given):
        return _copied(given, side)
    if callable(given):
        return _of_function(given, side)
    raise InputError(f"the {side} is a {type(given).__name__}; {_WRAP}.")


def _of_function(given: Callable[..., Any], side: str) -> Subject:
    label = _label(given)
    try:
        parameters = inspect.signature(given).parameters.values()
    except (ValueError, TypeError):  # a callable of C code has none
        raise InputError(f"how the {side} {label} is called cannot be seen; {_WRAP}.") from None
    required = [p for p in parameters if p.default is Parameter.empty and p.kind not in _OPTIONAL]
    positional = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    if not required:
        return torch_subject(given) if _makes_a_module(given) else keras_subject(given)
    if not isinstance(given, type) and len(required) <= 2 <= len(positional) and positional[1].name in _TRAINING:
        return tf1_graph(given)
    if isinstance(given, type):
        what = f"the class {label} needs {_names(required)} to be made; give a function that makes it: lambda: {label}"
        raise InputError(f"the {side}: {what}(...).")
    raise InputError(
        f"the {side} {label} takes {_names(required)}, so it may be TF1-style code, or make a model; {_WRAP}."
    )


_OPTIONAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_TRAINING = ("training", "is_training", "_training")


def _names(parameters: list[Parameter]) -> str:
    return ", ".join(repr(parameter.name) for parameter in parameters)


def _label(given: Callable[..., Any]) -> str:
    return str(getattr(given, "__qualname__", type(given).__qualname__)).replace("<locals>.", "")


def _makes_a_module(given: Callable[..., Any]) -> bool:
    """Whether what makes a model makes a PyTorch module: a class says so, of a function its file's imports do."""
    torch = sys.modules.get("torch")  # who has a module, or a file that makes one, has imported it
    if torch is None:
        return False
    if isinstance(given, type):
        return issubclass(given, torch.nn.Module)
    code = getattr(inspect.unwrap(given), "__code__", None)
    return code is not None and framework_of(Path(code.co_filename), code.co_name) == "torch"


def _is_keras_object(given: Any) -> bool:
    keras = sys.modules.get("keras")  # who has a model has imported it
    return keras is not None and isinstance(given, keras.Layer)


def _copied(model: Any, side: str) -> Subject:
    """Wraps a model that is there already: each build makes a copy, with the weights that it has now."""
    import keras

    label = f"{type(model).__name__} {model.name!r}"
    # Functional models have operations; of any other `clone_model` makes one without weights, or shares its layers.
    if not (isinstance(model, keras.Sequential) or hasattr(model, "operations")):
        raise InputError(
            f"the {side} is the object {label}, and a check makes the model anew several times; give the function or "
            "class that makes it instead."
        )
    if not model.built:
        raise InputError(f"the {side} {label} has no weights yet; call it once, or give a function that makes it.")
    weights = model.get_weights()

    def build() -> Any:
        copy = keras.models.clone_model(model)
        copy.set_weights(weights)
        return copy

    return keras_subject(build, label=label)
