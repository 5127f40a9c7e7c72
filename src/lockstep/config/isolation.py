"""How a side is run: in this process, or in an environment of its own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.common.values import brief, shown
from lockstep.config.tables import Table, leaves, refuse_no_file, type_name
from lockstep.environments.requirements import parse
from lockstep.environments.spec import EnvironmentSpec

KEYS = ("python", "requirements", "interpreter", "timeout_s", "environment", "files")
"""What the table of a side may hold about this."""
_LONGEST_S = 366 * 24 * 3600.0  # what a system's clock can wait for is not much more
_ISOLATED = ("python", "requirements", "interpreter")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Isolation:
    """How one side is run.

    Attributes:
        environment: The environment of its own; None: this process.
        timeout_s: How long its process may run, in seconds; None: as Lockstep chooses.
        environment_variables: The names of those that matter to the result, sorted: a trace that was recorded with
            other values is not used again.
        files: The data that it reads, as paths and patterns relative to the folder, likewise.
    """

    environment: EnvironmentSpec | None = None
    timeout_s: float | None = None
    environment_variables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def read_isolation(table: Table, folder: Path) -> Isolation:
    """Checks the keys of a side's table that say how it is run; nothing is looked for or run yet.

    Args:
        table: The table of the side.
        folder: What paths are relative to.

    Raises:
        InputError: A key has the wrong type, or does not go with another.
    """
    python, requirements, interpreter = _python(table), _requirements(table, folder), table.text("interpreter")
    timeout_s = table.number("timeout_s")
    if interpreter is not None:
        both = [key for key in ("python", "requirements") if key in table.values]
        if both:
            raise InputError(
                f"{table.place} has both interpreter and {both[0]}; an interpreter is used as it is, with what is "
                "installed for it. Take one of them out."
            )
    if python is not None and requirements is None:
        raise InputError(
            f"{table.place} has python without requirements; an environment of its own holds nothing but what they "
            'name, as in requirements = ["tensorflow==1.15.5"].'
        )
    isolated = interpreter is not None or requirements is not None
    if timeout_s is not None and not isolated:
        raise InputError(
            f"{table.place} has timeout_s, but runs in this process, which cannot be ended; it goes with requirements "
            "or interpreter."
        )
    if timeout_s is not None and not 0 < timeout_s <= _LONGEST_S:
        raise InputError(
            f"{table.place}: timeout_s is {shown(timeout_s)}; it must be positive, in seconds, and a year at most."
        )
    try:
        environment = (
            EnvironmentSpec(python, requirements or (), _interpreter(interpreter, folder)) if isolated else None
        )
    except InputError as error:
        raise InputError(f"{table.place}: {error}") from None
    limit_s = None if timeout_s is None else float(timeout_s)
    return Isolation(environment, limit_s, _variables(table), _files(table, folder))


def _python(table: Table) -> str | None:
    value = table.values.get("python")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Python 3.10 written as a number is 3.1: which one was meant cannot be told.
        raise InputError(f'{table.place}: python is a number; write it in quotes, as in python = "3.7".')
    return table.text("python")


def _requirements(table: Table, folder: Path) -> tuple[str, ...] | None:
    value = table.values.get("requirements")
    if value is None:
        return None
    form = 'it must be an array of strings, as in ["tensorflow==1.15.5", "tf-slim==1.1.0"]'
    if not isinstance(value, list):
        raise InputError(f"{table.place}: requirements is {type_name(value)}; {form}.")
    if not value:
        raise InputError(f"{table.place}: requirements is empty; name at least the framework, or take it out.")
    found = []
    for text in value:
        if not isinstance(text, str):
            raise InputError(f"{table.place}: requirements holds {type_name(text)}; {form}.")
        try:
            found.append(parse(text, folder).text)  # a file by its absolute path: the current folder may be another
        except InputError as error:
            raise InputError(f"{table.place}: {error}") from None
    return tuple(found)


def _interpreter(text: str | None, folder: Path) -> Path | None:
    # Unlike an entry or an input it may lie anywhere: it is no part of the migration but of the machine.
    return None if text is None else folder / os.path.expanduser(text)  # noqa: PTH111 - pathlib raises for ~ of an unknown user


def _variables(table: Table) -> tuple[str, ...]:
    value = table.values.get("environment", [])
    form = 'it must be an array of names of environment variables, as in ["TF_ENABLE_ONEDNN_OPTS"]'
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{table.place}: environment is {type_name(value)}; {form}.")
    wrong = next((name for name in value if not _VARIABLE.fullmatch(name)), None)
    if wrong is not None:
        raise InputError(f"{table.place}: environment holds {shown(wrong)}; {form}.")
    return tuple(sorted(set(value)))


def _files(table: Table, folder: Path) -> tuple[str, ...]:
    value = table.values.get("files", [])
    form = 'it must be an array of paths and patterns, as in ["vocabulary.txt", "data/*.csv"]'
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{table.place}: files is {type_name(value)}; {form}.")
    for name in value:
        if Path(name).is_absolute() or leaves(name, folder):
            raise InputError(f"{table.place}: files holds {shown(name)}, which leaves the folder of the configuration.")
        if not re.search(r"[*?\[]", name):
            refuse_no_file(f"{table.place}: files", folder / name)
        elif not _any_file(table, name, folder):
            raise InputError(f"{table.place}: files holds {shown(name)}, and no file is like that.")
    return tuple(sorted(set(value)))


def _any_file(table: Table, pattern: str, folder: Path) -> bool:
    try:
        return any(path.is_file() for path in folder.glob(pattern))
    except OSError as error:
        raise InputError(f"{table.place}: files holds {shown(pattern)}: {error.strerror}.") from None
    except (
        ValueError,
        IndexError,
        NotImplementedError,
    ) as error:  # differs from version to version
        raise InputError(f"{table.place}: files holds {shown(pattern)}, which is no pattern: {brief(error)}.") from None
