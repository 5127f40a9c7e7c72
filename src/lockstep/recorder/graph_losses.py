"""The losses that lie in a graph's collections: found once each, however often the program computes them anew."""

import contextlib
from collections import Counter
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

import tensorflow as tf

from .operations import leading_to

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

COLLECTIONS = ("REGULARIZATION_LOSSES", "LOSSES")
"""Where TF1 code collects the terms of a training loss: regularizers the one, `tf.losses` the other."""

_SUMMING = frozenset(
    {"Add", "AddN", "AddV2", "Cast", "ConcatV2", "DivNoNan", "ExpandDims", "Identity", "Mean", "Mul", "Neg", "Pack",
     "RealDiv", "Reshape", "Squeeze", "Sub", "Sum"}
)  # fmt: skip
"""Operations that make one loss out of several."""
_VARIABLES = frozenset({"VarHandleOp", "Variable", "VariableV2"})
_READING = frozenset({"ReadVariableOp"})
_UNTOLD_ATTRIBUTES = ("_class", "_output_shapes")


def collected(graph: Any) -> List[Any]:
    """Returns the losses in the graph's collections as tensors, each once, and leaves the collections like that.

    A number among them would keep the whole collection from being exported.
    """
    found: List[Any] = []
    with graph.as_default():
        for key in COLLECTIONS:
            members = v1.get_collection_ref(getattr(v1.GraphKeys, key))
            members[:] = [tf.convert_to_tensor(loss) for loss in members]
            found.extend(members)
    return list({loss.name: loss for loss in found}.values())


@contextlib.contextmanager
def kept(graph: Any) -> Iterator[None]:
    """Takes the losses out of the collections again that are put in inside it."""
    before = {key: len(graph.get_collection(getattr(v1.GraphKeys, key))) for key in COLLECTIONS}
    yield
    for key in COLLECTIONS:
        del graph.get_collection_ref(getattr(v1.GraphKeys, key))[before[key] :]


def add_losses(graph: Any, groups: Sequence[Sequence[Any]]) -> None:
    """Adds losses to the collection of regularization losses, in the order of the program, unless they are in it.

    A Keras layer computes the losses of its regularizers anew whenever it is asked for them, and a model's are those
    of its layers. So losses that rest on variables alone are the same if they are computed alike.

    Args:
        graph: The graph.
        groups: What each layer answered; what one answer holds twice is meant twice.
    """
    signatures = _Signatures()
    present = _summands(collected(graph))
    names = {tensor.name for tensor in present}
    counts = Counter(filter(None, map(signatures.of, present)))
    added: List[Any] = []
    for group in groups:
        in_group: Dict[int, int] = {}
        for loss in group:
            signature = signatures.of(loss)
            if signature is None:
                fresh = loss.name not in names
            else:
                in_group[signature] = in_group.get(signature, 0) + 1
                fresh = in_group[signature] > counts[signature]
                counts[signature] += fresh
            if fresh:
                names.add(loss.name)
                added.append(loss)
    places = {op.name: place for place, op in enumerate(graph.get_operations())} if added else {}
    with graph.as_default():
        v1.get_collection_ref(v1.GraphKeys.REGULARIZATION_LOSSES).extend(
            sorted(added, key=lambda loss: places[loss.op.name])
        )


def trained_with(graph: Any, total: Any) -> List[Any]:
    """Returns the losses in the graph's collections that a training loss is made of.

    TensorFlow computes a variable's penalty anew whenever it is asked for it, so that what rests on variables alone is
    known by how it is computed.

    Args:
        graph: The graph.
        total: The training loss.
    """
    members = collected(graph)
    needed = leading_to([total])
    names = {op.name for op in needed}
    signatures = _Signatures()
    computed = {signatures.of(op.outputs[0]) for op in needed if op.outputs} - {None}
    return [loss for loss in members if loss.op.name in names or signatures.of(loss) in computed]


def _summands(losses: Iterable[Any]) -> List[Any]:
    """Returns losses and what they are sums of."""
    found = {loss.name: loss for loss in losses}
    waiting = list(found.values())
    while waiting:
        op = waiting.pop().op
        for tensor in op.inputs if op.type in _SUMMING else ():
            if tensor.name not in found:
                found[tensor.name] = tensor
                waiting.append(tensor)
    return list(found.values())


class _Signatures:
    """Numbers that tensors have in common if they are computed alike, and from variables alone."""

    def __init__(self) -> None:
        self._numbers: Dict[Tuple[Any, ...], int] = {}
        self._known: Dict[str, Optional[int]] = {}

    def of(self, tensor: Any) -> Optional[int]:
        """Returns a tensor's number; None if it depends on anything but variables and constants."""
        self._visit(tensor.op)
        return self._of_output(tensor)

    def _of_output(self, tensor: Any) -> Optional[int]:
        number = self._known[tensor.op.name]
        return None if number is None else self._number((number, tensor.value_index))

    def _visit(self, last: Any) -> None:
        open_ops: Set[str] = set()
        waiting = [last]
        while waiting:
            op = waiting[-1]
            if op.name in self._known:
                waiting.pop()
                continue
            missing = [tensor.op for tensor in op.inputs if tensor.op.name not in self._known]
            if missing and op.name not in open_ops:
                open_ops.add(op.name)
                waiting.extend(missing)
                continue
            waiting.pop()
            # What is missing still leads around a loop.
            self._known[op.name] = None if missing else self._of_operation(op)

    def _of_operation(self, op: Any) -> Optional[int]:
        if op.type in _VARIABLES:
            return self._number((op.type, op.name))
        inputs = [self._of_output(tensor) for tensor in op.inputs]
        reads = op.type in _READING or not (op.op_def is not None and op.op_def.is_stateful)
        if not reads or op.type.startswith("Placeholder") or None in inputs:
            return None
        attributes = tuple(
            (name, value.SerializeToString(deterministic=True))
            for name, value in sorted(op.node_def.attr.items())
            if name not in _UNTOLD_ATTRIBUTES
        )
        return self._number((op.type, attributes) + tuple(inputs))

    def _number(self, key: Tuple[Any, ...]) -> int:
        return self._numbers.setdefault(key, len(self._numbers))
