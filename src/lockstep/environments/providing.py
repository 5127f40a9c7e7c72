"""Makes the environment that a specification describes, or takes the one that was made before."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.errors import InputError, UnavailableEnvironmentError
from lockstep.environments.inspection import Inspection, inspect
from lockstep.environments.interpreters import check_interpreter, find_interpreter
from lockstep.environments.locking import locked
from lockstep.environments.spec import EnvironmentSpec
from lockstep.environments.store import (
    Record,
    environments_folder,
    lock_file,
    note_use,
    read_record,
    remove_attempts,
    write_record,
)
from lockstep.environments.uv import failure, find_uv, run_uv

INSTALL_S = 3600.0
"""How long an installation may take, in seconds: TensorFlow is half a gigabyte, and lines are slow somewhere."""
_INSPECTION_S = 120.0


@dataclass(frozen=True)
class Environment:
    """An interpreter that is ready to run a side.

    Attributes:
        python: The executable.
        python_version: As in `"3.7.16"`.
        packages: `name==version` of all that is installed, sorted.
        created_s: When it was made, in seconds since 1970; 0 for an interpreter that is used as it is.
        from_cache: Whether it was there already.
    """

    python: Path
    python_version: str
    packages: tuple[str, ...]
    created_s: float
    from_cache: bool


def provide(spec: EnvironmentSpec, *, say: Callable[[str], None]) -> Environment:
    """Returns the environment of a specification; makes it with uv where the cache has none.

    One that is found is run and its packages are compared with what was installed; if it has been damaged it is made
    anew. Processes that want the same one at the same time make it once. Interrupted at any moment, the next call
    starts afresh.

    Args:
        spec: What is wanted.
        say: Called with what is being done, a line at a time.

    Raises:
        InputError: The interpreter that the user named does not run, or a local requirement cannot be read.
        UnavailableEnvironmentError: No interpreter of the version, no uv, or uv could not install the requirements.

    Example:
        >>> spec = EnvironmentSpec("3.7", ("tensorflow==1.15.5", "tf-slim==1.1.0"))
        >>> provide(spec, say=print).python                                                # doctest: +SKIP
        PosixPath('.../environments/5c1f.../venv-4711-9f3a/bin/python')
    """
    if spec.interpreter is not None:
        return _as_it_is(spec.interpreter)
    home = environments_folder() / spec.digest
    found = _whole(home, say)
    if found is not None:
        return found
    find_uv()
    try:
        return _made_once(spec, home, say)
    except OSError as error:
        raise UnavailableEnvironmentError(
            f"the environment cannot be made in {home}: {error.strerror or error}; make room there, or name another "
            "folder in LOCKSTEP_CACHE."
        ) from error


def python_of(venv: Path) -> Path:
    """Returns the executable of a virtual environment."""
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


def _as_it_is(interpreter: Path) -> Environment:
    checked = check_interpreter(interpreter)
    told = inspect(checked.path, packages=True, timeout_s=_INSPECTION_S)
    if isinstance(told, str):
        raise InputError(f"interpreter {interpreter} {told.rstrip('.')}; it must be a Python that runs.")
    return Environment(checked.path, told.version, told.packages, 0.0, from_cache=True)


def _whole(home: Path, say: Callable[[str], None]) -> Environment | None:
    """Returns the environment of the cache, if there is one that still is what was recorded."""
    record = read_record(home)
    if record is None:
        return None
    python = python_of(home / record.folder)
    told = inspect(python, packages=True, timeout_s=_INSPECTION_S)
    if isinstance(told, str):
        say(f"makes the environment {home.name[:12]} anew: {python} {told}")
        return None
    if (told.version, told.packages) != (record.python_version, record.packages):
        changed = sorted(set(told.packages) ^ set(record.packages)) or [f"Python {told.version}"]
        say(f"makes the environment {home.name[:12]} anew: it was changed ({', '.join(changed[:5])})")
        return None
    note_use(home)
    return Environment(python, told.version, told.packages, record.made_s, from_cache=True)


def _made_once(spec: EnvironmentSpec, home: Path, say: Callable[[str], None]) -> Environment:
    with locked(lock_file(home.name), say=say):
        home.mkdir(exist_ok=True)
        # Whoever had the lock before may have made it.
        return _whole(home, say) or _make(spec, home, say)


def _make(spec: EnvironmentSpec, home: Path, say: Callable[[str], None]) -> Environment:
    begin = time.monotonic()
    interpreter = find_interpreter(spec.wanted_python)
    remove_attempts(home)
    venv = home / f"venv-{os.getpid()}-{secrets.token_hex(4)}"
    say(f"making an environment of Python {interpreter.version} ({interpreter.path})")
    try:
        _install(spec, interpreter.path, venv, say)
        told = _inspected(python_of(venv))
        took_s = time.monotonic() - begin
        record = Record(
            folder=venv.name,
            wanted_python=spec.wanted_python,
            python_version=told.version,
            asked=spec.normalised,
            constraints=tuple(constraint.requirement for constraint in spec.constraints),
            packages=told.packages,
            made_s=time.time(),
            took_s=took_s,
        )
        write_record(home, record)
    except BaseException:
        remove_attempts(home)
        with contextlib.suppress(OSError):  # not empty: an attempt that could not be removed
            home.rmdir()
        raise
    say(f"made in {took_s:.1f} s: {len(told.packages)} package{'s' * (len(told.packages) != 1)}")
    return Environment(python_of(venv), told.version, told.packages, record.made_s, from_cache=False)


def _install(spec: EnvironmentSpec, python: Path, venv: Path, say: Callable[[str], None]) -> None:
    home = venv.parent
    made = run_uv(["venv", "--python", python, venv], folder=home, timeout_s=_INSPECTION_S)
    if not made.succeeded:
        raise failure(made, f"making an environment with {python}")
    options: list[str | Path] = []
    if spec.constraints:
        file = venv / "constraints.txt"
        file.write_text("".join(f"{one.requirement}\n" for one in spec.constraints), encoding="utf-8")
        options = ["--constraint", file]
    for constraint in spec.constraints:
        say(f"adds {constraint.requirement}: {constraint.reason}")
    wanted = [requirement.text for requirement in spec.parsed()]
    say(f"installing {', '.join(wanted)}")
    installed = run_uv(
        # Compiled now: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every recording would do it again
        # (importing TensorFlow 1.15 takes 3 s instead of 1). What stands behind -- is a requirement, however it looks.
        ["pip", "install", "--python", python_of(venv), *options, "--compile-bytecode", "--", *wanted],
        folder=home,
        timeout_s=INSTALL_S,
        say=say,
    )
    if not installed.succeeded:
        raise failure(installed, f"installing {', '.join(wanted)} for Python {spec.wanted_python}")


def _inspected(python: Path) -> Inspection:
    told = inspect(python, packages=True, timeout_s=_INSPECTION_S)
    if isinstance(told, str):
        raise UnavailableEnvironmentError(f"the new environment does not work: {python} {told}")
    return told
