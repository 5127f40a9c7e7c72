"""All names of PyTorch that the lowering uses and that are not documented as public.

| name | what for | checked on |
| --- | --- | --- |
| `torch._ops.OpOverload`, `torch._ops.HigherOrderOperator` | what a node of an exported graph calls | 2.13.0 |
| `OpOverload._schema` | the names and defaults of an operation's arguments | 2.13.0 |
| `torch._dynamo.reset` | forgets what a strict export that failed has left | 2.13.0 |
| `torch.utils._pytree` | goes through what modules are given and return | 2.13.0 |
"""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils import _pytree as pytree

__all__ = ["HigherOrderOperator", "OpOverload", "arguments_of", "forget_exports", "pytree"]


def arguments_of(overload: Any) -> Any:
    """Returns the arguments of an ATen operation, each with its name and default."""
    return overload._schema.arguments


def forget_exports() -> None:
    """Has the next export begin anew."""
    torch._dynamo.reset()
