"""Proposes which entry of a checkpoint is which variable of a rewritten model: from names, shapes and order.

Nothing here is sure but what is said to be; a proposal is written as rules for a person to review. Entries and
variables are put into groups of one shape and one role (kernel, bias, moving mean, ...). Within a group the names
decide, and where they do not the order: that of the names with their numbers counted (`block_2` before `block_10`), as
a checkpoint does not keep the order in which its variables were made.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lockstep.common.shown import shown_in_json
from lockstep.files.checkpoints.entries import Entry
from lockstep.subjects.variable_parts import PartRule, cut_by, records_of
from lockstep.traces.trace import VariableRecord

_COMPARED = 64  # in larger groups comparing each name with each would take longer than reading the checkpoint
_SIZE = "(in + units, 4 x units)"
FORGET_BIAS = 1.0
"""What `tf.nn.rnn_cell.LSTMCell` adds to its forget gate by default; the checkpoint does not hold it."""

# What TF1 code, tf_slim, tf.layers and Keras call one and the same thing.
_ROLES = {
    "kernel": "kernel", "weights": "kernel", "weight": "kernel", "w": "kernel", "filter": "kernel", "filters": "kernel",
    "bias": "bias", "biases": "bias", "b": "bias",
    "embeddings": "embedding", "embedding": "embedding", "lookup_table": "embedding",
    "moving_variance": "variance", "moving_var": "variance", "moving_mean": "mean", "moving_avg": "mean",
    "gamma": "gamma", "scale": "gamma", "beta": "beta", "offset": "beta",
    "depthwise_kernel": "depthwise", "depthwise_weights": "depthwise",
    "pointwise_kernel": "pointwise", "pointwise_weights": "pointwise",
    "recurrent_kernel": "recurrent",
}  # fmt: skip
_SAME_WORD = {
    "batchnorm": "norm", "batch_normalization": "norm", "batchnormalization": "norm", "bn": "norm", "norm": "norm",
    "normalise": "norm", "normalize": "norm", "normalization": "norm", "layernorm": "norm", "convolution": "conv",
    "conv2d": "conv", "fully_connected": "dense", "fc": "dense", "linear": "dense",
}  # fmt: skip
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
    """

    entry: Entry
    record: VariableRecord
    reason: str
    sure: bool
    transform: str = ""


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


def propose(entries: Sequence[Entry], records: Sequence[VariableRecord]) -> Proposal:
    """Proposes a mapping.

    Args:
        entries: The checkpoint's variables; slots, moving averages and counters are no part of a rewrite.
        records: The candidate's variables, in the order in which they were made.
    """
    left = _Left({e.name: e for e in sorted(entries, key=lambda e: natural(e.name))}, {r.key: r for r in records})
    left.take(
        [
            Pair(entry, left.records[name], "same name", sure=True)
            for name, entry in left.entries.items()
            if name in left.records and tuple(left.records[name].shape) == entry.shape
        ]
    )
    left.take(_lstm(left))
    left.take(_gru(left))
    for transposed in (False, True):
        left.take(_grouped(left, by_role=True, transposed=transposed))
        left.take(_grouped(left, by_role=False, transposed=transposed))
    cut = cut_by(tuple(left.parts), records)
    order = {record.key: place for place, record in enumerate(cut)}
    pairs = tuple(sorted(left.pairs, key=lambda pair: order[pair.record.key]))
    return Proposal(pairs, tuple(left.entries.values()), tuple(left.records.values()), tuple(left.parts))


def natural(name: str) -> list[tuple[int, str]]:
    """Returns a key by which names are sorted with their numbers counted.

    >>> sorted(["a_10/w", "a_2/w", "a/w"], key=natural)
    ['a/w', 'a_2/w', 'a_10/w']
    """
    parts: list[tuple[int, str]] = []
    for scope in name.split("/"):
        word, number = _counted(scope)
        parts.append((-1, word))
        parts.append((int(number) if number else -1, ""))
    return parts


def role(name: str) -> str:
    """Tells what a variable is for by the last part of its name; the part itself where it is none of the known.

    >>> role("net/conv1/weights"), role("net/conv/kernel"), role("net/table")
    ('kernel', 'kernel', 'table')
    """
    last = re.sub(r"_[0-9]+$", "", name.rpartition("/")[2].lower())
    return _ROLES.get(last, last)


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


def _group(name: str, shape: tuple[int, ...], dtype: str, *, by_role: bool, transposed: bool) -> object:
    sizes: object = tuple(sorted(size for size in shape if size != 1)) if transposed else shape
    return sizes, dtype, role(name) if by_role else ""


def _paired(
    entries: list[Entry], records: list[VariableRecord], what: str, shaped: str, *, sure: bool
) -> Iterator[Pair]:
    if len(entries) == len(records) == 1:
        yield _pair(entries[0], records[0], f"the only {what} of {shaped}", sure=sure)
        return
    by_names = _by_names(entries, records)
    for entry, record in by_names:
        yield _pair(entry, record, f"closest name of the {len(records):,} of {shaped} ({what})", sure=sure)
    taken = {entry.name for entry, _ in by_names}, {record.key for _, record in by_names}
    ours = [entry for entry in entries if entry.name not in taken[0]]
    theirs = [record for record in records if record.key not in taken[1]]
    if len(ours) != len(theirs):
        return  # which of them have no partner cannot be told
    counted = _by_number(ours, theirs)
    for entry, record in counted or zip(ours, theirs, strict=True):
        reason = f"{'same number' if counted else 'order'} among {len(ours):,} of {shaped} ({what})"
        yield _pair(entry, record, reason, sure=sure and (bool(counted) or len(ours) == 1))


def _pair(entry: Entry, record: VariableRecord, reason: str, *, sure: bool) -> Pair:
    shapes = entry.shape, tuple(record.shape)
    if shapes[0] == shapes[1]:
        return Pair(entry, record, reason, sure)
    plain = [tuple(size for size in shape if size != 1) for shape in shapes]
    if plain[0] == plain[1]:
        return Pair(entry, record, reason, sure=False, transform=f"reshape({','.join(map(str, shapes[1]))})")
    axes, free = [], list(range(len(shapes[0])))
    if len(shapes[0]) == len(shapes[1]):
        for size in shapes[1]:
            axes.append(next(axis for axis in free if shapes[0][axis] == size))
            free.remove(axes[-1])
        return Pair(entry, record, reason, sure=False, transform=f"transpose({','.join(map(str, axes))})")
    sizes = ",".join(map(str, shapes[1]))
    return Pair(entry, record, f"{reason}; the order of the axes is a guess", False, f"reshape({sizes})")


def _by_names(entries: list[Entry], records: list[VariableRecord]) -> list[tuple[Entry, VariableRecord]]:
    """Pairs those that are each other's single closest by the words in their scopes."""
    if len(entries) > _COMPARED or len(records) > _COMPARED:
        return []
    words = [_words(entry.name) for entry in entries], [_words(record.name) for record in records]
    likeness = [[len(a & b) / max(1, len(a | b)) for b in words[1]] for a in words[0]]
    columns = list(zip(*likeness, strict=True))
    found = []
    for i, entry in enumerate(entries):
        j = _single_best(likeness[i])
        if j is not None and likeness[i][j] > 0 and _single_best(columns[j]) == i:
            found.append((entry, records[j]))
    return found


def _single_best(values: Sequence[float]) -> int | None:
    best = max(values)
    return list(values).index(best) if list(values).count(best) == 1 else None


def _words(name: str) -> set[str]:
    scope, _, last = name.lower().rpartition("/")
    if role(name) not in _ROLES.values():
        scope = f"{scope}/{last}"  # a name that says nothing of the role says which layer it is
    found: set[str] = set()
    for part in scope.split("/"):
        word, number = _counted(part)
        same = _SAME_WORD.get(word, word)
        found |= {f"{same}{number}", same, *same.split("_")}
    return found - {""}


def _counted(part: str) -> tuple[str, str]:
    """Takes the number off the end of a word: `block_2` and `block2` are block, 2."""
    digits = len(part) - len(part.rstrip("0123456789"))
    word, number = part[: len(part) - digits], part[len(part) - digits :]
    return word.removesuffix("_") if number else word, number


def _by_number(entries: list[Entry], records: list[VariableRecord]) -> list[tuple[Entry, VariableRecord]]:
    """Pairs by the numbers in the scopes, where both sides have the same ones, each once."""
    ours = {_numbers(entry.name): entry for entry in entries}
    theirs = {_numbers(record.name): record for record in records}
    if ours.keys() != theirs.keys() or len(ours) != len(entries) or len(theirs) != len(records):
        return []
    return [(entry, theirs[numbers]) for numbers, entry in ours.items()]


def _numbers(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[0-9]+", name.rpartition("/")[0]))


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
    shared = {pair.entry.name for pair in proposal.pairs if "split(" in pair.transform}
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
