"""Values of unknown origin, in a form that fits into a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

_LENGTH = 80
_ITEMS = 8
_LOG10_2 = 0.3010299956639812
_BITS = 256  # an integer of 78 digits; beyond 4,300 Python refuses to write one


def shown(value: Any, depth: int = 2) -> str:
    """Returns what stands for a value in a message: `repr`, but never long.

    Args:
        value: As TOML or JSON give it.
        depth: How many lists within each other are shown.

    >>> shown("a" * 1000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'... (1,000 characters)"
    >>> shown([1, "b", [2.5]]), shown(10**400), shown(list(range(100)))
    ("[1, 'b', [2.5]]", 'an integer of 401 digits', '[0, 1, 2, 3, 4, 5, 6, 7, ...]')
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= _LENGTH else f"{value[:30]!r}... ({len(value):,} characters)"
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"an integer of {int(value.bit_length() * _LOG10_2) + 1:,} digits"
    if isinstance(value, (list, tuple)):
        items = [shown(item, depth - 1) for item in value[:_ITEMS]] if depth else []
        return f"[{', '.join(items if len(value) <= len(items) else [*items, '...'])}]"
    return "a table" if isinstance(value, Mapping) else repr(value)


def quoted(text: str) -> str:
    """Returns a text as TOML writes it, in double quotes; one that is too long is cut.

    >>> print(quoted("model.py"))
    "model.py"
    """
    return f'"{visible(text)}"' if len(text) <= _LENGTH else f'"{visible(text[:30])}"... ({len(text):,} characters)'


def bare(text: str) -> str:
    """Returns a name as it stands between other words: one that is too long is cut.

    >>> bare("image")
    'image'
    """
    return visible(text if len(text) <= _LENGTH else f"{text[:30]}...")


def visible(text: str) -> str:
    r"""Returns a text in which every character can be seen: a terminal obeys some of the others.

    >>> print(visible("a\x1b[31mb"))
    a\x1b[31mb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown_path(path: PurePath | str) -> str:
    """Returns a path for a message: one that is too long is cut in its middle.

    >>> shown_path("model.npy")
    'model.npy'
    """
    text = visible(str(path))
    return text if len(text) <= 300 else f"{text[:100]}...{text[-60:]} ({len(text):,} characters)"


def brief(error: BaseException | None, length: int = 300) -> str:
    r"""Returns the first line of what an exception says, without its full stop.

    Where it says nothing, that is the name of its class; where it raises instead, a note.

    >>> brief(ValueError("no\nyes")), brief(ValueError())
    ('no', 'ValueError')
    """
    lines = said(error).strip().splitlines() or [type(error).__name__]
    return visible(lines[0]).rstrip(".") if len(lines[0]) <= length else f"{visible(lines[0][:length])}..."


def said(error: BaseException | None) -> str:
    """Returns what an exception says; a note where its own `__str__` fails, as the user's code may have it."""
    from lockstep.ground.failures import said as told

    return told(error)
