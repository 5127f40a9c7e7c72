"""What a user hands to a check: a function that makes a PyTorch module, wrapped as a subject.

Importing this imports no PyTorch; making a subject does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from lockstep.common.errors import InputError, UnsupportedVersionError
from lockstep.subjects import Described, Subject
from lockstep.subjects.users_functions import name_of

OLDEST = (2, 6)
"""The oldest PyTorch whose `torch.export` lowers what is needed."""


def torch(build: Callable[[], Any], *, label: str | None = None, inputs_as: Mapping[str, str] | None = None) -> Subject:
    """Wraps a function that makes a PyTorch module as a subject, run by PyTorch's own kernels on the CPU.

    Args:
        build: `build() -> torch.nn.Module`; it must make a new one each time. Its `forward` gets the inputs by the
            names of its parameters, or the only one that there is, as they are: what the reference takes as
            `(batch, height, width, channels)` the module permutes itself.
        label: What reports call it; its module and name by default.
        inputs_as: Input -> how `forward` is given it: `"0"`, `"1"` for a position, or the name of a parameter.

    Raises:
        InputError: It was given something else than a function.
        UnsupportedVersionError: PyTorch is not installed, or too old.
    """
    if not callable(build) or _is_module(build):
        kind = type(build).__name__
        raise InputError(
            f"lockstep.torch expects a function build() that returns a torch.nn.Module, anew for each call; it was "
            f"given a {kind}."
        )
    require_torch()
    from lockstep.frameworks.torch.module import TorchModule

    return TorchModule(build, label or name_of(build), inputs_as or {})


def prepare(runtime: str) -> None:
    """Says that PyTorch is missing before code that imports it fails.

    Raises:
        UnsupportedVersionError: It is not installed, or too old.
    """
    del runtime
    require_torch()


def of(described: Described) -> Subject:
    """Makes the subject that a configuration describes.

    Raises:
        UnsupportedVersionError: PyTorch is not installed, or too old.
    """
    require_torch()
    from lockstep.frameworks.torch.module import TorchModule

    return TorchModule(described.function, described.label, described.inputs_as)


def require_torch() -> None:
    """Imports PyTorch.

    Raises:
        UnsupportedVersionError: It is not installed, or too old.
    """
    if importlib.util.find_spec("torch") is None:
        raise UnsupportedVersionError(
            "PyTorch is not installed in this environment; `pip install 'lockstep-verify[torch]'` installs it."
        )
    import torch

    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < OLDEST:
        raise UnsupportedVersionError(
            f"PyTorch {torch.__version__} is installed, and {'.'.join(map(str, OLDEST))} or newer is needed; "
            "`pip install -U 'lockstep-verify[torch]'` installs it."
        )


def _is_module(value: object) -> bool:
    import sys

    loaded = sys.modules.get("torch.nn")
    return loaded is not None and isinstance(value, loaded.Module)
