"""How the command line says a sentence: whatever it repeats of a file from elsewhere is shown, not obeyed."""

from __future__ import annotations

import click

from lockstep.common.shown import shown


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Prints a text on standard output, or with `err` on standard error, with its control characters written out."""
    click.echo(shown(text), err=err, nl=nl)
