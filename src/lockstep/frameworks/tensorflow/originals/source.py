"""What was found in a file: a graph as it is written there, and what is known of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Known:
    """What a file says of one of its variables.

    Attributes:
        name: What it is called; several may bear one name.
        path: What leads to it, where it has a path of its own; empty where it has not.
        trainable: Whether it is trained; None where the file does not say.
        value: Reads its value.
    """

    name: str
    path: str
    trainable: bool | None
    value: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Source:
    """A graph, not judged yet.

    Attributes:
        called: What sentences call it: `the graph in model.pb`.
        nodes: Its NodeDefs.
        library: Its FunctionDefLibrary.
        versions: Its VersionDef.
        inputs: Name of an input as the file has it -> tensor; none where it does not say.
        outputs: Path of an output -> tensor.
        variable: Operation of a variable -> what is known of it.
        thaw: Whether constants may be weights.
    """

    called: str
    nodes: list[Any]
    library: Any
    versions: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    variable: Callable[[Any], Known] | None = None
    thaw: bool = False
