"""Forms of JSON: what has to stand where, as functions that raise where something else does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any, str], None]
"""Raises `MisstatedError` where a value is not what it has to be; the second argument is where it stands."""

SHOWN = 80
"""Characters of a value that a sentence repeats."""


class MisstatedError(ValueError):
    """A manifest says what no recorder writes; the text is what, and where it stands."""


def wrong(where: str, value: Any, wanted: str) -> MisstatedError:
    """Returns the error that a value is not what is wanted where it stands."""
    text = repr(value)
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return MisstatedError(f"{where or 'the whole'} is {shown}, which is not {wanted}")


def a_text(value: Any, where: str) -> None:
    """Refuses what is no text."""
    if not isinstance(value, str):
        raise wrong(where, value, "a text")


def a_truth(value: Any, where: str) -> None:
    """Refuses what is neither true nor false."""
    if not isinstance(value, bool):
        raise wrong(where, value, "true or false")


def a_whole(value: Any, where: str) -> None:
    """Refuses what is no whole number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
        raise wrong(where, value, "a whole number of 64 bits")


def a_count(value: Any, where: str) -> None:
    """Refuses what is no whole number of 63 bits, or negative."""
    a_whole(value, where)
    if not 0 <= value < 1 << 63:
        raise wrong(where, value, "a count")


def a_number(value: Any, where: str) -> None:
    """Refuses what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < math.inf:
        raise wrong(where, value, "a number")


def anything(value: Any, where: str) -> None:
    """JSON of any kind: nothing is concluded from it."""


def or_null(inner: Check) -> Check:
    """What may be null."""

    def checked(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return checked


def list_of(inner: Check) -> Check:
    """A list of things of one form."""

    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise wrong(where, value, "a list")
        for number, item in enumerate(value):
            inner(item, f"{where}[{number}]")

    return checked


def map_of(inner: Check) -> Check:
    """An object whose values have one form."""

    def checked(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong(where, value, "an object")
        for key, item in value.items():
            inner(item, f"{where}.{key[:SHOWN]}")

    return checked


def row(needed: Sequence[Check], more: Sequence[Check] = ()) -> Check:
    """A list of certain things in a certain order; those in `more` may be left out from the end."""

    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list) or not len(needed) <= len(value) <= len(needed) + len(more):
            raise wrong(where, value, f"a list of {len(needed)}" + (f" to {len(needed) + len(more)}" if more else ""))
        for number, (item, inner) in enumerate(zip(value, (*needed, *more), strict=False)):
            inner(item, f"{where}[{number}]")

    return checked


def an_object(needed: Mapping[str, Check], more: Mapping[str, Check] | None = None) -> Check:
    """An object with certain keys; those in `more` may be missing, and others are not looked at."""

    def checked(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong(where, value, "an object")
        for key, inner in needed.items():
            if key not in value:
                raise MisstatedError(f"{where or 'the whole'} has no {key!r}")
            inner(value[key], f"{where}.{key}" if where else key)
        for key, inner in (more or {}).items():
            if key in value:
                inner(value[key], f"{where}.{key}" if where else key)

    return checked


def both(first: Check, second: Check) -> Check:
    """What has two forms."""

    def checked(value: Any, where: str) -> None:
        first(value, where)
        second(value, where)

    return checked


def either(first: Check, second: Check) -> Check:
    """A list of the first form, or anything of the second."""

    def checked(value: Any, where: str) -> None:
        (first if isinstance(value, list) else second)(value, where)

    return checked
