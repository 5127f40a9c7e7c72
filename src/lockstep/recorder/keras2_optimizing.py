"""An optimizer of Keras 2 in a trial: eagerly from TensorFlow 2 on, as Keras runs it there, and in a graph before.

Keras 2 has two families: `OptimizerV2` (all up to 2.10, `optimizers.legacy` from 2.11 on), whose slots have names, and
the one that Keras 3 took over (2.11 on). Checked on TensorFlow 1.15.5, 2.4.4, 2.10.1 and 2.15.1, and tf_keras 2.21.0.
"""

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from .optimizing import GraphOptimizer, Update

_V2_ROLES = {
    "Adam": {"m": "first moment", "v": "second moment", "vhat": "largest second moment"},
    "SGD": {"momentum": "momentum"},
    "RMSprop": {"rms": "mean square", "momentum": "momentum", "mg": "mean gradient"},
    "Adagrad": {"accumulator": "accumulator"},
    "Adadelta": {"accum_grad": "accumulated gradient", "accum_var": "accumulated update"},
    "Ftrl": {"accumulator": "accumulator", "linear": "linear"},
}
"""Class of the first family -> what `get_slot` calls a slot -> its role."""
_NEW_ROLES = {
    "Adam": {"_momentums": "first moment", "_velocities": "second moment", "_velocity_hats": "largest second moment"},
    "SGD": {"momentums": "momentum"},
    "RMSprop": {"_velocities": "mean square", "_momentums": "momentum", "_average_gradients": "mean gradient"},
    "Adagrad": {"_accumulators": "accumulator"},
    "Adadelta": {"_accumulated_grads": "accumulated gradient", "_accumulated_delta_vars": "accumulated update"},
    "Ftrl": {"_accumulators": "accumulator", "_linears": "linear"},
}
"""Class of the second family -> the attribute that lists a slot of each variable -> its role."""
_ADAM = {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon", "amsgrad": "amsgrad"}
_RMSPROP = {"rho": "rho", "momentum": "momentum", "epsilon": "epsilon", "centered": "centered"}
_FTRL = {
    "learning_rate_power": "learning_rate_power",
    "initial_accumulator": "initial_accumulator_value",
    "l1": "l1_regularization_strength",
    "l2": "l2_regularization_strength",
    "l2_shrinkage": "l2_shrinkage_regularization_strength",
    "beta": "beta",
}
_CLASSES = {
    "SGD": ("sgd", {"momentum": "momentum", "nesterov": "nesterov"}, {"rate_inside": True}),
    "Adam": ("adam", _ADAM, {}),
    "RMSprop": ("rmsprop", _RMSPROP, {"initial_accumulator": 0.0}),
    "Adagrad": ("adagrad", {"initial_accumulator": "initial_accumulator_value", "epsilon": "epsilon"}, {}),
    "Adadelta": ("adadelta", {"rho": "rho", "epsilon": "epsilon"}, {}),
    "Ftrl": ("ftrl", _FTRL, {}),
}  # type: Dict[str, Tuple[str, Dict[str, str], Dict[str, Any]]]
_CLIPPING = (("clipnorm", "norm"), ("global_clipnorm", "global norm"), ("clipvalue", "value"))


def make(function: Callable[[], Any], shapes: Mapping[str, Tuple[Tuple[int, ...], Any]]) -> Any:
    """Makes the optimizer that a function of the user's returns go through trials.

    Args:
        function: Returns an optimizer of Keras 2 or of `tf.compat.v1.train`, or what `GraphOptimizer` takes else.
        shapes: Variable key -> shape and dtype of what it trains.

    Raises:
        RecordingError: The function returned something else.
    """
    if tf.__version__.startswith("1."):
        with tf.Graph().as_default():
            in_graph = is_keras_2(function())
        return (_GraphOptimizer if in_graph else GraphOptimizer)(function, shapes)
    made = function()
    return EagerOptimizer(made, shapes) if is_keras_2(made) else GraphOptimizer(function, shapes)


def is_keras_2(optimizer: Any) -> bool:
    """Tells whether something is an optimizer of Keras 2, of either family."""
    return hasattr(optimizer, "get_config") and hasattr(optimizer, "iterations") and not _is_keras_3(optimizer)


def _is_keras_3(optimizer: Any) -> bool:
    return any(base.__module__ == "keras.src.optimizers.base_optimizer" for base in type(optimizer).__mro__)


class EagerOptimizer:
    """An optimizer of Keras 2 with variables of its own, run eagerly; slots go on from one update to the next.

    Args:
        optimizer: The optimizer, which has not updated anything yet.
        shapes: Variable key -> shape and dtype.

    Attributes:
        description: The class, its rule and its arguments; None where they cannot be told.
    """

    def __init__(self, optimizer: Any, shapes: Mapping[str, Tuple[Tuple[int, ...], Any]]) -> None:
        self._optimizer = optimizer
        self._variables = {
            key: tf.Variable(np.zeros(shape, dtype), name="v%d" % place)
            for place, (key, (shape, dtype)) in enumerate(shapes.items())
        }
        self.description = describe(optimizer)

    def apply(self, variables: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Update:
        """Applies gradients to variables that are set to given values before; slots stay what they have become."""
        for key, variable in self._variables.items():
            variable.assign(variables[key])
        pairs = [(tf.convert_to_tensor(gradients[key]), variable) for key, variable in self._variables.items()]
        self._optimizer.apply_gradients(pairs)
        values = {key: np.array(variable.numpy()) for key, variable in self._variables.items()}
        slots = {name: np.array(slot.numpy()) for name, slot in slots_of(self._optimizer, self._variables).items()}
        return Update(values, slots, int(self._optimizer.iterations.numpy()))

    def learning_rates(self, steps: Sequence[int]) -> Dict[int, float]:
        """Returns step -> learning rate of the update that is made then."""
        iterations = self._optimizer.iterations
        now = int(iterations.numpy())
        rates = {}
        for step in steps:
            iterations.assign(step)
            rates[step] = float(rate_of(self._optimizer))
        iterations.assign(now)
        return rates

    def turning_points(self) -> List[int]:
        """Returns the integers among the arguments of the learning rate's schedule."""
        schedule = {} if self.description is None else self.description["schedule"]
        flat = [
            item for value in schedule.values() for item in (value if isinstance(value, (list, tuple)) else [value])
        ]
        numbers = [v for v in flat if isinstance(v, (int, float)) and not isinstance(v, bool)]
        return sorted({int(v) for v in numbers if 1 < v < 1e9 and v % 1 == 0})

    def close(self) -> None:
        """Holds nothing that has to be let go."""


class _GraphOptimizer(GraphOptimizer):
    """One of TensorFlow 1.14 and 1.15, in a graph of its own.

    Its slots are resources where its variables are, as those of Keras are.
    """

    _RESOURCES = True

    def _counter(self, optimizer: Any) -> Any:
        return optimizer.iterations

    def _application(self, optimizer: Any, pairs: Sequence[Tuple[Any, Any]]) -> Any:
        return optimizer.apply_gradients(list(pairs))

    def _described(self, optimizer: Any) -> Optional[Dict[str, Any]]:
        return describe(optimizer)

    def _rate_of(self, optimizer: Any) -> Any:
        return rate_of(optimizer)

    def _found_slots(self, optimizer: Any) -> Dict[str, Any]:
        return slots_of(optimizer, self._variables)


def rate_of(optimizer: Any) -> Any:
    """Returns the learning rate of the next update as a tensor: a schedule and `decay` are applied."""
    decayed = getattr(optimizer, "_decayed_lr", None)
    if decayed is not None:
        return decayed(tf.float32)
    rate = getattr(optimizer, "_learning_rate", optimizer.learning_rate)
    return rate(optimizer.iterations) if callable(rate) else rate


def slots_of(optimizer: Any, variables: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns `"<variable key>: <role>"` -> slot, of those that the optimizer has made."""
    base = _base(optimizer)
    slots: Dict[str, Any] = {}
    names = getattr(optimizer, "get_slot_names", None)
    if names is not None:
        roles = _V2_ROLES.get(base, {})
        made = set(names())
        for key, variable in variables.items():
            for name in sorted(made):
                slots["%s: %s" % (key, roles.get(name, name))] = optimizer.get_slot(variable, name)
        return slots
    for attribute, role in _NEW_ROLES.get(base, {}).items():
        for key, slot in zip(variables, getattr(optimizer, attribute, None) or ()):
            if slot is not None:
                slots["%s: %s" % (key, role)] = slot
    if getattr(optimizer, "use_ema", False):
        for key, slot in zip(variables, optimizer._model_variables_moving_average):
            slots["%s: moving average" % key] = slot
    return slots


def describe(optimizer: Any) -> Optional[Dict[str, Any]]:
    """Describes an optimizer of Keras 2 by its configuration."""
    configuration = optimizer.get_config()
    base, in_v2 = _base(optimizer), hasattr(optimizer, "get_slot_names")
    kind, names, fixed = _CLASSES.get(base, ("", {}, {}))
    arguments = dict(fixed)  # type: Dict[str, Any]
    arguments.update((ours, _plain(configuration.get(theirs))) for ours, theirs in names.items())
    if kind == "ftrl" and arguments["beta"] is None:
        arguments["beta"] = 0.0
    if kind == "sgd" and arguments["momentum"]:
        kind = "momentum"
    if in_v2 and (kind == "adagrad" or (kind == "rmsprop" and not arguments["momentum"])):
        arguments["epsilon_place"] = "outside"
    for name, how in _CLIPPING:
        if configuration.get(name) and "clip" not in arguments:
            arguments.update(clip=how, clip_at=float(configuration[name]))
    if configuration.get("weight_decay"):
        arguments["weight_decay"] = float(configuration["weight_decay"])
    if configuration.get("use_ema"):
        arguments.update(average_decay=float(configuration["ema_momentum"]), average_from_first_update=True)
    if type(optimizer).__name__ not in (base, "AdamW") or any(value is None for value in arguments.values()):
        kind, arguments = "", {name: value for name, value in arguments.items() if value is not None}
    return {
        "framework": "keras",
        "name": type(optimizer).__name__,
        "kind": kind,
        "arguments": arguments,
        "schedule": _schedule(configuration),
    }


def _base(optimizer: Any) -> str:
    return next((base.__name__ for base in type(optimizer).__mro__ if base.__name__ in _CLASSES), "")


def _plain(value: Any) -> Any:
    """Returns a number that JSON can hold: configurations hold NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def _schedule(configuration: Mapping[str, Any]) -> Dict[str, Any]:
    rate = configuration.get("learning_rate")
    if isinstance(rate, Mapping):
        settings = {name: _listed(value) for name, value in rate.get("config", {}).items()}
        return dict(settings, **{"class": rate.get("class_name")})
    if configuration.get("decay"):
        return {"class": "decay", "decay": float(configuration["decay"])}
    return {}


def _listed(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else _plain(value)
