"""Step 2: both sides have the same variables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from lockstep.compare import distributions
from lockstep.compare.align import Alignment, Partner
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.results.pitfalls import Slug
from lockstep.traces.trace import Trace, VariableRecord

_BIAS = re.compile(r"(^|[/_])(bias|biases|beta)$")


def judge(reference: Trace, candidate: Trace, alignment: Alignment) -> Finding:
    """Judges count, names, shapes, dtypes, trainable flags and the distributions of initial values."""
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
    left_out = f"; {ignored[0]:,} and {ignored[1]:,} ignored" if any(ignored) else ""
    if counts == (0, 0):
        return Finding(Verdict.NOT_ASKED, f"neither side has variables{left_out}", (), figures)
    culprits = list(_differences(reference, candidate, alignment))
    duplicates = [*_duplicates("reference", reference.variables), *_duplicates("candidate", candidate.variables)]
    equals = "=" if counts[0] == counts[1] else "make"
    same = f"{counts[0]:,} {equals} {counts[1]:,} names, shapes, dtypes, trainable flags, initial distributions"
    if alignment.transforms:
        same += f"; {len(alignment.transforms):,} transformed"
    same += left_out
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


def _differences(reference: Trace, candidate: Trace, alignment: Alignment) -> Iterator[Culprit]:
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
            if a != b:
                yield Culprit(r.key, c.key, "variable", f"{what} is {a} in the reference, {b} in the candidate")
        before = reference.before.get(r.key), candidate.before.get(c.key)
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
