"""A TF1 program of the identity corpus: one function, which is the reference and, through the shim, the candidate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        name: Unique within its group.
        body: `body(x, y, ..., training)`, the parameters called as the inputs; `training` where it makes a difference.
        inputs: Name -> array.
        reason: Why `undecided` is the right answer; empty where `equivalent` is.
    """

    name: str
    body: Callable[..., Any]
    inputs: Arrays
    reason: str = ""

    def forward(self, inputs: Mapping[str, Any], training: bool) -> Any:
        """Runs it as Lockstep runs an original: with a dict of tensors."""
        wants_training = "training" in inspect.signature(self.body).parameters
        return self.body(**inputs, **({"training": training} if wants_training else {}))


class Group:
    """Programs of one topic."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._programs: dict[str, Program] = {}

    def __iter__(self) -> Iterator[Program]:
        return iter(self._programs.values())

    def program(self, *, reason: str = "", **inputs: npt.NDArray[Any]) -> Callable[..., Any]:
        """Registers a function for these inputs."""

        def register(body: Callable[..., Any]) -> Callable[..., Any]:
            if body.__name__ in self._programs:
                raise ValueError(f"{self.title} has two programs called {body.__name__}")
            self._programs[body.__name__] = Program(body.__name__, body, inputs, reason)
            return body

        return register
