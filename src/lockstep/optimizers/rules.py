"""Update rules in float64, each from the documentation of the operation or class that it stands for.

`g` is the gradient, `w` the variable, `lr` the learning rate of this update, `t` its number counted from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Slots = dict[str, np.ndarray]
Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Replay:
    """What a rule makes of a sequence of gradients.

    Attributes:
        variables: For each update, variable key -> value after it.
        slots: For each update, variable key -> slot -> value after it.
    """

    variables: tuple[Mapping[str, np.ndarray], ...]
    slots: tuple[Mapping[str, Slots], ...]


_Step = Callable[[Any, Any, Slots, Arguments, float, int], Any]
_Start = Callable[[Any, Arguments], Slots]


def _sgd(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """`w -= lr g` (tf.raw_ops.ApplyGradientDescent; keras.optimizers.SGD)."""
    del slots, a, t
    return w - lr * g


def _momentum(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """`m = momentum m + g; w -= lr m`, with Nesterov `w -= lr g + lr momentum m` (tf.raw_ops.ApplyMomentum).

    With `rate_inside` (keras.optimizers.SGD) `m = momentum m - lr g; w += m`, Nesterov `w += momentum m - lr g`: the
    same as long as the learning rate is constant.
    """
    del t
    momentum = float(a["momentum"])
    if a.get("rate_inside"):
        slots["momentum"] = momentum * slots["momentum"] - lr * g
        return w + (momentum * slots["momentum"] - lr * g if a["nesterov"] else slots["momentum"])
    slots["momentum"] = momentum * slots["momentum"] + g
    return w - lr * (g + momentum * slots["momentum"] if a["nesterov"] else slots["momentum"])


def _adam(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """`m` and `v` are averages of `g` and `g^2`; `w -= lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)`.

    This epsilon is the "epsilon hat" of Kingma and Ba, section 2 (tf.raw_ops.ApplyAdam; keras.optimizers.Adam); the
    algorithm at their top, `epsilon_place = "corrected"`, adds epsilon to the corrected root: it is smaller by
    `sqrt(1 - beta_2^t)` then.
    """
    one, two = float(a["beta_1"]), float(a["beta_2"])
    slots["first moment"] = one * slots["first moment"] + (1.0 - one) * g
    slots["second moment"] = two * slots["second moment"] + (1.0 - two) * g * g
    second = slots["second moment"]
    if a.get("amsgrad"):
        second = slots["largest second moment"] = np.maximum(slots["largest second moment"], second)
    root = np.sqrt(1.0 - two**t)
    epsilon = float(a["epsilon"]) * (root if a.get("epsilon_place") == "corrected" else 1.0)
    below = np.sqrt(second + epsilon) if a.get("epsilon_place") == "inside" else np.sqrt(second) + epsilon
    return w - lr * root / (1.0 - one**t) * slots["first moment"] / below


def _rmsprop(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """`r` is the average of `g^2`; `m = momentum m + lr g / sqrt(r + epsilon); w -= m`.

    Centered, the square of the average of `g` is subtracted from `r` (tf.raw_ops.ApplyRMSProp,
    ApplyCenteredRMSProp; keras.optimizers.RMSprop). `epsilon_place = "outside"`: `sqrt(r) + epsilon` (Keras 2).
    """
    del t
    rho, epsilon = float(a["rho"]), float(a["epsilon"])
    slots["mean square"] = rho * slots["mean square"] + (1.0 - rho) * g * g
    below = slots["mean square"]
    if a["centered"]:
        slots["mean gradient"] = rho * slots["mean gradient"] + (1.0 - rho) * g
        below = below - slots["mean gradient"] ** 2
    outside = a.get("epsilon_place") == "outside"
    root = np.sqrt(np.maximum(below, 0.0)) + epsilon if outside else np.sqrt(below + epsilon)
    slots["momentum"] = float(a["momentum"]) * slots["momentum"] + lr * g / root
    return w - slots["momentum"]


def _adagrad(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """`s += g^2; w -= lr g / sqrt(s + epsilon)` (tf.raw_ops.ApplyAdagrad, without epsilon; keras.optimizers.Adagrad).

    `epsilon_place = "outside"`: `sqrt(s) + epsilon` (tf.raw_ops.ApplyAdagradV2).
    """
    del t
    slots["accumulator"] = slots["accumulator"] + g * g
    epsilon = float(a["epsilon"])
    if a.get("epsilon_place") == "outside":
        return w - lr * g / (np.sqrt(slots["accumulator"]) + epsilon)
    return w - lr * g / np.sqrt(slots["accumulator"] + epsilon)


def _adadelta(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """`s` and `d` are averages of `g^2` and `u^2`; `u = sqrt(d + epsilon) / sqrt(s + epsilon) g; w -= lr u`.

    `d` is the one from before this update (tf.raw_ops.ApplyAdadelta; keras.optimizers.Adadelta).
    """
    del t
    rho, epsilon = float(a["rho"]), float(a["epsilon"])
    slots["accumulated gradient"] = rho * slots["accumulated gradient"] + (1.0 - rho) * g * g
    update = np.sqrt(slots["accumulated update"] + epsilon) / np.sqrt(slots["accumulated gradient"] + epsilon) * g
    slots["accumulated update"] = rho * slots["accumulated update"] + (1.0 - rho) * update * update
    return w - lr * update


def _ftrl(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """McMahan et al., "Ad click prediction", 2013, algorithm 1, with shrinkage (tf.raw_ops.ApplyFtrlV2).

    `z += g + 2 shrinkage w - (s'^p - s^p) / lr w`, where `s' = s + g^2` and `p = -learning_rate_power`;
    `w = (clip(z, -l1, l1) - z) / (s'^p / lr + 2 l2 + beta / lr)` (keras.optimizers.Ftrl likewise).
    """
    del t
    power, before = -float(a["learning_rate_power"]), slots["accumulator"]
    slots["accumulator"] = before + g * g
    grown = (slots["accumulator"] ** power - before**power) / lr
    slots["linear"] = slots["linear"] + g + 2.0 * float(a["l2_shrinkage"]) * w - grown * w
    quadratic = slots["accumulator"] ** power / lr + 2.0 * float(a["l2"]) + float(a["beta"]) / lr
    l1 = float(a["l1"])
    return (np.clip(slots["linear"], -l1, l1) - slots["linear"]) / quadratic


def _proximal_adagrad(w: Any, g: Any, slots: Slots, a: Arguments, lr: float, t: int) -> Any:
    """Duchi and Singer's FOBOS with Adagrad's rate: `s += g^2; r = lr / sqrt(s); p = w - r g`.

    `w = sign(p) max(|p| - r l1, 0) / (1 + r l2)` (the kernel of tf.raw_ops.ApplyProximalAdagrad, whose documentation
    has `lr` in place of `r` in the last line).
    """
    del t
    slots["accumulator"] = slots["accumulator"] + g * g
    rate = lr / np.sqrt(slots["accumulator"])
    moved = w - rate * g
    return np.sign(moved) * np.maximum(np.abs(moved) - rate * float(a["l1"]), 0.0) / (1.0 + rate * float(a["l2"]))


def _zeros(*names: str) -> _Start:
    return lambda w, _: {name: np.zeros_like(w) for name in names}


def _accumulating(*names: str, first: str) -> _Start:
    """All slots of zeros but one, which starts from the argument `initial_accumulator`."""
    zeros = _zeros(*names)
    return lambda w, a: {first: np.full_like(w, float(a["initial_accumulator"])), **zeros(w, a)}


KINDS: Mapping[str, tuple[_Step, _Start]] = {
    "sgd": (_sgd, _zeros()),
    "momentum": (_momentum, _zeros("momentum")),
    "adam": (_adam, _zeros("first moment", "second moment", "largest second moment")),
    "rmsprop": (_rmsprop, _accumulating("mean gradient", "momentum", first="mean square")),
    "adagrad": (_adagrad, _accumulating(first="accumulator")),
    "adadelta": (_adadelta, _zeros("accumulated gradient", "accumulated update")),
    "ftrl": (_ftrl, _accumulating("linear", first="accumulator")),
    "proximal_adagrad": (_proximal_adagrad, _accumulating(first="accumulator")),
}
"""Rule -> its update and the slots that it starts from."""

NEEDED: Mapping[str, frozenset[str]] = {
    "sgd": frozenset(),
    "momentum": frozenset({"momentum", "nesterov"}),
    "adam": frozenset({"beta_1", "beta_2", "epsilon"}),
    "rmsprop": frozenset({"rho", "epsilon", "centered", "momentum", "initial_accumulator"}),
    "adagrad": frozenset({"initial_accumulator", "epsilon"}),
    "adadelta": frozenset({"rho", "epsilon"}),
    "ftrl": frozenset({"learning_rate_power", "initial_accumulator", "l1", "l2", "l2_shrinkage", "beta"}),
    "proximal_adagrad": frozenset({"initial_accumulator", "l1", "l2"}),
}
"""Rule -> the arguments without which it cannot be replayed."""
CHOICES: Mapping[str, tuple[str, ...]] = {
    "clip": ("", "value", "norm", "global norm"),
    "epsilon_place": ("", "inside", "outside", "corrected"),
}
"""Argument -> its values, where it is a word; all others are numbers, or true or false."""
NUMBERS = frozenset().union(*NEEDED.values()) | {
    "clip_at",
    "weight_decay",
    "decay_without_rate",
    "average_decay",
    "average_from_first_update",
    "amsgrad",
    "rate_inside",
}
"""Arguments that are numbers, or true or false."""


def replay(
    kind: str,
    arguments: Arguments,
    rates: Sequence[float],
    before: Sequence[Mapping[str, np.ndarray]],
    gradients: Sequence[Mapping[str, np.ndarray]],
) -> Replay:
    """Applies a rule to given gradients, each update from given variables and the rule's own slots.

    Args:
        kind: The rule.
        arguments: Its arguments, and those of clipping, weight decay and moving averages; see `Description`.
        rates: The learning rate of each update.
        before: For each update, variable key -> value before it.
        gradients: For each update, variable key -> gradient.
    """
    step, start = KINDS[kind]
    wide = {key: np.asarray(w, np.float64) for key, w in before[0].items()}
    slots = {key: start(w, arguments) for key, w in wide.items()}
    averages = dict(wide)
    after: list[Mapping[str, np.ndarray]] = []
    states: list[Mapping[str, Slots]] = []
    for number, (rate, starts, given) in enumerate(zip(rates, before, gradients, strict=True), 1):
        clipped = clip({key: np.asarray(g, np.float64) for key, g in given.items()}, arguments)
        values = {}
        for key, gradient in clipped.items():
            decayed = _decayed(np.asarray(starts[key], np.float64), arguments, rate)
            values[key] = step(decayed, gradient, slots[key], arguments, rate, number)
        if arguments.get("average_decay"):
            averages = {key: _averaged(averages[key], w, arguments, number) for key, w in values.items()}
        after.append(values)
        states.append({key: {**own, "moving average": averages[key]} for key, own in slots.items()})
    return Replay(tuple(after), tuple(states))


def clip(gradients: Mapping[str, np.ndarray], arguments: Arguments) -> dict[str, np.ndarray]:
    """Clips gradients as `arguments["clip"]` says, at `arguments["clip_at"]`.

    `"value"`: each element to `[-c, c]` (tf.clip_by_value; clipvalue). `"norm"`: each gradient to a Euclidean norm of
    `c` (tf.clip_by_norm; clipnorm). `"global norm"`: all gradients together (tf.clip_by_global_norm; global_clipnorm).
    """
    how = arguments.get("clip")
    if not how:
        return dict(gradients)
    at = float(arguments["clip_at"])
    if how == "value":
        return {key: np.clip(g, -at, at) for key, g in gradients.items()}
    norms = {key: float(np.sqrt(np.sum(np.square(g)))) for key, g in gradients.items()}
    if how == "global norm":
        together = float(np.sqrt(sum(norm**2 for norm in norms.values())))
        norms = dict.fromkeys(norms, together)
    return {key: g * (at / max(norms[key], at)) for key, g in gradients.items()}


def _decayed(w: Any, arguments: Arguments, rate: float) -> Any:
    """Decoupled weight decay before the update: `w -= w decay lr` (Keras), or `w -= w decay` (contrib's AdamW)."""
    decay = float(arguments.get("weight_decay") or 0.0)
    return w - w * decay * (1.0 if arguments.get("decay_without_rate") else rate)


def _averaged(average: Any, w: Any, arguments: Arguments, number: int) -> Any:
    """`a = d a + (1 - d) w`; Keras's starts as the variable after the first update, TF1's as the one before it."""
    decay = float(arguments["average_decay"])
    if arguments.get("average_from_first_update") and number == 1:
        decay = 0.0
    return decay * average + (1.0 - decay) * w
