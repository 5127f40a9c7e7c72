"""Optimizers of PyTorch: what the user's `optimizer(parameters)` returns, in a trial of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lockstep.frameworks.tensorflow import running
from lockstep.frameworks.torch import arrays, scheduling
from lockstep.frameworks.torch.scheduling import Scheduled
from lockstep.ground import trials
from lockstep.recorder.optimizing import Update

_ROLES: Mapping[str, Mapping[str, str]] = {
    "SGD": {"momentum_buffer": "momentum"},
    "Adam": {
        "exp_avg": "first moment",
        "exp_avg_sq": "second moment",
        "max_exp_avg_sq": "largest second moment",
    },
    "RMSprop": {"square_avg": "mean square", "momentum_buffer": "momentum", "grad_avg": "mean gradient"},
    "Adagrad": {"sum": "accumulator"},
    "Adadelta": {"square_avg": "accumulated gradient", "acc_delta": "accumulated update"},
}
"""Class -> PyTorch's name of a state -> its role in every framework."""


_OF_MOMENTUM_TOO = (torch.optim.lr_scheduler.OneCycleLR, torch.optim.lr_scheduler.CyclicLR)
"""Schedules that change a momentum as well, which the rules of `lockstep.optimizers` hold constant."""


def make_optimizer(
    make: Callable[..., Any], shapes: trials.Shapes, label: str, names: Mapping[str, str]
) -> TorchOptimizer:
    """Makes an optimizer of what the user's function returns.

    Args:
        make: `optimizer(parameters) -> torch.optim.Optimizer`, or with a scheduler (see `scheduling.scheduled`);
            `parameters` is a list of them, as `list(module.parameters())` is.
        shapes: Variable key -> shape and dtype of the variables that it trains.
        label: What it belongs to, for messages.
        names: Not used: PyTorch's optimizers know no names.

    Raises:
        InputError: It is no optimizer.
        SubjectError: The function failed.
    """
    del names
    parameters = {
        key: torch.nn.Parameter(arrays.tensor(np.zeros(shape, dtype), key)) for key, (shape, dtype) in shapes.items()
    }

    def made() -> Scheduled:
        with running.users_code(label, "making its optimizer"), scheduling.quiet():
            returned = make(list(parameters.values()))
        return scheduling.scheduled(returned, label)

    return TorchOptimizer(made, parameters, label)


class TorchOptimizer:
    """An optimizer of PyTorch, with parameters of its own, and what is stepped beside it.

    Args:
        made: Makes both anew.
        parameters: What it updates.
        label: What it belongs to, for messages.

    Attributes:
        description: The class, its rule and its arguments.
    """

    def __init__(self, made: Callable[[], Scheduled], parameters: Mapping[str, torch.nn.Parameter], label: str) -> None:
        self._made, self._parameters, self._label = made, parameters, label
        self._scheduled = made()
        self._optimizer = self._scheduled.optimizer
        self.description = describe(self._optimizer) | {"schedule": self._scheduled.described()}
        if isinstance(self._scheduled.scheduler, _OF_MOMENTUM_TOO):
            self.description["kind"] = ""
        self._updates = 0

    def apply(self, variables: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Update:
        """Applies gradients to parameters that are set to given values before; its state stays what it has become."""
        with torch.no_grad():
            for key, parameter in self._parameters.items():
                parameter.copy_(arrays.tensor(variables[key], key))
                parameter.grad = arrays.tensor(gradients[key], key)
        with running.users_code(self._label, "applying its optimizer"):
            self._scheduled.update(self._updates)
        self._updates += 1
        values = {key: arrays.array(parameter) for key, parameter in self._parameters.items()}
        return Update(values, self._slots(), self._updates)

    def learning_rates(self, steps: Sequence[int]) -> dict[int, float]:
        """Returns step -> learning rate; empty where groups of parameters have rates of their own."""
        with running.users_code(self._label, "stepping its scheduler"):
            found = self._made().rates_at(steps)
        return (
            {step: rates[0] for step, rates in found.items()} if all(len(set(r)) == 1 for r in found.values()) else {}
        )

    def turning_points(self) -> list[int]:
        """Returns the updates around which a schedule changes; none where the rate is constant."""
        return list(self.description["schedule"].get("turning_points", ()))

    def close(self) -> None:
        """Holds nothing that has to be let go."""

    def _slots(self) -> dict[str, np.ndarray]:
        roles = next((_ROLES[c.__name__] for c in type(self._optimizer).__mro__ if c.__name__ in _ROLES), {})
        found = {}
        for key, parameter in self._parameters.items():
            for name, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape and name in roles:
                    found[f"{key}: {roles[name]}"] = arrays.array(value)
        return found


def describe(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Describes an optimizer by its class and its arguments; one whose rule is not known has no `kind`."""
    name = type(optimizer).__name__
    group = optimizer.param_groups[0]
    kind, arguments = _RULES[name](group) if name in _RULES and len(optimizer.param_groups) == 1 else ("", {})
    if group.get("maximize") or group.get("lr_decay"):
        kind = ""
    if name != "AdamW" and group.get("weight_decay"):  # added to the gradient: another rule than the decoupled one
        kind = ""
    return {"framework": "torch", "name": name, "kind": kind, "arguments": arguments, "schedule": {}}


def _sgd(group: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if group["dampening"]:
        return "", {}
    if not group["momentum"]:
        return "sgd", {}
    return "momentum", {"momentum": group["momentum"], "nesterov": group["nesterov"]}


def _adam(group: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    one, two = group["betas"]
    told = {"beta_1": one, "beta_2": two, "epsilon": group["eps"], "amsgrad": group["amsgrad"]}
    return "adam", {**told, "epsilon_place": "corrected"}


def _adamw(group: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    kind, told = _adam(group)
    return kind, {**told, **({"weight_decay": group["weight_decay"]} if group["weight_decay"] else {})}


def _rmsprop(group: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    told = {"rho": group["alpha"], "epsilon": group["eps"], "centered": group["centered"]}
    return "rmsprop", {
        **told,
        "momentum": group["momentum"],
        "epsilon_place": "outside",
        "initial_accumulator": 0.0,
    }


def _adagrad(group: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    told = {"initial_accumulator": group["initial_accumulator_value"], "epsilon": group["eps"]}
    return "adagrad", {**told, "epsilon_place": "outside"}


def _adadelta(group: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "adadelta", {"rho": group["rho"], "epsilon": group["eps"]}


_RULES: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]] = {
    "SGD": _sgd,
    "Adam": _adam,
    "AdamW": _adamw,
    "RMSprop": _rmsprop,
    "Adagrad": _adagrad,
    "Adadelta": _adadelta,
}
"""Class -> its rule in `lockstep.optimizers.rules` and the rule's arguments."""
