"""Pairs the names of variables that are of one shape and role, and says what each pair rests on."""

from __future__ import annotations

import enum
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# What TF1 code, tf_slim, tf.layers and Keras call one and the same thing.
ROLES = {
    "kernel": "kernel", "weights": "kernel", "weight": "kernel", "w": "kernel", "filter": "kernel", "filters": "kernel",
    "bias": "bias", "biases": "bias", "b": "bias",
    "embeddings": "embedding", "embedding": "embedding", "lookup_table": "embedding",
    "moving_variance": "variance", "moving_var": "variance", "moving_mean": "mean", "moving_avg": "mean",
    "running_variance": "variance", "running_var": "variance", "running_mean": "mean",
    "gamma": "gamma", "scale": "gamma", "g": "gamma", "beta": "beta", "offset": "beta", "shift": "beta",
    "depthwise_kernel": "depthwise", "depthwise_weights": "depthwise",
    "pointwise_kernel": "pointwise", "pointwise_weights": "pointwise",
    "recurrent_kernel": "recurrent",
}  # fmt: skip
_KNOWN = frozenset(ROLES.values())
_SAME_USE = {"embedding": "kernel", "depthwise": "kernel", "pointwise": "kernel", "gamma": "kernel", "beta": "bias"}
"""Role -> the one that another library calls it: PyTorch says weight and bias of a norm's scale and offset, too."""
_SAME_WORD = {
    "batchnorm": "norm", "batch_normalization": "norm", "batchnormalization": "norm", "bn": "norm", "norm": "norm",
    "normalise": "norm", "normalize": "norm", "normalization": "norm", "layernorm": "norm",
    "layer_normalization": "norm", "convolution": "conv", "conv2d": "conv", "fully_connected": "dense", "fc": "dense",
    "linear": "dense", "q": "query", "k": "key", "v": "value", "proj": "projection",
}  # fmt: skip
_AUTOMATIC = re.compile(
    r"(separable_|depthwise_)?conv([123]d)?(_transpose)?|fully_connected|dense|batch_?norm(alization)?|embedding|lstm|gru|"
    r"(simple_)?rnn|layer_?norm(alization)?|variable|sequential|functional|model|net|einsum_dense|multi_head_attention|"
    r"(lstm|gru|basic_lstm|basic_rnn|multi_rnn)_cell|cell",
    re.IGNORECASE,
)
"""Names that TensorFlow and Keras give by themselves, numbered as layers are made: they tell no layer from another."""


class Ground(enum.IntEnum):
    """What a pair rests on, the weakest first."""

    ORDER = 1
    RANK = 2
    LIKENESS = 3
    GROUP = 4
    NAME = 5


@dataclass(frozen=True)
class NamePair:
    """One pair of names, by their places in both lists."""

    reference: int
    candidate: int
    ground: Ground
    reason: str


@dataclass(frozen=True)
class _Name:
    """A name taken apart: the words of its scope, a number (or -1) for each."""

    stem: tuple[str, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, name: str) -> _Name:
        scope, _, last = name.rpartition("/")
        # A name that says more than the role, or nothing of it, says which layer it is.
        components = [part for part in (scope if _plain(last) in ROLES else f"{scope}/{last}").split("/") if part]
        pairs = [counted(part) for part in components]
        return cls(tuple(word for word, _ in pairs), tuple(int(number or -1) for _, number in pairs))

    @classmethod
    def spelled(cls, name: str) -> _Name:
        """Takes it apart at underscores, points and capitals too: `block0/filter` and `block_0_filter` are one name."""
        scope, _, last = name.rpartition("/")
        told = scope if _plain(last) in ROLES else f"{scope}/{last}"
        words: list[str] = []
        numbers: list[int] = []
        for part in re.split(r"[/_.\-]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", told).lower()):
            word, number = counted(part)
            if word:
                words.append(word)
                numbers.append(int(number or -1))
            elif number and numbers and numbers[-1] == -1:
                numbers[-1] = int(number)
        return cls(tuple(words), tuple(numbers))

    def ending(self, count: int) -> _Name:
        """Returns its last words, with their numbers."""
        return _Name(self.stem[-count:], self.numbers[-count:])

    @property
    def words(self) -> frozenset[str]:
        found: set[str] = set()
        for word in self.stem:
            lower = word.lower()
            pieces = [lower, *re.split(r"[_.\-]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower())]
            found |= {_SAME_WORD.get(piece, piece) for piece in pieces}
        return frozenset(found - {""})


def role(name: str) -> str:
    """Tells what a variable is for by the last part of its name; the part itself where it is none of the known.

    Code without layers says the layer in the same word, behind the role or before it.

    >>> role("net/conv1/weights"), role("net/conv/kernel#2"), role("net/table")
    ('kernel', 'kernel', 'table')
    >>> role("W2"), role("softmax_w"), role("b_fc1"), role("layer_norm_gamma")
    ('kernel', 'kernel', 'bias', 'gamma')
    """
    last = _plain(name.rpartition("/")[2])
    words = [counted(word)[0] for word in last.split("_")]
    found = next((ROLES[word] for word in (last, words[-1], words[0]) if word in ROLES), last)
    return counted(last)[0] if found == last and counted(last)[0] in ROLES else found


def _plain(last: str) -> str:
    return re.sub(r"(_[0-9]+)?(#[0-9]+)?$", "", last.lower())


def may_be_one(reference: str, candidate: str) -> bool:
    """Tells whether two names may be of one variable: two known roles are two, but for what is used alike.

    >>> may_be_one("a/gamma", "a/beta"), may_be_one("a/biases", "a/offset"), may_be_one("a/table", "a/kernel")
    (False, True, True)
    """
    ours, theirs = (_SAME_USE.get(role(name), role(name)) for name in (reference, candidate))
    return ours == theirs or ours not in _KNOWN or theirs not in _KNOWN


def counted(part: str) -> tuple[str, str]:
    """Takes the number off the end of a word: `block_2` and `block2` are block, 2."""
    digits = len(part) - len(part.rstrip("0123456789"))
    word, number = part[: len(part) - digits], part[len(part) - digits :]
    return word.removesuffix("_") if number else word, number


def pair_names(reference: Sequence[str], candidate: Sequence[str]) -> list[NamePair]:
    """Pairs names, each of the reference with one of the candidate at most; what cannot be told has no partner.

    Names are first put together by what they say but for their numbers, then by these. What the words do not tell the
    order does, where both sides have as many left.

    Args:
        reference: Names of variables of one shape and role, in the order that counts where nothing else does.
        candidate: Of the other side, likewise.

    >>> [(p.reference, p.candidate, p.ground.name) for p in pair_names(["a/query/w", "a/key/w"], ["n/key/w", "n/q/w"])]
    [(0, 1, 'LIKENESS'), (1, 0, 'NAME')]
    """
    if len(reference) == len(candidate) == 1:
        return [NamePair(0, 0, Ground.GROUP, "")]
    found = list(_spelled_alike(reference, candidate))
    left = (
        set(range(len(reference))) - {pair.reference for pair in found},
        set(range(len(candidate))) - {pair.candidate for pair in found},
    )
    names = [_Name.of(name) for name in reference], [_Name.of(name) for name in candidate]
    stems = _by_stem(names[0], left[0]), _by_stem(names[1], left[1])
    for ours, theirs, ground, reason in _paired_stems(*stems):
        for a, b, certain, numbered in _by_number(names, stems[0][ours], stems[1][theirs]):
            told = ", ".join(part for part in (reason, numbered) if part)
            found.append(NamePair(a, b, min(ground, certain), told))
            left[0].discard(a)
            left[1].discard(b)
    if len(left[0]) == len(left[1]):
        alone = len(left[0]) == 1
        for a, b in zip(sorted(left[0]), sorted(left[1]), strict=True):
            ground, reason = (Ground.LIKENESS, "the only one left") if alone else (Ground.ORDER, "order")
            found.append(NamePair(a, b, ground, reason))
    return sorted(found, key=lambda pair: pair.reference)


_Stems = dict[tuple[str, ...], list[int]]


def _by_stem(names: Sequence[_Name], places: Iterable[int]) -> _Stems:
    stems: _Stems = defaultdict(list)
    for place in sorted(places):
        stems[names[place].stem].append(place)
    return dict(stems)


def _spelled_alike(reference: Sequence[str], candidate: Sequence[str]) -> Iterator[NamePair]:
    """Yields the names that are one but for what parts their words, and for scopes in front of one of them."""
    names = [_Name.spelled(name) for name in reference], [_Name.spelled(name) for name in candidate]
    stems = [_by_stem(side, range(len(side))) for side in names]
    for ours, mine in stems[0].items():
        fitting = [theirs for theirs in stems[1] if _ends_alike(ours, theirs)]
        if ours in stems[1]:
            fitting = [ours]
        elif len(fitting) != 1 or sum(bool(_ends_alike(other, fitting[0])) for other in stems[0]) != 1:
            continue
        (theirs,) = fitting
        count = _ends_alike(ours, theirs)
        last = {_Name.of(name).stem[-1:] for name in (reference[mine[0]], candidate[stems[1][theirs][0]])}
        if not count or any(not word or _AUTOMATIC.fullmatch(word[0]) for word in last):
            continue
        ending = [name.ending(count) for name in names[0]], [name.ending(count) for name in names[1]]
        pairs = list(_by_number(ending, mine, stems[1][theirs]))
        if len(pairs) == min(len(mine), len(stems[1][theirs])) and all(pair[2] is Ground.NAME for pair in pairs):
            for a, b, ground, _ in pairs:
                yield NamePair(a, b, ground, "same name")


def _ends_alike(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Counts the words that two names end with alike, where all others are in front of one, or a first word of each.

    >>> _ends_alike(("net", "b", "gate"), ("b", "gate")), _ends_alike(("net", "b", "gate"), ("n", "b", "gate"))
    (2, 2)
    >>> _ends_alike(("encoder", "out"), ("decoder", "out")), _ends_alike(("block", "gate"), ("block", "filter"))
    (0, 0)
    """
    count = next(
        (n for n, (a, b) in enumerate(zip(reversed(ours), reversed(theirs), strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    left = sorted((len(ours) - count, len(theirs) - count))
    return count if left[0] == 0 or (left == [1, 1] and count > 1) else 0


def _paired_stems(ours: _Stems, theirs: _Stems) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Ground, str]]:
    """Yields stems that are each other's single closest, the closest first; after each the others are seen anew."""
    left = list(ours), list(theirs)
    while left[0] and left[1]:
        if len(left[0]) == len(left[1]) == 1:
            (a,), (b,) = left
            if len(ours[a]) != len(theirs[b]) and not _suffix(a, b):
                return
            whole = len(ours) == len(theirs) == 1
            suffix = _suffix(a, b)
            ground = Ground.NAME if suffix and suffix[0] and not whole else Ground.LIKENESS
            yield a, b, ground, "same name" if ground is Ground.NAME else "" if whole else "the only name left"
            return
        # What all of a side are called tells none of them from another; a single one keeps its words.
        words = [[_Name(stem, ()).words for stem in side] for side in left]
        common = [frozenset.intersection(*found) if len(found) > 1 else frozenset() for found in words]
        scores = {(a, b): _score(a, b, common) for a in left[0] for b in left[1]}
        best = [
            (score, a, b)
            for (a, b), score in scores.items()
            if score > (0, 0, 0.0)
            and sum(scores[a, other] >= score for other in left[1]) == 1
            and sum(scores[other, b] >= score for other in left[0]) == 1
        ]
        if not best:
            return
        score, a, b = max(best, key=lambda entry: entry[0])
        named = bool(score[0])
        yield a, b, Ground.NAME if named else Ground.LIKENESS, "same name" if named else "closest name"
        left[0].remove(a)
        left[1].remove(b)


def _score(a: tuple[str, ...], b: tuple[str, ...], common: Sequence[frozenset[str]]) -> tuple[int, int, float]:
    telling, plain = _suffix(a, b) or (0, 0)
    words = _Name(a, ()).words - common[0], _Name(b, ()).words - common[1]
    both = words[0] & words[1]
    return telling, plain if both else 0, round(len(both) / max(1, len(words[0] | words[1])), 6)


def _suffix(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[int, int] | None:
    """Counts the components that two names end with alike: 1 or 0 for a telling last one, and all; None without any."""
    count = 0
    for ours, theirs in zip(reversed(a), reversed(b), strict=False):
        if ours.lower() != theirs.lower():
            break
        count += 1
    return None if not count else (int(not _AUTOMATIC.fullmatch(a[-1])) * count, count)


def _by_number(
    names: tuple[Sequence[_Name], Sequence[_Name]], ours: Sequence[int], theirs: Sequence[int]
) -> Iterator[tuple[int, int, Ground, str]]:
    """Pairs the names of two stems by the numbers in which they differ: equal ones, else by rank, else by order."""
    if len(ours) == len(theirs) == 1:
        yield ours[0], theirs[0], Ground.NAME, ""
        return
    numbers = _varying([names[0][place] for place in ours]), _varying([names[1][place] for place in theirs])
    keyed = [dict(zip(keys, places, strict=True)) for keys, places in zip(numbers, (ours, theirs), strict=True)]
    clear = all(len(keys) == len(places) for keys, places in zip(keyed, (ours, theirs), strict=True))
    if clear and (keyed[0].keys() == keyed[1].keys() or len(ours) != len(theirs)):
        for key, place in keyed[0].items():
            if key in keyed[1]:
                yield place, keyed[1][key], Ground.NAME, "same number"
        return
    if len(ours) != len(theirs):
        return
    sides = list(zip(numbers, (ours, theirs), strict=True))
    ranks = [dict(zip(_ranked(keys), places, strict=True)) for keys, places in sides]
    last = [word for side, places in ((0, ours), (1, theirs)) for word in names[side][places[0]].stem[-1:]]
    automatic = any(_AUTOMATIC.fullmatch(word) for word in last)
    if clear and ranks[0].keys() == ranks[1].keys() and not automatic:
        for key, place in ranks[0].items():
            yield place, ranks[1][key], Ground.RANK, "order of the numbers"
        return
    for a, b in zip(ours, theirs, strict=True):
        yield a, b, Ground.ORDER, "order"


def _varying(names: Sequence[_Name]) -> list[tuple[int, ...]]:
    """Returns each name's numbers without those that all of them have."""
    columns = [column for column in zip(*(name.numbers for name in names), strict=True) if len(set(column)) > 1]
    return list(zip(*columns, strict=True)) if columns else [() for _ in names]


def _ranked(numbers: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    columns = [sorted(set(column)) for column in zip(*numbers, strict=True)]
    places = [{number: rank for rank, number in enumerate(column)} for column in columns]
    return [tuple(ranks[n] for ranks, n in zip(places, entry, strict=True)) for entry in numbers]
