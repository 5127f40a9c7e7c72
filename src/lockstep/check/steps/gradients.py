"""Step `gradients`: the training loss and its gradient for every trainable variable, from equal values and draws."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.check.steps import weight_decay
from lockstep.common.arrays import largest_magnitude
from lockstep.compare.align import Alignment
from lockstep.compare.pairs import Budgets, Comparison, TensorComparison, compare_pairs
from lockstep.compare.sensitivity import HIDING
from lockstep.compare.tolerance import FixedTolerance
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.results.pitfalls import Pitfall
from lockstep.subjects import TRAINING_LOSS
from lockstep.traces.trace import Trace, VariableRecord

MODEL_FLOOR = 4.0 * 2.0**-23
"""What any gradient may differ by, relative to the largest element of all of the model's gradients: four spacings of
float32. A gradient that is zero but for rounding (of a bias in front of a normalisation) is a sum of terms as large as
its neighbours' gradients, and keeps an error of that size, which may be more than 100 % of itself."""

FACTOR = 10.0
"""How many times its largest movement a gradient may differ.

Over twenty training steps of the decoder in examples/, TensorFlow 1.15 against its own graph on 2.21, one of 240
gradients differed by 6.0 times, the largest of the median step by 2.1; planted mistakes have thousands. Gradients need
more than the 4 of outputs: they are sums over batch and image of terms that cancel.
"""

_NOTHING = 1e-4
"""A gradient below this share of the model's largest is no more than rounding where rounding moves it by its size."""

_BEYOND_DOUBT = 1e4
"""How many times its budget an error is that no kernel's order of summation explains: without any mistake 1,900 times
the movement under jitter was measured (batch norms over constant activations, Inception-ResNet-v2)."""

_SCALED = ": the loss is scaled or reduced in another way"

_FACTOR_RTOL = 1e-3
"""Two gradients are called multiples of each other if their ratio is constant to this."""


def finite(trace: Trace) -> bool:
    """Tells whether a run gave gradients from which something can be concluded."""
    return trace.training_loss is not None and all(
        bool(np.all(np.isfinite(value))) for value in (trace.training_loss, *trace.gradients.values())
    )


def largest(trace: Trace) -> float:
    """Returns the largest finite magnitude among all gradients of a run: the model's gradient scale."""
    return max((largest_magnitude(gradient) for gradient in trace.gradients.values()), default=0.0)


def compare(
    reference: Trace,
    candidate: Trace,
    alignment: Alignment,
    tolerance: FixedTolerance,
    budgets: Budgets | None = None,
    scale: float = 0.0,
) -> Finding:
    """Compares the training losses and the gradients of all variables that both sides train.

    Args:
        reference: A differentiated run of the reference.
        candidate: One of the candidate, from equal values and draws.
        alignment: Reference's variables -> candidate's.
        tolerance: The fixed tolerance; what it does not pass may still be below `MODEL_FLOOR`.
        budgets: Variable key, or `TRAINING_LOSS` -> the largest absolute error that rounding explains.
        scale: How large gradients of this model are known to be elsewhere. Where a loss is nearly zero, a gradient is
            the difference of terms that are as large as they were before, and so is its rounding.
    """
    if reference.training_loss is None or candidate.training_loss is None:
        return Finding(Verdict.NOT_ASKED, "")
    trained = [_Pair.of(alignment, r, c) for r, c in alignment.pairs if r.trainable and c.trainable]
    both = {p.label: p for p in trained if p.reference in reference.gradients and p.candidate in candidate.gradients}
    missing = _missing(reference, candidate, trained)
    if not both and not missing:
        idle = (p.reference in reference.unconnected or p.candidate in candidate.unconnected for p in trained)
        if trained and all(idle):
            return Finding(Verdict.NOT_ASKED, "the training loss depends on no trainable variable, on either side")
        return Finding(Verdict.UNDECIDED, "the training loss of one side or both depends on no variable that both have")
    floor = MODEL_FLOOR * max(largest(reference), scale)
    allowed = {label: max(floor, (budgets or {}).get(p.reference, 0.0)) for label, p in both.items()}
    allowed[TRAINING_LOSS] = (budgets or {}).get(TRAINING_LOSS, 0.0)
    pairs = [(TRAINING_LOSS, reference.training_loss, candidate.training_loss)]
    pairs += [(label, p.expected(reference), candidate.gradients[p.candidate]) for label, p in both.items()]
    comparison = compare_pairs(pairs, tolerance, allowed)
    culprits = [*missing, *_culprits(comparison, reference, candidate, both, allowed)]
    figures: dict[str, object] = {
        "gradients": len(both),
        "gradients_without_a_loss": len(set(reference.unconnected) & {p.reference for p in trained}),
        "reference_training_loss": float(reference.training_loss),
        "candidate_training_loss": float(candidate.training_loss),
        "largest_gradient_error": comparison.largest_error,
        "gradient_bit_equal": comparison.bit_equal and not missing,
        "largest_gradient": largest(reference),
    }
    details = _details(comparison, missing)
    if culprits:
        return Finding(Verdict.DIVERGED, _phrase(comparison, missing, len(both)), details, figures, tuple(culprits))
    if not (finite(reference) and finite(candidate)):
        phrase = "the training loss or a gradient is NaN or infinite on both sides, which proves nothing"
        return Finding(Verdict.UNDECIDED, phrase, details, figures)
    equal = "bit-equal" if comparison.bit_equal else f"differ by {comparison.largest_error:.2g} at most"
    phrase = f"loss {float(reference.training_loss):.6g}, {_count(len(both), 'gradient')} {equal}"
    return Finding(Verdict.EQUIVALENT, phrase, details, figures)


def hidden(budgets: Budgets, base: Trace) -> dict[str, float]:
    """Returns the gradients whose budget hides any answer about them, with its share of their size.

    A gradient that is nothing but rounding has a budget as large as itself; it hides nothing as long as that is small
    beside the model's gradients.
    """
    found = {}
    for key, gradient in base.gradients.items():
        size = largest_magnitude(gradient)
        if size and budgets[key] > HIDING * size and budgets[key] > _NOTHING * largest(base):
            found[key] = budgets[key] / size
    return found


def beyond_doubt(finding: Finding) -> bool:
    """Tells whether a culprit is so far beyond its budget that no kernel's order of summation explains it."""
    if finding.verdict is not Verdict.DIVERGED:
        return False
    return any(not c.noise_budget or (c.error or 0.0) > _BEYOND_DOUBT * c.noise_budget for c in finding.culprits)


def with_cause_of_all(finding: Finding, reference: Trace, candidate: Trace, alignment: Alignment) -> Finding:
    """Explains a finding by what all gradients have in common: one factor is a loss that is reduced in another way."""
    if finding.verdict is not Verdict.DIVERGED:
        return finding
    if (told := weight_decay.told(finding, reference, candidate, alignment)) is not None:
        return _blaming(finding, *told)
    factor = _common_factor(reference, candidate, alignment)
    if factor is None and _reduction(_loss_ratio(reference, candidate), reference) != _SCALED:
        # Regularization is not reduced along with the loss, so that gradients are no multiples of each other.
        ratio = _loss_ratio(reference, candidate)
        cause = f"without regularization the loss is {ratio:.6g} times the reference's{_reduction(ratio, reference)}"
        return _blaming(finding, cause)
    if factor is None:
        return _following_the_loss(finding)
    return _blaming(finding, f"every gradient is {factor:.6g} times the reference's{_reduction(factor, reference)}")


def _following_the_loss(finding: Finding) -> Finding:
    """Blames the loss alone where it has another value: its gradients are others because of that.

    A variable that one loss does not depend on at all stays to blame.
    """
    loss = next((culprit for culprit in finding.culprits if culprit.kind == "loss"), None)
    following = [culprit for culprit in finding.culprits if culprit.kind == "gradient" and culprit.noise_budget]
    if loss is None or not following:
        return finding
    others = tuple(culprit for culprit in finding.culprits if culprit is not loss and culprit not in following)
    blamed = dataclasses.replace(loss, consequences=len(following))
    return dataclasses.replace(finding, culprits=(blamed, *others))


def _blaming(finding: Finding, cause: str, pitfall: Pitfall = "", fix: str = "") -> Finding:
    """Puts one culprit in the place of all that have one cause: the loss, or the worst gradient."""
    alike = [culprit for culprit in finding.culprits if culprit.kind in ("loss", "gradient")]
    if not alike:
        return finding
    worst = max(alike, key=lambda culprit: (culprit.kind == "loss", culprit.error or 0.0))
    rest = tuple(culprit for culprit in finding.culprits if culprit not in alike)
    blamed = dataclasses.replace(worst, cause=cause, pitfall=pitfall, fix=fix)
    return dataclasses.replace(finding, culprits=(blamed, *rest), details=(cause, *finding.details))


def located(finding: Finding, culprits: Sequence[Culprit]) -> Finding:
    """Puts the operations of the loss that are to blame in the place of the loss and the gradients that follow from it.

    Args:
        finding: One of this step.
        culprits: What forced lockstep found in the loss; empty leaves the finding as it is.
    """
    follows = [culprit for culprit in finding.culprits if culprit.kind in ("loss", "gradient")]
    if not culprits or not any(culprit.kind == "loss" and not culprit.pitfall for culprit in follows):
        return finding
    gradients = sum(culprit.consequences + (culprit.kind == "gradient") for culprit in follows)
    named = [dataclasses.replace(c, consequences=c.consequences + gradients) for c in culprits]
    if len(named) == 1 and finding.details[:1] == (follows[0].cause,):  # what all gradients have in common
        named = [dataclasses.replace(named[0], cause=f"{named[0].cause}; {follows[0].cause}")]
    rest = (culprit for culprit in finding.culprits if culprit not in follows)
    return dataclasses.replace(finding, culprits=(*named, *rest))


@dataclass(frozen=True)
class _Pair:
    """A variable of both sides.

    Attributes:
        label: The reference's key; with the candidate's where several are made of one.
        reference: The reference's key.
        candidate: The candidate's.
        carry: Turns the reference's gradient into the candidate's.
    """

    label: str
    reference: str
    candidate: str
    carry: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, alignment: Alignment, reference: VariableRecord, candidate: VariableRecord) -> _Pair:
        transformed = candidate.key in alignment.transforms
        label = f"{reference.key} ({candidate.key})" if transformed else reference.key
        return cls(label, reference.key, candidate.key, functools.partial(alignment.carried_gradient, candidate))

    def expected(self, reference: Trace) -> np.ndarray:
        return self.carry(np.asarray(reference.gradients[self.reference]))


def _missing(reference: Trace, candidate: Trace, trained: Sequence[_Pair]) -> list[Culprit]:
    """Finds the variables that one loss depends on and the other does not; a gradient of zeros counts as none."""
    culprits = []
    for r, c in ((pair.reference, pair.candidate) for pair in trained):
        if r in reference.gradients and c in candidate.unconnected and largest_magnitude(reference.gradients[r]):
            cause = (
                "the candidate's loss does not depend on it (its gradient is None), the reference's does: "
                "a stop_gradient too many, an operation without a gradient (NumPy, a cast to integers), or not used"
            )
            culprits.append(Culprit(r, c, "gradient", cause, 1.0, 0.0))
        elif r in reference.unconnected and c in candidate.gradients and largest_magnitude(candidate.gradients[c]):
            cause = (
                "only the candidate's loss depends on it (the reference's gradient is None): a stop_gradient is lost, "
                "or a variable is used that the reference does not use"
            )
            error = largest_magnitude(candidate.gradients[c]) / (largest(reference) or 1.0)
            culprits.append(Culprit(r, c, "gradient", cause, error, 0.0))
    return culprits


def _culprits(
    comparison: Comparison, reference: Trace, candidate: Trace, named: Mapping[str, _Pair], allowed: Budgets
) -> list[Culprit]:
    culprits = []
    for pair in comparison.failed:
        scale = 1.0
        if pair.figures is not None:
            scale = float(pair.figures.max_abs_reference) or 1.0
        budget = allowed[pair.name] / scale
        if pair.name == TRAINING_LOSS:
            cause = f"the training loss is {_value(reference.training_loss)} against {_value(candidate.training_loss)}"
            culprits.append(Culprit(TRAINING_LOSS, TRAINING_LOSS, "loss", cause, pair.scaled_error, budget))
        else:
            variable = named[pair.name]
            cause = _own_cause(variable.expected(reference), candidate.gradients[variable.candidate], pair)
            error = pair.scaled_error
            culprits.append(Culprit(variable.reference, variable.candidate, "gradient", cause, error, budget))
    return culprits


def _own_cause(reference: np.ndarray, candidate: np.ndarray, pair: TensorComparison) -> str:
    if pair.figures is None:
        return f"its gradient differs: {pair.problem}"
    factor = _factor(reference, candidate)
    if not largest_magnitude(reference):
        return "its gradient is zero in the reference alone: a stop_gradient is lost"
    if not largest_magnitude(candidate):
        return "its gradient is zero in the candidate alone: a stop_gradient too many"
    if factor is not None:
        return f"its gradient is {factor:.6g} times the reference's"
    return "its gradient differs: a stop_gradient lost or added, a custom gradient, or another loss"


def _common_factor(reference: Trace, candidate: Trace, alignment: Alignment) -> float | None:
    factors = [
        _factor(_Pair.of(alignment, r, c).expected(reference), candidate.gradients[c.key])
        for r, c in alignment.pairs
        if r.key in reference.gradients
        and c.key in candidate.gradients
        and largest_magnitude(reference.gradients[r.key]) > 1e-4 * largest(reference)
    ]
    known = [factor for factor in factors if factor is not None]
    if len(known) < max(len(factors), 2) or max(known) - min(known) > _FACTOR_RTOL * abs(known[0]):
        return None
    return None if abs(known[0] - 1.0) <= _FACTOR_RTOL else known[0]


def _loss_ratio(reference: Trace, candidate: Trace) -> float:
    """Returns the candidate's loss over the reference's, both without regularization; 1 where that cannot be told."""
    parts = []
    for trace in (reference, candidate):
        regularization = 0.0 if trace.total_loss is None else float(trace.total_loss)
        parts.append(0.0 if trace.training_loss is None else float(trace.training_loss) - regularization)
    return parts[1] / parts[0] if parts[0] else 1.0


def _factor(reference: np.ndarray, candidate: np.ndarray) -> float | None:
    """Returns the number that one gradient is a multiple of the other by; None where it is none."""
    if reference.shape != candidate.shape:
        return None
    a, b = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    square = float(a @ a)
    if not square or not np.isfinite(square):
        return None
    factor = float(a @ b) / square
    close = np.max(np.abs(b - factor * a)) <= _FACTOR_RTOL * abs(factor) * np.max(np.abs(a))
    return factor if close and factor else None


def _reduction(factor: float, reference: Trace) -> str:
    """Says which size the factor is: the batch's, or the number of an output's elements."""
    for path, output in reference.outputs.items():
        sizes = {"the batch": output.shape[0] if output.ndim else 0, f"the elements of output {path}": output.size}
        for what, size in sizes.items():
            if size > 1 and abs(factor * size - 1.0) <= _FACTOR_RTOL:
                return f", one over the size of {what} ({size}): the reference sums the loss, the candidate averages it"
            if size > 1 and abs(factor / size - 1.0) <= _FACTOR_RTOL:
                return f", the size of {what} ({size}): the reference averages the loss, the candidate sums it"
    return _SCALED


def _phrase(comparison: Comparison, missing: Sequence[Culprit], count: int) -> str:
    wrong = [pair for pair in comparison.failed if pair.name != TRAINING_LOSS]
    parts = []
    if len(wrong) < len(comparison.failed):
        parts.append("the training loss differs")
    if wrong:
        parts.append(f"{len(wrong)} of {_count(count, 'gradient')} differ, up to {comparison.largest_error:.2g}")
    if missing:
        parts.append(f"{_count(len(missing), 'gradient')} on one side only")
    return ", ".join(parts)


def _details(comparison: Comparison, missing: Sequence[Culprit]) -> tuple[str, ...]:
    lines = [
        pair.describe() if pair.name == TRAINING_LOSS else f"gradient of {pair.describe()}"
        for pair in comparison.failed
    ]
    return (*(f"gradient of {culprit.reference}: {culprit.cause}" for culprit in missing), *lines)


def _value(loss: np.ndarray | None) -> str:
    return "nothing" if loss is None else f"{float(loss):.9g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
