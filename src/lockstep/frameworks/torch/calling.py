"""How a module wants its inputs: by the names of `forward`'s parameters, or as the one thing that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockstep.common.errors import InputError


@dataclass(frozen=True)
class Call:
    """How the inputs are handed over.

    Attributes:
        positional: Names of the inputs that are given by position, in order.
        named: Parameter of `forward` -> name of the input.
        whole: Whether all inputs are given together, as one dict.
    """

    positional: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()
    whole: bool = False

    def arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the positional and keyword arguments for these inputs."""
        if not isinstance(inputs, Mapping) or self.whole:
            return (inputs,), {}
        return tuple(inputs[name] for name in self.positional), {key: inputs[name] for key, name in self.named}


def call_of(module: Any, inputs: Any, told: Mapping[str, str]) -> Call:
    """Finds out how a module is called.

    A single input goes to `forward`'s first parameter. Several go to the parameters of their names; a `forward` with
    one required parameter gets them all in it, as a dict.

    Args:
        module: The module.
        inputs: Input name -> array; or one array, which is handed over as it is.
        told: Input name -> how the user says it is given (`as`): a position (`"0"`) or the name of a parameter.

    Raises:
        InputError: `forward` takes something else.
    """
    if not isinstance(inputs, Mapping):
        return Call()
    if told:
        return _as_told(inputs, told)
    parameters = inspect.signature(module.forward).parameters
    names = [name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    required = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    given = list(inputs)
    if set(given) <= set(names) and set(required) <= set(given):
        return Call(named=tuple((name, name) for name in given))
    if len(given) == 1 and len(required) <= 1:
        return Call(positional=(given[0],))
    if len(required) == 1 and required[0] not in given:
        return Call(whole=True)
    if anything and not set(required) - set(given):
        return Call(named=tuple((name, name) for name in given))
    raise InputError(
        f"forward of {type(module).__name__} takes {', '.join(names) or 'nothing'}, and the inputs are "
        f'{", ".join(given)}; name the inputs so, or say [inputs.{given[0]}] as = "{(names or ["0"])[0]}", and so on.'
    )


def _as_told(inputs: Mapping[str, Any], told: Mapping[str, str]) -> Call:
    if set(told) != set(inputs):
        without = ", ".join(sorted(set(inputs) - set(told)))
        raise InputError(f"as is said of {', '.join(told)} and not of {without}; say it of every input, or of none.")
    if len(set(told.values())) < len(told):
        raise InputError(f"as gives two inputs the same place: {', '.join(f'{n} as {p}' for n, p in told.items())}.")
    placed = {int(place): name for name, place in told.items() if place.isdecimal()}
    if sorted(placed) != list(range(len(placed))):
        raise InputError("as leaves a position out; positions begin with 0 and go on by one.")
    named = tuple((place, name) for name, place in told.items() if not place.isdecimal())
    return Call(tuple(placed[place] for place in sorted(placed)), named)
