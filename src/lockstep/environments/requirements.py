"""Reads what is needed from a requirement (PEP 508), and refuses those whose content a cache could not know."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from packaging.requirements import Requirement as Parsed

from lockstep.common.errors import InputError
from lockstep.common.values import brief, shown, shown_path

_FORMS = 'write it as in "tensorflow==1.15.5", or as the path of a wheel or a source archive'
_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz")
_SHA256 = re.compile(r"(?:.*&)?sha256=[0-9a-f]{64}(?:&.*)?")
_COMMIT = re.compile(r".*@[0-9a-f]{40}")
_MAX_LENGTH = 4096  # of a URL, more or less; the digits of a number that Python reads are as many


@dataclass(frozen=True)
class Requirement:
    """One requirement, taken apart.

    Attributes:
        name: The name of the package in the form of PEP 503; None for a bare file, whose name may be anything.
        clauses: `(operator, version)` pairs; empty where any version will do.
        text: The requirement in one form for all ways to write it.
        file: The local file that it names, or None.
    """

    name: str | None
    clauses: tuple[tuple[str, str], ...]
    text: str
    file: Path | None = None

    @property
    def key(self) -> str:
        """What stands for it in a cache: its text, for a file its name and the checksum of its content.

        Raises:
            InputError: The file is missing or cannot be read.
        """
        if self.file is None:
            return self.text
        checksum = hashlib.sha256()
        try:
            with self.file.open("rb") as file:
                while block := file.read(1024 * 1024):
                    checksum.update(block)
        except OSError as error:
            raise InputError(f"the requirement {self.file} cannot be read: {error.strerror}.") from error
        asked = "" if self.name is None else f"{self.text.partition(' @ ')[0]} @ "
        _, mark, marker = self.text.partition(" ; ") if self.name is not None else ("", "", "")
        return f"{asked}{self.file.name} sha256={checksum.hexdigest()}{mark}{marker}"


def parse(text: str, folder: Path | None = None) -> Requirement:
    """Takes a requirement apart.

    Args:
        text: As in a requirements file, without options.
        folder: What a relative path is relative to; the current folder by default.

    Raises:
        InputError: It is no requirement, or one whose content may change unseen: a folder, an editable installation,
            a URL without a checksum or a commit.

    >>> parse("TF_Slim  == 1.1.0").text
    'tf-slim==1.1.0'
    >>> parse("numpy <2, >= 1.19 ; python_version < '3.9'").text
    'numpy<2,>=1.19; python_version < "3.9"'
    """
    stripped = " ".join(text.split())
    said = f"the requirement {shown(stripped)}"
    if not stripped:
        raise InputError(f"a requirement is empty; {_FORMS}.")
    if len(stripped) > _MAX_LENGTH:
        raise InputError(f"{said} is too long for one; {_FORMS}.")
    if stripped.startswith("-"):
        raise InputError(f"{said} is an option of pip; {_FORMS}.")
    if re.match(r"(?!file:)(?:[a-z]+\+)?[a-z]+://", stripped):
        raise InputError(f"{said} is a bare URL; write its package's name and @ before it.")
    folder = (folder or Path()).absolute()
    if stripped.startswith("file:"):
        return _file(stripped, _of_url(urlsplit(stripped), said))
    if "://" not in stripped and _is_path(stripped):
        # os.path leaves the ~ of an unknown user alone, where pathlib raises.
        return _file(stripped, folder / os.path.expanduser(stripped))  # noqa: PTH111
    return _named(stripped, folder)


def _is_path(text: str) -> bool:
    start = text.partition(";")[0].strip()
    return (
        start.startswith((".", "/", "~", "\\"))
        or start.endswith(_ARCHIVES)
        or re.match(r"[A-Za-z]:\\", start) is not None
    )


def _file(text: str, path: Path) -> Requirement:
    said = f"the requirement {shown(text)}"
    try:
        if path.is_dir():
            raise InputError(
                f"{said} is a folder, whose content may change unseen; build a wheel of it (`uv build --wheel`) and "
                "name that."
            )
        if not path.name.endswith(_ARCHIVES):
            raise InputError(f"{said} names neither a wheel nor a source archive; {_FORMS}.")
        if not path.is_file():
            raise InputError(f"{said} names no file: there is no {shown_path(path)}.")
    except OSError as error:
        raise InputError(f"{said} cannot be used: {error.strerror}.") from error
    return Requirement(None, (), str(path), path)


def _named(text: str, folder: Path) -> Requirement:
    # Imported here: an environment of a side's own, which imports this module too, need not have it.
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed
    from packaging.utils import canonicalize_name

    try:
        parsed = Parsed(text)
    except (InvalidRequirement, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else brief(error)
        raise InputError(f"{shown(text)} is no requirement: {why}; {_FORMS}.") from None
    name = canonicalize_name(parsed.name)
    extras = ",".join(sorted({canonicalize_name(extra) for extra in parsed.extras}))
    start = f"{name}[{extras}]" if extras else name
    if parsed.url is not None:
        return _at(text, start, name, parsed, folder)
    clauses = tuple((specifier.operator, specifier.version) for specifier in parsed.specifier)
    versions = ",".join(sorted(operator + version for operator, version in clauses))
    end = f"; {parsed.marker}" if parsed.marker else ""
    return Requirement(name, clauses, f"{start}{versions}{end}")


def _at(text: str, start: str, name: str, parsed: Parsed, folder: Path) -> Requirement:
    """Takes `name @ URL` apart; only what cannot change unseen passes, whatever the URL's fragment promises."""
    assert parsed.url is not None
    said = f"the requirement {shown(text)}"
    try:
        url = urlsplit(parsed.url)
    except ValueError as error:
        raise InputError(f"{said} has no URL that can be read: {brief(error)}.") from None
    end = f" ; {parsed.marker}" if parsed.marker else ""
    if url.scheme in ("", "file"):
        # A checksum in the fragment is none of a folder, and a file's content is read anyway.
        path = _of_url(url, said) if url.scheme else folder / os.path.expanduser(url.path)  # noqa: PTH111
        file = _file(text, path)
        return dataclasses.replace(file, name=name, text=f"{start} @ {path.as_uri()}{end}")
    fixed = (url.scheme in ("http", "https") and _SHA256.fullmatch(url.fragment) is not None) or (
        url.scheme.startswith("git+") and _COMMIT.fullmatch(url.path) is not None
    )
    if not fixed:
        raise InputError(
            f"{said} may change unseen; end its URL with #sha256=... or, for a git repository, with @ and the whole "
            "commit."
        )
    return Requirement(name, (), f"{start} @ {parsed.url}{end}")


def _of_url(url: SplitResult, said: str) -> Path:
    if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
        raise InputError(f"{said} is no file of this machine; write file:// and its whole path.")
    from urllib.request import url2pathname  # of all that a command imports it would take the longest

    return Path(url2pathname(url.path))
