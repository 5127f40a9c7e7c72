"""What an optimizer is, in the same words for both frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Our word -> the argument's name, where it is another one.
_V1 = {
    "beta_1": "beta1",
    "beta_2": "beta2",
    "rho": "decay",
    "nesterov": "use_nesterov",
    "initial_accumulator": "initial_accumulator_value",
    "l1": "l1_regularization_strength",
    "l2": "l2_regularization_strength",
    "l2_shrinkage": "l2_shrinkage_regularization_strength",
}
_TORCH = {
    "beta_1": "betas[0]",
    "beta_2": "betas[1]",
    "epsilon": "eps",
    "initial_accumulator": "initial_accumulator_value",
}
_KERAS = {key: name for key, name in _V1.items() if key in ("initial_accumulator", "l1", "l2", "l2_shrinkage")}


@dataclass(frozen=True)
class Description:
    """An optimizer by its rule and arguments.

    Attributes:
        framework: `"v1"` (`tf.compat.v1.train`), `"keras"` or `"torch"`.
        name: The class, `"AdamOptimizer"`.
        kind: The rule in `rules.KINDS`; empty for one that is not known there.
        arguments: The rule's arguments, in our words (`"beta_1"`, `"initial_accumulator"`), and those of what surrounds
            it: `"clip"` (`"value"`, `"norm"`, `"global norm"`, or empty), `"clip_at"`, `"weight_decay"`,
            `"average_decay"`.
        schedule: The class of its learning rate's schedule and the schedule's arguments; empty for a constant.
    """

    framework: str
    name: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)

    def called(self, argument: str) -> str:
        """Returns what the class calls an argument.

        >>> Description("v1", "AdamOptimizer", "adam").called("beta_1")
        'beta1'
        """
        if self.framework == "v1":
            return "rho" if argument == "rho" and self.kind == "adadelta" else _V1.get(argument, argument)
        if self.framework == "torch":
            return "alpha" if argument == "rho" and self.kind == "rmsprop" else _TORCH.get(argument, argument)
        return _KERAS.get(argument, argument)


def from_plain(plain: Mapping[str, Any] | None) -> Description | None:
    """Makes a description of what a recorder wrote; None of None."""
    if plain is None:
        return None
    return Description(
        str(plain["framework"]),
        str(plain["name"]),
        str(plain["kind"]),
        dict(plain["arguments"]),
        dict(plain.get("schedule", {})),
    )
