"""Folders of this process for what is on its way: to a child process, or to a name of its own when it is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.ground import claims
from lockstep.ground.claims import Claim


def temporary() -> Claim:
    """Makes a temporary folder, which goes with its last use; see `lockstep.ground.claims`.

    Raises:
        InputError: It cannot be made.
    """
    try:
        return claims.temporary()
    except OSError as error:
        raise InputError(
            f"a temporary folder cannot be made: {error.strerror or error}; name another place in TMPDIR."
        ) from error


@contextlib.contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Gives a folder beside a target, from which what is whole is renamed; the rest of it goes.

    Raises:
        OSError: It cannot be made.
    """
    with claims.beside(str(target)) as claim:
        inside = Path(claim.path("new"))
        inside.mkdir()  # with the permissions that the user gives to new folders
        yield inside
