"""What a graph's operations are: the forward pass, its taps, its random draws, the user's lines, losses' variables."""

import os
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from ..ground import tensors
from ..ground.records import DrawRecord, ForwardDraw, OperationRecord

# An operation that hands its input on: its output is the same tensor by definition.
PASSING_ON = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot"})

_LARGEST_ATTRIBUTE = 1000

_LEADING_IN = frozenset({"Enter", "RefEnter", "Switch", "RefSwitch"})


def ancestors(tensors: Iterable[Any]) -> List[Any]:
    """Returns the operations that tensors or operations need, in the order in which the program made them."""
    found = leading_to(tensors)
    places = {op.name: place for place, op in enumerate(found[0].graph.get_operations())} if found else {}
    return sorted(found, key=lambda op: places[op.name])


def _data_ancestors(operations: Iterable[Any]) -> List[Any]:
    waiting = list(operations)
    found = {op.name: op for op in waiting}
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op.name not in found:
                found[tensor.op.name] = tensor.op
                waiting.append(tensor.op)
    return list(found.values())


def forward_pass(inputs: Iterable[Any], outputs: Iterable[Any]) -> List[Any]:
    """Returns the operations between inputs and outputs, random draws included: what depends on no variable alone."""
    inputs = list(inputs)
    needed = ancestors(outputs)
    readers: Dict[str, List[str]] = {}
    for op in needed:
        for tensor in op.inputs:
            readers.setdefault(tensor.op.name, []).append(op.name)
    drawing = [op.name for op in needed if seeds_of(op.node_def) is not None]
    # The order of the program does not tell: what leads a tensor into a loop or a branch is made after its reader.
    waiting = [tensor.op.name for tensor in inputs] + drawing
    depends = set(drawing)
    while waiting:
        for reader in readers.get(waiting.pop(), ()):
            if reader not in depends:
                depends.add(reader)
                waiting.append(reader)
    return [op for op in needed if op.name in depends]


def tappable(operations: Iterable[Any]) -> Tuple[List[Any], List[str]]:
    """Returns the floating tensors that can be fetched, and the names of the operations whose tensors cannot.

    Within a loop or a branch of TensorFlow 1's control flow a tensor has as many values as there are rounds, or none.
    """
    tensors, unreachable = [], []
    for op in operations:
        outputs = op.outputs[:3] if op.type.startswith("FusedBatchNorm") else op.outputs  # the rest is the kernel's own
        floating = [tensor for tensor in outputs if tensor.dtype.base_dtype.is_floating]
        if not floating or op.type in PASSING_ON:
            continue
        if not op.graph.is_fetchable(op):
            unreachable.append(op.name)
        else:
            tensors.extend(floating)
    return tensors, unreachable


def seeds_of(node: Any) -> Optional[Tuple[int, int]]:
    """Returns the seeds of the node of a stateful random operation; None for any other."""
    attributes = node.attr
    if "seed" not in attributes or "seed2" not in attributes:
        return None
    return int(attributes["seed"].i), int(attributes["seed2"].i)


def draws(graph: Any, variables: Iterable[Any], targets: Iterable[Any]) -> List[DrawRecord]:
    """Lists the random operations of a graph in the order of the program.

    What a variable's initializer is computed from belongs to initializers, wherever it was made
    (`tf.Variable(tf.random.normal(...))` draws before there is a variable); all other draws are the forward pass's.
    Loops and branches may keep theirs in functions of the graph; these come last.

    Args:
        graph: The graph.
        variables: Its variables.
        targets: Tensors and operations that a run is made for: what leads to none of them is drawn for nothing.
    """
    initializers = {op.name for op in _data_ancestors([variable.initializer for variable in variables])}
    reached = leading_to(targets)
    names = {op.name for op in reached}
    within = _within_loops(graph)
    found = []
    for op in graph.get_operations():
        seeds = seeds_of(op.node_def)
        if seeds is not None:
            drawn = op.outputs[0]
            forward, repeated = op.name not in initializers, op.name in within
            reaches, dtype = op.name in names, drawn.dtype.name
            found.append(DrawRecord(op.name, op.type, seeds, forward, repeated, reaches, dtype, _size(drawn)))
    library = {function.signature.name: function for function in graph.as_graph_def().library.function}
    called = _functions_called([op.node_def for op in reached], library)
    for name, function in library.items():
        for node in function.node_def:
            seeds = seeds_of(node)
            if seeds is not None:
                place = "%s/%s" % (name, node.name)
                found.append(DrawRecord(place, node.op, seeds, True, True, name in called))
    return found


def _within_loops(graph: Any) -> Set[str]:
    """Returns the names of the operations that may run more than once, or never.

    A graph that was imported does not tell what its loops and branches hold; there, what may come out of one counts.
    """
    operations = graph.get_operations()
    within = {op.name for op in operations if not graph.is_fetchable(op)}
    if within:
        return within
    waiting = [op for op in operations if op.type in _LEADING_IN]
    within = {op.name for op in waiting}
    while waiting:
        op = waiting.pop()
        readers = [reader for tensor in op.outputs for reader in tensor.consumers()]
        for reader in readers + list(op._control_outputs):
            if reader.name not in within:
                within.add(reader.name)
                waiting.append(reader)
    return within


def leading_to(targets: Iterable[Any]) -> List[Any]:
    """Returns the operations that a run needs for tensors and operations."""
    waiting = [getattr(target, "op", target) for target in targets]
    found: Dict[str, Any] = {}
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found[op.name] = op
            waiting.extend(tensor.op for tensor in op.inputs)
            waiting.extend(op.control_inputs)
    return list(found.values())


def _functions_called(nodes: Iterable[Any], library: Dict[str, Any]) -> Set[str]:
    """Returns the names of the functions that nodes call: loops' bodies, branches, and what these call."""
    found: Set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        functions = [value.func.name for value in node.attr.values() if value.HasField("func")]
        functions += [one.name for value in node.attr.values() for one in value.list.func]
        for name in functions + [node.op]:
            if name in library and name not in found:
                found.add(name)
                waiting.extend(library[name].node_def)
    return found


def _size(tensor: Any) -> int:
    """Returns how many numbers a tensor holds; -1 where the graph does not tell."""
    shape = static_shape(tensor)
    return -1 if shape is None or -1 in shape else tensors.count(shape)


def forward_draws(drawn: Sequence[DrawRecord], taken: Sequence[int]) -> Tuple[ForwardDraw, ...]:
    """Returns what the forward pass draws with, in the order of the program: what leads to nothing is left out.

    A draw within a loop is there once, however many rounds there are.

    Args:
        drawn: The random operations of the graph.
        taken: The operation seeds that were handed out while it was built. One that no operation bears was asked for
            in vain (`tf.nn.dropout` with a rate of 0 does so since TensorFlow 2.4) and is no draw.
    """
    handed_out = set(taken)
    found = [
        ForwardDraw(draw.seeds[1], draw.type, draw.dtype, draw.size)
        for draw in drawn
        if (draw.forward if draw.reaches is None else draw.reaches) and draw.seeds[1] in handed_out
    ]
    # Functions come last in the graph; where the seeds are counted, they tell the order of the program.
    return tuple(sorted(found, key=lambda draw: draw.seed))


def describe(op: Any, users_folder: str) -> OperationRecord:
    """Describes an operation; its source is the innermost line of a file below `users_folder`."""
    outputs = tuple((tensor.dtype.base_dtype.name, static_shape(tensor)) for tensor in op.outputs)
    attributes = {name: _plain(value) for name, value in sorted(op.node_def.attr.items()) if not name.startswith("_")}
    inputs = tuple(tensor.name for tensor in op.inputs)
    return OperationRecord(op.name, op.type, inputs, outputs, attributes, source_line(op, users_folder))


def source_line(op: Any, users_folder: str) -> str:
    """Returns the innermost line below a folder that took part in making an operation: `"model.py:22"`."""
    root = os.path.join(os.path.abspath(users_folder), "")
    for frame in reversed(list(op.traceback or ())):
        file, line = (frame[0], frame[1]) if isinstance(frame, tuple) else (frame.filename, frame.lineno)
        path = os.path.abspath(file)
        if path.startswith(root) and "site-packages" not in path:
            return "%s:%d" % (path[len(root) :].replace(os.sep, "/"), line)
    return ""


def loss_owners(losses: Sequence[Any], names: Iterable[str]) -> List[Optional[str]]:
    """Finds each loss's variable: TF1 names a loss `<variable>/Regularizer/...`, tf_slim's likewise below its scope."""
    known = set(names)
    owners: List[Optional[str]] = []
    for loss in losses:
        prefix = loss.op.name.partition("/Regularizer")[0]
        owners.append(prefix if prefix in known else _read_variable(loss.op, known))
    return owners


def _read_variable(op: Any, known: Set[str]) -> Optional[str]:
    """Follows the graph from a loss to the one variable that it reads; None if it reads several, none or an input."""
    found: Set[str] = set()
    seen = {op.name}
    waiting = [op]
    while waiting:
        current = waiting.pop()
        if current.type == "Placeholder":
            return None
        if current.name in known:
            found.add(current.name)
            continue
        for tensor in current.inputs:
            if tensor.op.name not in seen:
                seen.add(tensor.op.name)
                waiting.append(tensor.op)
    return found.pop() if len(found) == 1 else None


def static_shape(tensor: Any) -> Optional[Tuple[int, ...]]:
    """Returns a tensor's shape as far as the graph tells: None for an unknown rank, -1 for an unknown size."""
    if tensor.shape.ndims is None:
        return None
    return tuple(-1 if size is None else int(size) for size in tensor.shape.as_list())


def _plain(value: Any) -> Any:
    """Turns an AttrValue into what JSON can hold; a large tensor is told by its dtype and shape alone."""
    kind = value.WhichOneof("value")
    if kind in ("i", "b", "f"):
        return _number(getattr(value, kind))
    if kind == "s":
        return value.s.decode("utf-8", "replace")
    if kind == "list":
        items = [*value.list.i, *value.list.b, *value.list.f]  # one of them is filled
        if items:
            return [_number(item) for item in items]
        return [s.decode("utf-8", "replace") for s in value.list.s] or str(value.list).strip()[:_LARGEST_ATTRIBUTE]
    text = " ".join(str(getattr(value, kind)).split()) if kind else ""
    return text[:_LARGEST_ATTRIBUTE]


def _number(value: Any) -> Any:
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value
