"""All names of PyTorch that are not documented as public, each with the versions that it was checked on.

| name | what for | checked on |
| --- | --- | --- |
| `torch.nn.modules.conv._ConvNd`, `torch.nn.modules.batchnorm._NormBase` | what a layer is | 2.13.0 |
| `torch.utils._python_dispatch.TorchDispatchMode` | each operation below autograd, to replace what it draws | 2.13.0 |
"""

from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTIONS: tuple[type, ...] = (_ConvNd,)
BATCH_NORMALIZATIONS: tuple[type, ...] = (_NormBase,)

__all__ = ["BATCH_NORMALIZATIONS", "CONVOLUTIONS", "TorchDispatchMode"]
