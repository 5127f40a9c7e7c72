"""Settles which variable is which where names differ: proposes pairs, runs both sides by them, and says what it proved.

The design, and what running may and may not change, is in docs/design/names.md.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.check.judging import Judge, Traces
from lockstep.check.pairs_in_doubt import Orders, PairsInDoubt
from lockstep.check.proof import roles
from lockstep.check.proof.whole import distance
from lockstep.check.proposed_rules import ProposedRules, rules_for
from lockstep.common.errors import InputError, ProgramError, SubjectError
from lockstep.compare import filling, sensitivity
from lockstep.compare.align import Alignment, Rename, TransformRule, align, renamer
from lockstep.files.checkpoints.foreign import proposed
from lockstep.files.checkpoints.mapping import Pair, Proposal, exact_rules
from lockstep.ground.structure import same_bits
from lockstep.naming.likeness import Ground, role
from lockstep.naming.orders import ordered, read_order
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import Ask, Setting
from lockstep.subjects.built import Built, Sided
from lockstep.subjects.variable_parts import cut_again, cut_by
from lockstep.traces.trace import Trace, VariableRecord

TRIALS = 64
"""How many other pairings are tried at most: a run of the candidate each."""
_MOST_S = 20.0
_CLEAR = 100.0
"""Other values have to move an output by so many times what rounding does, or its agreement tells nothing."""


@dataclass(frozen=True)
class Given:
    """The rules of the user, which come after the proposed ones and are not touched."""

    rename: tuple[Rename, ...] = ()
    transforms: tuple[TransformRule, ...] = ()
    ignore: tuple[str, ...] = ()

    def with_rules(self, rules: ProposedRules) -> Given:
        """Returns all rules together."""
        return Given((*rules.rename, *self.rename), (*rules.transforms, *self.transforms), self.ignore)


@dataclass(frozen=True)
class Settled:
    """What was found out about names.

    Attributes:
        rules: The proposed rules; of a question none.
        finding: What the step `variables-match` tells of it.
        question: Whether it is for the user to say which is which: nothing else can be judged then.
    """

    rules: ProposedRules
    finding: Finding
    question: bool = False

    @property
    def answers(self) -> Sequence[Mapping[str, Any]]:
        """Both answers to a question, as the report's figures have them: `why`, and `rules` by their keys."""
        found: Sequence[Mapping[str, Any]] = self.finding.figures["proposed_answers"]  # type: ignore[assignment]
        return found


@dataclass(frozen=True)
class _Hypothesis:
    """A proposal, the rules that it is written as, and the alignment that these give."""

    proposal: Proposal
    rules: ProposedRules
    alignment: Alignment

    @property
    def told(self) -> str:
        pairs = len(self.proposal.pairs)
        return f"{pairs:,} {'pair' if pairs == 1 else 'pairs'} by {len(self.rules):,} proposed " + (
            "rule" if len(self.rules) == 1 else "rules"
        )


def settle(  # noqa: PLR0913 - what a check knows when names turn out to differ
    built: Built,
    first: Traces,
    alignment: Alignment,
    given: Given,
    judge: Judge,
    *,
    rules_offered: bool = True,
    in_training: Callable[[], Built] | None = None,
) -> Settled | None:
    """Finds out which variables belong together that have no partner by name.

    Args:
        built: Both sides in inference mode.
        first: Their runs from initial values.
        alignment: The pairs by name and by the user's rules; what they pair stays so.
        given: The user's rules.
        judge: What judges.
        rules_offered: Whether the candidate takes `transform` and `parts` rules.
        in_training: Builds both sides in training mode, which is asked where inference mode cannot tell two pairings
            apart.

    Returns:
        What was found; None where nothing can be proposed: one side alone has variables without a partner, nothing
        fits, or the candidate cannot be run from other values than it was recorded from.
    """
    if not alignment.missing or not alignment.extra or not built.candidate.free:
        return None
    if told := _made_of_several(built, alignment):
        finding = Finding(Verdict.UNDECIDED, told, (told,), {"proposal": "question", "proposed_answers": []})
        return Settled(ProposedRules(), finding, question=True)
    judge.say("the names differ: looking for the pairs")
    search = _Search(built, first, alignment, given, judge, rules_offered=rules_offered)
    hypothesis = search.hypothesis()
    if hypothesis is None:
        return None
    return search.settled(hypothesis, in_training)


def _made_of_several(built: Built, alignment: Alignment) -> str:
    """Says that a variable of the candidate would be made of several of the reference's; empty where none would."""
    shared = {key for key, one in built.reference.conventions.items() if one.shared}
    found = [record.name for record, _ in alignment.missing if record.key in shared]
    fewer = len(alignment.extra) < len(alignment.missing)
    if not found or not fewer or any(one.shared for one in built.candidate.conventions.values()):
        return ""
    return (
        f"the reference keeps in {' and '.join(found[:2])} what the candidate keeps in one variable, their sum, which "
        "no rule can say; exchange the two sides, so that the candidate's are made of the reference's"
    )


class _Search:
    """One search for pairs."""

    def __init__(
        self,
        built: Built,
        first: Traces,
        alignment: Alignment,
        given: Given,
        judge: Judge,
        *,
        rules_offered: bool,
    ) -> None:
        self._built, self._first, self._aligned, self._given, self._judge = built, first, alignment, given, judge
        self._rules_offered = rules_offered
        self._conventions = built.reference.conventions, built.candidate.conventions
        self._missing = _told_apart([record for record, _ in alignment.missing])
        self._extra = _told_apart([record for record, _ in alignment.extra])
        self._in_doubt = PairsInDoubt(built, first.reference.before, self._missing, self._extra, judge.say)
        self._until = time.perf_counter() + _MOST_S

    def hypothesis(self, places: Orders | None = None) -> _Hypothesis | None:
        """Returns what names, shapes, roles and an order give: that of making, or by the places in another."""
        missing, extra = self._missing, self._extra
        if places is not None:
            missing, extra = ordered(missing, places[0]), ordered(extra, places[1])
        proposal = proposed(missing, extra, self._conventions)
        if not self._rules_offered:
            proposal = dataclasses.replace(
                proposal, pairs=tuple(pair for pair in proposal.pairs if not pair.transform), parts=()
            )
        return self._written(proposal)

    def _written(self, proposal: Proposal) -> _Hypothesis | None:
        """Derives the rules of a proposal; None where there are no pairs, or no rules give exactly these."""
        if not proposal.pairs:
            return None
        reference = self._first.reference.variables
        candidate = cut_by(proposal.parts, self._first.candidate.variables)
        renamed = renamer(self._given.rename)
        waiting = {record.name for record in self._missing}
        kept = {record.key: renamed(record.key) for record in reference if record.key not in waiting}
        wanted = {pair.record.name: pair.entry.name for pair in proposal.pairs}
        before = {(r.key, c.key) for r, c in self._aligned.pairs}
        fewest = rules_for(proposal, kept, [record.key for record in candidate])
        for rules in (fewest, ProposedRules(*exact_rules(proposal), proposal.parts)):
            every = self._given.with_rules(rules)
            try:
                found = align(reference, candidate, every.rename, every.transforms, every.ignore)
            except InputError:
                continue  # the other way of writing them is left
            new = {c.key: r.key for r, c in found.pairs if (r.key, c.key) not in before}
            if new == wanted and before <= {(r.key, c.key) for r, c in found.pairs}:
                return _Hypothesis(proposal, rules, found)
        return None

    def settled(  # noqa: PLR0911 - one outcome after the other, the surest first
        self, made: _Hypothesis, in_training: Callable[[], Built] | None
    ) -> Settled | None:
        """Runs both sides by a hypothesis, and by others where the outputs do not agree."""
        if made.rules.parts:
            instance, _ = cut_again(self._built.candidate.unwrapped, self._first.candidate, made.rules.parts)
            self._built = dataclasses.replace(self._built, candidate=Sided("candidate", instance))
            in_training = None
        bench = _Bench(self._built, made.alignment, self._judge, self._first)
        if not bench.tells:
            return self._unconfirmed(made, bench.why)
        if bench.agree(bench.theirs(made.alignment), thoroughly=True):
            return self._confirmed(self._told_apart(made, bench, in_training))
        read = self._by_reading(made)
        if read is not None and bench.agree(bench.theirs(read.alignment)):
            return self._confirmed(read)
        other = next(self._other_orders(made, bench, {Ground.ORDER}), None)
        if other is not None:
            return self._confirmed(other)
        other = next(self._other_orders(made, bench, {Ground.ORDER, Ground.RANK, Ground.LIKENESS}), None)
        if other is not None:
            return self._question(made, other, _CONTRADICTED)
        if read is not None and _pairs(read.proposal) != _pairs(made.proposal):
            spoken_for = [len(self._in_doubt.spoken_for(one.alignment)) for one in (made, read)]
            if spoken_for[0] == spoken_for[1]:
                return self._question(made, read, _ORDERS)
            made = read if spoken_for[1] > spoken_for[0] else made
        return self._unconfirmed(made, "the outputs differ")

    def _by_reading(self, made: _Hypothesis) -> _Hypothesis | None:
        """Returns the hypothesis by the order in which the programs read their variables; None where it is unknown."""
        if not any(pair.ground is Ground.ORDER for pair in made.proposal.pairs):
            return None
        read = self._read(made)
        return None if read is None else self.hypothesis(read)

    def _read(self, made: _Hypothesis) -> Orders | None:
        """Returns the variables that both programs read -> their place in that order; None where it is unknown."""
        ours, theirs = self._built.program_of_reference(), self._built.candidate.followed
        if ours is None or theirs is None:
            return None
        values = filling.filled("distinct", made.alignment)
        try:
            reference = ours.program({**self._first.reference.before, **values[0].values})
            candidate = theirs.program(values[1].values)
        except (ProgramError, SubjectError, InputError):
            return None  # of code that runs in a function alone, say; the order of making is left
        return read_order(reference), read_order(candidate)

    def _other_orders(self, made: _Hypothesis, bench: _Bench, grounds: set[Ground]) -> Iterator[_Hypothesis]:
        """Yields the hypotheses, other than this one, by which the outputs agree; pairs of other grounds stay."""
        values = bench.theirs(made.alignment)
        for number, moves in enumerate(itertools.islice(_orders(made.proposal, grounds), TRIALS), 1):
            if time.perf_counter() > self._until:
                return
            self._judge.say(f"trying another order of the variables that names do not tell apart, {number}")
            if bench.agree(_moved(values, moves)):
                other = self._written(_reordered(made.proposal, moves))
                if other is not None:
                    yield other

    def _told_apart(self, made: _Hypothesis, bench: _Bench, in_training: Callable[[], Built] | None) -> _Hypothesis:
        """Asks training mode where pairs by order can change places and inference mode does not show it."""
        if in_training is None:
            return made
        values = bench.theirs(made.alignment)
        alike = [
            moves for moves in itertools.islice(_exchanges(made.proposal), TRIALS) if bench.agree(_moved(values, moves))
        ]
        if not alike:
            return made
        self._judge.say("some variables can change places in inference mode: asking training mode")
        trained = _Bench(in_training(), made.alignment, self._judge, self._first, dead_is_fine=True)
        if trained.agree(values) or not trained.tells:
            return made
        for moves in alike:
            if trained.agree(_moved(values, moves)):
                return self._written(_reordered(made.proposal, moves)) or made
        return made  # no exchange mends it, so it is another difference, which the training steps tell

    def _confirmed(self, found: _Hypothesis) -> Settled:
        return self._used(found, Verdict.EQUIVALENT, "confirmed by running", "confirmed")

    def _unconfirmed(self, made: _Hypothesis, why: str) -> Settled | None:
        """Goes on with the pairs that stay pairs though the outputs differ by them; others are no pairs then."""
        kept = self._in_doubt.kept(made.proposal, made.alignment, functools.partial(self._read, made))
        if len(kept) < len(made.proposal.pairs):
            found = self._written(dataclasses.replace(made.proposal, pairs=kept))
            if found is None:
                return None
            made = found
        return self._used(made, Verdict.UNDECIDED, f"not confirmed by running: {why}", "not confirmed")

    def _used(self, found: _Hypothesis, verdict: Verdict, said: str, proposal: str) -> Settled:
        figures: dict[str, object] = {
            "proposal": proposal,
            "proposed_pairs": len(found.proposal.pairs),
            "proposed_rules": found.rules.table(),
        }
        phrase = f"{found.told}, {said}"
        return Settled(
            found.rules, Finding(verdict, phrase, () if verdict is Verdict.EQUIVALENT else (phrase,), figures)
        )

    def _question(self, made: _Hypothesis, other: _Hypothesis, kind: _Kind) -> Settled:
        ours, theirs = _pairs(made.proposal), _pairs(other.proposal)
        both = [(name, ours.get(name), theirs.get(name)) for name in {**ours, **theirs}]
        apart = [(name, a, b) for name, a, b in both if a != b]
        shown = [f"{name} is {a or 'none of the candidate'}, or {b or 'none'}" for name, a, b in apart[:_SHOWN]]
        more = [f"... and {len(apart) - _SHOWN:,} more"] if len(apart) > _SHOWN else []
        details = [kind.why, *shown, *more]
        details.append("put the answer that is right into lockstep.toml and check again; nothing else was judged")
        phrase = f"which of {len(apart):,} variables is which cannot be told: {kind.why}"
        answers = zip(kind.answers, (made, other), strict=True)
        figures: dict[str, object] = {
            "proposal": "question",
            "proposed_answers": [{"why": why, "rules": answer.rules.table()} for why, answer in answers],
        }
        return Settled(ProposedRules(), Finding(Verdict.UNDECIDED, phrase, tuple(details), figures), question=True)


_SHOWN = 6
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class _Kind:
    """Why there is a question, and what speaks for each of its answers."""

    why: str
    answers: tuple[str, str]


_CONTRADICTED = _Kind(
    "the outputs agree only if variables belong together whose names say otherwise",
    (
        "as the names say: then the candidate uses one in the other's place, which is a mistake",
        "as the values say: then the names mislead",
    ),
)
_ORDERS = _Kind(
    "neither names nor values tell, and the order in which the variables are made is not that in which they are read",
    ("by the order in which they are made", "by the order in which they are read"),
)


class _Bench:
    """Both sides in one mode, the reference run once: which values of the candidate give the same outputs?

    Attributes:
        tells: Whether agreement tells anything.
        why: If not, why.
    """

    def __init__(
        self, built: Built, alignment: Alignment, judge: Judge, first: Traces, *, dead_is_fine: bool = False
    ) -> None:
        self._built, self._judge, self._initial = built, judge, first.base
        self._positive: frozenset[str] = frozenset()
        self._base = self._run(alignment)
        if not _finite(self._base) and built.original is not None:
            judge.say("distinct values give no finite number: trying others")
            self._positive = self._has_to_be_positive(alignment)
            self._base = self._run(alignment)
        self.why = "" if dead_is_fine else self._blind()
        self.tells = not self.why and _finite(self._base)
        if not self.tells and not self.why:
            self.why = "the reference gives no finite number at the values that were tried"

    def _run(self, alignment: Alignment) -> Trace:
        ours = self._values(alignment)[0]
        if self._positive and self._built.original is not None:
            return self._built.original.run(ours)
        reference = self._built.reference.run(ours)
        return self._built.here.run(ours) or reference

    def _values(self, alignment: Alignment) -> tuple[Setting, Setting]:
        return filling.filled("distinct", alignment, self._positive)

    def _has_to_be_positive(self, alignment: Alignment) -> frozenset[str]:
        program = self._built.program_of_reference()
        if program is None:
            return frozenset()
        values = {**self._initial.before, **self._values(alignment)[0].values}
        try:
            return roles.positive(program.program(values))
        except (ProgramError, SubjectError):
            return frozenset()  # of code that runs in a function alone, say

    def _blind(self) -> str:
        floating = [path for path, value in self._base.outputs.items() if np.asarray(value).dtype.kind in "fcV"]
        if not floating:
            return "no output is a floating tensor"
        if not any(self._moved_by_values(path) for path in floating):
            return "the outputs are the same whatever the variables are"
        return ""

    def _moved_by_values(self, path: str) -> float:
        """Returns how far other values of the variables move an output."""
        ours, theirs = (np.asarray(trace.outputs.get(path)) for trace in (self._base, self._initial))
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return float("inf")
        return 0.0 if same_bits(ours, theirs) else distance(ours, theirs)

    def theirs(self, alignment: Alignment) -> dict[str, np.ndarray]:
        """Returns the candidate's values by an alignment."""
        return dict(self._values(alignment)[1].values)

    def agree(self, values: Mapping[str, np.ndarray], *, thoroughly: bool = False) -> bool:
        """Tells whether the outputs agree at the candidate's values; thoroughly: or differ by rounding alone."""
        candidate = self._built.candidate.run(Setting("given", values), Ask(draws=self._base.forward_draws))
        tolerance = self._judge.tolerance
        if self._judge.outputs_agree(self._base, candidate):
            return True
        if not thoroughly or tolerance.alone or self._built.perturbed is None or not self._close(candidate):
            return False
        moved = self._judge.noise(self._built.perturbed, self._base).outputs
        budgets = {path: sensitivity.FACTOR * movement for path, movement in moved.items()}
        if any(budget * _CLEAR > self._moved_by_values(path) for path, budget in budgets.items()):
            return False
        return self._judge.outputs_agree(self._base, candidate, budgets)

    def _close(self, candidate: Trace) -> bool:
        """Tells whether outputs differ by so much less than other values move them that rounding may be the reason."""
        both = {path: (np.asarray(v), candidate.outputs.get(path)) for path, v in self._base.outputs.items()}
        return all(
            theirs is not None
            and ours.shape == np.shape(theirs)
            and ours.dtype == np.asarray(theirs).dtype
            and _CLEAR * distance(ours, np.asarray(theirs)) <= self._moved_by_values(path)
            for path, (ours, theirs) in both.items()
        )


def _told_apart(records: Sequence[VariableRecord]) -> list[VariableRecord]:
    """Calls variables of one name as rules tell them apart: `w`, `w#2`."""
    return [record._replace(name=record.key) for record in records]


def _pairs(proposal: Proposal) -> dict[str, str]:
    """Returns the reference's names -> the candidate's, of pairs by rename."""
    return {pair.entry.name: pair.record.name for pair in proposal.pairs if not pair.shared}


def _units(proposal: Proposal, grounds: set[Ground]) -> list[list[list[Pair]]]:
    """Returns groups of what can change places: a layer with all of its variables, or single variables of one scope."""
    scopes: dict[str, list[Pair]] = defaultdict(list)
    for pair in proposal.pairs:
        if pair.ground in grounds:
            scopes[pair.record.name.rpartition("/")[0]].append(pair)
    units: list[list[Pair]] = []
    for pairs in scopes.values():
        alike = len({_kind(pair) for pair in pairs}) < len(pairs)
        units += [[pair] for pair in pairs] if alike else [sorted(pairs, key=lambda pair: repr(_kind(pair)))]
    groups: dict[object, list[list[Pair]]] = defaultdict(list)
    for unit in units:
        groups[tuple(map(_kind, unit))].append(unit)
    return [group for group in groups.values() if len(group) > 1]


def _kind(pair: Pair) -> tuple[object, ...]:
    return role(pair.record.name), pair.entry.shape, tuple(pair.record.shape), pair.entry.dtype, pair.transform


_Moves = dict[str, str]
"""Key of a variable of the candidate -> key of the one whose value it gets instead."""


def _orders(proposal: Proposal, grounds: set[Ground]) -> Iterator[_Moves]:
    """Yields every other order: exchanges of two in all blocks alike first, then of two, then the others."""
    groups = _units(proposal, grounds)
    seen: list[_Moves] = []
    for moves in itertools.chain(_exchanged_in_all_blocks(groups), _exchanged(groups), _permuted(groups)):
        if moves and moves not in seen:
            seen.append(moves)
            yield moves


_Unit = Sequence[Pair]


def _exchanged(groups: Sequence[Sequence[_Unit]]) -> Iterator[_Moves]:
    for group in groups:
        for one, other in itertools.combinations(group, 2):
            yield {**_placed(one, other), **_placed(other, one)}


def _exchanged_in_all_blocks(groups: Sequence[Sequence[_Unit]]) -> Iterator[_Moves]:
    for group in groups:
        for one, other in itertools.combinations(_in_all_blocks(group), 2):
            moves: _Moves = {}
            for number in one if one.keys() == other.keys() else ():
                moves |= {**_placed(one[number], other[number]), **_placed(other[number], one[number])}
            yield moves


def _permuted(groups: Sequence[Sequence[_Unit]]) -> Iterator[_Moves]:
    every = [list(itertools.islice(itertools.permutations(range(len(group))), TRIALS)) for group in groups]
    for chosen in itertools.islice(itertools.product(*every), TRIALS * TRIALS):
        moves: _Moves = {}
        for group, order in zip(groups, chosen, strict=True):
            for place, other in enumerate(order):
                moves |= _placed(group[place], group[other]) if place != other else {}
        yield moves


def _in_all_blocks(group: Sequence[_Unit]) -> list[dict[tuple[str, ...], _Unit]]:
    """Returns what is called alike but for its numbers, by these."""
    found: dict[str, dict[tuple[str, ...], _Unit]] = defaultdict(dict)
    for unit in group:
        name = unit[0].record.name
        found[_NUMBER.sub("#", name)][tuple(_NUMBER.findall(name))] = unit
    return list(found.values())


def _exchanges(proposal: Proposal) -> Iterator[_Moves]:
    """Yields exchanges of neighbours among what the order alone tells apart."""
    for group in _units(proposal, {Ground.ORDER}):
        for one, other in itertools.pairwise(group):
            yield {**_placed(one, other), **_placed(other, one)}


def _placed(unit: Sequence[Pair], other: Sequence[Pair]) -> _Moves:
    return {ours.record.key: theirs.record.key for ours, theirs in zip(unit, other, strict=True)}


def _moved(values: Mapping[str, np.ndarray], moves: _Moves) -> dict[str, np.ndarray]:
    return {**values, **{key: values[other] for key, other in moves.items()}}


def _reordered(proposal: Proposal, moves: _Moves) -> Proposal:
    entries = {pair.record.key: pair.entry for pair in proposal.pairs}
    pairs = tuple(
        dataclasses.replace(pair, entry=entries[moves.get(pair.record.key, pair.record.key)]) for pair in proposal.pairs
    )
    return dataclasses.replace(proposal, pairs=pairs)


def _finite(trace: Trace) -> bool:
    arrays = (np.asarray(value) for value in trace.outputs.values())
    return all(
        bool(np.isfinite(array.astype(np.float64) if array.dtype.kind == "V" else array).all())
        for array in arrays
        if array.dtype.kind in "fcV"
    )
