"""A file's graph -> one that only computes, its calls inlined, its weights told, its inputs and outputs found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError, nearest
from lockstep.common.values import shown
from lockstep.files.originals import OriginalFile
from lockstep.frameworks.tensorflow.foreign_graphs import admitted
from lockstep.frameworks.tensorflow.originals import frozen_graph, saved_model, thawing
from lockstep.frameworks.tensorflow.originals.inlining import inlined
from lockstep.frameworks.tensorflow.originals.restoring import VARIABLES
from lockstep.frameworks.tensorflow.originals.source import Known, Source
from lockstep.frameworks.tensorflow.originals.wiring import Nodes, by_name, needed, place, tensor_named
from lockstep.ground.opening import shortened
from lockstep.tf1.private import op_def

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_TABLES = ("HashTable", "MutableHashTable", "MutableDenseHashTable", "LookupTable", "InitializeTable", "AnonymousHash")
_LEADS_NOWHERE = frozenset(
    {"NoOp", "Const", "Assert", "Placeholder", "PlaceholderWithDefault", "VarHandleOp"}
    | {"Exit", "Enter", "Switch", "Merge", "NextIteration", "LoopCond", "While", "StatelessWhile", "If", "StatelessIf"}
)
"""Operations whose output is none of a model's, though nothing reads it."""
_RETURNED = re.compile(r"Identity(_\d+)?")
"""What TensorFlow 2 calls the outputs of a function that it freezes."""
_SHOWN = 8


@dataclass(frozen=True)
class Variable:
    """A variable of the graph.

    Attributes:
        node: The operation that makes it, or the constant that it was frozen to.
        kind: `"resource"`, `"reference"` (of TensorFlow 1) or `"constant"`.
        name: What it is called.
        trainable: Whether it is trained; what a file does not say is what it most likely was.
        value: What the file holds.
    """

    node: str
    kind: str
    name: str
    trainable: bool
    value: np.ndarray


@dataclass(frozen=True)
class Opened:
    """A graph that may be run.

    Attributes:
        called: What sentences call it.
        graph: Its GraphDef, without variables and weights.
        inputs: Name of our input -> tensor.
        outputs: Path -> tensor.
        feeds: Tensor -> what it is fed in every run.
        variables: Its variables.
        dtypes: Tensor that is fed -> its dtype, where that is known.
    """

    called: str
    graph: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    feeds: Mapping[str, Any]
    variables: Sequence[Variable]
    dtypes: Mapping[str, str]


def opened(original: OriginalFile, given: Mapping[str, np.ndarray]) -> Opened:
    """Opens a file.

    Args:
        original: The file.
        given: Input name -> array, to which the graph's inputs are matched.

    Raises:
        InputError: It is damaged, from a newer TensorFlow, reaches beyond itself, or takes or gives something else.
    """
    source = _source(original, given)
    _refuse_newer(source)
    nodes = by_name(source.nodes)
    outputs = _outputs(original, source, nodes)
    feeds = {tensor_named(name, nodes, "inference_feeds"): value for name, value in original.feeds.items()}
    part = by_name(inlined(source.nodes, source.library, outputs.values()))
    part = by_name(needed(part, [place(name)[0] for name in outputs.values()], [place(name)[0] for name in feeds]))
    library = _library(source.library, part.values())
    _refuse_unknown(source, part.values(), library)
    inputs = _inputs(original, source, given, nodes, part, feeds)
    graph = _judged(source, part.values(), library)
    part = by_name(graph.node)
    _refuse_tables(source, part)
    _refuse_unfed(source, part, {*inputs.values(), *feeds})
    variables = _variables(original, source, part, graph.library)
    fed = {place(name)[0] for name in (*inputs.values(), *feeds)}
    placeholders = {name: nodes[place(name)[0]] for name in feeds if nodes[place(name)[0]].op in _PLACEHOLDERS}
    dtypes = {name: _kind(node)[0] for name, node in placeholders.items()}
    gone = fed | {variable.node for variable in variables}
    without = tf.compat.v1.GraphDef()
    without.versions.CopyFrom(source.versions)
    without.library.CopyFrom(graph.library)
    without.node.extend(node for node in graph.node if node.name not in gone)
    _drop_controls(without, gone)
    return Opened(source.called, without, inputs, outputs, feeds, variables, dtypes)


def declared_inputs(original: OriginalFile) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Returns what the graph says that it takes: name -> shape and dtype; what has no known rank is left out."""
    source = _source(original, {})
    nodes = by_name(source.nodes)
    names = {**source.inputs, **original.inputs}
    found = {}
    for name, tensor in names.items():
        node = nodes.get(place(tensor)[0])
        if node is not None and node.op in _PLACEHOLDERS:
            dtype, shape = _kind(node)
            if shape is not None and (shape or dtype != "bool"):
                found[name] = (shape, dtype)
    return found


def _source(original: OriginalFile, given: Mapping[str, np.ndarray]) -> Source:
    if original.kind == "saved_model":
        return saved_model.source(original, given)
    return saved_model.of_meta_graph(original) if original.kind == "meta_graph" else frozen_graph.source(original)


def _refuse_newer(source: Source) -> None:
    ours = tf.version.GRAPH_DEF_VERSION
    if source.versions.min_consumer > ours:
        raise InputError(
            f"{source.called} was written for a newer TensorFlow: it needs graph version "
            f"{source.versions.min_consumer}, and TensorFlow {tf.__version__} reads {ours}."
        )


def _refuse_unknown(source: Source, nodes: Any, library: Any) -> None:
    functions = {function.signature.name for function in library.function}
    inner = [node for function in library.function for node in function.node_def]
    unknown = {node.op for node in (*nodes, *inner) if op_def(node.op) is None and node.op not in functions}
    if unknown:
        raise InputError(
            f"{source.called} has operations that TensorFlow {tf.__version__} does not know "
            f"({_some(unknown)}); they are of a newer TensorFlow, or of a library of their own."
        )


def _some(names: Any) -> str:
    told = sorted(shortened(name) for name in names)
    return ", ".join(told[:_SHOWN]) + (f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")


def _outputs(original: OriginalFile, source: Source, nodes: Nodes) -> dict[str, str]:
    if original.outputs:
        return {path: tensor_named(name, nodes, "outputs") for path, name in original.outputs.items()}
    if source.outputs:
        return {path: tensor_named(name, nodes, "outputs") for path, name in source.outputs.items()}
    last = _last(nodes) if source.thaw else []
    if not last:
        likely = [name for name in _last(nodes) if not name.startswith(("save/", "init"))][:_SHOWN]
        hint = f"; nothing reads {', '.join(shown(shortened(name)) for name in likely)}" if likely else ""
        raise InputError(
            f'{source.called} does not say what its outputs are{hint}; name them, as in outputs = {{y = "logits:0"}}.'
        )
    return {_path(name): f"{name}:0" for name in last}


def _path(name: str) -> str:
    return name.rpartition("/")[2]


def _last(nodes: Nodes) -> list[str]:
    """Returns the operations that give something which no other one reads."""
    read = {place(reference)[0] for node in nodes.values() for reference in node.input if not reference.startswith("^")}
    returned = [name for name, node in nodes.items() if node.op == "Identity" and _RETURNED.fullmatch(name)]
    if returned and not read & set(returned):
        return returned
    return [name for name, node in nodes.items() if name not in read and node.op not in _LEADS_NOWHERE]


def _inputs(
    original: OriginalFile,
    source: Source,
    given: Mapping[str, np.ndarray],
    nodes: Nodes,
    part: Nodes,
    feeds: Mapping[str, Any],
) -> dict[str, str]:
    """Returns our input -> the graph's tensor: as the configuration says, by name, or the only one."""
    known = dict(source.inputs) or {
        name: f"{name}:0" for name, node in part.items() if node.op == "Placeholder" and f"{name}:0" not in feeds
    }
    free = {name: tensor for name, tensor in known.items() if tensor not in feeds}
    found: dict[str, str] = {}
    for name in given:
        if name in original.inputs:
            said = original.inputs[name]
            found[name] = tensor_named(free.get(said, said), nodes, f"inputs.{name}")
        elif name in free:
            found[name] = tensor_named(free[name], nodes, f"inputs.{name}")
    left, open_ = [name for name in given if name not in found], [t for t in free.values() if t not in found.values()]
    needed_ = [tensor for tensor in open_ if place(tensor)[0] in part]
    open_ = needed_ if len(needed_) == len(left) else open_
    if len(left) == len(open_) == 1:
        found[left[0]] = tensor_named(open_[0], nodes, f"inputs.{left[0]}")
        left = []
    if left:
        hint = nearest(left[0], list(free)) or f"; its inputs are {_some(free) or 'none'}."
        raise InputError(f"{source.called} has no input {shown(shortened(left[0]))}{hint}")
    strangers = [name for name in original.inputs if name not in given]
    if strangers:
        raise InputError(
            f"inputs names {shown(shortened(strangers[0]))}, and the inputs of the check are {', '.join(given)}."
        )
    for name, tensor in found.items():
        _refuse_other_kind(source, name, given[name], nodes[place(tensor)[0]], tensor)
    return found


def _refuse_other_kind(source: Source, name: str, array: np.ndarray, node: Any, tensor: str) -> None:
    if node.op not in _PLACEHOLDERS:
        return  # any tensor may be fed; TensorFlow says what does not fit
    dtype, shape = _kind(node)
    ours = "string" if array.dtype.kind in "OSU" else array.dtype.name
    fits = shape is None or (
        len(shape) == array.ndim and all(a in (None, b) for a, b in zip(shape, array.shape, strict=True))
    )
    if dtype != ours or not fits:
        told = "of any shape" if shape is None else "(" + ", ".join("?" if s is None else str(s) for s in shape) + ")"
        raise InputError(
            f"input {name} is {tuple(array.shape)} {ours}, and {tensor} of {source.called} takes {told} {dtype}."
        )


def _kind(node: Any) -> tuple[str, tuple[int | None, ...] | None]:
    try:
        dtype = tf.as_dtype(node.attr["dtype"].type).name
    except TypeError:
        raise InputError(f"the graph is damaged: {shown(shortened(node.name))} has no dtype.") from None
    shape = node.attr["shape"].shape if "shape" in node.attr else None
    if shape is None or shape.unknown_rank:
        return dtype, None
    return dtype, tuple(None if dimension.size < 0 else int(dimension.size) for dimension in shape.dim)


def _library(library: Any, nodes: Any) -> Any:
    """Returns the functions that are still called, by loops and branches."""
    functions = {function.signature.name: function for function in library.function}
    found: dict[str, Any] = {}
    waiting = [name for node in nodes for name in _called(node)]
    while waiting:
        name = waiting.pop()
        if name in functions and name not in found:
            found[name] = functions[name]
            waiting.extend(inner for node in functions[name].node_def for inner in _called(node))
    kept = type(library)()
    kept.function.extend(found[name] for name in functions if name in found)
    return kept


def _called(node: Any) -> list[str]:
    names = [node.op]
    for value in node.attr.values():
        if value.HasField("func"):
            names.append(value.func.name)
        names.extend(function.name for function in value.list.func)
    return names


def _judged(source: Source, nodes: Any, library: Any) -> Any:
    meta = tf.compat.v1.MetaGraphDef()
    meta.graph_def.node.extend(nodes)
    meta.graph_def.library.CopyFrom(library)
    return admitted(meta, source.called).graph_def


def _refuse_tables(source: Source, part: Nodes) -> None:
    found = sorted(name for name, node in part.items() if node.op.startswith(_TABLES))
    if found:
        raise InputError(
            f"{source.called} looks something up in a table ({_some(found[:1])}), whose initialisation is not run; "
            'name an input behind the table, as in inputs = {ids = "lookup:0"}.'
        )


def _refuse_unfed(source: Source, part: Nodes, fed: set[str]) -> None:
    names = {place(name)[0] for name in fed}
    unfed = [n for n, node in part.items() if node.op in ("Placeholder", "PlaceholderV2") and n not in names]
    if unfed:
        dtype, _ = _kind(part[unfed[0]])
        value = "false" if dtype == "bool" else "1.0"
        raise InputError(
            f"{source.called} also needs {shown(shortened(unfed[0]))} ({dtype}), which no input feeds; give it as an "
            f'input, or as in inference_feeds = {{"{shortened(unfed[0])}:0" = {value}}}.'
        )


def _variables(original: OriginalFile, source: Source, part: Nodes, library: Any) -> list[Variable]:
    inner = [node.name for function in library.function for node in function.node_def if node.op in VARIABLES]
    if inner:
        raise InputError(f"{source.called} makes the variable {shown(shortened(inner[0]))} within a loop or a branch.")
    found = []
    known = _known(source, part)
    names = [one.name for one in known.values()]
    for node in part.values():
        if node.op in VARIABLES:
            one = known[node.name]
            kind = "resource" if node.op == "VarHandleOp" else "reference"
            value = _fitting(source, node, one.value())
            trainable = value.dtype.kind not in "iub" if one.trainable is None else one.trainable
            name = one.path if one.path and names.count(one.name) > 1 else one.name
            found.append(Variable(node.name, kind, name, trainable, value))
    if source.thaw:
        for weight in thawing.weights(part, library, original.weights):
            value = _constant(source, part[weight.node])
            found.append(Variable(weight.node, "constant", weight.name, weight.trainable, value))
    return found


def _known(source: Source, part: Nodes) -> dict[str, Known]:
    """Returns what is known of the graph's variables, by their operations."""
    nodes = [node for node in part.values() if node.op in VARIABLES]
    if nodes and source.variable is None:
        raise InputError(
            f"{source.called} has the variable {shown(shortened(nodes[0].name))}, so it is not frozen; give the "
            'SavedModel that it is from as saved_model, or its checkpoint as meta_graph = "model.ckpt".'
        )
    return {} if source.variable is None else {node.name: source.variable(node) for node in nodes}


def _fitting(source: Source, node: Any, value: np.ndarray) -> np.ndarray:
    dtype, shape = _kind(node)
    fits = shape is None or (
        len(shape) == value.ndim and all(a in (None, b) for a, b in zip(shape, value.shape, strict=True))
    )
    if dtype != value.dtype.name or not fits:
        raise InputError(
            f"{source.called} is damaged: its variable {shown(shortened(node.name))} is {shape} {dtype}, and the "
            f"checkpoint beside it holds {value.shape} {value.dtype.name}."
        )
    return value


def _constant(source: Source, node: Any) -> np.ndarray:
    try:
        return np.array(tf.make_ndarray(node.attr["value"].tensor))
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"{source.called} is damaged: the constant {shown(shortened(node.name))} cannot be read."
        ) from error


def _drop_controls(graph: Any, gone: set[str]) -> None:
    """Takes out what waits for a node that is not there any more, or wants to be where another one is."""
    for node in graph.node:
        if "_class" in node.attr:
            del node.attr["_class"]
        if any(reference.startswith("^") and reference[1:] in gone for reference in node.input):
            kept = [one for one in node.input if not (one.startswith("^") and one[1:] in gone)]
            del node.input[:]
            node.input.extend(kept)
