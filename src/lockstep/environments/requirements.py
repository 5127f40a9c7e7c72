"""Reads what is needed from a requirement, and refuses those whose content a cache could not know."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lockstep.errors import InputError

_FORMS = 'write it as in "tensorflow==1.15.5", or as the path of a wheel or a source archive'
# PEP 508: name, extras, and then versions, a URL behind @, or a marker behind ;.
_NAMED = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)", re.DOTALL)
_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([A-Za-z0-9.*+!_-]+)")
_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz")
_FIXED_URL = re.compile(r"@[0-9a-f]{40}(?:#|$)|#(?:.*&)?sha256=[0-9a-f]{64}(?:&|$)")


@dataclass(frozen=True)
class Requirement:
    """One requirement, taken apart.

    Attributes:
        name: The name of the package in the form of PEP 503; None for a file, whose name may be anything.
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
        return f"{self.file.name} sha256={checksum.hexdigest()}"


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
    if not stripped:
        raise InputError(f"a requirement is empty; {_FORMS}.")
    if stripped.startswith("-"):
        raise InputError(f"the requirement {stripped!r} is an option of pip; {_FORMS}.")
    if re.match(r"(?!file:)(?:[a-z]+\+)?[a-z]+://", stripped):
        raise InputError(f"the requirement {stripped!r} is a bare URL; write its package's name and @ before it.")
    if stripped.startswith("file:") or ("://" not in stripped and _is_path(stripped)):
        return _file(stripped, (folder or Path()).absolute())
    return _named(stripped)


def _is_path(text: str) -> bool:
    start = text.partition(";")[0].strip()
    return (
        start.startswith((".", "/", "~", "\\"))
        or start.endswith(_ARCHIVES)
        or re.match(r"[A-Za-z]:\\", start) is not None
    )


def _file(text: str, folder: Path) -> Requirement:
    # os.path leaves the ~ of an unknown user alone, where pathlib raises.
    path = folder / os.path.expanduser(text.removeprefix("file://").removeprefix("file:"))  # noqa: PTH111
    if path.is_dir():
        raise InputError(
            f"the requirement {text!r} is a folder, whose content may change unseen; build a wheel of it "
            "(`uv build --wheel`) and name that."
        )
    if not path.name.endswith(_ARCHIVES):
        raise InputError(f"the requirement {text!r} names neither a wheel nor a source archive; {_FORMS}.")
    if not path.is_file():
        raise InputError(f"the requirement {text!r} names no file: there is no {path}.")
    return Requirement(None, (), str(path), path)


def _named(text: str) -> Requirement:
    found = _NAMED.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is no requirement; {_FORMS}.")
    name = re.sub(r"[-_.]+", "-", found[1]).lower()
    extras = ",".join(sorted(part.strip().lower() for part in (found[2] or "").split(",") if part.strip()))
    start = f"{name}[{extras}]" if extras else name
    if found[3].startswith("@"):
        url = found[3][1:].strip()
        if not _FIXED_URL.search(url.partition(" ")[0]):
            raise InputError(
                f"the requirement {text!r} may change unseen; end its URL with #sha256=... or, for a repository, "
                "with @ and the whole commit."
            )
        return Requirement(name, (), f"{start} @ {url}")
    versions, _, marker = found[3].partition(";")
    clauses = _clauses(versions.strip().removeprefix("(").removesuffix(")"), text)
    versions = ",".join(sorted(operator + version for operator, version in clauses))
    end = "; " + " ".join(marker.replace("'", '"').split()) if marker.strip() else ""
    return Requirement(name, clauses, f"{start}{versions}{end}")


def _clauses(versions: str, text: str) -> tuple[tuple[str, str], ...]:
    parts = [part.strip() for part in versions.split(",")] if versions.strip() else []
    clauses = []
    for part in parts:
        found = _CLAUSE.fullmatch(part)
        if found is None:
            raise InputError(f"the requirement {text!r} has no version that can be read at {part!r}; {_FORMS}.")
        clauses.append((found[1], found[2]))
    return tuple(clauses)
