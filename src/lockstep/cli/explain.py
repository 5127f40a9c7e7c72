"""`lockstep explain`: the page of a pitfall that a report names, or any other page of the documentation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying, session
from lockstep.results import pages

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command()
@click.argument("name", required=False)
def explain(name: str | None) -> None:
    """Explain what a report names: print the page NAME, of a pitfall or of the documentation.

    Without NAME, list the pages.
    """
    if name is None:
        from lockstep.report.text import show_stripped

        show_stripped(session.console(), _listing())
        return
    text = pages.page(name).text()
    if not sys.stdout.isatty():
        saying.say(text, nl=False)
        return
    from rich.markdown import Markdown

    session.console().print(Markdown(text))


def _listing() -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    known = pages.pages().values()
    for heading, chosen in (
        ("pitfalls: what a report's `read` names", [page for page in known if page.pitfall]),
        ("documentation", [page for page in known if not page.pitfall]),
    ):
        yield Text(heading, style="bold")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for page in chosen:
            grid.add_row(Text(f"  {page.name}"), Text(page.summary))
        yield grid
    yield Text("lockstep explain NAME prints one.")
