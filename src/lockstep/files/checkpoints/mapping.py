"""Proposes which entry of a checkpoint is which variable of a rewritten model: from names, shapes and order.

Nothing here is sure but what is said to be; a proposal is written as rules for a person to review. Entries and
variables are put into groups of one shape and one role (kernel, bias, moving mean, ...). Within a group the names
decide (`naming.likeness`), and where they do not the order: for a checkpoint, which does not keep the order in which
its variables were made, that of the names with their numbers counted (`block_2` before `block_10`).
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lockstep.common.shown import shown_in_json
from lockstep.compare.align import Rename, TransformRule
from lockstep.compare.transforms import Transform
from lockstep.files.checkpoints.entries import Entry
from lockstep.naming.likeness import Ground, counted, may_be_one, pair_names, role
from lockstep.subjects.variable_parts import PartRule, cut_by, records_of
from lockstep.traces.trace import VariableRecord

_SIZE = "(in + units, 4 x units)"
FORGET_BIAS = 1.0
"""What `tf.nn.rnn_cell.LSTMCell` adds to its forget gate by default; the checkpoint does not hold it."""

_Item = TypeVar("_Item", Entry, VariableRecord)


@dataclass(frozen=True)
class Pair:
    """One proposed pair.

    Attributes:
        entry: Of the checkpoint.
        record: Of the candidate.
        reason: Why: `"same name"`, `"the only kernel of its shape"`, ...
        sure: Whether nothing else came into question.
        transform: How the candidate's value is made; empty where it is the same.
        ground: What it rests on.
        roles: What both are for, where their names alone do not say it.
    """

    entry: Entry
    record: VariableRecord
    reason: str
    sure: bool
    transform: str = ""
    ground: Ground = Ground.LIKENESS
    roles: tuple[str, str] | None = None

    @property
    def of_one_role(self) -> bool:
        """Whether both names say the same of what the variable is for."""
        ours, theirs = self.roles or (role(self.entry.name), role(self.record.name))
        return ours == theirs

    @property
    def shared(self) -> bool:
        """Whether other variables are made of the same entry, so that a rename rule cannot say which is."""
        return "split(" in self.transform or "share(" in self.transform


@dataclass(frozen=True)
class Proposal:
    """A mapping for review.

    Attributes:
        pairs: What belongs together, in the candidate's order; one entry may make several variables.
        entries: Entries without a partner.
        records: Variables of the candidate without a partner.
        parts: How variables of the candidate are cut; the pairs speak of their parts.
    """

    pairs: tuple[Pair, ...]
    entries: tuple[Entry, ...]
    records: tuple[VariableRecord, ...]
    parts: tuple[PartRule, ...] = ()

    @property
    def unsure(self) -> tuple[Pair, ...]:
        """The pairs that a person has to look at."""
        return tuple(pair for pair in self.pairs if not pair.sure)


@dataclass
class _Left:
    """What has no partner yet, in order."""

    entries: dict[str, Entry]
    records: dict[str, VariableRecord]
    pairs: list[Pair] = field(default_factory=list)
    parts: list[PartRule] = field(default_factory=list)

    def cut(self, record: VariableRecord, axis: int, sizes: tuple[int, ...]) -> tuple[VariableRecord, ...]:
        """Puts the parts of a variable in its place."""
        rule = PartRule(f"^{re.escape(record.name)}$", axis, sizes)
        del self.records[record.key]
        self.parts.append(rule)
        parts = records_of(record, rule)
        self.records.update({part.key: part for part in parts})
        return parts

    def take(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self.entries.pop(pair.entry.name, None)
            self.records.pop(pair.record.key, None)
            self.pairs.append(pair)


def propose(entries: Sequence[Entry], records: Sequence[VariableRecord], *, ordered: bool = False) -> Proposal:
    """Proposes a mapping.

    Args:
        entries: The checkpoint's variables; slots, moving averages and counters are no part of a rewrite.
        records: The candidate's variables, in the order in which they were made.
        ordered: Whether the entries' order means something too, as that of a model's variables does.
    """
    listed = entries if ordered else sorted(entries, key=lambda e: natural(e.name))
    left = _Left({e.name: e for e in listed}, {r.key: r for r in records})
    left.take(
        [
            Pair(entry, left.records[name], "same name", sure=True, ground=Ground.NAME)
            for name, entry in left.entries.items()
            if name in left.records and tuple(left.records[name].shape) == entry.shape
        ]
    )
    left.take(_lstm(left))
    left.take(_gru(left))
    for by_order in (False, True):  # what the order alone tells comes last
        for transposed, by_role in itertools.product((False, True), (True, False)):
            found = _grouped(left, by_role=by_role, transposed=transposed)
            left.take([pair for pair in found if by_order or pair.ground > Ground.ORDER])
            left.take(_of_paired_layers(left))
    cut = cut_by(tuple(left.parts), records)
    order = {record.key: place for place, record in enumerate(cut)}
    pairs = tuple(sorted(left.pairs, key=lambda pair: order[pair.record.key]))
    return Proposal(pairs, tuple(left.entries.values()), tuple(left.records.values()), tuple(left.parts))


def exact_rules(proposal: Proposal) -> tuple[tuple[Rename, ...], tuple[TransformRule, ...]]:
    """Returns a proposal as rename and transform rules, one for each name."""
    shared = {pair.entry.name for pair in proposal.pairs if pair.shared}
    rename = [
        (f"^{re.escape(pair.entry.name)}$", _replacement(pair.record.name))
        for pair in proposal.pairs
        if pair.entry.name != pair.record.name and pair.entry.name not in shared
    ]
    transforms = [
        TransformRule(
            f"^{re.escape(pair.record.name)}$",
            Transform.parse(pair.transform),
            _replacement(pair.entry.name) if pair.entry.name in shared else None,
        )
        for pair in proposal.pairs
        if pair.transform
    ]
    return tuple(rename), tuple(transforms)


def natural(name: str) -> list[tuple[int, str]]:
    """Returns a key by which names are sorted with their numbers counted.

    >>> sorted(["a_10/w", "a_2/w", "a/w"], key=natural)
    ['a/w', 'a_2/w', 'a_10/w']
    """
    parts: list[tuple[int, str]] = []
    for scope in name.split("/"):
        word, number = counted(scope)
        parts.append((-1, word))
        parts.append((int(number) if number else -1, ""))
    return parts


def _grouped(left: _Left, *, by_role: bool, transposed: bool) -> list[Pair]:
    groups: dict[object, tuple[list[Entry], list[VariableRecord]]] = defaultdict(lambda: ([], []))
    for entry in left.entries.values():
        groups[_group(entry.name, entry.shape, entry.dtype, by_role=by_role, transposed=transposed)][0].append(entry)
    for record in left.records.values():
        shape = tuple(record.shape)
        groups[_group(record.name, shape, record.dtype, by_role=by_role, transposed=transposed)][1].append(record)
    pairs: list[Pair] = []
    for ours, theirs in groups.values():
        if ours and theirs:
            what = role(theirs[0].name) if by_role else "variable"
            shaped = "its shape transposed" if transposed else "its shape"
            pairs.extend(_paired(ours, theirs, what, shaped, sure=by_role and not transposed))
    return pairs


def _of_paired_layers(left: _Left) -> list[Pair]:
    """Pairs what is left of a layer with what is left of the layer that its other variables are paired with."""
    layers: dict[str, dict[str, Ground]] = defaultdict(dict)
    for pair in left.pairs:
        layer, partner = (name.rpartition("/")[0] for name in (pair.entry.name, pair.record.name))
        layers[layer][partner] = min(pair.ground, layers[layer].get(partner, Ground.GROUP))
    ours = _by_layer(left.entries.values())
    theirs = _by_layer(left.records.values())
    found = []
    for layer, partners in layers.items():
        ((partner, ground), *others) = partners.items()
        if others or not layer or not partner:
            continue
        for entry in ours.get(layer, ()):
            fit = [r for r in theirs.get(partner, ()) if _fit(entry, r)]
            alike = [e for e in ours[layer] if fit and _fit(e, fit[0])]
            if len(fit) == len(alike) == 1:
                found.append(_pair(entry, fit[0], f"of the layer of {partner}", sure=True, ground=ground))
    return found


def _by_layer(items: Iterable[_Item]) -> dict[str, list[_Item]]:
    found: dict[str, list[_Item]] = defaultdict(list)
    for item in items:
        found[item.name.rpartition("/")[0]].append(item)
    return found


def _fit(entry: Entry, record: VariableRecord) -> bool:
    return entry.shape == tuple(record.shape) and entry.dtype == record.dtype and may_be_one(entry.name, record.name)


def _group(name: str, shape: tuple[int, ...], dtype: str, *, by_role: bool, transposed: bool) -> object:
    sizes: object = tuple(sorted(size for size in shape if size != 1)) if transposed else shape
    return sizes, dtype, role(name) if by_role else ""


def _paired(
    entries: list[Entry], records: list[VariableRecord], what: str, shaped: str, *, sure: bool
) -> Iterator[Pair]:
    if len(entries) == len(records) == 1:
        if may_be_one(entries[0].name, records[0].name):
            yield _pair(entries[0], records[0], f"the only {what} of {shaped}", sure=sure, ground=Ground.GROUP)
        return
    for pair in pair_names([entry.name for entry in entries], [record.name for record in records]):
        entry, record = entries[pair.reference], records[pair.candidate]
        if may_be_one(entry.name, record.name):
            reason = f"{pair.reason} among {len(entries):,} of {shaped} ({what})"
            yield _pair(entry, record, reason, sure=sure, ground=pair.ground)


def _pair(entry: Entry, record: VariableRecord, reason: str, *, sure: bool, ground: Ground) -> Pair:
    shapes = entry.shape, tuple(record.shape)
    ground = ground if sure else min(ground, Ground.LIKENESS)
    if shapes[0] == shapes[1]:
        return Pair(entry, record, reason, sure and ground >= Ground.LIKENESS, ground=ground)
    plain = [tuple(size for size in shape if size != 1) for shape in shapes]
    if plain[0] == plain[1]:
        return Pair(entry, record, reason, False, f"reshape({','.join(map(str, shapes[1]))})", ground)
    axes, free = [], list(range(len(shapes[0])))
    if len(shapes[0]) == len(shapes[1]):
        for size in shapes[1]:
            axes.append(next(axis for axis in free if shapes[0][axis] == size))
            free.remove(axes[-1])
        return Pair(entry, record, reason, False, f"transpose({','.join(map(str, axes))})", ground)
    sizes = ",".join(map(str, shapes[1]))
    return Pair(entry, record, f"{reason}; the order of the axes is a guess", False, f"reshape({sizes})", ground)


def _lstm(left: _Left) -> list[Pair]:
    """Finds TF1's LSTM kernels, which hold what Keras keeps in two variables, with the gates in another order."""
    cells = [
        e for e in left.entries.values() if re.search(r"lstm_cell(_[0-9]+)?/kernel$", e.name) and len(e.shape) == 2
    ]
    recurrent = [r for r in left.records.values() if r.name.endswith("/recurrent_kernel") and len(r.shape) == 2]
    pairs: list[Pair] = []
    waiting = list(recurrent)
    for cell in cells:
        units = cell.shape[1] // 4
        sizes = [cell.shape[0] - units, units]
        fits = [
            r for r in waiting
            if tuple(r.shape) == (units, 4 * units) and _shape(left, r, "kernel") == (sizes[0], 4 * units)
        ]  # fmt: skip
        if not fits:
            continue
        found = fits[0]
        waiting.remove(found)
        scope = found.name.rpartition("/")[0]
        alike = sum(1 for other in cells if other.shape == cell.shape)
        sure = alike == 1 and len(fits) == 1
        reason = f"an LSTM's kernel {_SIZE}" + ("" if sure else f", by order among {alike:,}")
        for place, name in enumerate(("kernel", "recurrent_kernel")):
            text = f"split(0, {place}, {sizes}) | gates(ijfo->ifco)"
            pairs.append(Pair(cell, left.records[f"{scope}/{name}"], reason, sure, text))
        bias = left.entries.get(cell.name.removesuffix("kernel") + "bias"), left.records.get(f"{scope}/bias")
        if bias[0] is not None and bias[1] is not None and bias[0].shape == tuple(bias[1].shape):
            text = f"forget_bias({FORGET_BIAS}, ijfo) | gates(ijfo->ifco)"
            told = f"an LSTM's bias; that its forget_bias was {FORGET_BIAS}, the default, is assumed"
            pairs.append(Pair(bias[0], bias[1], told, sure=False, transform=text))
    return pairs


def _gru(left: _Left) -> list[Pair]:
    """Finds TF1's GRU cells: two kernels, each over input and state; Keras has one for the input, one for the state."""
    gates = [e for e in left.entries.values() if e.name.endswith("/gates/kernel") and len(e.shape) == 2]
    pairs: list[Pair] = []
    for entry in gates:
        scope = entry.name.removesuffix("gates/kernel")
        ours = [left.entries.get(f"{scope}{name}") for name in ("candidate/kernel", "gates/bias", "candidate/bias")]
        if any(other is None for other in ours):
            continue
        new, gates_bias, new_bias = (other for other in ours if other is not None)
        units = entry.shape[1] // 2
        sizes = [entry.shape[0] - units, units]
        fits = [
            r for r in left.records.values()
            if r.name.endswith("/recurrent_kernel") and tuple(r.shape) == (units, 3 * units)
            and _shape(left, r, "kernel") == (sizes[0], 3 * units) and _shape(left, r, "bias") == (3 * units,)
        ]  # fmt: skip
        if not fits:
            continue
        theirs = fits[0].name.rpartition("/")[0]
        alike = sum(1 for other in gates if other.shape == entry.shape)
        sure = alike == 1 and len(fits) == 1
        reason = "a GRU's kernels (in + units, 2 x units) and (in + units, units)"
        reason += "" if sure else f", by order among {alike:,}"
        for place, name in enumerate(("kernel", "recurrent_kernel")):
            both = left.cut(left.records[f"{theirs}/{name}"], 1, (2 * units, units))
            text = f"split(0, {place}, {sizes})"
            pairs.append(Pair(entry, both[0], reason, sure, f"{text} | gates(ru->ur)"))
            pairs.append(Pair(new, both[1], reason, sure, text))
        both = left.cut(left.records[f"{theirs}/bias"], 0, (2 * units, units))
        pairs.append(Pair(gates_bias, both[0], "a GRU's biases", sure, "gates(ru->ur)"))
        pairs.append(Pair(new_bias, both[1], "a GRU's biases", sure))
        for other in (entry, new, gates_bias, new_bias):
            left.entries.pop(other.name)
    return pairs


def _shape(left: _Left, recurrent: VariableRecord, name: str) -> tuple[int, ...] | None:
    record = left.records.get(f"{recurrent.name.rpartition('/')[0]}/{name}")
    return None if record is None else tuple(record.shape)


def as_toml(proposal: Proposal, checkpoint: str) -> str:
    """Writes a proposal as rules of a configuration, with what has to be reviewed marked."""
    shared = {pair.entry.name for pair in proposal.pairs if pair.shared}
    lines = [
        f"# Proposed by `lockstep map` from {checkpoint}: {len(proposal.pairs):,} variables,",
        f"# {len(proposal.unsure):,} of them marked REVIEW. Put it into the configuration when it is right.",
        "[variables]",
        "rename = [",
    ]
    for pair in proposal.pairs:
        if pair.entry.name != pair.record.name and pair.entry.name not in shared:
            rule = f"[{_quoted(f'^{re.escape(pair.entry.name)}$')}, {_quoted(_replacement(pair.record.name))}]"
            lines.append(f"  {rule},  # {_mark(pair)}")
    lines.append("]")
    transformed = [pair for pair in proposal.pairs if pair.transform]
    if transformed:
        lines.append("transform = [")
        for pair in transformed:
            rule = f"{_quoted(f'^{re.escape(pair.record.name)}$')}, {_quoted(pair.transform)}"
            if pair.entry.name in shared:
                rule += f", {_quoted(_replacement(pair.entry.name))}"
            lines.append(f"  [{rule}],  # {_mark(pair)}")
        lines.append("]")
    if proposal.parts:
        lines.append("parts = [")
        lines += [f"  [{_quoted(p.pattern)}, {p.axis}, {list(p.sizes)}]," for p in proposal.parts]
        lines.append("]")
    lines += [f"# no partner: {_quoted(e.name)} {e.shape} {e.dtype} of the checkpoint" for e in proposal.entries]
    lines += [f"# no partner: {_quoted(r.key)} {tuple(r.shape)} {r.dtype} of the candidate" for r in proposal.records]
    return "\n".join(lines) + "\n"


def _mark(pair: Pair) -> str:
    return pair.reason if pair.sure else f"REVIEW: {pair.reason}"


def _replacement(name: str) -> str:
    return name.replace("\\", "\\\\")


def _quoted(text: str) -> str:
    # A JSON string is one of TOML too, but for one control character; a name's line end must not end a comment.
    return shown_in_json(json.dumps(text, ensure_ascii=False))
