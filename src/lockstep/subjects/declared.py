"""Subjects: the two models, wrapped so that Lockstep can run them, whatever framework they are written in."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lockstep.common.arrays import Arrays
from lockstep.traces.trace import ForwardDraw, Trace, VariableRecord

if TYPE_CHECKING:
    from lockstep.ground.training import TrainingStep
    from lockstep.program import Program
    from lockstep.recorder.modules import Sources
    from lockstep.subjects.loops import OwnLoop
    from lockstep.subjects.streaming import Roles, Streamed

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


INFERENCE = Mode(training=False, randomness="num_random_ops")
TRAINING = Mode(training=True, randomness="num_random_ops")
FUNCTIONAL = Mode(training=True, randomness="constant", functional=True)
MODES = (INFERENCE, TRAINING, FUNCTIONAL)
"""What is built, in this order, by a check and by a recording: the modes of the guide's steps."""


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
    """How a framework carries out what a model or a graph says.

    Attributes:
        compiler: `""`: operation by operation, as written (a graph: in a session that rewrites nothing). `"graph"`: in
            a `tf.function` that Grappler leaves alone. `"grappler"`: in one that Grappler rewrites, as it comes (a
            graph: in a session that does). `"xla"`: in one with `jit_compile=True`. Of PyTorch a backend of
            `torch.compile`.
        off: Grappler's passes that are switched off, as `tf.config.optimizer.set_experimental_options` names them. Of
            PyTorch `"onednn"`, and `"threads"`, which leaves one.
        precision: `"float64"`, or `"bfloat16"` where its framework chooses (autocast); empty: as written.
    """

    compiler: str = ""
    off: tuple[str, ...] = ()
    precision: str = ""


AS_WRITTEN = Execution()


@dataclass(frozen=True)
class Way:
    """One way that a framework has of carrying out what it runs as written otherwise.

    Attributes:
        name: What reports call it.
        execution: What it is.
        part: What it is left out by.
        does: What it does to the numbers, as a sentence.
        blames: Whose a difference is that rounding does not explain, as a sentence.
        behind: The way that does a part of what this one does; a difference that both have is that one's.
        coarseness: By how much more it rounds than the run as written does, at each operation.
        missing: Why it cannot be run on this machine; empty where it can.
    """

    name: str
    execution: Execution
    part: str
    does: str
    blames: str
    behind: str = ""
    coarseness: float = 1.0
    missing: str = ""


@dataclass(frozen=True)
class Ways:
    """All ways of a framework, but for TensorFlow's own switches.

    Attributes:
        each: The ways.
        exact: What all are held against besides: the same in float64.
    """

    each: tuple[Way, ...]
    exact: Execution


def other_kernels() -> dict[str, str]:
    """Returns the environment variables of a process whose TensorFlow has oneDNN's kernels switched the other way."""
    return {ONEDNN: "1" if os.environ.get(ONEDNN) == "0" else "0"}


TRAINING_LOSS = "the training loss"
"""What the training loss is called beside outputs and variables."""


class SeenPaths(Protocol):
    """Under which paths outputs are seen."""

    def seen(self, values: Mapping[str, Any], /) -> dict[str, Any]:
        """Returns values by those paths; what is left out is not among them."""
        ...


@dataclass(frozen=True)
class Objective:
    """What gradients are taken of, regularization losses added.

    Attributes:
        loss: The user's `loss(outputs, batch)`, which returns a scalar; None: the outputs weighted with cotangents
            that are a hash of their paths.
        paths: Under which paths these outputs are seen, where those are not its own.
    """

    loss: Callable[[Any, Any], Any] | None = None
    paths: SeenPaths | None = None


@dataclass(frozen=True)
class Ask:
    """What is asked of a run, besides its outputs and the values after it.

    Attributes:
        repeats: Further calls, to see whether new variables appear; their results are dropped.
        draws: With values: what another side's forward pass drew, in order, to be drawn in the same places; a subject
            whose seeds are part of it (a graph) keeps its own. None to count from 0.
        objective: What gradients are taken of; None: none are.
        execution: How it is carried out; other than as written only where the subject `offers.execution`, or as one of
            its `ways`.
    """

    repeats: int = 0
    draws: Sequence[ForwardDraw] | None = None
    objective: Objective | None = None
    execution: Execution = AS_WRITTEN


NOTHING_MORE = Ask()


@dataclass(frozen=True)
class Convention:
    """What TensorFlow calls a variable that another framework keeps, and how it lies there.

    Attributes:
        role: Its name behind its layer's: `"kernel"`, `"gamma"`, `"forward_cell/recurrent_kernel"`.
        made: Shape of TensorFlow's variable -> how this one is made of it, a `transform` rule's text; the first is the
            usual one, the others are where TensorFlow has another. None: it is the same.
        parts: The roles of the equal parts along its first axis, where TensorFlow may have a variable for each.
        shared: Whether others are made of the same variable of TensorFlow.
        alone: Whether its layer has no other, so that TF1 code may call it as its layer: `get_variable("words")`.
    """

    role: str
    made: tuple[tuple[tuple[int, ...], str], ...] = ()
    parts: tuple[str, ...] = ()
    shared: bool = False
    alone: bool = False


class Instance(abc.ABC):
    """One built subject. What only some can do is a property that is None where it cannot be done."""

    @property
    def free(self) -> bool:
        """Whether it can be run from any values and on any inputs; what was recorded answers what it was asked then."""
        return True

    @property
    def constants(self) -> frozenset[str]:
        """Keys of what only holds numbers that its code makes, and that nothing changes: a mask that is a buffer."""
        return frozenset()

    @property
    def followed(self) -> Followed | None:
        """Follows it operation by operation."""
        return None

    @property
    def perturbed(self) -> Perturbed | None:
        """Runs it again with other numbers and settings than it was built for."""
        return None

    @property
    def switched(self) -> Switched | None:
        """Runs it under TensorFlow's switches."""
        return None

    @property
    def trained(self) -> Trained | None:
        """The training steps that were recorded of it."""
        return None

    @property
    def self_training(self) -> SelfTraining | None:
        """Trains by the training step that its program makes itself."""
        return None

    @property
    def own_loop(self) -> OwnLoop | None:
        """Trains a new model of its kind by a loop of the user's own."""
        return None

    @property
    def stirred(self) -> Stirred | None:
        """Has each run draw other numbers, as the user's own runs do."""
        return None

    @property
    def conventions(self) -> Mapping[str, Convention]:
        """Variable key -> what TensorFlow calls it and how it lies there, where that is otherwise."""
        return {}

    @property
    def unordered(self) -> tuple[str, ...]:
        """Keys of the variables whose value after a run depends on an order of writes that nothing defines."""
        return ()

    @property
    @abc.abstractmethod
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory of its variables, in order of creation."""

    @abc.abstractmethod
    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        """Runs it once on its inputs, and as often again as it is asked to.

        Args:
            setting: Where its variables start from.
            ask: What else is asked of the run.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Lets go of what it holds."""


class Followed(Protocol):
    """What can be followed operation by operation."""

    def program(
        self,
        values: Mapping[str, np.ndarray],
        draws: Sequence[ForwardDraw] | None = None,
        *,
        inputs: Arrays | None = None,
        objective: Objective | None = None,
    ) -> Program:
        """Returns what it computes.

        Args:
            values: Variable key -> value to start from.
            draws: As of `Ask`.
            inputs: Other inputs than it was built for; None: those.
            objective: What computes a training loss of its outputs, which is one more output then, `TRAINING_LOSS`.

        Raises:
            ProgramError: It cannot be followed.
        """
        ...


class Perturbed(Protocol):
    """What can be run with other values, inputs and numbers of threads than it was built for."""

    def run_changed(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        threads: int,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it once, and takes gradients along where there is an objective."""
        ...

    def run_on_other_kernels(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it once where TensorFlow computes with the kernels that are off here."""
        ...


class Switched(Protocol):
    """What runs under TensorFlow's switches."""

    def run_elsewhere(self, values: Mapping[str, np.ndarray], variables: Mapping[str, str]) -> Trace:
        """Runs it in a process with other environment variables, as written."""
        ...

    def run_switched(self, values: Mapping[str, np.ndarray], execution: Execution) -> Trace:
        """Runs it as `execution` says."""
        ...


class Trained(Protocol):
    """What was trained when it was recorded."""

    def trajectory(self) -> tuple[Sequence[Any], Sequence[float]]:
        """Returns the `TrainingStep`s, and the reference's own drift; none where none were recorded."""
        ...


class SelfTraining(Protocol):
    """What makes its training steps itself."""

    def train(self, values: Mapping[str, np.ndarray], count: int, objective: Objective) -> list[TrainingStep]:
        """Trains for some steps from given values, and takes the gradients of an objective along."""
        ...


class Stirred(Protocol):
    """What can be made to draw other numbers in each run."""

    def stir(self, kinds: Sequence[str]) -> None:
        """Has each further run draw other numbers of `"numpy"`, `"python"`; of none, again the same."""
        ...


@dataclass(frozen=True)
class Offers:
    """What a subject can do beyond the guide's steps.

    Attributes:
        rules: Whether `transform` and `parts` rules can be applied to its variables.
        optimizer: Whether it makes or answers for an optimizer.
        training: Whether it can be trained on, step by step.
        execution: Whether it runs in `tf.function` and XLA.
        initializers: Whether its initial values are drawn by initializers; a file's are given, and a difference from
            them says nothing about either side.
        flags: Whether it knows which of its variables are trained.
        no_training: Why it cannot be built in training mode, as the end of a sentence about it; empty where it can.
        compiled: Whether `make_optimizer(None, ...)` answers with the optimizer that its model is compiled with.
        own_loss: Whether its program states the training loss itself (an `EstimatorSpec.loss`).
        own_optimizer: Whether its program makes the training step itself (a `train_op`).
        masks_by_rounds: Whether its framework draws in each round of a loop what its successor draws once for all
            rounds: Keras 2's recurrent dropout, in a graph.
        own_loop: Whether it is trained by a loop of the user's own (`train_step`, `fit`).
        labels: The inputs that its user said are labels.
        metrics: Whether its recorder imports a function of streaming metrics itself.
        own_metrics: Whether its program may state metrics itself: those of a compiled model, an Estimator's.
    """

    rules: bool = True
    optimizer: bool = False
    training: bool = False
    execution: bool = False
    initializers: bool = True
    flags: bool = True
    no_training: str = ""
    compiled: bool = False
    own_loss: bool = False
    own_optimizer: bool = False
    masks_by_rounds: bool = False
    own_loop: bool = False
    labels: tuple[str, ...] = ()
    metrics: bool = False
    own_metrics: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a subject that is recorded in another process has to know before, as it is run but once.

    Attributes:
        fill_names: Variable key -> the name that its distinct values are a hash of.
        ignore: Patterns of the names of variables that are not filled.
        given: The values of the setting `"given"`; None where there is no such run.
        gradients: Whether gradients are taken.
        steps: For how many steps it is trained, where it has a loss and an optimizer.
    """

    fill_names: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    given: GivenValues | None = None
    gradients: bool = False
    steps: int = 0


NOTHING_WANTED = Wanted()


@dataclass(frozen=True)
class Original:
    """What a configuration says of a TF1 program beyond the function that builds it.

    Attributes:
        description: What `recorder.originals.adapted` is given; None of a plain `forward`.
        script: How its entry is run where that is a whole file: `"import"`, or `"main"`; None of a function.
        own_loss: As of `Offers`.
        own_optimizer: Likewise.
    """

    description: Mapping[str, Any] | None = None
    script: str | None = None
    own_loss: bool = False
    own_optimizer: bool = False


@dataclass(frozen=True)
class Described:
    """What a configuration says of a side that runs in this process: a framework makes the subject of it.

    Attributes:
        runtime: `"tf1"`, `"keras"`, and the others of `frameworks.runtimes.RUNTIMES`.
        function: The function that its entry names.
        label: What reports call it.
        apart: Makes it for a process of its own, which has these environment variables too.
        inputs_as: Input -> how a model is given it, where that is not to be found out.
        original: What else is said of a TF1 program.
        train_step: The loop that a model is trained by: a function, or the name of one of Keras's; None: without.
        labels: The inputs that are labels, which the model is not given.
    """

    runtime: str
    function: Callable[..., Any]
    label: str
    apart: Callable[[Mapping[str, str]], Subject]
    inputs_as: Mapping[str, str] = field(default_factory=dict)
    original: Original = field(default_factory=Original)
    train_step: str | Callable[..., Any] | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """What is known of a subject that was, or will be, recorded.

    Attributes:
        loss: `file.py:function` of the training loss that its recorder imports itself; empty without one.
        optimizer: The same of the optimizer.
        complete: Whether it is recorded already, and what it lacks cannot be recorded any more.
    """

    loss: str = ""
    optimizer: str = ""
    complete: bool = False


class Subject(abc.ABC):
    """What can be built in a mode. What only some can do is said by `offers`, or answered by None.

    Attributes:
        label: What a person calls it: `legacy_model.py:forward`.
    """

    label: str

    @property
    def offers(self) -> Offers:
        """What it can do."""
        return Offers()

    @abc.abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What it runs on: `"python"`, `"tensorflow"`, `"keras"` -> version."""

    def settings(self) -> Mapping[str, str]:
        """What else its numbers depend on, as far as it is known: `"float type"`, `"TF_ENABLE_ONEDNN_OPTS"`, ..."""
        return {}

    @abc.abstractmethod
    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> Instance:
        """Builds it for these inputs.

        Args:
            mode: The mode.
            inputs: What it runs on.
            wanted: What has to be recorded; the same for all modes. What runs in this process needs no such list.
        """

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> Instance | None:
        """Builds it as if for the first time, to see whether it is the same twice; None where nothing is built."""
        del mode, inputs, wanted
        return None

    def on_this_runtime(self, mode: Mode, inputs: Arrays) -> Instance | None:
        """Returns its graph on this process's framework, where it ran on another; None where that tells nothing new.

        Raises:
            InputError: The graph is damaged, or it is from elsewhere and reaches beyond itself.
            SubjectError: This framework cannot import it.
        """
        del mode, inputs
        return None

    def graph_here(self, mode: Mode, inputs: Arrays) -> Instance | None:
        """Returns its graph on this process's framework, whichever it was recorded on; None without one.

        Raises:
            InputError: The graph is damaged, or it is from elsewhere and reaches beyond itself.
            SubjectError: This framework cannot import it.
        """
        del mode, inputs
        return None

    def make_optimizer(
        self, make: Callable[[], Any] | None, shapes: Mapping[str, Any], names: Mapping[str, str]
    ) -> Any | None:
        """Makes what the user's function returns, or returns what it did when this was recorded; None without one."""
        del make, shapes, names
        return None

    def streaming(self, make: Callable[..., Any] | None, roles: Roles) -> Streamed | None:
        """Returns what has its streaming metrics go through courses of batches; None without any.

        Args:
            make: The user's function of metrics; None for those that its program states itself: the metrics that a
                model is compiled with, an Estimator's `eval_metric_ops`.
            roles: Which output and inputs they are about.
        """
        del make, roles
        return None

    @property
    def sources(self) -> Sources | None:
        """Where its function is imported from, where Lockstep imports it into this process."""
        return None

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of what was imported of it so far; nothing where that is not known."""
        return {} if self.sources is None else self.sources.current().files()

    @property
    def recording(self) -> Recording | None:
        """What is known of it where it is recorded; None of what runs as it is asked."""
        return None

    def elsewhere(self, variables: Mapping[str, str]) -> Subject | None:
        """Returns it as a subject of a process of its own, with other environment variables; `end` ends that.

        None where another process cannot find it: it is a function of this one.
        """
        del variables
        return None

    def passes(self) -> tuple[str, ...]:
        """Returns the passes of Grappler over its functions, once it has been built; none where it has no functions."""
        return ()

    def ways(self) -> Ways | None:
        """Returns how else it can be carried out; None of what knows TensorFlow's switches, and of what has none."""
        return None

    def end(self) -> None:  # noqa: B027 - most have no process
        """Ends the process that it runs in, where that is its own; the next `build` starts another."""
