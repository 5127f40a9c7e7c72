"""The command line: one module per command, imported when the command is asked for.

Exit status: 0 equivalent, 1 diverged, 2 could not judge; 128 plus the number of the signal that ended it.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click

import lockstep
from lockstep.cli import interruptions, saying
from lockstep.common.errors import LockstepError, nearest

_COMMANDS = {
    "bisect": "lockstep.cli.bisect",
    "check": "lockstep.cli.check",
    "compare": "lockstep.cli.compare",
    "convert": "lockstep.cli.convert",
    "demo": "lockstep.cli.demo",
    "env": "lockstep.cli.env",
    "explain": "lockstep.cli.explain",
    "init": "lockstep.cli.init",
    "isolate": "lockstep.cli.isolate",
    "map": "lockstep.cli.map",
    "record": "lockstep.cli.record",
    "show": "lockstep.cli.show",
    "switches": "lockstep.cli.switches",
}
_DIGITS = 5  # of a terminal's width
_OBJECTS = {"map": "map_"}  # where the command's name is one of Python's own


class _Commands(click.Group):
    """Loads a command's module when it is needed, and turns errors into a sentence and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            ctx.fail(f"no such command {cmd_name!r}{nearest(cmd_name, _COMMANDS) or '.'}")
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), _OBJECTS.get(cmd_name, cmd_name))
        return command

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a command as all that the process does."""
        with interruptions.LastSteps():
            return self.main(*args, **kwargs)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with interruptions.raised() as came:
            return super().main(*args, obj=came, **kwargs)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _told(extra.get("obj")):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        # Rich reads these as numbers, which Python refuses to do with very long ones.
        for name in ("COLUMNS", "LINES"):
            if len(os.environ.get(name, "")) > _DIGITS:
                del os.environ[name]
        with _told(ctx.obj):
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        if found[0] != "env":  # which lists what is not finished, and removes what it is told to
            from lockstep.environments import leftovers

            leftovers.reclaim()
        return found


@contextlib.contextmanager
def _told(came: list[int] | None) -> Iterator[None]:
    """Turns every exception into a sentence and an exit status; `came` are the signals that came meanwhile."""
    logger = logging.getLogger("lockstep")
    lines = _Lines()
    logger.addHandler(lines)
    try:
        yield
    except BaseException as error:
        raise click.exceptions.Exit(_status(error, came)) from None
    finally:
        logger.removeHandler(lines)


def _status(error: BaseException, came: list[int] | None) -> int:
    if isinstance(error, (KeyboardInterrupt, click.Abort)) or (came and not isinstance(error, click.exceptions.Exit)):
        number = came[0] if came else signal.SIGINT
        saying.say(interruptions.sentence(number), err=True)
        return 128 + number
    if isinstance(error, (click.ClickException, click.exceptions.Exit)):
        raise error
    if isinstance(error, BrokenPipeError):
        # Whoever read the results has gone (`| head`). Nothing more can be said, and it is no verdict.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    from lockstep.cli import failures

    if isinstance(error, LockstepError):
        failures.show(error)
    elif not (isinstance(error, (OSError, MemoryError)) and failures.show_systems(error)):
        # Python's own status would be 1, which means "diverged", and that of a SystemExit whatever it says.
        failures.show_own_mistake()
    return 2


class _Lines(logging.Handler):
    """Shows what is worth a line although nothing has failed."""

    def emit(self, record: logging.LogRecord) -> None:
        saying.say(f"lockstep: {record.getMessage()}", err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lockstep.__version__, message="lockstep %(version)s")
def main() -> None:
    """Tell whether a migrated model still computes what the original computed.

    Exit status: 0 equivalent, 1 diverged, 2 could not judge.
    """
