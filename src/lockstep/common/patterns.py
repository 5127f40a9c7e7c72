"""The user's regular expressions, as `recorder.patterns` runs them; what is wrong with one is an `InputError`."""

from __future__ import annotations

import re

from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.ground import patterns
from lockstep.ground.patterns import PatternError


def check(text: str, replacement: str | None = None, *, what: str) -> None:
    """Refuses what is no regular expression, or no replacement for it.

    Args:
        text: The pattern.
        replacement: What stands for a match, if anything does.
        what: What the error begins with, as in `"ignore holds '('"`.

    Raises:
        InputError: It is none.
    """
    try:
        patterns.check(text, replacement)
    except PatternError as error:
        raise InputError(f"{what}, which is not a valid regular expression: {error}.") from None


def search(text: str, name: str) -> re.Match[str] | None:
    """Returns the first match of a pattern in a name, or None.

    Raises:
        InputError: It is no pattern, or takes too long.

    >>> search("/kernel$", "a/bias") is None
    True
    """
    try:
        found: re.Match[str] | None = patterns.compiled(text).search(name)
    except PatternError as error:
        raise InputError(f"the pattern {shown(text)} cannot be used: {error}.") from None
    return found


def substituted(text: str, replacement: str, name: str) -> tuple[str, int]:
    r"""Returns a name with what a pattern finds replaced, and how often.

    Raises:
        InputError: They are no pattern and replacement, or take too long.

    >>> substituted("^a/(.*)$", r"b/\1", "a/w")
    ('b/w', 1)
    """
    try:
        new, count = patterns.compiled(text).subn(replacement, name)
    except PatternError as error:
        raise InputError(f"the rename rule {shown(text)} -> {shown(replacement)} cannot be applied: {error}.") from None
    return new, count
