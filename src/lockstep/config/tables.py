"""Typed access to the tables of a configuration; whatever is wrong is said with its place and the way out."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from lockstep.errors import InputError, nearest

_TOML_NAMES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "a table",
}


@dataclass(frozen=True)
class Table:
    """One table and where it stands.

    Attributes:
        place: What error messages begin with: `"lockstep.toml: [candidate]"`.
        values: Its keys and values as TOML gives them.
    """

    place: str
    values: Mapping[str, Any]

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Refuses the first key that is not among `known`, with the nearest one that is."""
        for key in self.values:
            if key not in known:
                hint = nearest(key, known) or f"; known are {', '.join(known)}."
                raise InputError(f"{self.place} has an unknown key {key!r}{hint}")

    def table(self, key: str) -> Table:
        """Returns a table within this one; empty where there is none."""
        value = self.values.get(key, {})
        if not isinstance(value, Mapping):
            raise InputError(f"{self.place}: {key} is {type_name(value)}; it must be a table.")
        return Table(
            f"{self.place.removesuffix(']')}.{key}]" if self.place.endswith("]") else f"{self.place}: [{key}]", value
        )

    def text(self, key: str) -> str | None:
        """Returns a string that is not empty; None where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise InputError(f"{self.place}: {key} is {value!r}; it must be a string that is not empty.")
        return value

    def choice(self, key: str, known: Collection[str], default: str | None) -> str:
        """Returns one of a few words."""
        value = self.text(key) or default
        words = ", ".join(f'"{word}"' for word in known)
        if value is None:
            raise InputError(f"{self.place} has no {key}; it is one of {words}.")
        if value not in known:
            raise InputError(f'{self.place}: {key} "{value}" is unknown; known are {words}{guess(value, known)}')
        return value

    def number(self, key: str) -> int | float | None:
        """Returns a number (NaN and infinity, which TOML knows, are refused); None where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"{self.place}: {key} is {type_name(value)}; it must be a number.")
        if not abs(value) < float("inf"):  # also true of NaN
            raise InputError(f"{self.place}: {key} is {value}; it must be a finite number.")
        return value


def type_name(value: Any) -> str:
    """What TOML calls the type of a value.

    >>> type_name(True), type_name([1])
    ('a boolean', 'an array')
    """
    return _TOML_NAMES.get(type(value), f"a {type(value).__name__}")


def guess(word: str, known: Collection[str]) -> str:
    """Ends a sentence: with the nearest known word as a question, or with a full stop."""
    return nearest(word, known) or "."


def leaves(path: str, folder: Path) -> bool:
    """Tells whether a relative path leads out of `folder`; symbolic links count as lying where they are.

    >>> leaves("a/../../b.npy", Path("here")), leaves("a/../b.npy", Path("here"))
    (True, False)
    """
    inside = PurePath(os.path.normpath(folder / path))
    return not inside.is_relative_to(os.path.normpath(folder))


def missing_file(place: str, path: Path) -> InputError:
    """The error for a file that is not there, with the nearest name beside where it should be."""
    if not path.parent.is_dir():
        return InputError(f"{place}: there is no folder {path.parent}.")
    if path.is_dir():
        return InputError(f"{place}: {path} is a folder; a file is needed.")
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    return InputError(f"{place}: there is no file {path}{guess(path.name, names)}")
