"""One pair of subjects, and what Lockstep must say of it: what every part of the measure is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Subject = Any
"""What `lockstep.tf1_graph`, `lockstep.keras` or `lockstep.load` return, or a table of the configuration as a dict."""
Inputs = Mapping[str, npt.NDArray[Any]] | npt.NDArray[Any]


def _none() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Case:
    """A reference, a right candidate, and how they are checked.

    Frameworks are imported by the makers, not by the module that lists the cases: makers are called in the process
    that runs the case, inputs too.

    Attributes:
        name: Unique within its part; it may hold slashes, no blanks: `--only` searches it.
        reference: Makes the reference: `lambda: lockstep.tf1_graph(forward)`.
        candidate: Makes the candidate, which is right.
        inputs: Makes the inputs: name -> array, or one array. Seeded, so that each call gives the same.
        options: Keyword arguments of `lockstep.verify`: `rename`, `transforms`, `parts`, `loss`, `gradients`,
            `optimizers`, `trajectory`. A value that only a framework can make is made by `late_options`.
        late_options: Makes further keyword arguments where the case runs.
        kind: What sort of case this is, one word or two: the row of the table that it counts in.
        reason: Why `undecided` is the right answer; empty where `equivalent` is.
    """

    name: str
    reference: Callable[[], Subject]
    candidate: Callable[[], Subject]
    inputs: Callable[[], Inputs]
    options: Mapping[str, Any] = dataclasses.field(default_factory=_none)
    late_options: Callable[[], Mapping[str, Any]] = _none
    kind: str = ""
    reason: str = ""

    def arguments(self) -> dict[str, Any]:
        """All keyword arguments of `lockstep.verify`."""
        return {**self.options, **self.late_options()}
