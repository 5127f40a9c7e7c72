"""A SavedModel of TensorFlow 1 or 2, read as the protocol buffers and the checkpoint that it is; nothing is run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError, nearest
from lockstep.common.values import quoted, shown
from lockstep.files.checkpoints import wire
from lockstep.files.originals import OriginalFile, content, places
from lockstep.frameworks.tensorflow.checkpoint_reader import read_tensors
from lockstep.frameworks.tensorflow.originals import restoring
from lockstep.frameworks.tensorflow.originals.objects import Objects, is_in_training, structured
from lockstep.frameworks.tensorflow.originals.source import Known, Source
from lockstep.ground.opening import shortened

_SCHEMA = 1
_VERSION, _META_GRAPHS = 1, 2  # the fields of a SavedModel
_DEFAULT = "serving_default"
_TAG = "serve"
_INITIALIZING = "__saved_model_"
"""What the signatures begin with that make no output."""
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def source(original: OriginalFile, given: Mapping[str, np.ndarray]) -> Source:
    """Reads the graph of a signature, or of a function.

    Args:
        original: The SavedModel.
        given: Input name -> array, by which one of several traces of a function is chosen.

    Raises:
        InputError: It is damaged or newer, or has no such tags or signature.
    """
    meta = _meta_graph(original)
    objects = Objects(meta)
    weights = Weights(meta, objects, original)
    signatures = {k: v for k, v in meta.signature_def.items() if not k.startswith(_INITIALIZING)}
    functions = objects.functions()
    wanted = original.signature or _only(signatures, functions, original)
    if wanted in signatures:
        return _of_signature(original, meta, signatures[wanted], weights)
    if wanted in functions:
        return _of_function(original, meta, objects, _trace(objects, functions[wanted], given, wanted), weights)
    known = [*signatures, *functions]
    raise InputError(
        f"{original.label} has no signature {quoted(shortened(wanted))}{nearest(wanted, known) or '.'} "
        f"It has {_listed(signatures, functions)}."
    )


def of_meta_graph(original: OriginalFile) -> Source:
    """Reads a MetaGraph with its checkpoint.

    Raises:
        InputError: It is damaged, or the checkpoint is missing.
    """
    path = places.graph_files(original.kind, original.path)[0]
    meta = _parsed(tf.compat.v1.MetaGraphDef(), content(path, path.parent, "a MetaGraph"), original, "a MetaGraph")
    if not meta.graph_def.node:
        raise InputError(f"{original.label} holds no operation; a MetaGraph is what Saver.save writes as .meta.")
    weights = Weights(meta, Objects(meta), original)
    signatures = dict(meta.signature_def)
    if not original.outputs and (original.signature or len(signatures) == 1):
        wanted = original.signature or next(iter(signatures))
        if wanted not in signatures:
            raise InputError(f"{original.label} has no signature {quoted(shortened(wanted))}.")
        return _of_signature(original, meta, signatures[wanted], weights)
    return _written(original, meta, {}, {}, weights)


def _meta_graph(original: OriginalFile) -> Any:
    folder = original.path
    data = content(folder / places.GRAPH, folder, "a SavedModel's graph")
    try:
        parts = wire.fields(
            memoryview(data), {_VERSION: wire.VARINT, _META_GRAPHS: wire.LENGTH}, repeated=(_META_GRAPHS,)
        )
        version = wire.number(parts[_VERSION])
    except wire.DamagedError as error:
        raise InputError(f"{original.label}/{places.GRAPH} is no SavedModel, or is cut short: {error}.") from error
    if version != _SCHEMA:
        raise InputError(
            f"{original.label} has the schema version {version}, and this TensorFlow {tf.__version__} reads {_SCHEMA}."
        )
    metas = [
        _parsed(tf.compat.v1.MetaGraphDef(), bytes(part), original, "a SavedModel")
        for part in wire.messages(parts[_META_GRAPHS])
    ]
    if not metas:
        raise InputError(f"{original.label} holds no graph.")
    return _tagged(metas, original)


def _tagged(metas: Sequence[Any], original: OriginalFile) -> Any:
    wanted = set(original.tags) or ({_TAG} if len(metas) > 1 else None)
    found = [meta for meta in metas if wanted is None or set(meta.meta_info_def.tags) == wanted]
    if len(found) == 1:
        return found[0]
    known = "; ".join(", ".join(meta.meta_info_def.tags) or "(none)" for meta in metas[:8])
    asked = ", ".join(sorted(wanted or ()))
    raise InputError(f"{original.label} has no one graph with the tags {asked}; the tags of its graphs are: {known}.")


def _parsed(message: Any, data: bytes, original: OriginalFile, what: str) -> Any:
    try:
        message.ParseFromString(data)
    except Exception as error:  # protobuf's own class, of which each implementation has another
        raise InputError(f"{original.label} is no {what.removeprefix('a ')}, or is damaged or cut short.") from error
    return message


def _only(signatures: Mapping[str, Any], functions: Mapping[str, Any], original: OriginalFile) -> str:
    if _DEFAULT in signatures:
        return _DEFAULT
    known = [*(signatures or functions)]
    if len(known) == 1:
        return known[0]
    if not known:
        raise InputError(f"{original.label} has no signature and no function that could be run.")
    raise InputError(
        f'{original.label} has {_listed(signatures, functions)}; say which is checked, as in signature = "{known[0]}".'
    )


def _listed(signatures: Mapping[str, Any], functions: Mapping[str, Any]) -> str:
    told = [
        f"the {kind}{'' if len(names) == 1 else 's'} {', '.join(shown(shortened(name)) for name in [*names][:8])}"
        for kind, names in (("signature", signatures), ("function", functions))
        if names
    ]
    return " and ".join(told) or "no signature"


def _of_signature(original: OriginalFile, meta: Any, signature: Any, weights: Weights) -> Source:
    inputs = {name: info.name for name, info in sorted(signature.inputs.items())}
    outputs = {name: info.name for name, info in sorted(signature.outputs.items())}
    sparse = [name for name, info in (*signature.inputs.items(), *signature.outputs.items()) if not info.name]
    if sparse:
        raise InputError(
            f"{original.label}: {shown(shortened(sparse[0]))} of the signature is no dense tensor; a sparse or "
            "composite one cannot be checked."
        )
    if not outputs:
        raise InputError(f"{original.label}: the signature has no output.")
    return _written(original, meta, inputs, outputs, weights)


def _written(
    original: OriginalFile, meta: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], weights: Weights
) -> Source:
    graph = meta.graph_def
    return Source(
        f"the graph in {original.label}",
        list(graph.node),
        graph.library,
        graph.versions,
        inputs,
        outputs,
        weights.of,
    )


def _trace(objects: Objects, names: Sequence[str], given: Mapping[str, np.ndarray], wanted: str) -> str:
    """Returns the concrete function that takes what is given; in inference mode where that is all that differs."""
    found = [name for name in names if _takes(objects.concrete(name), given)]
    if len(found) > 1:
        found = [name for name in found if not is_in_training(objects.concrete(name))] or found
    if not found and len(names) == 1:
        return names[0]
    if not found:
        raise InputError(
            f"no trace of the function {shown(shortened(wanted))} takes {len(given)} input"
            f"{'' if len(given) == 1 else 's'} of these shapes and dtypes; the SavedModel holds {len(names)}."
        )
    return found[0]


def _takes(function: Any, given: Mapping[str, np.ndarray]) -> bool:
    taken = [spec for _, spec in structured(function.canonicalized_input_signature)]
    if len(taken) != len(given):
        return False
    arrays = list(given.values())
    kinds = sorted((tf.as_dtype(spec.dtype).name, len(spec.shape.dim)) for spec in taken)
    return kinds == sorted((array.dtype.name, array.ndim) for array in arrays)


def _of_function(original: OriginalFile, meta: Any, objects: Objects, name: str, weights: Weights) -> Source:
    library = meta.graph_def.library
    definition = next((one for one in library.function if one.signature.name == name), None)
    if definition is None:
        raise InputError(f"{original.label} is damaged: it holds no function {shown(shortened(name))}.")
    concrete = objects.concrete(name)
    arguments = [argument.name for argument in definition.signature.input_arg]
    count = len(arguments) - len(concrete.bound_inputs)
    if count < 0:
        raise InputError(f"{original.label} is damaged: {shown(shortened(name))} captures more than it takes.")
    nodes = list(meta.graph_def.node)
    taken = {node.name for node in nodes}
    call = _node("StatefulPartitionedCall", _free("StatefulPartitionedCall", taken))
    call.attr["f"].func.name = name
    inputs = {}
    for argument in definition.signature.input_arg[:count]:
        placeholder = _node("Placeholder", _free(argument.name, taken))
        placeholder.attr["dtype"].type = argument.type
        _shape(placeholder, definition, len(inputs))
        nodes.append(placeholder)
        call.input.append(placeholder.name)
        inputs[argument.name] = f"{placeholder.name}:0"
    for number, argument in zip(concrete.bound_inputs, definition.signature.input_arg[count:], strict=True):
        captured = _captured(original, objects, number, argument.name, taken, weights)
        if not isinstance(captured, str):
            nodes.append(captured)
            captured = captured.name
        call.input.append(captured)
    call.attr["Tin"].list.type.extend(argument.type for argument in definition.signature.input_arg)
    call.attr["Tout"].list.type.extend(argument.type for argument in definition.signature.output_arg)
    nodes.append(call)
    returned = [path for path, _ in structured(concrete.output_signature)]
    if len(returned) != len(definition.signature.output_arg) or not returned:
        raise InputError(f"{original.label}: the function {shown(shortened(name))} returns something beside tensors.")
    outputs = {path: f"{call.name}:{number}" for number, path in enumerate(returned)}
    graph = meta.graph_def
    called = f"the graph in {original.label}"
    return Source(called, nodes, library, graph.versions, inputs, outputs, weights.of)


def _shape(placeholder: Any, definition: Any, number: int) -> None:
    if number in definition.arg_attr and "_output_shapes" in definition.arg_attr[number].attr:
        shapes = definition.arg_attr[number].attr["_output_shapes"].list.shape
        if len(shapes) == 1:
            placeholder.attr["shape"].shape.CopyFrom(shapes[0])


def _captured(
    original: OriginalFile, objects: Objects, number: int, argument: str, taken: set[str], weights: Weights
) -> Any:
    """Returns the node of a variable that a function captures, or the name of a constant that is in the graph."""
    found = objects.captured(number)
    kind = found.WhichOneof("kind")
    if kind == "constant":
        return str(found.constant.operation)
    if kind != "variable":
        raise InputError(
            f"{original.label}: the function captures {shown(shortened(argument))}, a {kind}; variables and constants "
            "alone can be checked, no tables and no files."
        )
    return weights.captured(number, taken)


class Weights:
    """What is known of the variables of a MetaGraph, and their values in the checkpoint beside it."""

    def __init__(self, meta: Any, objects: Objects, original: OriginalFile) -> None:
        self._original = original
        self._entries = restoring.entries(meta)
        variables = dict(objects.variables())
        self._by_number = variables
        self._by_key = {held.key: held for held in variables.values()}
        self._own: dict[str, str] = {}
        """Node that was made for a capture -> key."""
        trained = meta.collection_def.get("trainable_variables")
        self._trained = None if trained is None else _variable_names(trained)

    def captured(self, number: int, taken: set[str]) -> Any:
        """Returns a node for a variable that a function captures."""
        held = self._by_number[number]
        name = _free(held.path, taken)
        node = _node("VarHandleOp", name)
        node.attr["dtype"].type = held.node.dtype
        node.attr["shape"].shape.CopyFrom(held.node.shape)
        node.attr["shared_name"].s = name.encode()
        self._own[name] = held.key
        return node

    def of(self, node: Any) -> Known:
        """Returns what is known of the variable that an operation makes.

        Raises:
            InputError: Its value is nowhere.
        """
        if node.name in self._own:
            entry = restoring.Entry(self._own[node.name])
        else:
            shared = node.attr["shared_name"].s.decode("utf-8", "replace")
            entry = self._entries.get(node.name) or restoring.Entry(shared or node.name)
        held = self._by_key.get(entry.key)
        if held is not None:
            return Known(held.name or held.path, held.path, held.trainable, functools.partial(self._read, entry))
        trainable = None if self._trained is None else node.name in self._trained
        return Known(node.name, "", trainable, functools.partial(self._read, entry))

    @functools.cached_property
    def _tensors(self) -> tuple[Mapping[str, Any], Callable[[str], np.ndarray]]:
        original = self._original
        prefix = places.checkpoint_of(original.kind, original.path)
        folder = original.path if original.kind == "saved_model" else prefix.parent
        for file in (prefix.with_name(f"{prefix.name}.index"), *prefix.parent.glob(f"{prefix.name}.data-*")):
            places.refuse_outside(file, folder)
        _, held, read = read_tensors(prefix)
        return held, read

    def _read(self, entry: restoring.Entry) -> np.ndarray:
        held, read = self._tensors
        if entry.key not in held:
            name = entry.key.removesuffix(_VALUE)
            raise InputError(
                f"{self._original.label}: the checkpoint beside the graph holds no value of the variable "
                f"{shown(shortened(name))}{nearest(entry.key, list(held)) or '.'}"
            )
        return restoring.part_of(read(entry.key), entry.part)


def _variable_names(collection: Any) -> frozenset[str]:
    """Returns the names in a collection of VariableDefs, whose first field is the variable's name."""
    found = set()
    for data in collection.bytes_list.value:
        try:
            names = wire.messages(wire.fields(memoryview(data), {1: wire.LENGTH})[1])
        except wire.DamagedError:
            continue
        found.update(bytes(name).decode("utf-8", "replace").partition(":")[0] for name in names)
    return frozenset(found)


def _node(kind: str, name: str) -> Any:
    made = tf.compat.v1.NodeDef()
    made.op, made.name = kind, name
    return made


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 0
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free
