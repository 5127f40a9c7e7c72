"""Where Lockstep keeps what can be made again: environments, and traces of references."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lockstep.common.errors import InputError


def cache_folder(variables: Mapping[str, str] | None = None) -> Path:
    r"""Returns the folder of the cache; it need not exist yet.

    That is `LOCKSTEP_CACHE`, else `XDG_CACHE_HOME/lockstep`, else what the system is used to: `~/.cache/lockstep`,
    `~/Library/Caches/lockstep` on macOS, `%LOCALAPPDATA%\lockstep\cache` on Windows.

    Args:
        variables: The environment variables; by default those of this process.

    >>> cache_folder({"LOCKSTEP_CACHE": "/big/disk"}).as_posix()
    '/big/disk'

    Raises:
        InputError: The system knows no home folder, as for a user without an entry in its list.
    """
    variables = os.environ if variables is None else variables
    if variables.get("LOCKSTEP_CACHE"):
        # os.path leaves the ~ of an unknown user alone, where pathlib raises.
        return Path(os.path.expanduser(variables["LOCKSTEP_CACHE"])).absolute()  # noqa: PTH111
    # The XDG specification has relative paths ignored.
    if os.path.isabs(variables.get("XDG_CACHE_HOME", "")):  # noqa: PTH117 - no Path: "" is not a path
        return Path(variables["XDG_CACHE_HOME"]) / "lockstep"
    home = home_folder()
    if home is None:
        raise InputError("there is no home folder, and so no place for the cache; name a folder in LOCKSTEP_CACHE.")
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "lockstep"
    if sys.platform == "win32":
        local = variables.get("LOCALAPPDATA")
        return (Path(local) if local else home / "AppData" / "Local") / "lockstep" / "cache"
    return home / ".cache" / "lockstep"


def traces_folder() -> Path:
    """Returns the folder of the kept traces; it need not exist."""
    return cache_folder() / "traces"


def home_folder() -> Path | None:
    """Returns the user's home folder; None where neither `HOME` nor the system's list of users names one."""
    try:
        return Path.home()
    except RuntimeError:
        return None
