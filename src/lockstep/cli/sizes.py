"""Sizes of memory on the command line: `300MB`, `2GB`."""

from __future__ import annotations

import re
from typing import Any

import click

from lockstep.common.values import shown

_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "": 1}


class Bytes(click.ParamType):  # type: ignore[type-arg] # click 8.1 has no argument there
    """A number of bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number of bytes that is written."""
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMG]B|)\s*", str(value), re.IGNORECASE)
        size = float(found[1]) * _SIZES[found[2].upper()] if found else 0.0
        if not 0 < size < 1 << 63:
            self.fail(f"{shown(value)} is no size; write it as in 300MB or 2GB", param, ctx)
        return int(size)
