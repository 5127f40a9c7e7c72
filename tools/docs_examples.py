"""Extension of Griffe for `make docs`: our docstrings' `Example:` is the section that Griffe calls `Examples:`."""

from __future__ import annotations

import re
from typing import Any

import griffe

_HEADING = re.compile(r"^Example:$", re.MULTILINE)


class ExamplesSection(griffe.Extension):
    """Renames the heading, so that an example is shown as code and not read as prose."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Is called with each object that was loaded."""
        if obj.docstring is not None:
            obj.docstring.value = _HEADING.sub("Examples:", obj.docstring.value)
