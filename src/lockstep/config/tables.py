"""Typed access to the tables of a configuration; whatever is wrong is said with its place and the way out."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from lockstep.common.errors import InputError, nearest
from lockstep.common.values import bare, quoted, shown, shown_path

Kind = Literal["file", "folder", "other", "missing"]

_LARGEST = sys.float_info.max
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
                raise InputError(f"{self.place} has an unknown key {shown(key)}{hint}")

    def table(self, key: str) -> Table:
        """Returns a table within this one; empty where there is none."""
        value = self.values.get(key, {})
        if not isinstance(value, Mapping):
            raise InputError(f"{self.place}: {key} is {type_name(value)}; it must be a table.")
        name = bare(key)
        return Table(
            f"{self.place.removesuffix(']')}.{name}]" if self.place.endswith("]") else f"{self.place}: [{name}]", value
        )

    def text(self, key: str) -> str | None:
        """Returns a string that is not empty; None where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise InputError(f"{self.place}: {key} is {shown(value)}; it must be a string that is not empty.")
        return value

    def choice(self, key: str, known: Collection[str], default: str | None) -> str:
        """Returns one of a few words."""
        value = self.text(key) or default
        words = ", ".join(f'"{word}"' for word in known)
        if value is None:
            raise InputError(f"{self.place} has no {key}; it is one of {words}.")
        if value not in known:
            raise InputError(f"{self.place}: {key} {quoted(value)} is unknown; known are {words}{guess(value, known)}")
        return value

    def number(self, key: str) -> int | float | None:
        """Returns a number (NaN and infinity, which TOML knows, are refused); None where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"{self.place}: {key} is {type_name(value)}; it must be a number.")
        # Also true of NaN, and of an integer that no float can hold.
        if not -_LARGEST <= value <= _LARGEST:
            raise InputError(f"{self.place}: {key} is {shown(value)}; it must be a finite number.")
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


def kind_of(place: str, path: Path) -> Kind:
    """Tells what lies at a path: links are followed.

    Args:
        place: What an error begins with.
        path: The path.

    Returns:
        `"other"` for what is neither a file nor a folder: a named pipe, a device, a socket. Reading it could take
        forever.

    Raises:
        InputError: The system cannot even look: the name is too long, or holds NUL, or a folder may not be entered.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        raise InputError(f"{place}: {shown_path(path)} cannot be used: {error.strerror}.") from error
    except ValueError:
        raise InputError(f"{place}: {shown(str(path))} is no path: it holds a NUL character.") from None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def refuse_no_file(place: str, path: Path) -> None:
    """Refuses a path at which there is no regular file, with the nearest name beside where it should be.

    Raises:
        InputError: There is none, or it is a folder, a named pipe or a device.
    """
    if kind_of(place, path) != "file":
        raise missing_file(place, path)


def missing_file(place: str, path: Path) -> InputError:
    """The error for a file that is not there, with the nearest name beside where it should be."""
    kind = kind_of(place, path)
    if kind == "folder":
        return InputError(f"{place}: {shown_path(path)} is a folder; a file is needed.")
    if kind == "other":
        return InputError(f"{place}: {shown_path(path)} is a pipe or a device; a file is needed.")
    if kind_of(place, path.parent) != "folder":
        return InputError(f"{place}: there is no folder {shown_path(path.parent)}.")
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:  # a folder that may be entered and not listed
        names = []
    return InputError(f"{place}: there is no file {shown_path(path)}{guess(path.name, names)}")
