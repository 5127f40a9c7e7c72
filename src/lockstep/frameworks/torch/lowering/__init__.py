"""ATen operations as operations of the dialect, one small rule each."""

from lockstep.frameworks.torch.lowering import (
    activations,
    comparing,
    convolutions,
    creating,
    elementwise,
    indexing,
    multiplying,
    normalizing,
    pooling,
    random,
    reducing,
    resizing,
    scattering,
    shaping,
    sorting,
    transforming,
)
from lockstep.frameworks.torch.lowering.rules import RULES, RefusedError, Rule, bound
from lockstep.frameworks.torch.lowering.writing import Value, Writer

__all__ = ["RULES", "RefusedError", "Rule", "Value", "Writer", "bound"]

_ = (
    activations,
    comparing,
    convolutions,
    creating,
    elementwise,
    indexing,
    multiplying,
    normalizing,
    pooling,
    random,
    reducing,
    resizing,
    scattering,
    shaping,
    sorting,
    transforming,
)  # each puts its rules into the table
