"""The command line: one module per command, imported when the command is asked for.

Exit status: 0 equivalent, 1 diverged, 2 could not judge, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

import lockstep
from lockstep.errors import LockstepError, nearest

_COMMANDS = {
    "check": "lockstep.cli.check",
    "compare": "lockstep.cli.compare",
    "convert": "lockstep.cli.convert",
    "demo": "lockstep.cli.demo",
    "env": "lockstep.cli.env",
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

    def invoke(self, ctx: click.Context) -> Any:
        # Rich reads these as numbers, which Python refuses to do with very long ones.
        for name in ("COLUMNS", "LINES"):
            if len(os.environ.get(name, "")) > _DIGITS:
                del os.environ[name]
        try:
            return super().invoke(ctx)
        except LockstepError as error:
            from lockstep.cli import failures

            failures.show(error)
            ctx.exit(2)
        except (KeyboardInterrupt, click.Abort):
            click.echo("lockstep: interrupted; nothing was judged.", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            # Whoever read the results has gone (`| head`). Nothing more can be said, and it is no verdict.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(2)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (OSError, MemoryError) as error:
            from lockstep.cli import failures

            if not failures.show_systems(error):
                failures.show_own_mistake()
            ctx.exit(2)
        except BaseException:
            # Python's own status would be 1, which means "diverged", and that of a SystemExit whatever it says.
            from lockstep.cli import failures

            failures.show_own_mistake()
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lockstep.__version__, message="lockstep %(version)s")
def main() -> None:
    """Tell whether a migrated model still computes what the original computed.

    Exit status: 0 equivalent, 1 diverged, 2 could not judge.
    """
