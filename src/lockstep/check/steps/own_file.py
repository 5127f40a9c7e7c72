"""The candidate's own file of weights: held against the original's, or what both sides are run from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lockstep.check.steps.in_use import Expected, seen
from lockstep.common import patterns
from lockstep.compare.align import Alignment
from lockstep.compare.filling import alike
from lockstep.files.checkpoints.entries import Checkpoint, Kind
from lockstep.ground.structure import same_bits
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.traces.trace import Trace, VariableRecord

_SHOWN = 3


def expected_of(file: Checkpoint, variables: Sequence[VariableRecord]) -> Expected:
    """Says what a side's own file gives its variables, each by its name, or its number in its layer."""
    named = file.seen_by(variables)
    matched = named.match(tuple(variables))
    return Expected(named, named.restored(matched), (), tuple(named.unused(matched)), tuple(matched.clashes))


def compared(own: Expected, carried: Mapping[str, np.ndarray], original: str) -> Finding:
    """Holds the candidate's file against the original's, entry by entry: was it converted rightly?

    Args:
        own: What the candidate's file says.
        carried: Variable key of the candidate -> what the original's file and the rules make of it.
        original: The name of the original's file.
    """
    file = own.checkpoint.path.name
    both = [key for key in carried if key in own.values]
    wrong = [key for key in both if not same_bits(np.asarray(carried[key]), own.values[key])]
    lacking = [key for key in carried if key not in own.values]
    lines = [f"~ {key}: {_apart(carried[key], own.values[key])}" for key in wrong]
    lines += [f"- {key}: {file} has no entry of this name, shape and dtype" for key in lacking]
    figures: dict[str, object] = {"converted_equal": len(both) - len(wrong), "converted_otherwise": wrong}
    if wrong:
        phrase = f"{len(wrong):,} of {len(both):,} entries of {file} are not what {original} and the rules give: "
        return Finding(Verdict.DIVERGED, phrase + _some(wrong), tuple(lines), figures, exact=True)
    if lacking:
        phrase = f"{file} has nothing for {len(lacking):,} of {len(carried):,} variables: {_some(lacking)}"
        return Finding(Verdict.UNDECIDED, phrase, tuple(lines), figures)
    return Finding(Verdict.EQUIVALENT, f"{len(both):,} entries of {file} are those of {original}", (), figures)


def values_from(
    own: Expected, reference: Trace, candidate: Trace, alignment: Alignment, allow_missing: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[Finding]]:
    """Gives both sides what the candidate's file alone holds.

    The way from the candidate to the reference is open where no transform lies on it.

    Args:
        own: What the file says.
        reference: A run of the reference from its initial values.
        candidate: One of the candidate.
        alignment: Reference's variables -> candidate's.
        allow_missing: Patterns of the reference's variables that may be missing, and keep their initial values.

    Returns:
        Variable key -> value for the reference and for the candidate, and what hinders running from them.
    """
    file = own.checkpoint.path.name
    theirs = {key: own.values[key] for key in own.values}
    theirs.update({key: own.checkpoint[name] for key, name in seen(candidate, own).moved.items()})
    ours = {r.key: theirs[c.key] for r, c in alike(alignment) if c.key in theirs and c.key not in alignment.transforms}
    lacking = [record.key for record in reference.variables if record.key not in ours]
    allowed = {key for key in lacking if any(patterns.search(pattern, key) for pattern in allow_missing)}
    ours.update({key: reference.before[key] for key in allowed})
    theirs.update({c.key: alignment.carried(c, ours[r.key]) for r, c in alike(alignment) if r.key in allowed})
    left = [key for key in lacking if key not in allowed]
    if left:
        phrase = (
            f"both sides were not run from {file}: it has no value for {len(left):,} of {len(reference.variables):,} "
            f"variables of the reference ({_some(left)}), as it has no entry for the partner, or a transform lies "
            "between; name the original's file as path"
        )
        return {}, {}, [Finding(Verdict.UNDECIDED, phrase)]
    unfilled = [record.key for record in candidate.variables if record.key not in theirs]
    if unfilled:
        phrase = f"{file} has nothing for {len(unfilled):,} variables of the candidate: {_some(unfilled)}"
        return ours, theirs, [Finding(Verdict.UNDECIDED, phrase, tuple(f"+ {key}: initial value" for key in unfilled))]
    others = [entry for entry in own.unread if entry.kind is not Kind.VARIABLE]
    phrase = f"{len(theirs):,} variables from {file}" + (f"; {len(others):,} of other kinds unused" if others else "")
    return ours, theirs, [Finding(Verdict.NOT_ASKED, phrase)]


def _apart(wanted: np.ndarray, found: np.ndarray) -> str:
    """Says how two arrays of one shape differ: by how much, or that one is the other with its axes in another order."""
    axes = tuple(reversed(range(wanted.ndim)))
    if wanted.ndim > 1 and same_bits(np.ascontiguousarray(wanted.transpose(axes)), found):
        return "it is transposed"
    if wanted.dtype.kind not in "fc":
        return f"{int(np.count_nonzero(wanted != found)):,} of {wanted.size:,} elements differ"
    difference = np.abs(np.asarray(wanted, np.complex128) - np.asarray(found, np.complex128))
    if np.array_equal(np.sort(wanted, axis=None), np.sort(found, axis=None)):
        return "the same values in another order"
    return f"the largest difference is {float(np.max(difference, initial=0.0)):.3g}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
