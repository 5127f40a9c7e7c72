"""`lockstep init`: a configuration and two small models to start from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from lockstep.cli import saying
from lockstep.common.errors import InputError

# They lie in the package as `.txt`: they are text to be written out, no modules of Lockstep.
_FILES = ("lockstep.toml", "legacy_model.py", "migrated_model.py")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
def init(folder: Path) -> None:
    """Write a commented lockstep.toml and two small models into FOLDER.

    They are equivalent as they are; put your own code in their place. Nothing is ever overwritten.
    """
    present = [name for name in _FILES if (folder / name).exists()]
    if present:
        raise InputError(
            f"{folder} already holds {', '.join(present)}, and nothing is overwritten; choose another folder."
        )
    source = resources.files("lockstep.cli") / "first_migration"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write((source / f"{name}.txt").read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror}.") from error
    for name in _FILES:
        saying.say(f"wrote  {folder / name}")
    saying.say(f"next   lockstep check {folder / 'lockstep.toml'}")
