"""A candidate's runs under TensorFlow's switches: in `tf.function` and XLA, and in processes with other settings."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lockstep.environments import EnvironmentSpec
from lockstep.isolated_keras import IsolatedKeras
from lockstep.subjects import AS_WRITTEN, ONEDNN, Execution, Setting, other_kernels
from lockstep.trace import ForwardDraw, Trace

PARTS = ("passes", "xla", "onednn", "threads", "determinism", "reference")
"""What can be left out."""
FUNCTION, WHOLE_OFF, XLA = Execution("grappler"), Execution("graph"), Execution("xla")


class Switchable(Protocol):
    """A built candidate that can be run in `tf.function`."""

    def run(
        self, setting: Setting, *, draws: Sequence[ForwardDraw] | None = None, execution: Execution = AS_WRITTEN
    ) -> Trace:
        """Runs it once from the values of a setting."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...


class Runs:
    """Runs of the candidate in one process: a model of its own for each compiler, all from the same values.

    What the Python code of a model keeps from call to call must be the same for each compiler, so that no two share a
    model; the settings of Grappler share one, and its one trace. A model is there for as long as its compiler is asked.

    Args:
        build: Makes a model.
        setting: The values that each run starts from.
        draws: What each run draws.
    """

    def __init__(self, build: Callable[[], Switchable], setting: Setting, draws: Sequence[ForwardDraw]) -> None:
        self._build, self._setting, self._draws = build, setting, draws
        self._kind = ""
        self._instance: Switchable | None = None

    def run(self, execution: Execution) -> Trace:
        """Runs the model of a compiler once more; a new one where another compiler was asked last."""
        kind = "function" if execution.compiler in ("graph", "grappler") else execution.compiler
        if self._instance is None or kind != self._kind:
            self.close()
            self._instance, self._kind = self._build(), kind
        trace = self._instance.run(self._setting, draws=self._draws, execution=execution)
        # The same values for all: a copy of a large model's variables for each of some twenty traces is gigabytes.
        return dataclasses.replace(trace, before=self._setting.values)

    def close(self) -> None:
        """Lets go of the model."""
        instance, self._instance = self._instance, None
        if instance is not None:
            instance.close()


def process_settings(without: frozenset[str]) -> dict[str, dict[str, str]]:
    """Returns what holds for a whole process: name -> the environment variables that set it.

    Args:
        without: Parts that are left out: `"onednn"`, `"threads"`, `"determinism"`.
    """
    kernels = other_kernels()
    known = {
        "onednn": (f"oneDNN {'off' if kernels[ONEDNN] == '0' else 'on'}", kernels),
        "threads": ("one thread", {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}),
        # What tf.config.experimental.enable_op_determinism() switches on (TensorFlow 2.16 to 2.21), without the refusal
        # of unseeded draws that it adds in Python.
        "determinism": ("determinism on", {"TF_DETERMINISTIC_OPS": "1"}),
    }
    return dict(named for part, named in known.items() if part not in without)


def known_elsewhere(candidate: Any) -> bool:
    """Tells whether another process can find the candidate, by its file and function."""
    behind = getattr(candidate, "behind", candidate)  # of one whose variables are cut in parts
    return isinstance(behind, IsolatedKeras) or behind.origin is not None


def in_another_process(candidate: Any, variables: Mapping[str, str]) -> Any:
    """Returns the candidate as a subject of a process of its own; its `end` ends that.

    Args:
        candidate: The candidate's subject.
        variables: Environment variables of the process, besides those of this one.
    """
    if hasattr(candidate, "around"):  # its variables are cut in parts, which its own process knows nothing of
        return candidate.around(in_another_process(candidate.behind, variables))
    if isinstance(candidate, IsolatedKeras):
        return candidate.again(variables)
    folder, entry = candidate.origin
    # The same Python as this one's: what leads it to its packages is no leak, as it would be in another.
    own = {name: os.environ.get(name, "") for name in ("PYTHONPATH", "PYTHONNOUSERSITE")}
    spec = EnvironmentSpec(interpreter=Path(sys.executable))
    return IsolatedKeras(folder, entry, spec, variables={**own, **variables})
