"""Asks a Python what it is, by running it: a file's name proves nothing, and a shim may fail or hang."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.environments.children import run_child
from lockstep.environments.variables import inherited_variables

_MARK = "lockstep-inspection:"  # start-up code (sitecustomize, a shim's warning) may print, too
# Python 3.6 syntax. importlib.metadata came with 3.8, so that the distributions are looked for by hand.
_PROGRAM = r"""
import io, json, os, re, sys, sysconfig
found = {}
for folder in sys.path:
    for name in (os.listdir(folder) if WITH_PACKAGES and os.path.isdir(folder) else ()):
        file = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}.get(os.path.splitext(name)[1])
        path = os.path.join(folder, name, file) if file else ""
        if path and not os.path.isfile(path):
            path = os.path.join(folder, name) if os.path.isfile(os.path.join(folder, name)) else ""
        if path:
            with io.open(path, encoding="utf-8", errors="replace") as stream:
                head = stream.read(65536).split("\n\n")[0]
            fields = dict(re.findall(r"^(Name|Version): *(.*?) *$", head, re.M))
            key = re.sub("[-_.]+", "-", fields.get("Name", "")).lower()
            if key and "Version" in fields:
                found.setdefault(key, fields["Version"])
print("\n" + MARK + json.dumps({
    "version": ".".join(map(str, sys.version_info[:3])),
    "final": sys.version_info[3] == "final",
    "implementation": sys.implementation.name,
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "packages": sorted(key + "==" + value for key, value in found.items()),
}))
"""


@dataclass(frozen=True)
class Inspection:
    """What a Python says about itself.

    Attributes:
        version: As in `"3.7.16"`.
        usual: Whether it is a released CPython with its global lock: what wheels are made for.
        packages: `name==version` of what is installed, sorted; empty where it was not asked for.
    """

    version: str
    usual: bool
    packages: tuple[str, ...]


def inspect(python: Path, *, packages: bool, timeout_s: float) -> Inspection | str:
    """Runs a Python, isolated from the user's own packages (`-I`).

    Returns:
        What it says; or, where it did not run, the reason, in words that follow its path.
    """
    program = f"WITH_PACKAGES = {packages}; MARK = {_MARK!r}\n{_PROGRAM}"
    try:
        completed = run_child(
            [python, "-I", "-c", program],
            environment_variables=inherited_variables(),
            folder=python.parent,
            timeout_s=timeout_s,
        )
    except InputError as error:
        return f"does not run: {error}"
    answer = next((line for line in completed.output.splitlines() if line.startswith(_MARK)), None)
    if not completed.succeeded or answer is None:
        last = next((line for line in reversed(completed.output.splitlines()) if line.strip()), "it printed nothing")
        return f"{completed.ending} ({last.strip()[:200]})"
    told = json.loads(answer.removeprefix(_MARK))
    usual = told["final"] and told["implementation"] == "cpython" and not told["free_threaded"]
    return Inspection(told["version"], usual, tuple(told["packages"]))
