"""Optimizers of this process: Keras's, functions that apply gradients eagerly, and those of `tf.compat.v1.train`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow import running
from lockstep.ground.failures import RecordingError
from lockstep.recorder.optimizing import GraphOptimizer, Update, describe
from lockstep.recorder.train_op import NotAloneError
from lockstep.tf1 import private

# Keras's name of an optimizer's variable, behind that of the variable it belongs to -> its role. By class, as
# "momentum" means another thing in each.
_ROLES: Mapping[str, Mapping[str, str]] = {
    "Adam": {"momentum": "first moment", "velocity": "second moment", "velocity_hat": "largest second moment"},
    "SGD": {"momentum": "momentum"},
    "RMSprop": {"velocity": "mean square", "momentum": "momentum", "average_gradient": "mean gradient"},
    "Adagrad": {"accumulator": "accumulator"},
    "Adadelta": {
        "accumulated_grad": "accumulated gradient",
        "accumulated_delta_var": "accumulated update",
    },
    "Ftrl": {"accumulator": "accumulator", "linear": "linear"},
}
_CLASSES: Mapping[str, tuple[str, Mapping[str, str], Mapping[str, Any]]] = {
    "SGD": ("sgd", {"momentum": "momentum", "nesterov": "nesterov"}, {"rate_inside": True}),
    "Adam": ("adam", {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon", "amsgrad": "amsgrad"}, {}),
    "RMSprop": (
        "rmsprop",
        {"rho": "rho", "momentum": "momentum", "epsilon": "epsilon", "centered": "centered"},
        {"initial_accumulator": 0.0},
    ),
    "Adagrad": ("adagrad", {"initial_accumulator": "initial_accumulator_value", "epsilon": "epsilon"}, {}),
    "Adadelta": ("adadelta", {"rho": "rho", "epsilon": "epsilon"}, {}),
    "Ftrl": (
        "ftrl",
        {
            "learning_rate_power": "learning_rate_power",
            "initial_accumulator": "initial_accumulator_value",
            "l1": "l1_regularization_strength",
            "l2": "l2_regularization_strength",
            "l2_shrinkage": "l2_shrinkage_regularization_strength",
            "beta": "beta",
        },
        {},
    ),
}
_CLIPPING = (
    ("clipnorm", "norm"),
    ("global_clipnorm", "global norm"),
    ("clipvalue", "value"),
)  # Keras asks in this order


def make_optimizer(
    make: Callable[[], Any],
    shapes: Mapping[str, tuple[tuple[int, ...], Any]],
    label: str,
    *,
    eagerly: bool,
    names: Mapping[str, str] | None = None,
) -> Any:
    """Makes an optimizer of what the user's function returns.

    Args:
        make: The function.
        shapes: Variable key -> shape and dtype of the variables that it trains.
        label: What it belongs to, for messages.
        names: Variable key -> what the model calls the variable; the key by default.
        eagerly: Whether it is made outside a graph first; what turns out to be a v1 optimizer gets a graph then.

    Raises:
        InputError: It is no optimizer.
        SubjectError: The function failed.
    """
    try:
        with running.users_code(label, "making its optimizer"):
            if eagerly:
                made = make()
                if isinstance(made, keras.optimizers.Optimizer):
                    return KerasOptimizer(made, shapes, label, names)
                if not hasattr(made, "apply_gradients") and callable(made):
                    return KerasOptimizer(made, shapes, label, names)
            return GraphOptimizer(make, shapes)
    except NotAloneError:
        raise
    except RecordingError as error:
        raise InputError(f"{label}: {error}") from error


class KerasOptimizer:
    """A Keras optimizer, or a function that is given (gradient, variable) pairs, with variables of its own.

    Attributes:
        description: The class, its rule and its arguments; None where they cannot be told.
    """

    def __init__(
        self,
        optimizer: Any,
        shapes: Mapping[str, tuple[tuple[int, ...], Any]],
        label: str,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._optimizer, self._label = optimizer, label
        self._is_keras = isinstance(optimizer, keras.optimizers.Optimizer)
        # Each name ends in that of the model's variable: `exclude_from_weight_decay` goes by it.
        called = names or {}
        self._variables = {
            key: keras.Variable(np.zeros(shape, dtype), name=f"v{place}_{_last(called.get(key, key))}")
            for place, (key, (shape, dtype)) in enumerate(shapes.items())
        }
        self.description = describe_keras(optimizer)
        self._updates = 0
        self._built = False

    def apply(self, variables: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Update:
        """Applies gradients to variables that are set to given values before; slots stay what they have become."""
        for key, variable in self._variables.items():
            variable.assign(variables[key])
        given = [tf.convert_to_tensor(gradients[key]) for key in self._variables]
        with running.users_code(self._label, "applying its optimizer"):
            if self._is_keras:
                if not self._built:
                    # Moving averages and slots are made here: from the values that the variables have now.
                    self._optimizer.build(list(self._variables.values()))
                    self._built = True
                self._optimizer.apply(given, list(self._variables.values()))
            else:
                variables = [private.raw_variable(variable) for variable in self._variables.values()]
                self._optimizer(list(zip(given, variables, strict=True)))
        self._updates += 1
        step = int(self._optimizer.iterations) if self._is_keras else self._updates
        return Update({key: np.array(v) for key, v in self._variables.items()}, self._slots(), step)

    def learning_rates(self, steps: Sequence[int]) -> dict[int, float]:
        """Returns step -> learning rate of the update that is made then; empty where it cannot be told."""
        if not self._is_keras:
            return {}
        iterations = self._optimizer.iterations
        now = int(iterations)
        rates = {}
        for step in steps:
            iterations.assign(step)
            rates[step] = float(self._optimizer.learning_rate)
        iterations.assign(now)
        return rates

    def turning_points(self) -> list[int]:
        """Returns the integers among the arguments of the learning rate's schedule."""
        if self.description is None:
            return []
        schedule: Mapping[str, Any] = self.description.get("schedule", {})
        flat = [
            item for value in schedule.values() for item in (value if isinstance(value, (list, tuple)) else [value])
        ]
        numbers = [v for v in flat if isinstance(v, (int, float)) and not isinstance(v, bool)]
        return sorted({int(v) for v in numbers if 1 < v < 1e9 and v % 1 == 0})

    def close(self) -> None:
        """Holds nothing that has to be let go."""

    def _slots(self) -> dict[str, np.ndarray]:
        if not self._is_keras:
            return {}
        keys = list(self._variables)
        roles = next((_ROLES[c.__name__] for c in type(self._optimizer).__mro__ if c.__name__ in _ROLES), {})
        slots = {}
        for variable in self._optimizer.variables:
            # "adam/v0_kernel_momentum": Keras puts the name of the slot behind that of the variable.
            found = re.search(r"(?:^|/)v([0-9]+)_", variable.path)
            if found is None:
                continue
            key = keys[int(found.group(1))]
            name = variable.path[found.end() :].removeprefix(self._variables[key].name.partition("_")[2] + "_")
            role = "moving average" if name == "average" else roles.get(name, name)
            slots[f"{key}: {role}"] = np.array(variable)
        return slots


def _last(name: str) -> str:
    return re.sub("[^A-Za-z0-9_]", "_", name.rpartition("/")[2].partition("#")[0])


def configuration_of(optimizer: Any) -> Mapping[str, Any]:
    """Returns a Keras optimizer's configuration; with a schedule that cannot be serialized, all but the schedule.

    Schedules are written for training, not for saving: one without `get_config` is as good as any other.
    """
    try:
        found: Mapping[str, Any] = optimizer.get_config()
    except NotImplementedError:
        # What Keras's optimizers are made with they keep under the same names.
        return {name: value for name, value in vars(optimizer).items() if not name.startswith("_")}
    return found


def describe_keras(optimizer: Any) -> dict[str, Any] | None:
    """Describes a Keras optimizer by its configuration, and one of `tf.compat.v1.train` likewise; None of others."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return describe(optimizer)
    configuration = configuration_of(optimizer)
    base = next((c.__name__ for c in type(optimizer).__mro__ if c.__name__ in _CLASSES), "")
    kind, names, fixed = _CLASSES.get(base, ("", {}, {}))
    arguments: dict[str, Any] = {**fixed, **{ours: configuration.get(theirs) for ours, theirs in names.items()}}
    if kind == "sgd" and configuration.get("momentum"):
        kind = "momentum"
    for name, how in _CLIPPING:
        if configuration.get(name) and "clip" not in arguments:
            arguments.update(clip=how, clip_at=float(configuration[name]))
    if configuration.get("weight_decay"):
        arguments["weight_decay"] = float(configuration["weight_decay"])
    if configuration.get("use_ema"):
        arguments.update(average_decay=float(configuration["ema_momentum"]), average_from_first_update=True)
    rate = configuration.get("learning_rate")
    schedule = {}
    if isinstance(rate, Mapping):
        schedule = {"class": rate.get("class_name"), **rate.get("config", {})}
    if type(optimizer).__name__ not in (base, "AdamW") or configuration.get("gradient_accumulation_steps"):
        kind = ""  # a class of another's making may update as it likes
    return {
        "framework": "keras",
        "name": type(optimizer).__name__,
        "kind": kind,
        "arguments": arguments,
        "schedule": schedule,
    }
