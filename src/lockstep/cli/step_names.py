"""Names of steps on the command line: `--steps variables-match,inference-fixed`."""

from __future__ import annotations

from typing import Any

import click

from lockstep.common.errors import InputError
from lockstep.common.step_names import checked


class Steps(click.ParamType):  # type: ignore[type-arg] # click 8.1 has no argument there
    """Names of steps, with commas between them."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Returns the names that are written."""
        names = [name.strip() for name in str(value).split(",") if name.strip()]
        if not names:
            self.fail("no step is named; write them as in variables-match,inference-fixed", param, ctx)
        try:
            return checked(names)
        except InputError as error:
            self.fail(str(error), param, ctx)
