"""Subjects: the two models, wrapped so that Lockstep can run them, whatever framework they are written in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lockstep.arrays import Arrays
from lockstep.errors import InputError
from lockstep.trace import ForwardDraw, Trace, VariableRecord

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""What TensorFlow looks for oneDNN's switch in, once, when it is imported."""


@dataclass(frozen=True)
class Mode:
    """How a subject is built: each mode is built once, however many questions it answers.

    Attributes:
        training: Whether it runs in training mode.
        randomness: The mode of `DeterministicRandomTestTool` it is built and run under.
        functional: Whether a Keras layer is put into a functional model first, as the guide's last case does.
    """

    training: bool
    randomness: str
    functional: bool = False


@dataclass(frozen=True)
class Setting:
    """Where the variables of a run start from.

    Attributes:
        kind: `"initial"` (what the initializers give), `"constant"`, `"distinct"`, or `"given"`.
        values: Variable keys -> values to be set before; empty for `"initial"`.
        names: Variable keys -> the name that the distinct values are a hash of.
        inputs: Other inputs than the subject was built for, of the same shapes; None: those.
    """

    kind: str
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    inputs: Arrays | None = None


@dataclass(frozen=True)
class GivenValues:
    """Values that the inference mode is run from too.

    Attributes:
        values: Name in a checkpoint -> value; the recorder finds out which variable each belongs to.
        digest: What tells these values from others.
    """

    values: Mapping[str, np.ndarray]
    digest: str


INITIAL = Setting("initial")


@dataclass(frozen=True)
class Execution:
    """How TensorFlow carries out what a model or a graph says.

    Attributes:
        compiler: `""`: operation by operation, as written (a graph: in a session that rewrites nothing). `"graph"`: in
            a `tf.function` that Grappler leaves alone. `"grappler"`: in one that Grappler rewrites, as it comes (a
            graph: in a session that does). `"xla"`: in one with `jit_compile=True`.
        off: Grappler's passes that are switched off, as `tf.config.optimizer.set_experimental_options` names them.
    """

    compiler: str = ""
    off: tuple[str, ...] = ()


AS_WRITTEN = Execution()


def other_kernels() -> dict[str, str]:
    """Returns the environment variables of a process whose TensorFlow has oneDNN's kernels switched the other way."""
    return {ONEDNN: "1" if os.environ.get(ONEDNN) == "0" else "0"}


@dataclass(frozen=True)
class Objective:
    """What gradients are taken of, regularization losses added.

    Attributes:
        loss: The user's `loss(outputs, batch)`, which returns a scalar; None: the outputs weighted with cotangents
            that are a hash of their paths.
    """

    loss: Callable[[Any, Any], Any] | None = None


class Instance(Protocol):
    """One built subject."""

    @property
    def free(self) -> bool:
        """Whether it can be run from any values and on any inputs; what was recorded answers what it was asked then."""
        ...

    @property
    def unordered(self) -> tuple[str, ...]:
        """Keys of the variables whose value after a run depends on an order of writes that nothing defines."""
        ...

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory of its variables, in order of creation."""
        ...

    def run(
        self,
        setting: Setting,
        *,
        repeats: int = 0,
        draws: Sequence[ForwardDraw] | None = None,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it once on its inputs, and `repeats` times more to see whether new variables appear.

        Args:
            setting: Where its variables start from.
            repeats: Further calls; their results are dropped.
            draws: With values: what another side's forward pass drew, in order, to be drawn in the same places; a
                subject whose seeds are part of it (a graph) keeps its own. None to count from 0.
            objective: What gradients are taken of; None: none are.
        """
        ...

    def close(self) -> None:
        """Lets go of what it holds."""
        ...


class Subject(Protocol):
    """What can be built in a mode."""

    @property
    def label(self) -> str:
        """What a person calls it: `legacy_model.py:forward`."""
        ...

    def environment(self) -> Mapping[str, str]:
        """What it runs on: `"python"`, `"tensorflow"`, `"keras"` -> version."""
        ...

    def build(self, mode: Mode, inputs: Arrays) -> Instance:
        """Builds it for these inputs."""
        ...


def tf1_graph(forward: Callable[..., Any], *, label: str | None = None) -> Subject:
    """Wraps a TF1-style function as a subject that is built in a `tf.Graph` and run in a `Session`.

    Args:
        forward: `forward(inputs, training) -> tensor, tuple or dict`; `inputs` is a dict of tensors by name, or one
            tensor where one array is given to `verify`.
        label: What reports call it; its module and name by default.
    """
    _require_callable(forward, "tf1_graph", "a function forward(inputs, training)")
    from lockstep.adapters.tf1_graph import TF1Graph

    return TF1Graph(forward, label or _name_of(forward))


def keras(build: Callable[[], Any], *, label: str | None = None) -> Subject:
    """Wraps a function that makes a Keras layer or model (or a callable `tf.Module`) as a subject, run eagerly.

    Args:
        build: `build() -> layer or model`, called as `model(inputs, training=...)`; it must make a new one each time.
        label: What reports call it; its module and name by default.
    """
    _require_callable(build, "keras", "a function build() that returns a layer or model")
    from lockstep.adapters.keras_eager import KerasEager

    return KerasEager(build, label or _name_of(build))


def load(folder: str | os.PathLike[str]) -> Subject:
    """Opens a trace folder, as `lockstep record` wrote it, as a subject: it answers what was recorded.

    Raises:
        InputError: The folder holds no trace, a damaged one, or one of a newer version.
    """
    from lockstep.recorded import RecordedSubject

    return RecordedSubject(Path(folder))


def _require_callable(value: object, wrapper: str, expected: str) -> None:
    if not callable(value):
        raise InputError(f"lockstep.{wrapper} expects {expected}; it was given a {type(value).__name__}.")


def _name_of(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{module}.{name}" if module else name
