"""The training step that a program itself makes: what it really runs, its steps, and its optimizer by itself."""

import contextlib
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Set, Tuple

import tensorflow as tf

from ..ground.failures import RecordingError
from ..ground.structure import same_bits
from ..ground.training import TrainingStep, state_after
from . import graph_losses, optimizer_variables
from .operations import leading_to
from .optimizing import Update, describe, learning_rate
from .wrapping import wrapped

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

_WRITES = re.compile(r"^(Resource)?(Sparse)?(StridedSlice)?(Assign|Apply|Scatter)")
"""Operations that write the variable which is their first input."""
_HANDED_ON = frozenset({"Identity", "RefIdentity", "Enter", "RefEnter", "Switch", "RefSwitch"})
METRICS = "metric_variables"
"""The collection of what streaming metrics add up, in every version."""


class NotAloneError(RecordingError):
    """The optimizer of a program cannot be tried by itself; the text says why."""


class _Writes:
    """Which variable each operation of a training step writes.

    Attributes:
        by_op: Operation's name -> variable's name.
        needed: The operations that the step runs.
        applied: Names of those that write a trained variable.
    """

    def __init__(self, graph: Any, target: Any) -> None:
        with graph.as_default():
            known = {v.op.name for v in list(v1.global_variables()) + list(v1.local_variables())}
        trained = {v.op.name for v in graph.get_collection(v1.GraphKeys.TRAINABLE_VARIABLES)}
        self.needed = leading_to([target])
        self.by_op: Dict[str, str] = {}
        for op in self.needed:
            name = _written(op)
            if name in known:
                self.by_op[op.name] = name
        self.applied = {name for name, variable in self.by_op.items() if variable in trained}

    def after_applying(self) -> Set[str]:
        """Returns the names of the operations that run after a trained variable was written, or write it."""
        readers: Dict[str, List[str]] = {}
        for op in self.needed:
            for before in [tensor.op for tensor in op.inputs] + list(op.control_inputs):
                readers.setdefault(before.name, []).append(op.name)
        found, waiting = set(self.applied), list(self.applied)
        while waiting:
            for reader in readers.get(waiting.pop(), ()):
                if reader not in found:
                    found.add(reader)
                    waiting.append(reader)
        return found


def _written(op: Any) -> str:
    """Returns the name of the variable that an operation writes; empty for one that writes none."""
    if not _WRITES.match(op.type) or not op.inputs:
        return ""
    place = op.inputs[0].op
    while place.type in _HANDED_ON:
        place = place.inputs[0].op
    return str(place.name)


def settle(graph: Any, stated: Any, outputs: Mapping[str, Any]) -> Tuple[str, ...]:
    """Leaves in a graph's collections what is the model's: losses besides the stated one, updates that are really run.

    Args:
        graph: The graph.
        stated: What the program states, an `originals.Stated`.
        outputs: Path -> tensor.

    Returns:
        Names of the operations in `UPDATE_OPS` that the training step does not run.

    Raises:
        RecordingError: An output is the value of a streaming metric.
    """
    if stated.labels is None and stated.loss is None and stated.train_op is None:
        return ()
    metrics = {variable.op.name for variable in graph.get_collection(METRICS)}
    _refuse_metrics(outputs, metrics)
    if stated.loss is not None:
        _settle_losses(graph, stated)
    skipped: Tuple[str, ...] = ()
    if stated.train_op is not None:
        skipped = _settle_updates(graph, stated, outputs, metrics)
    used = {op.name for op in leading_to(_needed(graph, stated, outputs))}
    hidden = metrics | {step.op.name for step in graph.get_collection(v1.GraphKeys.GLOBAL_STEP)}
    for name in sorted(hidden - used):
        graph.add_to_collection(optimizer_variables.COLLECTION, name)
    return skipped


def _needed(graph: Any, stated: Any, outputs: Mapping[str, Any]) -> List[Any]:
    updates = [getattr(update, "op", update) for update in graph.get_collection(v1.GraphKeys.UPDATE_OPS)]
    loss = [] if stated.loss is None else [stated.loss]
    return list(outputs.values()) + graph_losses.collected(graph) + updates + loss


def _refuse_metrics(outputs: Mapping[str, Any], metrics: Set[str]) -> None:
    for path, tensor in outputs.items() if metrics else ():
        needed = leading_to([tensor])
        read = sorted({op.name for op in needed} & metrics)
        if read and not any(_written(op) in metrics for op in needed):
            raise RecordingError(
                "output %s is the value of a streaming metric (of %s), which starts at zero and is not updated by the "
                "model; name the tensor that the metric is computed from, or its update operation." % (path, read[0])
            )


def _settle_losses(graph: Any, stated: Any) -> None:
    """Takes out of the collections what the stated loss is made of, but for penalties of single variables."""
    trained = {loss.name for loss in graph_losses.trained_with(graph, stated.loss)}
    given = {name: stated.inputs[name] for name in stated.labels} if stated.labels else stated.inputs
    data = {tensor.op.name for tensor in given.values()}
    for key in graph_losses.COLLECTIONS:
        members = graph.get_collection_ref(getattr(v1.GraphKeys, key))
        members[:] = [
            loss for loss in members if loss.name in trained and not data & {op.name for op in leading_to([loss])}
        ]


def _settle_updates(graph: Any, stated: Any, outputs: Mapping[str, Any], metrics: Set[str]) -> Tuple[str, ...]:
    """Makes `UPDATE_OPS` what the training step really runs of the model, before it applies gradients."""
    writes = _Writes(graph, stated.train_op)
    run, late = {op.name for op in writes.needed}, writes.after_applying()
    members = graph.get_collection_ref(v1.GraphKeys.UPDATE_OPS)
    asked = [getattr(update, "op", update) for update in members]
    kept = [update for update in members if getattr(update, "op", update).name in run - late]
    covered = {op.name for op in leading_to([getattr(update, "op", update) for update in kept])}
    used = {op.name for op in leading_to(list(outputs.values()) + [stated.loss] * (stated.loss is not None) + asked)}
    steps = {step.op.name for step in graph.get_collection(v1.GraphKeys.GLOBAL_STEP)}
    for op in writes.needed:
        written = writes.by_op.get(op.name)
        if written is not None and op.name not in late | covered and written not in metrics | (steps - used):
            kept.append(op)
            used.add(written)
    members[:] = kept
    own = (
        set(writes.by_op.values()) - used - {v.op.name for v in graph.get_collection(v1.GraphKeys.TRAINABLE_VARIABLES)}
    )
    for name in sorted(own):
        graph.add_to_collection(optimizer_variables.COLLECTION, name)
    return tuple(op.name for op in asked if op.name not in run)


def train(model: Any, inputs: Any, values: Mapping[str, Any], count: int, run: Callable[[Any], Any]) -> List[Any]:
    """Trains for some steps by the program's own training step; each has one batch and one set of masks.

    Args:
        model: A `GraphModel` with a `train_op`.
        inputs: Input name -> array.
        values: Variable key -> value to start from.
        count: How many steps.
        run: Runs the model from given values, and takes gradients.
    """
    steps: List[TrainingStep] = []
    hidden: Mapping[str, Any] = {}
    with model.graph.as_default():
        counters = [step.op.name for step in model.graph.get_collection(v1.GraphKeys.GLOBAL_STEP)]
    for _ in range(count):
        done = run(values)
        after, hidden = model.step({key: done.before[key] for key in done.before}, inputs, hidden)
        state = state_after(done)
        number = int({**after, **hidden}.get(counters[0], 0)) if counters else 0
        # What has no gradient and changes all the same is told: the candidate's optimizer leaves it alone.
        moved = [key for key in after if key in done.gradients or not same_bits(after[key], state[key])]
        update = Update({key: after[key] for key in moved}, {}, number)
        values = after
        steps.append(TrainingStep(done, update, dict(after)))
    return steps


_Applied = NamedTuple(
    "_Applied", [("optimizer", Any), ("loss", Any), ("computed", List[Any]), ("pairs", List[Any]), ("counted", bool)]
)


def optimizer_of(build: Callable[[], Any]) -> Callable[[], Any]:
    """Returns a function that makes the optimizer which a program applies, to be tried by itself.

    Args:
        build: Builds the program for training in the default graph, and returns what it states.
    """

    def make() -> Any:
        graph = v1.get_default_graph()
        trained = graph.get_collection_ref(v1.GraphKeys.TRAINABLE_VARIABLES)
        outside = list(trained)
        trained[:] = []  # those of the trial are no variables of the program
        with _applications() as applied:
            stated = build()
        optimizer = _alone(graph, stated, applied, [v.op.name for v in trained])
        trained[:] = outside
        return optimizer

    return make


@contextlib.contextmanager
def _applications() -> Iterator[List[_Applied]]:
    computed: Dict[int, Tuple[Any, Any, Any]] = {}
    applied: List[_Applied] = []

    def noting_gradients(original: Callable[..., Any]) -> Callable[..., Any]:
        def compute_gradients(self: Any, loss: Any, *args: Any, **kwargs: Any) -> Any:
            pairs = original(self, loss, *args, **kwargs)
            computed[id(self)] = self, loss, list(pairs)
            return pairs

        return compute_gradients

    def noting_application(original: Callable[..., Any]) -> Callable[..., Any]:
        def apply_gradients(self: Any, grads_and_vars: Any, global_step: Any = None, name: Any = None) -> Any:
            pairs = list(grads_and_vars)
            _, loss, raw = computed.get(id(self), (None, None, []))
            applied.append(_Applied(self, loss, raw, pairs, global_step is not None))
            return original(self, pairs, global_step=global_step, name=name)

        return apply_gradients

    with contextlib.ExitStack() as stack:
        stack.enter_context(wrapped(v1.train.Optimizer, "compute_gradients", noting_gradients))
        stack.enter_context(wrapped(v1.train.Optimizer, "apply_gradients", noting_application))
        yield applied


def _alone(graph: Any, stated: Any, applied: List[_Applied], trained: List[str]) -> Any:
    """Returns the optimizer, where applying it to other gradients is all that the training step does.

    Raises:
        NotAloneError: It is not.
    """
    if len(applied) != 1:
        raise NotAloneError("the train_op applies gradients %d times." % len(applied))
    one = applied[0]
    writes = _Writes(graph, stated.train_op)
    given = {v.op.name for gradient, v in one.pairs if gradient is not None}
    if not _same(one.computed, one.pairs) or stated.loss is None or one.loss is not stated.loss:
        raise NotAloneError("the train_op changes the gradients of the loss before it applies them.")
    if not given >= set(trained) or len(writes.applied) != len(trained):
        raise NotAloneError("the train_op does not write each variable once.")
    steps = {step.op.name for step in graph.get_collection(v1.GraphKeys.GLOBAL_STEP)}
    if not steps & set(writes.by_op.values()) and not isinstance(learning_rate(one.optimizer), (int, float)):
        raise NotAloneError("the train_op does not count its steps, and its learning rate is no number.")
    if describe(one.optimizer) is None:
        raise NotAloneError("%s is an optimizer whose arguments cannot be told." % type(one.optimizer).__name__)
    return one.optimizer


def _same(computed: List[Any], applied: List[Any]) -> bool:
    return len(computed) == len(applied) and all(a is c and b is d for (a, b), (c, d) in zip(computed, applied))
