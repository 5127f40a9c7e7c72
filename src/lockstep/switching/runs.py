"""A candidate's runs under TensorFlow's switches: in `tf.function` and XLA, and in processes with other settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from lockstep.subjects import ONEDNN, Ask, Execution, Instance, Setting, other_kernels
from lockstep.traces.trace import ForwardDraw, Trace

PARTS = ("passes", "xla", "onednn", "threads", "determinism", "reference", "compile", "inductor", "autocast")
"""What can be left out; the last three, oneDNN and threads of PyTorch modules."""
FUNCTION, WHOLE_OFF, XLA = Execution("grappler"), Execution("graph"), Execution("xla")


class Runs:
    """Runs of the candidate in one process: a model of its own for each compiler, all from the same values.

    What the Python code of a model keeps from call to call must be the same for each compiler, so that no two share a
    model; the settings of Grappler share one, and its one trace. A model is there for as long as its compiler is asked.

    Args:
        build: Makes a model.
        setting: The values that each run starts from.
        draws: What each run draws.
    """

    def __init__(self, build: Callable[[], Instance], setting: Setting, draws: Sequence[ForwardDraw]) -> None:
        self._build, self._setting, self._draws = build, setting, draws
        self._kind = ""
        self._instance: Instance | None = None

    def run(self, execution: Execution) -> Trace:
        """Runs the model of a compiler once more; a new one where another compiler was asked last."""
        kind = "function" if execution.compiler in ("graph", "grappler") else execution.compiler
        if self._instance is None or kind != self._kind:
            self.close()
            self._instance, self._kind = self._build(), kind
        trace = self._instance.run(self._setting, Ask(draws=self._draws, execution=execution))
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
