"""Which constants of a frozen graph were variables, what each is for, and what it was called.

Freezing leaves its traces: the variable's read stays, as an `Identity` called `.../read` or `.../ReadVariableOp`. Where
a graph has such, they tell exactly which constants were variables, and no helper of a layer norm or fixed filter is
taken for a weight. A graph whose identities were folded away is read by roles: what convolutions, matrix products,
batch norms and lookups take as a weight. A pattern of the user's (`weights`) overrules both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from lockstep.common import patterns
from lockstep.common.errors import InputError
from lockstep.common.values import quoted
from lockstep.frameworks.tensorflow.originals.wiring import place

_READ = re.compile(r"(^|/)ReadVariableOp(_\d+)?$|(^|/)read(_\d+)?$")
_RENAMED = re.compile(r"/ReadVariableOp(_\d+)?(/resource)?$|/resource$")
_HELPER = re.compile(r"^(x|y|Const|value|axis|shape|perm|alpha|epsilon)(_\d+)?$")
_OF_OPERATIONS = re.compile(
    r"^(MatMul|Mat[Mm]ul|Conv\d?D?\w*|convolution|depthwise|separable_conv2d|BiasAdd|batchnorm|batch_normalization|"
    r"moments|[Mm]ul|[Aa]dd|[Ss]ub|Cast|Reshape|Neg|Relu|Tensordot|[Ee]insum|embedding_lookup|GatherV2|"
    r"FusedBatchNorm\w*|layernorm|while|body|lstm_cell_body|\d+)(_\d+)?$"
)
_IN_A_CELL = re.compile(r"(lstm|gru|rnn)_?cell", re.IGNORECASE)
_SECOND = re.compile(r"(^|/)MatMul_\d+$")
_HANDING_ON = frozenset(
    {"Identity", "Enter", "Reshape", "Squeeze", "ExpandDims", "Cast", "Transpose", "Split", "SplitV"}
)
_FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_KERNELS = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"), (0, 1)),
    **dict.fromkeys(("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Dilation2D"), (1,)),
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), (1,)),
}
_TABLES = frozenset({"Gather", "GatherV2", "ResourceGather", "GatherNd"})
_ADDING = frozenset({"Add", "AddV2"})
_STATISTICS = frozenset({"moving_mean", "moving_variance"})
_DEEPEST = 40


@dataclass(frozen=True)
class Weight:
    """A constant that was a variable.

    Attributes:
        node: The constant's name.
        name: What the variable was called, or is called by its scope and role.
        trainable: Whether it is trained, by its role.
    """

    node: str
    name: str
    trainable: bool


def weights(nodes: Mapping[str, Any], library: Any, pattern: str = "") -> list[Weight]:
    """Returns the constants that are weights, in the order of the graph.

    Args:
        nodes: Name -> NodeDef.
        library: Its FunctionDefLibrary: the bodies of loops and branches.
        pattern: A regular expression of the user's over names; empty where there is none.

    Raises:
        InputError: The pattern finds no constant.
    """
    readers = _Readers(nodes, library)
    constants = [node for node in nodes.values() if node.op == "Const" and _floating(node)]
    uses = {node.name: _Use.of(node.name, readers) for node in constants}
    if pattern:
        chosen = [node for node in constants if patterns.search(pattern, node.name) is not None]
        if not chosen:
            raise InputError(f"weights {quoted(pattern)} is found in the name of no constant of the graph.")
    else:
        chosen = [node for node in constants if uses[node.name].read]
        by_role = [node for node in constants if uses[node.name].role and _is_large(node)]
        tables = [node for node in by_role if uses[node.name].role == "embeddings"]
        chosen = chosen + [node for node in tables if node not in chosen] if chosen else by_role
    names: dict[str, int] = {}
    found = []
    for node in constants:
        if node in chosen:
            use = uses[node.name]
            name = _name(node.name, use.role)
            names[name] = names.get(name, -1) + 1
            name = f"{name}_{names[name]}" if names[name] else name
            last = name.rpartition("/")[2]
            fixed = use.role in _STATISTICS or last in _STATISTICS
            found.append(Weight(node.name, name, not fixed))
    return found


def _floating(node: Any) -> bool:
    return tf.as_dtype(node.attr["dtype"].type).is_floating


def _is_large(node: Any) -> bool:
    sizes = [dimension.size for dimension in node.attr["value"].tensor.tensor_shape.dim]
    return bool(sizes) and not _HELPER.match(node.name.rpartition("/")[2])


def _name(constant: str, role: str) -> str:
    """Returns a variable's name: the constant's own, or its scope and role where freezing renamed it.

    >>> _name("net/dense/kernel", "kernel"), _name("net/dense/MatMul/ReadVariableOp/resource", "kernel")
    ('net/dense/kernel', 'net/dense/kernel')
    """
    if not _RENAMED.search(constant):
        return constant
    scope = constant
    while (shorter := _RENAMED.sub("", scope)) != scope:
        scope = shorter
    parts = scope.split("/")
    while len(parts) > 1 and _OF_OPERATIONS.match(parts[-1]):
        parts.pop()
    return "/".join([*parts, role or "weight"])


@dataclass(frozen=True)
class _Use:
    """What a constant is used for: whether it is read as a variable was, and its role; empty where it has none."""

    read: bool
    role: str

    @staticmethod
    def of(name: str, readers: _Readers) -> _Use:
        found = list(readers.of("", name))
        read = any(one.as_a_variable for one in found)
        roles = [role for one in found if (role := _role(one, readers))]
        return _Use(read, roles[0] if roles else "")


@dataclass(frozen=True)
class _Reader:
    """An operation that reads a constant, and as which of its inputs; `as_a_variable`: as variables are read."""

    scope: str
    node: Any
    number: int
    as_a_variable: bool


class _Readers:
    """Who reads a tensor, through what only hands it on, and within the bodies of loops and branches."""

    def __init__(self, nodes: Mapping[str, Any], library: Any) -> None:
        self._scopes: dict[str, list[Any]] = {"": list(nodes.values())}
        self._arguments = {}
        for function in library.function:
            self._scopes[function.signature.name] = list(function.node_def)
            self._arguments[function.signature.name] = [argument.name for argument in function.signature.input_arg]
        self._nodes = {scope: {node.name: node for node in held} for scope, held in self._scopes.items()}
        self._read: dict[tuple[str, str], list[tuple[Any, int]]] = {}
        for scope, held in self._scopes.items():
            for node in held:
                for number, reference in enumerate(node.input):
                    if not reference.startswith("^"):
                        self._read.setdefault((scope, _producer(scope, reference)), []).append((node, number))

    def of(self, scope: str, name: str, read: bool = False, depth: int = 0) -> Iterator[_Reader]:
        """Yields what reads a node's output, or a function's argument."""
        for node, number in self._read.get((scope, name), ()):
            inner = list(self._within(node, number)) if depth < _DEEPEST else []
            if inner:
                for function, argument in inner:
                    yield from self.of(function, argument, read, depth + 1)
            elif node.op in _HANDING_ON and depth < _DEEPEST:
                is_read = read or (node.op == "Identity" and _reads(node.name, name))
                if is_read and not read:
                    yield _Reader(scope, node, number, as_a_variable=True)
                yield from self.of(scope, node.name, is_read, depth + 1)
            else:
                yield _Reader(scope, node, number, as_a_variable=False)

    def _within(self, node: Any, number: int) -> Iterator[tuple[str, str]]:
        keys = {"While": ("body", "cond"), "StatelessWhile": ("body", "cond")}
        keys.update(dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")))
        keys.update(dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), ("f",)))
        place_of = number - 1 if node.op in ("If", "StatelessIf") else number
        for key in keys.get(node.op, ()):
            function = node.attr[key].func.name
            arguments = self._arguments.get(function, [])
            if 0 <= place_of < len(arguments):
                yield function, arguments[place_of]

    def producer(self, reader: _Reader, number: int) -> Any | None:
        """Returns the operation that gives another input of a reader, through what only hands it on."""
        references = [one for one in reader.node.input if not one.startswith("^")]
        if not 0 <= number < len(references):
            return None
        node = self._nodes[reader.scope].get(_producer(reader.scope, references[number]))
        for _ in range(_DEEPEST):
            if node is None or node.op not in ("Identity", "Reshape", "Cast") or not node.input:
                return node
            node = self._nodes[reader.scope].get(_producer(reader.scope, node.input[0]))
        return None

    def next(self, reader: _Reader) -> Sequence[Any]:
        """Returns what reads the operation's own output."""
        return [node for node, _ in self._read.get((reader.scope, reader.node.name), ())]

    def inputs(self, scope: str, node: Any) -> list[Any]:
        """Returns the operations that give an operation's inputs."""
        names = [_producer(scope, reference) for reference in node.input if not reference.startswith("^")]
        return [self._nodes[scope][name] for name in names if name in self._nodes[scope]]


def _producer(scope: str, reference: str) -> str:
    return reference.partition(":")[0] if scope else place(reference)[0]


def _reads(identity: str, constant: str) -> bool:
    return _READ.search(identity) is not None or identity == f"{constant}/read"


def _role(reader: _Reader, readers: _Readers) -> str:  # noqa: PLR0911 - a role each
    """Tells what a constant is to the operation that reads it; empty where that tells nothing."""
    kind, number = reader.node.op, reader.number
    if number in _KERNELS.get(kind, ()):
        if _SECOND.search(reader.node.name) is not None and _IN_A_CELL.search(reader.node.name) is not None:
            return "recurrent_kernel"
        return "depthwise_kernel" if kind == "DepthwiseConv2dNative" else "kernel"
    if kind == "BiasAdd" and number == 1:
        return "bias"
    if kind in _FUSED:
        trains = reader.node.attr["is_training"].b if "is_training" in reader.node.attr else True
        if trains and kind == "FusedBatchNormV3" and number in (1, 2):
            return ""  # a layer norm's helpers, or a batch norm that was frozen while it trains
        return {1: "gamma", 2: "beta", 3: "moving_mean", 4: "moving_variance"}.get(number, "")
    if kind in _TABLES and number == 0:
        return "embeddings"
    if kind == "Neg" and any(node.op == "Mul" for node in readers.next(reader)):
        return "alpha"
    return _role_in_a_sum(reader, readers)


def _role_in_a_sum(reader: _Reader, readers: _Readers) -> str:  # noqa: PLR0911 - a role each
    """Tells the parts of a normalisation that was written out, and a bias that is added."""
    kind = reader.node.op
    other = readers.producer(reader, 1 - reader.number) if reader.number in (0, 1) else None
    if kind in _ADDING and any(node.op == "Rsqrt" for node in readers.next(reader)):
        return "moving_variance"
    if other is None:
        return ""
    if kind == "Mul" and other.op == "Rsqrt":
        return "gamma"
    if kind == "Mul" and _is_scaled(reader.scope, other, readers) and any(n.op == "Sub" for n in readers.next(reader)):
        return "moving_mean"
    if kind == "Sub" and reader.number == 0 and other.op == "Mul":
        return "beta"
    if kind == "Sub" and reader.number == 1 and any(node.op == "Mul" for node in readers.next(reader)):
        return "moving_mean"
    if kind == "Mul" and (_is_scaled(reader.scope, other, readers) or other.op in _FUSED):
        return "gamma"
    if kind in _ADDING and (other.op in _KERNELS or other.op == "BiasAdd"):
        return "bias"
    if kind in _ADDING and other.op in ("Mul", "Neg", "Sub") and _is_normalised(reader.scope, other, readers):
        return "beta"
    return ""


def _is_scaled(scope: str, node: Any, readers: _Readers) -> bool:
    """Whether an operation multiplies by a reciprocal square root."""
    return node.op == "Mul" and any(one.op == "Rsqrt" for one in readers.inputs(scope, node))


def _is_normalised(scope: str, node: Any, readers: _Readers) -> bool:
    inner = readers.inputs(scope, node)
    return _is_scaled(scope, node, readers) or any(
        _is_scaled(scope, one, readers) or one.op in _FUSED or one.op == "Reshape" for one in inner
    )
