"""`lockstep env`: the environments of a side's own that are kept in the cache."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockstep.cli import saying, session
from lockstep.common.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from lockstep.environments import Listed

_DAY_S = 24 * 3600.0
_SHOWN_DIGITS = 12

_json_option = click.option(
    "--json",
    "json_file",
    metavar="[FILE]",
    is_flag=False,
    flag_value="-",
    help="Print JSON instead; with FILE, also write it there.",
)


@click.group()
def env() -> None:
    """Show or remove the isolated environments that sides with `requirements` run in."""


@env.command(name="list")
@_json_option
def list_(json_file: str | None) -> None:
    """List the environments in the cache, the one used last first."""
    from lockstep.environments import listed

    session.check_destination(json_file)
    found = listed()
    if _delivered({"folder": str(_folder()), "environments": [_facts(one) for one in found]}, json_file):
        return
    if not found:
        saying.say(f"no environments in {_folder()}")
        return
    from rich.text import Text

    from lockstep.report.text import show_stripped

    total = sum(one.bytes_on_disk for one in found)
    last = f"{len(found)} environment{'s' * (len(found) != 1)}, {_size(total)} in {_folder()}"
    show_stripped(session.console(), [_table(found), Text(last, overflow="fold")])


@env.command()
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option("--older-than", type=float, metavar="DAYS", help="Only those that were not used for so many days.")
@_json_option
def clean(digests: tuple[str, ...], older_than: float | None, json_file: str | None) -> None:
    """Remove environments from the cache: all, or those whose DIGEST begins as given.

    They are made again when they are needed. One that another process is making stays.
    """
    from lockstep.environments import clean as remove

    session.check_destination(json_file)
    if older_than is not None and not 0 <= older_than < float("inf"):
        raise InputError(f"--older-than {older_than}: a number of days cannot be negative or infinite.")
    gone = remove(
        digests,
        older_than_s=None if older_than is None else older_than * _DAY_S,
        say=lambda text: saying.say(text, err=True),
    )
    if _delivered({"removed": [_facts(one) for one in gone]}, json_file):
        return
    for one in gone:
        saying.say(f"removed  {one.digest[:_SHOWN_DIGITS]}   {_size(one.bytes_on_disk):>9}   {_requirements(one)}")
    if not gone:
        saying.say("nothing to remove")


def _delivered(content: dict[str, Any], json_file: str | None) -> bool:
    """Writes JSON where it is wanted; tells whether that was all that is wanted."""
    if json_file is None:
        return False
    text = json.dumps(content, indent=2) + "\n"
    if json_file == "-":
        saying.say(text, nl=False)
        return True
    session.write_whole(Path(json_file), text)
    return False


def _facts(one: Listed) -> dict[str, Any]:
    record = None if one.record is None else asdict(one.record)
    return {
        "digest": one.digest,
        "whole": record is not None,
        "bytes_on_disk": one.bytes_on_disk,
        "last_used_s": one.last_used_s,
        **(record or {}),
    }


def _table(found: tuple[Listed, ...]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("digest", no_wrap=True)
    table.add_column("Python", no_wrap=True)
    table.add_column("requirements", overflow="fold")
    table.add_column("on disk", justify="right", no_wrap=True)
    table.add_column("last used", justify="right", no_wrap=True)
    for one in found:
        python = one.record.python_version if one.record else "-"
        style = "" if one.record else "yellow"
        requirements = Text(_requirements(one), style)
        age = _age(time.time() - one.last_used_s)
        table.add_row(one.digest[:_SHOWN_DIGITS], python, requirements, _size(one.bytes_on_disk), age)
    return table


def _requirements(one: Listed) -> str:
    return ", ".join(one.record.asked) if one.record else "not finished"


def _folder() -> Path:
    from lockstep.environments.store import environments_folder

    return environments_folder()


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def _age(seconds: float) -> str:
    if seconds < 60:
        return "just now"
    for limit, length, unit in ((3600, 60, "minute"), (_DAY_S, 3600, "hour"), (float("inf"), _DAY_S, "day")):
        if seconds < limit:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count != 1)} ago"
    raise AssertionError("infinity is above all")
