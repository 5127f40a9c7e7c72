"""Step 2: both sides have the same variables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lockstep.compare import distributions
from lockstep.compare.align import Alignment, Partner
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.results.pitfalls import Slug
from lockstep.traces.trace import Trace, VariableRecord

_BIAS = re.compile(r"(^|[/_])(bias|biases|beta)$")


@dataclass(frozen=True)
class Asked:
    """What is compared besides count, names, shapes and dtypes.

    Attributes:
        distributions: The distributions of initial values.
        trainable: Which variables are trained.
        constants: Names of those that one side's code makes itself and the other has in no variable; they are left out.
    """

    distributions: bool = True
    trainable: bool = True
    constants: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = ["names", "shapes", "dtypes"]
        told += ["trainable flags"] if self.trainable else []
        return ", ".join([*told, "initial distributions"] if self.distributions else told)


ALL = Asked()


def judge(reference: Trace, candidate: Trace, alignment: Alignment, asked: Asked = ALL) -> Finding:
    """Judges count, names, shapes and dtypes, and what else is asked."""
    ignored = alignment.ignored
    counts = len(reference.variables) - ignored[0], len(candidate.variables) - ignored[1]
    figures: dict[str, object] = {
        "reference_variables": counts[0],
        "candidate_variables": counts[1],
        "missing": len(alignment.missing),
        "extra": len(alignment.extra),
        "parameters": sum(_elements(r) for r in reference.variables),
    }
    if any(ignored):
        figures["ignored"] = list(ignored)
    left_out = _left_out(ignored, len(asked.constants))
    if counts == (0, 0):
        return Finding(Verdict.NOT_ASKED, f"neither side has variables{left_out}", (), figures)
    every = list(_differences(reference, candidate, alignment, asked))
    foreign = reference.own_generator != candidate.own_generator
    culprits = [culprit for culprit in every if not (foreign and culprit.kind == "initializer")]
    duplicates = [*_duplicates("reference", reference.variables), *_duplicates("candidate", candidate.variables)]
    equals = "=" if counts[0] == counts[1] else "make"
    compared = replace(asked, distributions=asked.distributions and not foreign)
    same = f"{counts[0]:,} {equals} {counts[1]:,} {compared}"
    if alignment.transforms:
        same += f"; {len(alignment.transforms):,} transformed"
    same += left_out + _told_of_initializers(every, reference.own_generator or candidate.own_generator, foreign=foreign)
    if not culprits:
        return Finding(Verdict.EQUIVALENT, same, tuple(duplicates), figures)
    kinds = [
        f"{len(alignment.missing)} missing" if alignment.missing else "",
        f"{len(alignment.extra)} extra" if alignment.extra else "",
        f"{len(culprits) - len(alignment.missing) - len(alignment.extra)} of another kind",
    ]
    phrase = (
        f"{counts[0]:,} against {counts[1]:,} variables: {', '.join(k for k in kinds if k and k[0] != '0')}{left_out}"
    )
    details = [_line(c) for c in culprits] + duplicates
    return Finding(Verdict.DIVERGED, phrase, tuple(details), figures, tuple(culprits))


def _left_out(ignored: tuple[int, int], constants: int) -> str:
    """Says how many variables are left out: by the user's wish, or because they are constants.

    >>> _left_out((1, 0), 0), _left_out((0, 2), 2), _left_out((0, 3), 1)
    ('; 1 and 0 ignored', '; 2 constants of one side alone left as they are', '; 0 and 3 ignored, 1 of them constants')
    """
    if not any(ignored):
        return ""
    if sum(ignored) == constants:
        return f"; {constants:,} constant{'s' if constants > 1 else ''} of one side alone left as they are"
    told = f"; {ignored[0]:,} and {ignored[1]:,} ignored"
    return told + (f", {constants:,} of them constants" if constants else "")


def _told_of_initializers(culprits: Sequence[Culprit], framework: str, *, foreign: bool) -> str:
    """Says how many variables start from other distributions where each framework has initializers of its own.

    A port that loads the original's weights never uses them; one that is trained from its own values does.
    """
    count = sum(culprit.kind == "initializer" for culprit in culprits)
    if not foreign or not count:
        return ""
    start = "variable starts" if count == 1 else "variables start"
    return f"; {count:,} {start} from another distribution by {framework}'s initializers, which loaded weights replace"


def _differences(reference: Trace, candidate: Trace, alignment: Alignment, asked: Asked) -> Iterator[Culprit]:
    for record, partner in alignment.missing:
        cause = f"the candidate has no {record.describe()}{_hint(partner)}"
        pitfall: Slug = "missing-bias" if _BIAS.search(record.name) else "missing-variable"
        yield Culprit(record.key, None, "variable", cause, pitfall=pitfall)
    for record, partner in alignment.extra:
        cause = f"only the candidate has {record.describe()}{_hint(partner)}"
        yield Culprit(None, record.key, "variable", cause, pitfall="extra-variable")
    for r, c in alignment.pairs:
        for what, a, b in (
            ("shape", alignment.shape(r, c), tuple(c.shape)),
            ("dtype", r.dtype, c.dtype),
            ("trainable", r.trainable, c.trainable),
        ):
            if a != b and (what != "trainable" or asked.trainable):
                yield Culprit(r.key, c.key, "variable", f"{what} is {a} in the reference, {b} in the candidate")
        before = reference.before.get(r.key), candidate.before.get(c.key)
        if not asked.distributions:
            continue
        if alignment.shape(r, c) != tuple(c.shape) or before[0] is None or before[1] is None:
            continue
        if r.key in reference.overwritten or c.key in candidate.overwritten:
            continue  # values that were loaded or set have no distribution; the random steps say so
        carried = alignment.carried(c, before[0])
        if not distributions.same_distribution(carried, before[1]):
            cause = f"initial values: {distributions.describe(carried)} against {distributions.describe(before[1])}"
            yield Culprit(r.key, c.key, "initializer", cause, pitfall="initializer")


def _hint(partner: Partner | None) -> str:
    return f"; likely partner: {partner.record.describe()} ({partner.reason})" if partner else ""


def _line(culprit: Culprit) -> str:
    sign = "-" if culprit.candidate is None else "+" if culprit.reference is None else "~"
    return f"{sign} {culprit.reference or culprit.candidate}: {culprit.cause}"


def _duplicates(side: str, variables: Sequence[VariableRecord]) -> list[str]:
    counted = Counter(record.name for record in variables)
    return [f"! {count} variables of the {side} bear the name {name}" for name, count in counted.items() if count > 1]


def _elements(record: VariableRecord) -> int:
    product = 1
    for dimension in record.shape:
        product *= dimension
    return product
