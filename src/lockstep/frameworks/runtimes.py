"""The runtimes that a configuration can name, and what a check asks of the framework below them.

A new framework is a package beside this module and a line in `_PACKAGES`. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lockstep.files.checkpoints.entries import Checkpoint
    from lockstep.program.kernels import Runtime
    from lockstep.subjects import Subject

_PACKAGES = {"tf1": "lockstep.frameworks.tensorflow", "keras": "lockstep.frameworks.tensorflow"}
_DIALECT = "lockstep.frameworks.tensorflow"
"""The framework whose operations programs are written in: it runs single ones of them."""

RUNTIMES = tuple(_PACKAGES)
"""What `runtime` can be."""


def subject(
    runtime: str,
    function: Callable[..., Any],
    label: str,
    apart: Callable[[Mapping[str, str]], Subject],
    inputs_as: Mapping[str, str] | None = None,
) -> Subject:
    """Makes the subject that a configuration describes.

    Args:
        runtime: One of `RUNTIMES`.
        function: The function that its entry names.
        label: What reports call it.
        apart: Makes it for a process of its own, which has these environment variables too.
        inputs_as: Input -> how the model is given it, where that is not to be found out.
    """
    made: Subject = _module(_PACKAGES[runtime], "subjects").named(runtime, function, label, apart, inputs_as)
    return made


def kernels() -> Runtime:
    """Returns what runs single operations of a program."""
    made: Runtime = _module(_DIALECT, "kernels").TensorFlowKernels()
    return made


def open_checkpoint(path: Path, *, moving_averages: bool = False) -> Checkpoint:
    """Opens a TensorFlow checkpoint.

    Args:
        path: Its prefix, its index file or its folder.
        moving_averages: Whether a variable's moving average stands for its value.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    opened: Checkpoint = _module("lockstep.frameworks.tensorflow", "checkpoint_reader").open_checkpoint(
        path, moving_averages=moving_averages
    )
    return opened


def _module(package: str, name: str) -> Any:
    return importlib.import_module(f"{package}.{name}")
