"""Lists everything that `lockstep.tf1.slim.enable` puts into tf_slim's modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import tensorflow as tf

from lockstep.tf1.slim import averages, checkpoints, getters, variables
from lockstep.tf1.slim.layer_classes import INPUT_SPECIFICATION, LAYER_MODULES, rebased
from lockstep.tf1.slim.lower_bound import lower_bound
from lockstep.tf1.slim.moved import MOVED, ModuleWithMovedNames

Replacement = tuple[Any, str, Any]
"""(module or function, attribute, new value)."""

# tf_slim module -> function -> what stands in for it.
FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {
    "tf_slim.layers.layers": {
        "_add_variable_to_collections": variables.add_variable_to_collections,
        "_build_variable_getter": getters.build_variable_getter,
    },
    "tf_slim.ops.variables": {
        "add_model_variable": variables.add_model_variable,
        "assign_from_checkpoint": checkpoints.assign_from_checkpoint,
        "get_variables_to_restore": variables.get_variables_to_restore,
    },
}


def replacements() -> Iterator[Replacement]:
    """Yields what to replace; importing tf_slim is part of it."""
    importlib.import_module("tf_slim")
    yield from _modules_with_moved_names()
    layers = importlib.import_module("tf_slim.layers.layers")
    for attribute, stand_in in LAYER_MODULES.items():
        yield layers, attribute, stand_in
    yield layers, "input_spec", INPUT_SPECIFICATION
    assign = averages.within_stores(layers.moving_averages.assign_moving_average)
    yield layers, "moving_averages", ModuleWithMovedNames(layers.moving_averages, {"assign_moving_average": assign})
    yield from _wherever_imported(layers.GDN, rebased(layers.GDN, _lower_bound=staticmethod(lower_bound)))
    rev_block = importlib.import_module("tf_slim.layers.rev_block_lib").RevBlock
    yield from _wherever_imported(rev_block, rebased(rev_block))
    for module_name, functions in FUNCTIONS.items():
        module = importlib.import_module(module_name)
        for name, function in functions.items():
            yield from _wherever_imported(vars(module)[name], function)
    yield from _marks_against_autograph()


def _modules_with_moved_names() -> Iterator[Replacement]:
    for module_name, imported in MOVED.items():
        module = importlib.import_module(module_name)
        for attribute, moved in imported.items():
            yield module, attribute, ModuleWithMovedNames(vars(module)[attribute], moved)


def _wherever_imported(original: Any, stand_in: Any) -> Iterator[Replacement]:
    """Yields one replacement for each name that a module of tf_slim has for `original`: star imports copied it."""
    for module in _slim_modules():
        for attribute, value in list(vars(module).items()):
            if value is original:
                yield module, attribute, stand_in


def _marks_against_autograph() -> Iterator[Replacement]:
    """Yields what keeps AutoGraph from rewriting tf_slim's functions while a `tf.function` is traced.

    TensorFlow 1 never rewrote them, and rewriting made the tracing of Inception-ResNet-v2 take 11 s instead of 2 s.
    A function that carries the mark is called as it is; one wrapped in `do_not_convert` would enter a context at
    every call.
    """

    def unmarked() -> None:
        pass

    marked = tf.autograph.experimental.do_not_convert(unmarked)
    marks = {name: value for name, value in vars(marked).items() if name != "__wrapped__"}
    functions = {
        id(value): value
        for module in _slim_modules()
        for value in vars(module).values()
        if isinstance(value, FunctionType) and value.__module__.startswith("tf_slim.")
    }
    for function in functions.values():
        for name, value in marks.items():
            yield function, name, value


def _slim_modules() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name == "tf_slim" or name.startswith("tf_slim.")]
