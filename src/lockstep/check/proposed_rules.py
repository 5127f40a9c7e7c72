"""The fewest rules that lead names to their partners: one regular expression for many pairs where there is one."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lockstep.compare.align import Rename, TransformRule
from lockstep.compare.transforms import Transform
from lockstep.files.checkpoints.mapping import Proposal
from lockstep.subjects.variable_parts import PartRule

_SAMPLED = 24
"""Of how many names left rules are made in a round; a rule that fits many of them is made of any."""
_LAST = 6
_VARIANTS = 3  # equal stretches of a name that are tried both as they are and as a wildcard
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class ProposedRules:
    """Rules as a configuration has them in `[variables]`.

    Attributes:
        rename: From the reference's names to the candidate's.
        transforms: How variables of the candidate are made.
        parts: How variables of the candidate are cut.
    """

    rename: tuple[Rename, ...] = ()
    transforms: tuple[TransformRule, ...] = ()
    parts: tuple[PartRule, ...] = ()

    def __len__(self) -> int:
        """How many rules there are."""
        return len(self.rename) + len(self.transforms) + len(self.parts)

    def table(self) -> dict[str, list[list[object]]]:
        """Returns the rules as `[variables]` has them, by their keys; a key without rules is left out."""
        transforms = [
            [rule.pattern, rule.transform.text, *([] if rule.source is None else [rule.source])]
            for rule in self.transforms
        ]
        parts = [[rule.pattern, rule.axis, list(rule.sizes)] for rule in self.parts]
        found: dict[str, list[list[object]]] = {
            "rename": [list(rule) for rule in self.rename],
            "transform": [list(rule) for rule in transforms],
            "parts": [list(rule) for rule in parts],
        }
        return {key: rules for key, rules in found.items() if rules}


def rules_for(proposal: Proposal, kept: Mapping[str, str], candidate: Sequence[str]) -> ProposedRules:
    """Returns the fewest rules that give a proposal's pairs.

    Args:
        proposal: Pairs of variables that have no partner by name.
        kept: Names of the reference that have a partner -> its name; no rule leads them elsewhere.
        candidate: All names of the candidate, its variables cut as the proposal cuts them.
    """
    shared = {pair.entry.name for pair in proposal.pairs if pair.shared}
    renamed = {
        pair.entry.name: pair.record.name
        for pair in proposal.pairs
        if pair.entry.name != pair.record.name and pair.entry.name not in shared
    }
    same = {pair.entry.name: pair.record.name for pair in proposal.pairs if pair.entry.name == pair.record.name}
    sourced = [
        TransformRule(
            f"^{re.escape(pair.record.name)}$", Transform.parse(pair.transform), _replacement(pair.entry.name)
        )
        for pair in proposal.pairs
        if pair.entry.name in shared
    ]
    made = {
        pair.record.name: pair.transform for pair in proposal.pairs if pair.transform and pair.entry.name not in shared
    }
    transforms = [TransformRule(pattern, Transform.parse(text)) for pattern, text in fewest_patterns(made, candidate)]
    rename = fewest_renames(renamed, {**kept, **same})
    return ProposedRules(tuple(rename), (*sourced, *transforms), proposal.parts)


def fewest_renames(wanted: Mapping[str, str], kept: Mapping[str, str]) -> list[Rename]:
    r"""Returns few rename rules, of which the first that is found in a name applies.

    Args:
        wanted: Names of the reference -> the candidate's.
        kept: Names of the reference that are not to be led elsewhere -> where they may be led.

    >>> fewest_renames({"old/a_1/weights": "new/b1/kernel", "old/a_2/weights": "new/b2/kernel"}, {"old/x": "old/x"})
    [('^old/a_([0-9]+)/weights$', 'new/b\\1/kernel')]
    """
    if not wanted:
        return []
    search = _Search(wanted, kept)
    best = search.from_the_front(dict(wanted))
    for last in search.widest():
        # A rule that is right for most names comes last; what it is wrong about has rules of its own before it.
        right = {name for name, given in search.effect(last).items() if wanted.get(name) == given}
        hit = {n: kept[n] for n, given in search.effect(last).items() if n in kept and kept[n] != given}
        left = {**{name: to for name, to in wanted.items() if name not in right}, **hit}
        if len(left) < len(wanted):
            rules = [*search.from_the_front(left), last]
            best = min(best, rules, key=lambda found: (len(found), *map(sum, zip(*map(_cost, found), strict=True))))
    return best


@dataclass
class _Search:
    """Looks for rules; what a rule does to all names is found out once."""

    wanted: Mapping[str, str]
    kept: Mapping[str, str]
    _effects: dict[Rename, dict[str, str]] = field(default_factory=dict)

    def effect(self, rule: Rename) -> dict[str, str]:
        """Returns the names that a rule applies to -> what it makes of them."""
        if rule not in self._effects:
            compiled = re.compile(rule[0])
            done = ((name, compiled.subn(rule[1], name)) for name in itertools.chain(self.wanted, self.kept))
            self._effects[rule] = {name: new for name, (new, count) in done if count}
        return self._effects[rule]

    def widest(self) -> list[Rename]:
        """Returns the rules that are right for the most names, whatever they do to the others."""
        names = self._sample(self.wanted)
        found = dict.fromkeys(rule for name in names for rule in variants(name, self.wanted[name]))
        counted = [(sum(self.wanted.get(n) == to for n, to in self.effect(rule).items()), rule) for rule in found]
        counted.sort(key=lambda entry: (-entry[0], *_cost(entry[1])))
        return [rule for count, rule in counted[:_LAST] if count > 1]

    def from_the_front(self, left: dict[str, str]) -> list[Rename]:
        """Returns rules each of which is right for every name that no rule before it applies to."""
        rules: list[Rename] = []
        free = {**self.kept, **self.wanted, **left}
        while left:
            best: Rename | None = None
            most = 0
            for name in self._sample(left):
                for rule in variants(name, left[name]):
                    applied = {n: to for n, to in self.effect(rule).items() if n in free}
                    if any(free[n] != to for n, to in applied.items()):
                        continue
                    count = sum(n in left for n in applied)
                    if count > most or (count == most and best is not None and _cost(rule) < _cost(best)):
                        best, most = rule, count
            assert best is not None, "the name itself is always a rule"
            rules.append(best)
            for name in self.effect(best):
                left.pop(name, None)
                free.pop(name, None)
        return rules

    @staticmethod
    def _sample(names: Mapping[str, str]) -> list[str]:
        listed = list(names)
        return listed[:: max(1, len(listed) // _SAMPLED)]


def _cost(rule: Rename) -> tuple[int, int]:
    """The plainer of two rules that do the same: with fewer groups, then the shorter one."""
    return rule[0].count("("), len(rule[0]) + len(rule[1])


def variants(name: str, to: str) -> Iterator[Rename]:
    """Yields rules that lead a name to another, from the widest to the name itself."""
    ours, theirs = name.split(_separator(name)), to.split(_separator(to))
    stretches = [
        (kind == "equal", ours[a:b], theirs[c:d])
        for kind, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    ]
    ends = _separator(name), _separator(to)
    equal = [place for place, (same, _, _) in enumerate(stretches) if same]
    open_ended = [place for place in (0, len(stretches) - 1) if place in equal]
    for wild in itertools.product((True, False), repeat=min(len(equal), _VARIANTS)):
        chosen = {place for place, is_wild in zip(equal, wild, strict=False) if is_wild}
        for dropped in _subsets([place for place in open_ended if place in chosen]):
            for numbers, words in ((True, False), (True, True), (False, False)):
                rule = _rule(stretches, chosen, dropped, numbers=numbers, words=words, ends=ends)
                if rule is not None and _leads(rule, name, to):
                    yield rule
    yield f"^{re.escape(name)}$", _replacement(to)


def _separator(name: str) -> str:
    """Returns what a name's scopes end with: PyTorch's are `block.0.conv.weight`."""
    return "." if "/" not in name and "." in name else "/"


def _subsets(places: Sequence[int]) -> Iterator[frozenset[int]]:
    for size in range(len(places), -1, -1):
        yield from map(frozenset, itertools.combinations(places, size))


def _leads(rule: Rename, name: str, to: str) -> bool:
    new, count = re.subn(rule[0], rule[1], name)
    return bool(count) and new == to


_Stretch = tuple[bool, list[str], list[str]]


def _rule(
    stretches: Sequence[_Stretch],
    wild: set[int],
    dropped: frozenset[int],
    *,
    numbers: bool,
    words: bool,
    ends: tuple[str, str],
) -> Rename | None:
    """Writes a rule; stretches in `wild` are equal and may be anything, those in `dropped` are not looked at."""
    pattern: list[str] = []
    replacement: list[str] = []
    groups = 0
    for place, (same, ours, theirs) in enumerate(stretches):
        if place in dropped:
            continue
        if same and place in wild:
            groups += 1
            pattern.append("(.*)")
            replacement.append(f"\\{groups}")
            continue
        written, made, used = _stretch(ends[0].join(ours), ends[1].join(theirs), groups, numbers=numbers, words=words)
        groups += used
        pattern += [written] if ours else []
        replacement += [made] if theirs else []
    if groups > 9:
        return None
    front, back = 0 in dropped, len(stretches) - 1 in dropped
    if not pattern and (front or not back):
        return None
    written = _joined(pattern, ("^", "$"), re.escape(ends[0]), front=front, back=back)
    return written, _joined(replacement, ("", ""), ends[1], front=front, back=back)


def _joined(parts: Sequence[str], around: tuple[str, str], between: str, *, front: bool, back: bool) -> str:
    if front and back and not parts:
        return between
    first = around[0] if not front else between if parts else ""
    last = around[1] if not back else between if parts else ""
    return f"{first}{between.join(parts)}{last}"


def _stretch(ours: str, theirs: str, groups: int, *, numbers: bool, words: bool) -> tuple[str, str, int]:
    """Writes what stands for what; numbers, or words too, that both have in one order are whatever they are."""
    find = re.compile(r"[0-9]+|[A-Za-z]{2,}") if words else _NUMBER
    if not numbers or not find.search(ours):
        return re.escape(ours), _replacement(theirs), 0
    matcher = difflib.SequenceMatcher(None, find.findall(ours), find.findall(theirs), autojunk=False)
    taken = [(block.a + step, block.b + step) for block in matcher.get_matching_blocks() for step in range(block.size)]
    places = {a: n for n, (a, _) in enumerate(taken)}, {b: n for n, (_, b) in enumerate(taken)}
    written = _with_groups(ours, find, places[0], lambda _, found: "([0-9]+)" if found.isdigit() else "([A-Za-z]+)")
    made = _with_groups(theirs, find, places[1], lambda n, _: f"\\g<{groups + n + 1}>", plain=_replacement)
    return written, re.sub(r"\\g<([0-9])>(?![0-9])", r"\\\1", made), len(taken)


def _with_groups(
    text: str,
    find: re.Pattern[str],
    places: Mapping[int, int],
    group: Callable[[int, str], str],
    plain: Callable[[str], str] = re.escape,
) -> str:
    result: list[str] = []
    end = 0
    for number, match in enumerate(find.finditer(text)):
        if number in places:
            result += [plain(text[end : match.start()]), group(places[number], match[0])]
            end = match.end()
    return "".join([*result, plain(text[end:])])


def fewest_patterns(made: Mapping[str, str], names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns few (pattern, transform) pairs; a pattern is found in no name that its transform does not make.

    >>> fewest_patterns({f"{n}/kernel": "transpose(1,0)" for n in "ab"}, ["a/kernel", "a/bias", "b/kernel"])
    [('/kernel$', 'transpose(1,0)')]
    """
    left = dict(made)
    found: list[tuple[str, str]] = []
    while left:
        name, text = next(iter(left.items()))
        alike = {other for other, its in made.items() if its == text}
        for pattern in _tails(name):
            hit = [other for other in names if re.search(pattern, other)]
            if set(hit) <= alike:
                found.append((pattern, text))
                left = {other: its for other, its in left.items() if other not in hit and other != name}
                break
    return found


def _tails(name: str) -> Iterator[str]:
    """Yields patterns for a name, the widest first: what it ends with, numbers being any, then the name itself."""
    end = _separator(name)
    parts, before = name.split(end), re.escape(end)
    for count in range(1, len(parts)):
        tail = end.join(parts[-count:])
        yield f"{before}{re.sub('[0-9]+', '[0-9]+', re.escape(tail))}$"
        yield f"{before}{re.escape(tail)}$"
    yield f"^{re.escape(name)}$"


def _replacement(text: str) -> str:
    return text.replace("\\", "\\\\")
