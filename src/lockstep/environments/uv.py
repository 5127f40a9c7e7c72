"""Finds uv, runs it, and says in a sentence what its failures mean."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments.children import Completed, run_child
from lockstep.environments.variables import inherited_variables

_SHOWN_LINES = 20
# What decides for uv which environment is meant, or that a broken one will do. Indexes, proxies and credentials stay.
_DROPPED = (
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_BREAK_SYSTEM_PACKAGES",
    "UV_TARGET",
    "UV_PREFIX",
    "UV_NO_DEPS",
    "UV_FROZEN",
)
# uv's words, tried in order: its advice for a failure of the network also holds "No solution found".
_MEANINGS = {
    "the disk is full: make room, or name another folder in LOCKSTEP_CACHE (and UV_CACHE_DIR for uv's own cache)": (
        "No space left on device",
        "os error 28",
        "Disk quota exceeded",
    ),
    "the package index shows a certificate that is not trusted here, as a proxy does that looks into what passes: name "
    "the proxy's certificate in SSL_CERT_FILE": ("invalid peer certificate",),
    "the package index cannot be reached: check the network, or name a mirror in UV_DEFAULT_INDEX": (
        "error sending request",
        "[Ff]ailed to fetch",
        "dns error",
        "[Cc]onnection (?:refused|reset)",
        "[Nn]etwork (?:connectivity )?(?:is|was) disabled",
        "[Nn]etwork is unreachable",
        "[Cc]ould not connect",
        "timed out",
    ),
    "there is no wheel of this release for this Python version and machine: name a release that has one, or the Python "
    "version that it was made for": (
        "no wheels? (?:are available )?with a matching",
        "has no wheels",
        "not compatible with the (?:current|target) platform",
        "doesn't have a source distribution or wheel",
    ),
    "a package of this name is not in the index: check its spelling": (
        "was not found in the package registry",
        "not found in the provided package locations",
    ),
    "the requirements cannot be met together, or name a version that does not exist: relax or correct one": (
        "No solution found",
        "there is no version of",
        "unsatisfiable",
    ),
    "a package has to be built from source, and that failed: name a release that has a wheel, or install what its "
    "build asks for": ("[Ff]ailed to build", "build backend returned an error"),
    "a requirement is misspelt: correct it": ("[Ff]ailed to parse", "[Cc]ouldn't parse requirement"),
    "the folder cannot be written to: name another in LOCKSTEP_CACHE": ("[Pp]ermission denied", "[Rr]ead-only file"),
}


def find_uv() -> Path:
    """Returns the uv executable: that of the package `uv`, else the one beside this Python, else the one on PATH.

    Raises:
        UnavailableEnvironmentError: There is none.
    """
    name = "uv.exe" if sys.platform == "win32" else "uv"
    for candidate in (_of_package(), Path(sys.executable).parent / name, shutil.which("uv")):
        if candidate is not None and os.access(candidate, os.X_OK):
            return Path(candidate)
    raise UnavailableEnvironmentError(
        "environments are made by uv, which is not installed; `pip install 'lockstep-verify[environments]'` installs "
        "it."
    )


def _of_package() -> Path | None:
    try:
        import uv
    except ImportError:
        return None
    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError:  # the package is there without its executable (a system's own packaging)
        return None


def run_uv(
    arguments: Sequence[str | Path], *, folder: Path, timeout_s: float, say: Callable[[str], None] | None = None
) -> Completed:
    """Runs uv in a folder; it never downloads a Python, and reads no project's settings but the user's and system's.

    Raises:
        UnavailableEnvironmentError: There is no uv.
    """
    return run_child(
        [find_uv(), *arguments],
        environment_variables=variables(os.environ),
        folder=folder,
        timeout_s=timeout_s,
        say=say,
    )


def variables(present: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for uv, made from those of this process."""
    kept = {name: value for name, value in inherited_variables(base=present).items() if name not in _DROPPED}
    if kept.get("UV_LINK_MODE") == "symlink":
        del kept["UV_LINK_MODE"]  # `uv cache clean` would empty the environment
    return {**kept, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def failure(completed: Completed, doing: str) -> UnavailableEnvironmentError:
    """Makes the error for a run of uv that failed: what to do, and uv's own last lines."""
    lines = [line for line in completed.output.splitlines() if line.strip()]
    # Lines are broken where uv found it beautiful; a meaning may be spread over two.
    text = " ".join(" ".join(lines).split())
    meaning = next((words for words, patterns in _MEANINGS.items() if re.search("|".join(patterns), text)), None)
    sentence = f"{doing} failed: {meaning}." if meaning else f"{doing} failed: uv {completed.ending}."
    if completed.timed_out:
        sentence = f"{doing} failed: uv {completed.ending}; try again, what it has downloaded is kept."
    return UnavailableEnvironmentError("\n".join([sentence, *(f"  uv: {line}" for line in lines[-_SHOWN_LINES:])]))
