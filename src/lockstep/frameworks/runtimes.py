"""The runtimes that a configuration can name, and what a check asks of the framework below them.

A new framework is a package beside this module and a line in `_PACKAGES`. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from lockstep.files.checkpoints.entries import Checkpoint
    from lockstep.files.originals import OriginalFile
    from lockstep.program.kernels import Runtime
    from lockstep.subjects import Described, Subject

_PACKAGES = {
    "tf1": "lockstep.frameworks.tensorflow",
    "keras": "lockstep.frameworks.tensorflow",
    "torch": "lockstep.frameworks.torch",
    "keras2": "lockstep.frameworks.keras2",
    "estimator": "lockstep.frameworks.tensorflow",
    "script": "lockstep.frameworks.tensorflow",
}
_DIALECT = "lockstep.frameworks.tensorflow"
"""The framework whose operations programs are written in: it runs single ones of them."""

RUNTIMES = tuple(_PACKAGES)
"""What `runtime` can be."""
RECORDED = ("tf1", "keras2", "estimator", "script")
"""The runtimes whose programs a recorder takes down, in an old environment too; the others' models run in a check."""


def prepare(runtime: str) -> None:
    """Does what a runtime needs before code of the user's is imported for it."""
    _module(_PACKAGES[runtime], "subjects").prepare(runtime)


def subject(described: Described) -> Subject:
    """Makes the subject that a configuration describes."""
    made: Subject = _module(_PACKAGES[described.runtime], "subjects").of(described)
    return made


RUNTIME_OF = {"saved_model": "tf1", "frozen_graph": "tf1", "meta_graph": "tf1", "keras_file": "keras"}
"""Kind of an original that is a file -> the runtime that it is run by."""


def original(file: OriginalFile) -> Subject:
    """Makes the subject of a model that is a file.

    Raises:
        InputError: The file cannot be used; what only its content tells is told when it is built.
    """
    made: Subject = _module(_PACKAGES[RUNTIME_OF[file.kind]], "originals.subjects").of_file(file)
    return made


def declared_inputs(file: OriginalFile) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Returns what a model that is a file says that it takes: name -> shape, with None for any size, and dtype."""
    package = _PACKAGES[RUNTIME_OF[file.kind]]
    found: dict[str, tuple[tuple[int | None, ...], str]] = _module(package, "originals.subjects").declared_inputs(file)
    return found


def kernels() -> Runtime:
    """Returns what runs single operations of a program."""
    made: Runtime = _module(_DIALECT, "kernels").TensorFlowKernels()
    return made


def remembering_kernels() -> Runtime:
    """Returns the same for whoever runs the same operations over and over: what is small is computed once."""
    made: Runtime = _module(_DIALECT, "remembering").RememberingKernels()
    return made


def open_checkpoint(path: Path, *, moving_averages: bool = False) -> Checkpoint:
    """Opens a checkpoint or a file of weights, in any of the formats of `files.checkpoints.weight_files.Stored`.

    Args:
        path: The file; of a TensorFlow checkpoint its prefix, its index file or its folder.
        moving_averages: Whether a variable's moving average stands for its value.

    Raises:
        InputError: There is none, it cannot be read, or its reader needs a framework that is not installed.
    """
    from lockstep.files.checkpoints.weight_files import Stored, open_weights, stored_as

    stored = stored_as(path)
    read_by = {Stored.TENSORFLOW: _PACKAGES["tf1"], Stored.TORCH: _PACKAGES["torch"]}
    if stored not in read_by:
        return open_weights(path, stored, moving_averages=moving_averages)
    reader = _module(read_by[stored], "checkpoint_reader")
    opened: Checkpoint = reader.open_checkpoint(path, moving_averages=moving_averages)
    return opened


def _module(package: str, name: str) -> Any:
    return importlib.import_module(f"{package}.{name}")
