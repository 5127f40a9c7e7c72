"""Finds an interpreter of a version: among uv's own, on PATH, and in pyenv's folders."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.cache import home_folder
from lockstep.common.errors import InputError, UnavailableEnvironmentError
from lockstep.environments.inspection import inspect
from lockstep.environments.spec import check_version
from lockstep.environments.uv import run_uv

PROBE_S = 10.0
"""How long a candidate may take to tell its version, in seconds; a shim that hangs is given up then."""
_EXE = ".exe" if sys.platform == "win32" else ""
_IN_NAME = re.compile(r"python(3\.\d+)?(?:\.exe)?")


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that runs.

    Attributes:
        path: The executable.
        version: What it said its version is, as in `"3.7.16"`.
    """

    path: Path
    version: str


@dataclass(frozen=True)
class _Place:
    """Where interpreters are looked for: its name for a message, and the candidates, likely ones first."""

    name: str
    candidates: tuple[Path, ...]


def find_interpreter(version: str) -> Interpreter:
    """Returns the first released CPython of a version that runs.

    The order: uv's managed interpreters, PATH, pyenv's versions; executables named after the version (`python3.7`)
    before `python3` and `python`. Each is run before it is believed; one that fails or hangs is passed over.

    Args:
        version: `"3.7"` (any of its patch releases, the newest of a place first) or `"3.7.16"`.

    Raises:
        InputError: The version is none.
        UnavailableEnvironmentError: There is no such interpreter; the text lists where it was looked for and what is
            there. Nothing is ever downloaded unasked.
    """
    check_version(version)
    minor = ".".join(version.split(".")[:2])
    places = (_of_uv(), _on_path(), _of_pyenv())
    answers: dict[Path, str] = {}
    for named in (True, False):
        for place in places:
            for path in place.candidates:
                if path in answers or _fits_by_name(path, minor) is not named:
                    continue
                answers[path] = _ask(path)
                if answers[path] == version or (version == minor and answers[path].startswith(f"{minor}.")):
                    return Interpreter(path, answers[path])
    raise UnavailableEnvironmentError(_not_found(version, places, answers))


def check_interpreter(path: Path) -> Interpreter:
    """Runs the interpreter that a user has named.

    Raises:
        InputError: There is no such file, or it does not run.
    """
    if not path.is_file():
        raise InputError(f"interpreter {path}: there is no such file; it is the executable, as in venv/bin/python.")
    # No resolving: bin/python of an environment is a link, and through it the environment would be lost.
    found = inspect(path.absolute(), packages=False, timeout_s=60)
    if isinstance(found, str):
        raise InputError(f"interpreter {path} {found.rstrip('.')}; it must be a Python that runs.")
    return Interpreter(path.absolute(), found.version)


def _ask(path: Path) -> str:
    """Returns the version of a candidate, or why it is none, in words."""
    found = inspect(path, packages=False, timeout_s=PROBE_S)
    if isinstance(found, str):
        return found
    return found.version if found.usual else f"is {found.version}, but no released CPython with its global lock"


def _fits_by_name(path: Path, minor: str) -> bool | None:
    """Tells whether a name promises the version; None where it promises another, in the name or in its folder."""
    named = _IN_NAME.fullmatch(path.name)
    if named is not None and named[1]:
        return True if named[1] == minor else None
    folder = re.search(r"(?:^|[-/\\])(3\.\d+)\.\d+", str(path.parent.parent.name))
    if folder is not None:
        return True if folder[1] == minor else None
    return False


def _of_uv() -> _Place:
    folder = _uv_folder()
    return _Place(f"uv's interpreters ({folder})", _versions_below(folder, "cpython-*"))


def _uv_folder() -> Path:
    """Where uv keeps the interpreters that it manages: as it says, or else as it documents."""
    home = home_folder()
    try:
        somewhere = home if home is not None and home.is_dir() else Path(tempfile.gettempdir())
        completed = run_uv(["python", "dir"], folder=somewhere, timeout_s=PROBE_S)
        lines = [line.strip() for line in completed.output.splitlines() if line.strip()]
        if completed.succeeded and lines and Path(lines[-1]).is_absolute():
            return Path(lines[-1])
    except InputError:
        pass  # without uv there may still be interpreters of a uv that is gone
    if os.environ.get("UV_PYTHON_INSTALL_DIR"):
        return Path(os.environ["UV_PYTHON_INSTALL_DIR"])
    data = os.environ.get("XDG_DATA_HOME")
    # A relative path, where there is no home: nothing is there.
    return (Path(data) if data else (home or Path("~")) / ".local" / "share") / "uv" / "python"


def _on_path() -> _Place:
    found: list[Path] = []
    for folder in dict.fromkeys(os.environ.get("PATH", "").split(os.pathsep)):
        if not folder or not Path(folder).is_dir():
            continue
        try:
            names = sorted(
                path.name
                for path in Path(folder).iterdir()
                if re.fullmatch(r"python(3(\.\d+)?)?" + re.escape(_EXE), path.name)
            )
        except OSError:
            continue  # a folder on PATH that may not be listed holds nothing for us
        found += [Path(folder).absolute() / name for name in reversed(names)]
    return _Place("PATH", tuple(path for path in found if os.access(path, os.X_OK)))


def _of_pyenv() -> _Place:
    roots = [Path(root) for root in (os.environ.get("PYENV_ROOT"),) if root]
    roots.append((home_folder() or Path("~")) / ".pyenv")
    candidates = dict.fromkeys(path for root in roots for path in _versions_below(root / "versions", "*"))
    return _Place(f"pyenv ({roots[0] / 'versions'})", tuple(candidates))


def _versions_below(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Returns the Python of each installation in a folder, the newest first."""
    inside = Path("python.exe") if _EXE else Path("bin", "python3")
    found = [path / inside for path in folder.glob(pattern) if (path / inside).is_file()]
    return tuple(sorted(found, key=lambda path: _numbers(path.parent.parent.name), reverse=True))


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", name))


def _not_found(version: str, places: tuple[_Place, ...], answers: dict[Path, str]) -> str:
    lines = [f"there is no Python {version} on this machine:"]
    for place in places:
        _ask_the_rest(place, answers)
        versions = sorted({answer for path in place.candidates if (answer := answers[path])[0].isdigit()}, key=_numbers)
        lines.append(f"  {place.name}: {', '.join(versions) or 'none'}")
        lines += [f"    {path} {reason}" for path, reason in _broken(place, answers, version)]
    lines.append(
        f'`uv python install {version}` installs one; or name one that you have: interpreter = "path/to/python".'
    )
    return "\n".join(lines)


def _ask_the_rest(place: _Place, answers: dict[Path, str]) -> None:
    for path in place.candidates:
        if path not in answers:
            # pyenv and uv name a folder after its version, which is good enough for a list.
            told = re.search(r"(?:^|-)(\d+\.\d+\.\d+)", path.parent.parent.name)
            answers[path] = told[1] if told else _ask(path)


def _broken(place: _Place, answers: dict[Path, str], version: str) -> Iterator[tuple[Path, str]]:
    """Yields what was passed over although its name promises the version."""
    minor = ".".join(version.split(".")[:2])
    for path in place.candidates:
        if not answers[path][0].isdigit() and _fits_by_name(path, minor):
            yield path, answers[path]
