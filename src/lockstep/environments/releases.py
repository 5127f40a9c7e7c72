"""Releases of a package: what a range means, which of it the package index has, which Python each takes."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.environments.uv import failure, run_uv

OLDEST_PYTHON = "3.10"
"""What an environment needs at least (`isolated_keras.OLDEST_PYTHON`); TensorFlow 2.16 to 2.21 have wheels for it."""
MOST = 100
"""How many releases a range may hold: each may need an environment of gigabytes."""
_ASK_S = 300.0
_NUMBERS = re.compile(r"\d{1,6}(\.\d{1,6}){1,2}")
_FORM = "as in 2.16..2.21, or a list of releases, as in 2.16.2,2.18.1,2.21.0"
_NONE_SUCH = ("No solution found", "unsatisfiable")
_UNKNOWN = ("not found in the package registry", "not found in the provided package locations")
PYTHONS = {
    "tensorflow": (((2, 16), (9, 12)), ((2, 20), (9, 13)), ((2, 21), (10, 13))),
}
"""Package -> the first release of each row, and the Pythons 3.x, first and last, that it has wheels for.

Of `Requires-Python` and the wheels of 2.16.2 to 2.21.0. A later release is taken for the last row's, and tried.
"""


@dataclass(frozen=True)
class Range:
    """What `--versions` means: bounds, or a list.

    Attributes:
        first: The lower bound; empty for a list.
        last: The upper bound; empty for a list.
        listed: The releases of a list, in its order.
    """

    first: str = ""
    last: str = ""
    listed: tuple[str, ...] = ()


def parse_range(text: str) -> Range:
    """Takes apart what `--versions` was given.

    Raises:
        InputError: It is no range and no list, the bounds are the wrong way round, or a release stands there twice.

    >>> parse_range("2.16..2.21")
    Range(first='2.16', last='2.21', listed=())
    >>> parse_range("3.3.3,3.6.0").listed
    ('3.3.3', '3.6.0')
    """
    if ".." in text:
        first, _, last = (part.strip() for part in text.partition(".."))
        for bound in (first, last):
            if not _NUMBERS.fullmatch(bound):
                raise InputError(
                    f"--versions {shown(text)}: {shown(bound) or 'a bound'} is no release; write it {_FORM}."
                )
        if _numbers(first) >= _numbers(last):
            raise InputError(
                f"--versions {shown(text)}: the first release, which is the reference, must be older than the last; "
                f"did you mean {last}..{first}?"
            )
        return Range(first, last)
    listed = tuple(part.strip() for part in text.split(",") if part.strip())
    for release in listed:
        _refuse_none(release, text)
    twice = next((one for place, one in enumerate(listed) if one in listed[:place]), None)
    if twice is not None:
        raise InputError(f"--versions {shown(text)} has {twice} twice.")
    if len(listed) < 2:
        raise InputError(f"--versions {shown(text)}: two releases are needed at least, {_FORM}.")
    return Range(listed=listed)


def releases_of(package: str, wanted: Range, *, patches: bool = False, say: Callable[[str], None]) -> tuple[str, ...]:
    """Returns the releases of a package that a range means, in its order.

    Args:
        package: Its name.
        wanted: The range; of a list each is looked for.
        patches: Whether all patch releases are meant, and not the newest of each minor release alone.
        say: Told what is being done.

    Raises:
        InputError: The index has no such release, or fewer than two of the range.
        UnavailableEnvironmentError: There is no uv, or the index cannot be reached.
    """
    if wanted.listed:
        for release in wanted.listed:
            say(f"asking the package index for {package} {release}")
            if newest(package, f"=={release}") is None:
                raise InputError(f"the package index has no {package} {release}; take it out of --versions.")
        return wanted.listed
    found: list[str] = []
    above = f"<={wanted.last}" if wanted.last.count(".") == 2 else _below_next(wanted.last)
    say(f"asking the package index for releases of {package}")
    while (older := newest(package, f">={wanted.first},{above}")) is not None:
        found.append(older)
        if len(found) > MOST:
            raise InputError(f"--versions {wanted.first}..{wanted.last} are more than {MOST} releases; name fewer.")
        above = f"<{older}" if patches else f"<{'.'.join(older.split('.')[:2])}"
    if len(found) < 2:
        told = f"{found[0]} alone" if found else "none"
        raise InputError(
            f"--versions {wanted.first}..{wanted.last}: of these the package index has {told} of {package}; two are "
            "needed."
        )
    return tuple(reversed(found))


def newest(package: str, clauses: str) -> str | None:
    """Asks uv's resolver for the newest release that fits; None where there is none.

    Any machine's and any Python's wheels count: which one an environment takes is seen when it is made.

    Raises:
        InputError: There is no such package.
        UnavailableEnvironmentError: There is no uv, or the index cannot be reached.
    """
    options: list[str | Path] = ["--universal", "--no-deps", "--no-header", "--no-annotate", "--quiet"]
    if package.startswith("tensorflow"):
        # Of a later Python uv leaves out the releases that have no wheels for it, and it is asked about all of them.
        options += ["--python-version", OLDEST_PYTHON]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "wanted.in"
        file.write_text(f"{package}{clauses}\n", encoding="utf-8")
        told = run_uv(
            ["pip", "compile", *options, file],
            folder=Path(place),
            timeout_s=_ASK_S,
        )
    if told.succeeded:
        pinned = re.search(rf"^{re.escape(package)}==(\S+)", told.output, re.MULTILINE)
        if pinned is not None:
            return pinned[1]
    text = " ".join(told.output.split())
    if any(words in text for words in _UNKNOWN):
        raise InputError(f"the package index has no package {package}; check its spelling.")
    # An index that cannot be reached is told with these words too.
    if any(words in text for words in _NONE_SUCH) and "etwork" not in text and "fetch" not in text:
        return None
    raise failure(told, f"looking for releases of {package}")


def python_for(package: str, release: str) -> str:
    """Returns the Python that an environment of a release takes: this one if there are wheels for it, or the newest.

    >>> python_for("tensorflow", "2.16.2") in ("3.10", "3.11", "3.12")
    True
    """
    here = sys.version_info[1]
    rows = [pythons for since, pythons in PYTHONS.get(package, ()) if since <= _numbers(release)[:2]]
    if not rows:
        return f"3.{here}"
    first, last = rows[-1]
    return f"3.{min(max(here, first), last)}"


def _below_next(minor: str) -> str:
    major, number = minor.split(".")
    return f"<{major}.{int(number) + 1}"


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release))


def _refuse_none(release: str, text: str) -> None:
    from packaging.version import InvalidVersion, Version

    try:
        Version(release)
    except InvalidVersion:
        raise InputError(f"--versions {shown(text)}: {shown(release)} is no release; write it {_FORM}.") from None
