"""Which environment variables a child process gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

# They would lead another Python to this one's library, packages or start-up code.
_DROPPED = (
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONEXECUTABLE",
    "PYTHONPLATLIBDIR",
    "PYTHONINSPECT",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "__PYVENV_LAUNCHER__",
    # TensorFlow 2 sets it for itself as it is imported (2.21); in TensorFlow 1.15 it switches on resource variables and
    # the control flow of TensorFlow 2, which the original never ran with.
    "TF2_BEHAVIOR",
)


def inherited_variables(
    extra: Mapping[str, str] | None = None,
    *,
    base: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """Returns this process's environment variables without those that would leak its packages into another Python.

    `PYTHONHOME`, `PYTHONSTARTUP`, `VIRTUAL_ENV` and their like go, and so does `PYTHONPATH`, with a note: what lies
    there is made for this Python. `TF2_BEHAVIOR` goes as well, which this process's TensorFlow may have set for itself.
    What a user has installed for themselves is left out (`PYTHONNOUSERSITE=1`).
    All else is passed on: `TF_*`, `OMP_*`, `CUDA_*`, `LD_LIBRARY_PATH`, proxies, `PYTHONDONTWRITEBYTECODE`,
    `PYTHONHASHSEED`.

    Args:
        extra: What to set in addition; this may be any variable.
        base: What to start from; by default the variables of this process.
        say: Told if `PYTHONPATH` is left out.

    >>> inherited_variables({"A": "1"}, base={"PYTHONHOME": "/x", "TF2_BEHAVIOR": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})
    {'TF_CPP_MIN_LOG_LEVEL': '3', 'PYTHONNOUSERSITE': '1', 'A': '1'}
    """
    base = os.environ if base is None else base
    kept = {name: value for name, value in base.items() if name not in (*_DROPPED, "PYTHONPATH")}
    if say is not None and base.get("PYTHONPATH") and "PYTHONPATH" not in (extra or {}):
        say(
            "PYTHONPATH is not passed on to the environment of its own; what the model imports belongs into the folder "
            "of the configuration or into requirements"
        )
    return {**kept, "PYTHONNOUSERSITE": "1", **(extra or {})}
