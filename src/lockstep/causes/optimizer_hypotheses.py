"""Why two optimizers update differently: the arguments that, changed in the candidate, give the reference's updates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.compare.tolerance import update_tolerance
from lockstep.optimizers.description import Description
from lockstep.optimizers.rules import KINDS, replay

Arrays = Mapping[str, np.ndarray]

_AT_ONCE = 3
"""How many changes are tried together."""

# Argument -> what it may have been meant to be: the defaults of TF1, of Keras, and what tutorials set.
_USUAL: Mapping[str, tuple[Any, ...]] = {
    "epsilon": (1e-8, 1e-7, 1e-10, 1e-6, 1e-4, 1e-3, 1.0, 0.0),
    "epsilon_place": ("inside", "outside", "corrected"),
    "initial_accumulator": (0.1, 0.0, 1.0),
    "momentum": (0.0, 0.9, 0.99, 0.5, 0.95),
    "nesterov": (True, False),
    "rate_inside": (True, False),
    "beta_1": (0.9, 0.5, 0.0),
    "beta_2": (0.999, 0.99, 0.9),
    "rho": (0.9, 0.95, 0.99),
    "centered": (True, False),
    "l1": (0.0,),
    "l2": (0.0,),
    "clip": ("", "value", "norm", "global norm"),
    "weight_decay": (0.0,),
    "decay_without_rate": (True, False),
}
_ANYWHERE = ("clip", "weight_decay", "decay_without_rate")


@dataclass(frozen=True)
class Course:
    """What an optimizer did with the gradients of a trial.

    Attributes:
        description: What it is; None where it cannot be told.
        rates: The learning rate of each update; empty where it cannot be told.
        after: For each update, variable key -> value after it.
    """

    description: Description | None
    rates: Sequence[float]
    after: Sequence[Arrays]


@dataclass(frozen=True)
class Explanation:
    """Changes of the candidate's arguments that give the reference's updates.

    Attributes:
        changes: Argument -> value that it has to get; `"rates"` for the learning rates.
        cause: The sentence for the report.
    """

    changes: Mapping[str, Any]
    cause: str


def explain(
    reference: Course, candidate: Course, before: Sequence[Arrays], gradients: Sequence[Arrays]
) -> Explanation | None:
    """Looks for the fewest changes of the candidate's arguments that give the reference's updates.

    Every change is judged by recomputing all updates in float64; nothing is said that does not reproduce the reference.

    Args:
        reference: What the reference did.
        candidate: What the candidate did; its own rule has to reproduce that, or nothing is concluded.
        before: For each update, the variables before it, on both sides.
        gradients: For each update, the gradients, of both sides.

    Returns:
        The explanation; None where there is none among those that are tried.
    """
    own = candidate.description
    if own is None or own.kind not in KINDS or not candidate.rates:
        return None

    trial = _Trial(before, gradients)
    if not trial.gives(candidate, own.kind, own.arguments, candidate.rates):
        return None
    other = reference.description
    related = other is None or {other.kind, own.kind} == _RELATED or other.kind == own.kind
    if other is not None and other.kind in KINDS and not related:
        if not trial.gives(reference, other.kind, other.arguments, reference.rates or candidate.rates):
            return None
        cause = f"the reference is a {other.name}, whose rule is another one than that of {own.name}"
        return Explanation({"class": other.name}, cause)
    kind = "momentum" if {own.kind, getattr(other, "kind", own.kind)} == _RELATED else own.kind
    base = {"momentum": 0.0, "nesterov": False, **own.arguments} if kind == "momentum" else dict(own.arguments)
    for chosen in _choices(base, candidate.rates, reference, kind):
        changed = {**base, **{name: value for name, value in chosen.items() if name != "rates"}}
        unknown = changed.get("clip") and "clip_at" not in changed
        if not unknown and trial.gives(reference, kind, changed, chosen.get("rates", candidate.rates)):
            return Explanation(chosen, _sentence(chosen, base, own, candidate.rates))
    return None


@dataclass(frozen=True)
class _Trial:
    """What both sides were given: the variables before each update, and its gradients."""

    before: Sequence[Arrays]
    gradients: Sequence[Arrays]

    def gives(self, course: Course, kind: str, arguments: Mapping[str, Any], rates: Sequence[float]) -> bool:
        """Tells whether a rule, recomputed in float64, gives what an optimizer did."""
        with np.errstate(all="ignore"):
            values = replay(kind, arguments, rates, self.before, self.gradients).variables
        return _reproduces(values, course.after, self.before)


def _choices(base: Mapping[str, Any], rates: Sequence[float], reference: Course, kind: str) -> Iterator[dict[str, Any]]:
    """Yields changes to be tried, the fewest first: what the reference is known to have, then what is usual."""
    known = list(_from_reference(base, rates, reference, kind))
    for tried, most in ((known, _AT_ONCE), ([*known, *_usual(base)], 2)):
        for count in range(1, most + 1):
            for chosen in itertools.combinations(tried, count):
                if len({name for name, _ in chosen}) == count:
                    yield dict(chosen)


_RELATED = {"sgd", "momentum"}


def _reproduces(values: Sequence[Arrays], after: Sequence[Arrays], before: Sequence[Arrays]) -> bool:
    for replayed, done, start in zip(values, after, before, strict=True):
        for key, value in replayed.items():
            allowed = update_tolerance(start[key], done[key])
            if not np.all(np.abs(value - done[key]) <= allowed):
                return False
    return True


def _from_reference(
    base: Mapping[str, Any], rates: Sequence[float], reference: Course, kind: str
) -> Iterator[tuple[str, Any]]:
    if reference.rates and not np.allclose(reference.rates, rates, rtol=1e-5, atol=0.0):
        yield "rates", tuple(reference.rates)
    if reference.description is None or reference.description.kind not in {kind, "sgd"}:
        return
    for name, value in reference.description.arguments.items():
        if base.get(name) != value:
            yield name, value
    if base.get("rate_inside") and not reference.description.arguments.get("rate_inside"):
        yield "rate_inside", False


def _usual(base: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, values in _USUAL.items():
        if name in base or name in _ANYWHERE or (name == "epsilon_place" and "epsilon" in base):
            for value in values:
                if base.get(name) != value and bool(base.get(name)) | bool(value):
                    yield name, value


def _sentence(changes: Mapping[str, Any], base: Mapping[str, Any], own: Description, rates: Sequence[float]) -> str:
    parts = [_change(name, value, base, own, rates) for name, value in changes.items()]
    return f"{' and '.join(parts)}: with that the updates are the reference's"


def _change(name: str, value: Any, base: Mapping[str, Any], own: Description, rates: Sequence[float]) -> str:
    had = base.get(name)
    if name == "rates":
        return _rates(value, rates)
    if name == "clip":
        return f"gradients must be clipped by {_clipping(value, base)} (the candidate clips by {_clipping(had, base)})"
    if name == "initial_accumulator" and own.kind == "rmsprop":
        how = (
            "PyTorch has no argument for it: make one step and fill square_avg in the optimizer's state"
            if own.framework == "torch"
            else "Keras has no argument for it: build the optimizer and assign the value to its velocity variables "
            "before the first step"
        )
        return f"the mean square must start from {value:g} (the candidate's starts from {had:g}; {how})"
    if name == "epsilon_place":
        return _BEFORE_CORRECTION if (had, value) == ("corrected", "outside") else _PLACES[value]
    return _IN_WORDS.get(name) or (
        f"{own.name}({own.called(name)}={_plain(value)}) is needed (the candidate has {_plain(had)})"
    )


_BEFORE_CORRECTION = (
    "epsilon must be added to the root of the second moment as it is (the candidate adds it to the root after the bias "
    "correction, as torch.optim.Adam does, where it weighs more in the first steps)"
)
_PLACES = {
    "inside": "epsilon must be added under the root",
    "outside": "epsilon must be added outside the root",
    "corrected": "epsilon must be added to the corrected root",
}
_IN_WORDS = {
    "rate_inside": (
        "the momentum must accumulate gradients alone and be multiplied with the learning rate afterwards (Keras "
        "multiplies before, which differs where the rate changes: scale the momentum variables whenever it does)"
    ),
    "decay_without_rate": "weight decay must not be multiplied with the learning rate",
}


def _rates(wanted: Sequence[float], had: Sequence[float]) -> str:
    place = next(i for i, (a, b) in enumerate(zip(wanted, had, strict=True)) if a != b)
    return f"the learning rate must be {wanted[place]:.6g} (the candidate has {had[place]:.6g}) at update {place + 1}"


def _clipping(how: object, base: Mapping[str, Any]) -> str:
    arguments = {"value": "clipvalue", "norm": "clipnorm", "global norm": "global_clipnorm"}
    if not how:
        return "nothing"
    what = {"value": "value", "norm": "the norm of each variable", "global norm": "the global norm"}[str(how)]
    return f"{what}, {arguments[str(how)]}={base.get('clip_at')}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
