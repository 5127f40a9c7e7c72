"""What is recorded of a variable, a loss, an operation and a random draw: plain values."""

from typing import Any, Mapping, NamedTuple, Optional, Tuple

import numpy as np

ONLY_INPUT = "input"
"""The name of the input of a function that takes one tensor instead of a dict."""

FLAGS = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_DETERMINISTIC_OPS",
    "TF_XLA_FLAGS",
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_DISABLE_MKL",
    "ONEDNN_MAX_CPU_ISA",
)
"""The environment variables that change the numbers which TensorFlow computes."""


class VariableRecord(NamedTuple):
    """One variable of a subject.

    Attributes:
        name: Its full name without output number, `scope/weights`.
        key: The name, made unique with `#2`, `#3`, ... where several variables bear it.
        shape: Its static shape.
        dtype: Its dtype's name, `"float32"`.
        trainable: Whether optimizers change it.
        regularized: Whether a regularization loss rests on it; None where that cannot be told.
    """

    name: str
    key: str
    shape: Tuple[int, ...]
    dtype: str
    trainable: bool
    regularized: Optional[bool] = None

    def describe(self) -> str:
        """`scope/weights (3, 3, 3, 32) float32 trainable`."""
        trained = "trainable" if self.trainable else "not trainable"
        return "%s %s %s %s" % (self.key, self.shape, self.dtype, trained)


class LossRecord(NamedTuple):
    """One regularization loss: the variable it rests on (None where that cannot be told) and its value (0-d)."""

    variable: Optional[str]
    value: np.ndarray


class OperationRecord(NamedTuple):
    """One operation of the forward pass.

    Attributes:
        name: Its name in the graph, scopes included.
        type: What it computes, `"Conv2D"`.
        inputs: Names of the tensors it reads, `"scope/conv:0"`.
        outputs: Dtype and static shape of each of its outputs (None for an unknown rank, -1 for an unknown size).
        attributes: Its attributes as JSON can hold them.
        source: The user's line that made it, `"legacy_model.py:22"`; empty where none did.
    """

    name: str
    type: str
    inputs: Tuple[str, ...]
    outputs: Tuple[Tuple[str, Optional[Tuple[int, ...]]], ...]
    attributes: Mapping[str, Any]
    source: str


class DrawRecord(NamedTuple):
    """One random operation.

    Attributes:
        operation: Its name.
        type: What it draws, `"RandomUniform"`.
        seeds: The pair that it draws with.
        forward: Whether it belongs to the forward pass, not to an initializer.
        repeated: Whether it is within a loop or a branch, so that it may draw more than once in a run, or never.
        reaches: Whether it leads to an output, a loss or an update; an old trace does not tell.
        dtype: What it draws, `"float32"`; empty in an old trace.
        size: How many numbers it draws; -1 where the graph does not tell.
    """

    operation: str
    type: str
    seeds: Tuple[int, int]
    forward: bool
    repeated: bool
    reaches: Optional[bool] = None
    dtype: str = ""
    size: int = -1


class ForwardDraw(NamedTuple):
    """One time that a random operation drew in a forward pass.

    Attributes:
        seed: The operation seed that it drew with.
        type: What it draws, `"RandomUniform"`.
        dtype: In which dtype.
        size: How many numbers; -1 where nobody knows.
        used: Whether they lead to an output, a loss or an update.
        earlier: How many numbers the same operation drew in the run before, each time: in the earlier rounds of a loop.
    """

    seed: int
    type: str = ""
    dtype: str = ""
    size: int = -1
    used: bool = True
    earlier: Tuple[int, ...] = ()

    @classmethod
    def of(cls, fields: Any) -> "ForwardDraw":
        """Returns the draw that JSON holds as a list; an old trace holds the seed alone."""
        if isinstance(fields, int):
            return cls(fields)
        seed, kind, dtype, size, used, earlier = fields
        return cls(int(seed), str(kind), str(dtype), int(size), bool(used), tuple(int(count) for count in earlier))
