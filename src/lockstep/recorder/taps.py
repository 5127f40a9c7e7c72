"""Which tensors of a forward pass are recorded, and in which portions, so that memory holds them."""

from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Sequence

from ..ground import tensors
from ..ground.patterns import finder
from . import operations

Plan = NamedTuple("Plan", [("blocks", List[List[Any]]), ("aliases", Dict[str, str]), ("unreachable", List[str])])
"""Tensors to be fetched together; names of tensors that are others handed on; operations that cannot be fetched."""

EVERYTHING = ".*"


def plan(model: Any, patterns: Sequence[str], max_bytes: int) -> Plan:
    """Chooses every floating tensor of the forward pass whose operation's name a pattern is found in.

    Args:
        model: A `GraphModel`.
        patterns: Regular expressions.
        max_bytes: Each block's tensors take at most this, by their static shapes; one that takes more is a block of
            its own. One of unknown shape is taken to be as large as the largest input of its operation.
    """
    matches = [finder(pattern) for pattern in patterns]
    forward = operations.forward_pass(model.inputs.values(), model.outputs.values())
    chosen = [op for op in forward if any(match(op.name) for match in matches)]
    found, unreachable = operations.tappable(chosen)
    aliases = {op.outputs[0].name: op.inputs[0].name for op in chosen if op.type in operations.PASSING_ON}
    return Plan(list(_blocks(found, max_bytes)), aliases, unreachable)


def _blocks(found: Iterable[Any], max_bytes: int) -> Iterator[List[Any]]:
    block: List[Any] = []
    size = 0
    for tensor in found:
        own = _bytes(tensor)
        if block and size + own > max_bytes:
            yield block
            block, size = [], 0
        block.append(tensor)
        size += own
    if block:
        yield block


def _bytes(tensor: Any) -> int:
    known = _static_bytes(tensor)
    return max([known, 0] if known >= 0 else [0] + [_static_bytes(given) for given in tensor.op.inputs])


def _static_bytes(tensor: Any) -> int:
    shape = operations.static_shape(tensor)
    return -1 if shape is None or -1 in shape else tensors.count(shape) * int(tensor.dtype.base_dtype.size or 1)
