"""Names and shapes of another framework's variables, as TensorFlow would have them: what both sides are paired by.

A side whose variables are called `block.0.bn.weight` and lie as `(out, in, height, width)` is seen as one that has
`block_0/bn/gamma` and `(height, width, in, out)`. What is paired so is told by the names and shapes that there are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lockstep.compare.transforms import inverse, joined_texts
from lockstep.subjects import Convention
from lockstep.subjects.variable_parts import PartRule, records_of
from lockstep.traces.trace import VariableRecord

_PARTED = re.compile(r"(^|/)(query|key|value|attention_output)/(kernel|bias)$")
"""What Keras's attention keeps with an axis for its heads."""
_OF_A_LAYER = re.compile(r"^(.+)_l[0-9]+(_reverse)?$")
"""PyTorch's recurrent layers say in a variable's name which of their layers it is of; its cells do not."""


@dataclass(frozen=True)
class Known:
    """One variable as TensorFlow would have it.

    Attributes:
        seen: Under TensorFlow's name and shape.
        real: As it is; a part where it is cut.
        made: How the real one is made of what is seen; empty: it is the same.
        seen_of_whole: How what is seen is made of the whole variable, where it can be made; None where it cannot.
        whole: The variable that the real one is a part of, or itself.
    """

    seen: VariableRecord
    real: VariableRecord
    made: str
    seen_of_whole: str | None
    whole: VariableRecord


@dataclass(frozen=True)
class Seen:
    """A side's variables as TensorFlow would have them.

    Attributes:
        known: By the name that is seen.
        siblings: Name that is seen -> others that are made of the same variable of TensorFlow.
        parts: How variables are cut.
    """

    known: Mapping[str, Known]
    siblings: Mapping[str, tuple[Known, ...]]
    parts: tuple[PartRule, ...]

    @property
    def records(self) -> list[VariableRecord]:
        """What is seen, in order."""
        return [known.seen for known in self.known.values()]


def as_tensorflow(
    records: Sequence[VariableRecord],
    conventions: Mapping[str, Convention],
    others: Sequence[VariableRecord],
    *,
    cut: bool,
    whole: bool = False,
    flat: bool = False,
) -> Seen:
    """Returns variables as TensorFlow would have them; a side without conventions is what it is.

    Args:
        records: The variables.
        conventions: Key -> what TensorFlow calls it and how it lies there.
        others: The other side's variables: where a layout is one of several, the one that is there.
        cut: Whether variables can be cut in parts, as those of a candidate can.
        whole: Whether what may be cut stays whole, as the other side is of the same framework.
        flat: Whether Keras's axis of attention heads is seen as one with the next.
    """
    known: dict[str, Known] = {}
    siblings: dict[str, list[Known]] = {}
    parts: list[PartRule] = []
    shapes = {tuple(record.shape) for record in others}
    named = {(record.name.rpartition("/")[2], tuple(record.shape)) for record in others}
    for record in records:
        told = conventions.get(record.key)
        if told is None:
            one = (_flat(record) if flat else None) or Known(_named(record, conventions), record, "", "", record)
            found = [one]
        elif told.parts and not whole and not _is_fused(told, record, shapes):
            found = _in_parts(record, told, parts, cut=cut)
        elif told.shared and whole:
            found = [_apart(record, told)]
        else:
            found = [_as_its_layer(record) if _is_as_its_layer(record, told, named) else _whole(record, told, shapes)]
        for one in found:
            if told is not None and told.shared and one.seen.name in known:
                siblings.setdefault(one.seen.name, []).append(one)
            else:
                name = next(n for n in _numbered(one.seen.name) if n not in known)
                known[name] = replace(one, seen=one.seen._replace(name=name, key=name))
    return Seen(known, {name: tuple(found) for name, found in siblings.items()}, tuple(parts))


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(1))


def transform_of(reference: Known, candidate: Known, between: str) -> str | None:
    """Returns how the candidate's variable is made of the reference's; None where that cannot be written.

    Args:
        reference: The reference's variable.
        candidate: The candidate's.
        between: How what is seen of the candidate's is made of what is seen of the reference's.
    """
    if reference.seen_of_whole is None:
        return None
    return joined_texts([reference.seen_of_whole, between, candidate.made], tuple(reference.whole.shape))


def _whole(record: VariableRecord, told: Convention, shapes: Collection[tuple[int, ...]]) -> Known:
    laid = [(shape, text) for shape, text in told.made if shape in shapes] or list(told.made[:1])
    shape, text = laid[0] if laid else (tuple(record.shape), "")
    seen = record._replace(name=_seen_name(record.name, told.role), key=_seen_name(record.name, told.role), shape=shape)
    return Known(seen, record, text, inverse(text, shape), record)


def _apart(record: VariableRecord, told: Convention) -> Known:
    """What TensorFlow keeps with another, between two sides that do not: `rnn.bias_ih_l0` is `rnn/cell/bias_ih`."""
    last = _OF_A_LAYER.sub(r"\1", record.name.rpartition(".")[2])
    name = _seen_name(record.name, f"{told.role.rpartition('/')[0]}/{last}".lstrip("/"))
    return Known(record._replace(name=name, key=name), record, "", "", record)


def _is_as_its_layer(record: VariableRecord, told: Convention, named: Collection[tuple[str, tuple[int, ...]]]) -> bool:
    """Whether the other side calls a layer's only variable as the layer: `words` where this one has `words.weight`."""
    layer = _scope(record.name.rpartition(".")[0]).rpartition("/")[2]
    return told.alone and not told.made and bool(layer) and (layer, tuple(record.shape)) in named


def _as_its_layer(record: VariableRecord) -> Known:
    name = _scope(record.name.rpartition(".")[0])
    return Known(record._replace(name=name, key=name), record, "", "", record)


def _in_parts(record: VariableRecord, told: Convention, parts: list[PartRule], *, cut: bool) -> list[Known]:
    count = len(told.parts)
    size = record.shape[0] // count
    rule = PartRule(f"^{re.escape(record.name)}$", 0, (size,) * count)
    if cut:
        parts.append(rule)
    found = []
    for place, (part, role) in enumerate(zip(records_of(record, rule), told.parts, strict=True)):
        turned = len(part.shape) == 2
        text = "transpose(1,0)" if turned else ""
        shape = tuple(reversed(part.shape)) if turned else tuple(part.shape)
        name = _seen_name(record.name, role)
        of_whole = f"split(0, {place}, {list(rule.sizes)})" + (f" | {text}" if text else "")
        found.append(Known(part._replace(name=name, key=name, shape=shape), part, text, of_whole, record))
    return found


def _is_fused(told: Convention, record: VariableRecord, shapes: Collection[tuple[int, ...]]) -> bool:
    """Whether the other side keeps together what could be cut."""
    shape = told.made[0][0] if told.made else tuple(record.shape)
    return shape in shapes


def _flat(record: VariableRecord) -> Known | None:
    found = _PARTED.search(record.name)
    if found is None or len(record.shape) != (3 if found[3] == "kernel" else 2):
        return None
    a, b, *c = record.shape
    shape = (a * b, *c) if found[2] == "attention_output" or found[3] == "bias" else (a, b * c[0])
    sizes = ",".join(map(str, shape))
    back = ",".join(map(str, record.shape))
    return Known(record._replace(shape=shape), record, f"reshape({back})", f"reshape({sizes})", record)


def _named(record: VariableRecord, conventions: Mapping[str, Convention]) -> VariableRecord:
    """A variable of a layer of the user's own has the name that the user gave it, under TensorFlow's scopes."""
    if not conventions or "/" in record.name:
        return record
    scope, _, last = record.name.rpartition(".")
    name = "/".join(part for part in (_scope(scope), last) if part)
    return record._replace(name=name, key=name)


def _seen_name(name: str, role: str) -> str:
    scope = _scope(name.rpartition(".")[0])
    return f"{scope}/{role}" if scope else role


def _scope(dotted: str) -> str:
    """Returns TensorFlow's scope for PyTorch's: a number belongs to the word before it.

    >>> _scope("encoder.layers.0.attention"), _scope("0")
    ('encoder/layers_0/attention', 'net_0')
    """
    parts: list[str] = []
    for part in dotted.split(".") if dotted else []:
        if part.isdecimal():
            parts[-1:] = [f"{parts[-1] if parts else 'net'}_{part}"]
        else:
            parts.append(part)
    return "/".join(parts)
