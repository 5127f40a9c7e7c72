"""All names of PyTorch that are not documented as public, each with the versions that it was checked on.

| name | what for | checked on |
| --- | --- | --- |
| `torch.nn.modules.conv._ConvNd`, `torch.nn.modules.batchnorm._NormBase` | what a layer is | 2.13.0 |
| `torch.utils._python_dispatch.TorchDispatchMode` | each operation below autograd, to replace what it draws | 2.13.0 |
| `torch._dynamo.backends.registry.lookup_backend` | a backend, to count what it compiles | 2.13.0 |
| `torch._inductor.config.patch(fallback_random=True)` | Inductor draws by PyTorch's operations | 2.13.0 |
"""

from __future__ import annotations

from typing import Any

from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTIONS: tuple[type, ...] = (_ConvNd,)
BATCH_NORMALIZATIONS: tuple[type, ...] = (_NormBase,)

__all__ = ["BATCH_NORMALIZATIONS", "CONVOLUTIONS", "TorchDispatchMode", "backend_called", "draws_as_eager"]


def backend_called(name: str, graph: Any, inputs: Any) -> Any:
    """Has a backend of `torch.compile` compile a traced graph."""
    from torch._dynamo.backends.registry import lookup_backend

    return lookup_backend(name)(graph, inputs)


def draws_as_eager() -> Any:
    """Returns a context in which Inductor leaves drawing to PyTorch's own operations."""
    from torch._inductor import config

    return config.patch(fallback_random=True)
