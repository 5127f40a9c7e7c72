"""A TF1 optimizer, or a function that applies gradients, in a graph of its own: TensorFlow 1.12 to 2.21.

It is given variables and gradients and gives what they become, so that nothing of a model has to run for it.
"""

import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow as tf

from ..ground.failures import RecordingError

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

Update = NamedTuple(
    "Update",
    [("variables", Dict[str, np.ndarray]), ("slots", Dict[str, np.ndarray]), ("step", int)],
)
"""What one update left: variable key -> value; `"<variable key>: <role>"` -> value of a slot; the step counter."""

_AVERAGE = "ExponentialMovingAverage"

# What `get_slot` calls a slot -> its role. The names have not changed from TensorFlow 1.12 to 2.21.
_ROLES = {
    "AdamOptimizer": {"m": "first moment", "v": "second moment"},
    "MomentumOptimizer": {"momentum": "momentum"},
    "RMSPropOptimizer": {"rms": "mean square", "mg": "mean gradient", "momentum": "momentum"},
    "AdagradOptimizer": {"accumulator": "accumulator"},
    "AdadeltaOptimizer": {"accum": "accumulated gradient", "accum_update": "accumulated update"},
    "FtrlOptimizer": {"accum": "accumulator", "linear": "linear"},
    "ProximalAdagradOptimizer": {"accumulator": "accumulator"},
}

# What a slot variable is called below its variable, where the optimizer is out of sight -> its role.
_NAMED = {
    "Adam": "first moment",
    "Adam_1": "second moment",
    "Momentum": "momentum",
    "RMSProp": "mean square",
    "Adagrad": "accumulator",
    "Adadelta": "accumulated gradient",
    "Adadelta_1": "accumulated update",
    "Ftrl": "accumulator",
    "Ftrl_1": "linear",
    "ProximalAdagrad": "accumulator",
    _AVERAGE: "moving average",
}

# Class -> rule, argument -> the attribute that holds it (checked on TensorFlow 1.15.5 and 2.21.0), and what is fixed.
# The classes have no public way to tell their arguments; one that is not found leaves a difference without its cause.
_CLASSES = {
    "GradientDescentOptimizer": ("sgd", {}, {}),
    "MomentumOptimizer": ("momentum", {"momentum": "_momentum", "nesterov": "_use_nesterov"}, {}),
    "AdamOptimizer": ("adam", {"beta_1": "_beta1", "beta_2": "_beta2", "epsilon": "_epsilon"}, {}),
    "RMSPropOptimizer": (
        "rmsprop",
        {"rho": "_decay", "momentum": "_momentum", "epsilon": "_epsilon", "centered": "_centered"},
        {"initial_accumulator": 1.0},
    ),
    "AdagradOptimizer": ("adagrad", {"initial_accumulator": "_initial_accumulator_value"}, {"epsilon": 0.0}),
    "AdadeltaOptimizer": ("adadelta", {"rho": "_rho", "epsilon": "_epsilon"}, {}),
    "FtrlOptimizer": (
        "ftrl",
        {
            "learning_rate_power": "_learning_rate_power",
            "initial_accumulator": "_initial_accumulator_value",
            "l1": "_l1_regularization_strength",
            "l2": "_l2_regularization_strength",
            "l2_shrinkage": "_l2_shrinkage_regularization_strength",
        },
        {"beta": 0.0},
    ),
    "ProximalAdagradOptimizer": (
        "proximal_adagrad",
        {
            "initial_accumulator": "_initial_accumulator_value",
            "l1": "_l1_regularization_strength",
            "l2": "_l2_regularization_strength",
        },
        {},
    ),
}  # type: Dict[str, Tuple[str, Dict[str, str], Dict[str, Any]]]


class GraphOptimizer:
    """An optimizer with its variables, which keeps its slots from one update to the next.

    Args:
        make: The user's function; it returns an optimizer, or a function that is given pairs of gradient and variable
            and returns the operation that applies them.
        shapes: Variable key -> shape and dtype.

    Attributes:
        description: The class, its rule and its arguments; None where they cannot be told.

    Raises:
        RecordingError: The function returned something else.
    """

    _RESOURCES = None  # type: Optional[bool]
    """Whether the variables are resources; None: as TensorFlow makes them by itself."""

    def __init__(self, make: Callable[[], Any], shapes: Mapping[str, Tuple[Tuple[int, ...], Any]]) -> None:
        graph = tf.Graph()
        with graph.as_default():
            self._variables = {
                key: v1.Variable(np.zeros(shape, dtype), name=_graph_name(key), dtype=dtype, **self._made_as())
                for key, (shape, dtype) in shapes.items()
            }
            optimizer = make()
            self._step = self._counter(optimizer)
            self._given = {key: v1.placeholder(dtype, shape) for key, (shape, dtype) in shapes.items()}
            self._fed = {key: v1.placeholder(dtype, shape) for key, (shape, dtype) in shapes.items()}
            # Reference variables take part in a run as they are at any moment of it: setting them is a run of its own.
            self._set = tf.group(*[v1.assign(v, self._given[key]) for key, v in self._variables.items()])
            self._at = v1.placeholder(self._step.dtype.base_dtype, [])
            self._set_step = v1.assign(self._step, self._at)
            pairs = [(self._fed[key], variable) for key, variable in self._variables.items()]
            self._apply = self._application(optimizer, pairs)
            self.description = self._described(optimizer)
            self._rate = self._rate_of(optimizer)
            self._slots = self._found_slots(optimizer)
            self._session = v1.Session(graph=graph, config=_plain_config())
            self._session.run(v1.global_variables_initializer())
            self._fresh = True
            self._averages = [v for key, v in self._slots.items() if key.endswith(": moving average")]

    def apply(self, variables: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Update:
        """Applies gradients to variables that are set to given values before; slots stay what they have become."""
        self._session.run(self._set, {self._given[key]: variables[key] for key in self._variables})
        if self._fresh and self._averages:
            # A moving average starts as its variable, which has only now got its value.
            self._session.run([v.initializer for v in self._averages])
        self._fresh = False
        self._session.run(self._apply, {self._fed[key]: gradients[key] for key in self._variables})
        values, slots, step = self._session.run([self._variables, self._slots, self._step])
        return Update(dict(values), dict(slots), int(step))

    def learning_rates(self, steps: Sequence[int]) -> Dict[int, float]:
        """Returns step -> learning rate of the update that is made then; empty where it cannot be told."""
        if self._rate is None:
            return {}
        if not hasattr(self._rate, "dtype"):
            return dict.fromkeys(steps, float(self._rate))
        now = self._session.run(self._step)
        rates = {}
        for step in steps:
            self._session.run(self._set_step, {self._at: step})
            rates[step] = float(self._session.run(self._rate))
        self._session.run(self._set_step, {self._at: now})
        return rates

    def turning_points(self) -> List[int]:
        """Returns the integers that the learning rate is computed from: boundaries, numbers of steps."""
        if not hasattr(self._rate, "op"):
            return []
        found: Set[int] = set()
        seen: Set[str] = set()
        waiting = [self._rate.op]
        while waiting:
            op = waiting.pop()
            if op.name in seen:
                continue
            seen.add(op.name)
            if op.type == "Const":
                value = self._session.run(op.outputs[0])
                found.update(
                    int(v) for v in np.ravel(value) if value.dtype.kind in "iuf" and 1 < v < 1e9 and v % 1 == 0
                )
            waiting.extend(tensor.op for tensor in op.inputs)
        return sorted(found)

    def _made_as(self) -> Dict[str, bool]:
        return {} if self._RESOURCES is None else {"use_resource": self._RESOURCES}

    def close(self) -> None:
        """Ends its session."""
        self._session.close()

    # --- what another family of optimizers does otherwise

    def _counter(self, optimizer: Any) -> Any:
        """Returns the variable that counts updates."""
        del optimizer
        return v1.train.get_or_create_global_step()

    def _application(self, optimizer: Any, pairs: Sequence[Tuple[Any, Any]]) -> Any:
        """Returns the operation that applies gradients."""
        return _application(optimizer, pairs, self._step)

    def _described(self, optimizer: Any) -> Optional[Dict[str, Any]]:
        return describe(optimizer)

    def _rate_of(self, optimizer: Any) -> Any:
        """Returns the learning rate as it was given: a number or a tensor; None where it cannot be told."""
        return learning_rate(optimizer)

    def _found_slots(self, optimizer: Any) -> Dict[str, Any]:
        slots: Dict[str, Any] = {}
        names = getattr(optimizer, "get_slot_names", None)
        roles = _ROLES.get(type(optimizer).__name__, {})
        for key, variable in self._variables.items():
            for name in names() if names else ():
                slot = optimizer.get_slot(variable, name)
                if slot is not None:
                    slots["%s: %s" % (key, roles.get(name, name))] = slot
        known = {v.name for v in slots.values()} | {v.name for v in self._variables.values()}
        owners = {variable.op.name: key for key, variable in self._variables.items()}
        for variable in v1.global_variables():
            owner, _, last = variable.op.name.rpartition("/")
            if variable.name not in known and owner in owners and last in _NAMED:
                slots["%s: %s" % (owners[owner], _NAMED[last])] = variable
        return slots


def describe(optimizer: Any) -> Optional[Dict[str, Any]]:
    """Describes an optimizer of `tf.compat.v1.train`; None of anything else."""
    name = type(optimizer).__name__
    if name not in _CLASSES or not type(optimizer).__module__.startswith("tensorflow."):
        return None
    kind, attributes, fixed = _CLASSES[name]
    arguments = dict(fixed)  # type: Dict[str, Any]
    for argument, attribute in attributes.items():
        value = getattr(optimizer, attribute, None)
        if not isinstance(value, (bool, int, float, np.number)):
            return None  # a tensor or a callable, or a version that keeps it elsewhere
        arguments[argument] = value if isinstance(value, bool) else float(value)
    if kind == "ftrl":
        arguments["beta"] = float(getattr(optimizer, "_beta", 0.0) or 0.0)
    return {"framework": "v1", "name": name, "kind": kind, "arguments": arguments}


def _application(optimizer: Any, pairs: Sequence[Tuple[Any, Any]], step: Any) -> Any:
    if type(optimizer).__module__.startswith("keras."):
        raise RecordingError(
            "optimizer() returned Keras's %s, which is no part of a TF1 program; it must return an optimizer of "
            "tf.compat.v1.train, or a function." % type(optimizer).__name__
        )
    if hasattr(optimizer, "apply_gradients"):
        return optimizer.apply_gradients(pairs, global_step=step)
    if callable(optimizer):
        operation = optimizer(pairs)
        if operation is not None:
            return operation
        raise RecordingError(
            "the function that optimizer() returned gave nothing; it must return the operation that applies the "
            "gradients, as apply_gradients does."
        )
    raise RecordingError(
        "optimizer() returned a %s; it must return an optimizer, or a function that is given (gradient, variable) "
        "pairs and returns the operation that applies them." % type(optimizer).__name__
    )


def learning_rate(optimizer: Any) -> Any:
    """Returns the learning rate as it was given: a number or a tensor; None where it cannot be told."""
    for attribute in ("_lr", "_learning_rate"):
        rate = getattr(optimizer, attribute, None)
        if rate is not None:
            return None if callable(rate) else rate
    return None


def _graph_name(key: str) -> str:
    safe = re.sub("[^A-Za-z0-9_.\\-/]", "_", key)
    return safe if re.match("[A-Za-z0-9.]", safe) else "v" + safe


def _plain_config() -> Any:
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config
