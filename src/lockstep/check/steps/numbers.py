"""Steps 3 and 4: what the runs of both sides computed (outputs, losses, initial values, state left behind)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lockstep.check.steps.added_losses import Split, split
from lockstep.compare.align import Alignment, Rename, rename
from lockstep.compare.pairs import Budgets, Comparison, TensorComparison, compare_named, compare_pairs
from lockstep.compare.tolerance import LOSS_RTOL, FixedTolerance, change_atol
from lockstep.results.finding import CHANGED_ALONE, NEVER_CHANGED, Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.results.pitfalls import Pitfall
from lockstep.traces.trace import LossRecord, Trace

VALUE_DIFFERS = "its value after the call differs"
"""What is said of an updated variable where no operation is known to be to blame."""
_FACTORIZED = 1e-5
"""Relative to the largest: how far two LAPACKs' factorizations of one float32 matrix are apart, signs aside."""
_PITFALLS: dict[str, Pitfall] = {NEVER_CHANGED: "missing-update", CHANGED_ALONE: "extra-update"}


def outputs(reference: Trace, candidate: Trace, tolerance: FixedTolerance, budgets: Budgets | None = None) -> Finding:
    """Compares every entry of the returned structures."""
    if not reference.outputs or not candidate.outputs:
        sides = [n for n, t in (("reference", reference), ("candidate", candidate)) if not t.outputs]
        return Finding(Verdict.UNDECIDED, f"no output at all from the {' and the '.join(sides)}")
    comparison = compare_named(reference.outputs, candidate.outputs, tolerance, budgets)
    figures: dict[str, object] = {
        "outputs": len(comparison.pairs),
        "largest_output_error": comparison.largest_error,
        "output_bit_equal": comparison.bit_equal,
        "reference_first_output": _first(reference.outputs),
        "candidate_first_output": _first(candidate.outputs),
    }
    others = [pair for pair in comparison.pairs if pair.figures is None]
    if others:
        details = [f"{_output(pair.name)}: {pair.problem}" for pair in others] + _structure(comparison)
        phrase = f"{_output(others[0].name)} has another {others[0].problem}"
        phrase += f", and so have {len(others) - 1} more" if len(others) > 1 else ""
        return Finding(Verdict.DIVERGED, phrase, tuple(details), figures, _of_another_kind(others), exact=True)
    if comparison.failed:
        details = [pair.describe() for pair in comparison.failed] + _structure(comparison)
        phrase = (
            f"{len(comparison.failed)} of {len(comparison.pairs)} outputs differ, up to {comparison.largest_error:.2g}"
        )
        return Finding(Verdict.DIVERGED, phrase, tuple(details), figures)
    if comparison.missing or comparison.extra:
        phrase = (
            f"the outputs differ in structure: {len(comparison.missing)} only in the reference, "
            f"{len(comparison.extra)} only in the candidate; [outputs] rename or ignore says which is which"
        )
        return Finding(Verdict.UNDECIDED, phrase, tuple(_structure(comparison)), figures)
    vacuous = [pair.name for pair in comparison.pairs if pair.vacuous]
    if vacuous:
        lines = tuple(f"{_output(name)} holds no finite number on both sides" for name in vacuous)
        return Finding(Verdict.UNDECIDED, "nothing to compare in " + ", ".join(map(_output, vacuous)), lines, figures)
    equal = "bit-equal" if comparison.bit_equal else f"differ by {comparison.largest_error:.2g} at most"
    return Finding(Verdict.EQUIVALENT, f"{_count(len(comparison.pairs), 'output')} {equal}", (), figures)


def _of_another_kind(pairs: Sequence[TensorComparison]) -> tuple[Culprit, ...]:
    """Returns the culprits for outputs of another shape or dtype."""
    return tuple(
        Culprit(
            _output(pair.name),
            _output(pair.name),
            "output",
            f"the reference returns {pair.problem.replace(' against ', ', the candidate ', 1)}",
            fix="return it as the reference does: reshape, squeeze, or cast it",
        )
        for pair in pairs
    )


def losses(
    reference: Trace, candidate: Trace, alignment: Alignment, rules: Sequence[Rename], both: Split | None = None
) -> Finding:
    """Compares the regularization losses, variable by variable, and their sums.

    Args:
        reference: The reference's trace.
        candidate: The candidate's.
        alignment: Reference's variables -> candidate's.
        rules: Rename rules.
        both: Which losses are compared so; by default `added_losses` is asked.
    """
    kept = (split(reference, candidate, alignment, rules) if both is None else both).owned
    if not any(kept):
        return Finding(Verdict.NOT_ASKED, "")
    totals = _total(reference, kept[0]), _total(candidate, kept[1])
    counts = len(kept[0]), len(kept[1])
    figures: dict[str, object] = {
        "reference_loss": totals[0],
        "candidate_loss": totals[1],
        "reference_losses": counts[0],
        "candidate_losses": counts[1],
    }
    phrase = f"loss {totals[0]:.9g} {'=' if _close(*totals) else 'against'} {totals[1]:.9g}"
    partners: dict[str, list[str]] = {}
    for r, c in alignment.pairs:
        partners.setdefault(r.name, []).append(c.name)
    # Where the values differ, the losses do, whatever the regularizer.
    values = {r.name: reference.before[r.key] for r, _ in alignment.pairs if r.key in reference.before}
    moved = {r.name for r, c in alignment.pairs if _starts_elsewhere(r.key, c.key, reference, candidate, alignment)}
    culprits: list[Culprit] = []
    ours, theirs = _by_variable(kept[0]), _by_variable(kept[1])
    for parts in partners.values():
        _sum_up(theirs, parts)
    expected = {partners[name][0] if name in partners else rename(name, rules): name for name in ours}
    for theirs_name, name in expected.items():
        if theirs_name not in theirs:
            cause = f"the candidate has no regularization loss for it (reference: {ours[name]:.6g})"
            fix = "give it the reference's regularizer"
            culprits.append(Culprit(name, theirs_name, "regularizer", cause, pitfall="missing-regularizer", fix=fix))
        elif name not in moved and not _close(ours[name], theirs[theirs_name]):
            culprits.append(_other_loss((name, theirs_name), ours[name], theirs[theirs_name], values.get(name)))
    culprits.extend(
        Culprit(
            None,
            name,
            "regularizer",
            f"only the candidate regularizes it (loss {loss:.6g})",
            pitfall="extra-regularizer",
        )
        for name, loss in theirs.items()
        if name not in expected
    )
    if culprits or not _close(*totals):
        details = (phrase, *(f"{c.reference or c.candidate}: {c.cause}" for c in culprits))
        counted = f" ({counts[0]} against {counts[1]} losses)" if counts[0] != counts[1] else ""
        return Finding(Verdict.DIVERGED, phrase + counted, details, figures, tuple(culprits))
    return Finding(Verdict.EQUIVALENT, phrase, (), figures)


def initial_values(reference: Trace, candidate: Trace, alignment: Alignment, tolerance: FixedTolerance) -> Finding:
    """Compares the values that the initializers gave, which aligned randomness makes equal."""
    # The draws of a variable that is transposed, or cut from another, fill it in another order.
    untransformed = [
        (r, c) for r, c in alignment.pairs if c.key not in alignment.transforms and c.key not in candidate.cut
    ]
    pairs = [(r.key, reference.before[r.key], candidate.before[c.key]) for r, c in untransformed]
    if not pairs:
        return Finding(Verdict.NOT_ASKED, "")
    turned = [name for name, ours, theirs in pairs if but_for_signs(ours, theirs)]
    comparison = compare_pairs([pair for pair in pairs if pair[0] not in turned], tolerance)
    signs = f"{_count(len(turned), 'initial value')} but for the signs that an orthogonal factorization leaves free"
    if turned and not comparison.pairs:
        return Finding(Verdict.EQUIVALENT, f"equal: {signs}")
    if comparison.failed:
        names = {r.key: c.key for r, c in alignment.pairs}
        cause = "its initial values differ though the seeds are aligned: another initializer, or another order of draws"
        culprits = tuple(
            Culprit(p.name, names[p.name], "initializer", cause, p.scaled_error, tolerance.rtol, pitfall="initializer")
            for p in comparison.failed
        )
        phrase = f"{len(comparison.failed)} of {len(pairs)} variables start from other values"
        details = tuple(f"initial value of {pair.describe()}" for pair in comparison.failed)
        return Finding(Verdict.DIVERGED, phrase, details, {}, culprits)
    equal = "bit-equal" if comparison.bit_equal else f"within {comparison.largest_error:.2g}"
    phrase = f"{_count(len(comparison.pairs), 'initial value')} {equal}"
    return Finding(Verdict.EQUIVALENT, f"{phrase}, {signs}" if turned else phrase)


def but_for_signs(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two orthogonal matrices are equal but for the sign of whole rows or columns.

    A singular value decomposition leaves these signs free, and LAPACK's of two versions of NumPy choose otherwise. The
    rows or the columns have to be orthogonal and of one length, as initializers make them, so that the signs mean
    nothing to the distribution; of a single one, which is orthogonal to no other, that length has to be 1. What has all
    signs alike is compared like anything else. A kernel of a convolution is taken as a matrix with its last axis as
    columns.

    >>> turned = np.asarray([[0.6, 0.8], [-0.8, 0.6]]), np.asarray([[-0.6, -0.8], [-0.8, 0.6]])
    >>> but_for_signs(*turned), but_for_signs(turned[0], turned[0]), but_for_signs(turned[0], np.abs(turned[1]))
    (True, False, False)
    >>> column = np.asarray([[0.5], [0.2]])
    >>> but_for_signs(column, 1.0001 * column), but_for_signs(column, -column)
    (False, False)
    """
    if ours.shape != theirs.shape or ours.ndim < 2 or ours.dtype.kind != "f" or theirs.dtype.kind != "f":
        return False
    a, b = (np.asarray(each, np.float64).reshape(-1, each.shape[-1]) for each in (ours, theirs))
    size = float(np.max(np.abs(a), initial=0.0))
    if not size or not np.allclose(np.abs(a), np.abs(b), rtol=0.0, atol=_FACTORIZED * size):
        return False
    clear = np.abs(a) > 1e-4 * size
    same = np.sign(a) == np.sign(b)
    if (same | ~clear).all():
        return False
    whole = any(bool((np.all(same | ~clear, axis=axis) | np.all(~same | ~clear, axis=axis)).all()) for axis in (0, 1))
    gram = a.T @ a if a.shape[0] >= a.shape[1] else a @ a.T
    length = float(np.mean(np.diag(gram))) if len(gram) > 1 else 1.0
    return whole and bool(np.allclose(gram, length * np.eye(len(gram)), atol=1e-4 * length))


def state(
    reference: Trace,
    candidate: Trace,
    alignment: Alignment,
    tolerance: FixedTolerance,
    budgets: Budgets | None = None,
) -> Finding:
    """Compares what the run left behind: every variable that either side changed."""
    pairs = []
    moved_alone: dict[str, str] = {}
    most: dict[str, float] = {}
    for r, c in alignment.pairs:
        sides = r.key in reference.after, c.key in candidate.after
        if any(sides):
            after = reference.after.get(r.key), candidate.after.get(c.key)
            before = reference.before[r.key], candidate.before[c.key]
            ours = alignment.carried(c, before[0] if after[0] is None else after[0])
            pairs.append((r.key, ours, before[1] if after[1] is None else after[1]))
            most[r.key] = change_atol(np.asarray(alignment.carried(c, before[0])), np.asarray(ours))
            if not all(sides):
                moved_alone[r.key] = NEVER_CHANGED if sides[0] else CHANGED_ALONE
    if not pairs:
        return Finding(Verdict.NOT_ASKED, "")
    comparison = compare_pairs(pairs, tolerance, budgets, most)
    figures: dict[str, object] = {
        "state_variables": len(pairs),
        "largest_state_error": comparison.largest_error,
        "state_bit_equal": comparison.bit_equal,
    }
    if comparison.failed:
        names = {r.key: c.key for r, c in alignment.pairs}
        culprits = tuple(
            Culprit(
                p.name,
                names[p.name],
                "state",
                moved_alone.get(p.name, VALUE_DIFFERS),
                p.scaled_error,
                tolerance.rtol,
                pitfall=_PITFALLS.get(moved_alone.get(p.name, ""), ""),
            )
            for p in comparison.failed
        )
        phrase = f"{len(comparison.failed)} of {len(pairs)} updated variables differ"
        phrase += "".join(
            f": the {side}'s train_op does not run {what}" for side, what in _skipped(reference, candidate)
        )
        details = tuple(
            f"after the call, {p.describe()}" + (f" ({moved_alone[p.name]})" if p.name in moved_alone else "")
            for p in comparison.failed
        )
        return Finding(Verdict.DIVERGED, phrase, details, figures, culprits)
    equal = "bit-equal" if comparison.bit_equal else f"within {comparison.largest_error:.2g}"
    return Finding(Verdict.EQUIVALENT, f"{_count(len(pairs), 'updated variable')} {equal}", (), figures)


def _skipped(reference: Trace, candidate: Trace) -> Iterator[tuple[str, str]]:
    """Yields each side whose training step leaves updates out, and what it leaves out."""
    for side, trace in (("reference", reference), ("candidate", candidate)):
        if trace.skipped_updates:
            count = _count(len(trace.skipped_updates), "operation")
            yield side, f"{count} that lie in UPDATE_OPS ({trace.skipped_updates[0]}, ...)"


def _total(trace: Trace, kept: Sequence[LossRecord]) -> float:
    if len(kept) == len(trace.losses):
        return float(trace.total_loss) if trace.total_loss is not None else 0.0
    return float(np.sum([np.float64(np.sum(loss.value)) for loss in kept]))


def _close(reference: float, candidate: float) -> bool:
    if np.isnan(reference) or np.isnan(candidate):
        return bool(np.isnan(reference) and np.isnan(candidate))
    return bool(abs(reference - candidate) <= LOSS_RTOL * abs(reference))


def _same_number(a: float, b: float) -> bool:
    return abs(a - b) <= LOSS_RTOL * abs(b)


def _other_loss(names: tuple[str, str], reference: float, candidate: float, value: np.ndarray | None) -> Culprit:
    """Returns the culprit for a variable of one value whose losses differ."""
    error = abs(candidate - reference) / abs(reference) if reference else float("inf")
    cause = f"its regularization loss is {reference:.9g} against {candidate:.9g}"
    ratio = reference / candidate if candidate else 0.0
    pitfall: Pitfall = "constant-factor" if ratio else "missing-regularizer"
    fix = f"multiply its strength by {ratio:.6g}" if ratio else ""
    kinds = _norms(reference, candidate, value)
    if kinds is not None:
        pitfall, fix = "regularizer-kind", f"use {kinds[0]}"
        cause = f"{cause}: it is of {kinds[1]}, in the reference of {kinds[0]}"
    elif value is not None and value.size > 1 and not np.ptp(value):
        pitfall, fix = "", ""  # where all values are one, a factor and another norm look the same
    elif ratio:
        cause = f"{cause}; times {ratio:.6g} they are equal"
        # TF1's l2_loss carries a half that Keras's L2 does not: slim.l2_regularizer(s) is L2(s / 2).
        pitfall = "l2-half" if _same_number(ratio, 2.0) or _same_number(ratio, 0.5) else pitfall
    return Culprit(*names, "regularizer", cause, error, LOSS_RTOL, pitfall=pitfall, fix=fix)


def _starts_elsewhere(ours: str, theirs: str, reference: Trace, candidate: Trace, alignment: Alignment) -> bool:
    """Whether a variable has another value on either side before the run."""
    before = reference.before.get(ours), candidate.before.get(theirs)
    if before[0] is None or before[1] is None or theirs in alignment.transforms or before[0].shape != before[1].shape:
        return False
    return not np.allclose(before[0], before[1], rtol=LOSS_RTOL, atol=0.0, equal_nan=True)


def _norms(reference: float, candidate: float, value: np.ndarray | None) -> tuple[str, str] | None:
    """Tells which norms two losses of one variable are of, if they are of different ones.

    A loss is of a norm if it is a number of two digits times that norm, as strengths are written down.
    """
    if value is None or not value.size:
        return None
    wide = np.abs(np.asarray(value, np.float64))
    norms = {"L1": wide.sum(), "L2": (wide**2).sum()}
    found = []
    for loss in (reference, candidate):
        strengths = {norm: loss / size for norm, size in norms.items() if size}
        found.append([norm for norm, s in strengths.items() if s and _same_number(s, float(f"{s:.2g}"))])
    if [len(kinds) for kinds in found] != [1, 1] or found[0] == found[1]:
        return None
    return found[0][0], found[1][0]


def _by_variable(records: Sequence[LossRecord]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for record in records:
        assert record.variable is not None
        sums[record.variable] = sums.get(record.variable, 0.0) + float(record.value)
    return sums


def _sum_up(losses: dict[str, float], names: Sequence[str]) -> None:
    """Gives the first of several variables, which are parts of one of the reference's, the loss of them all."""
    found = [losses.pop(name) for name in names if name in losses]
    if found:
        losses[names[0]] = sum(found)


def _structure(comparison: Comparison) -> list[str]:
    return [f"- {_output(name)}: only the reference returns it" for name in comparison.missing] + [
        f"+ {_output(name)}: only the candidate returns it" for name in comparison.extra
    ]


def _output(path: str) -> str:
    return f"output {path}" if path else "the output"


def _first(tensors: Mapping[str, np.ndarray]) -> object:
    first = next(iter(tensors.values()))
    if first.size == 0 or first.dtype.kind not in "fiub":
        return None
    return float(first.reshape(-1)[0])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
