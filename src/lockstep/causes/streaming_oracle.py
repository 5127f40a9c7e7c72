"""What well-known metrics are, in NumPy's float64: to tell which one a side computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Weighted = Callable[["Data"], float]

THRESHOLDS = (0.5, 0.0, 0.25, 0.75, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)
_COUNTS = (200, 100, 50, 20, 10, 500, 1000)
_EPSILON = 1e-7
"""What Keras and `tf.metrics` put below 0 and above 1 at the ends of an AUC's thresholds."""


@dataclass(frozen=True)
class Data:
    """What a metric has seen.

    Attributes:
        labels: (rows,) or as the predictions, float64.
        predictions: (rows, ...) float64.
        weights: (rows,) float64.
    """

    labels: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Known:
    """One well-known metric: what it is called in a sentence, and how it is computed."""

    told: str
    value: Weighted


def known(data: Data) -> Iterator[Known]:
    """Yields the metrics that data of these shapes may have."""
    rows = len(data.predictions)
    classes = data.predictions.size // rows if rows else 0
    if data.labels.shape == data.predictions.shape or classes == 1:
        yield from _of_errors()
    if classes == 1 and set(np.unique(data.labels)) <= {0.0, 1.0}:
        yield from _binary()
    if data.predictions.ndim == 2 and classes > 1 and data.labels.size == rows:
        yield from _of_classes(classes)


def _of_errors() -> Iterator[Known]:
    def mean(of: Callable[[np.ndarray], np.ndarray]) -> Weighted:
        def value(data: Data) -> float:
            errors = of(data.labels.reshape(len(data.weights), -1) - data.predictions.reshape(len(data.weights), -1))
            return _mean(errors.mean(axis=1), data.weights)

        return value

    squares = mean(np.square)
    yield Known("the mean squared error", squares)
    yield Known("the root of the mean squared error", lambda data: float(np.sqrt(squares(data))))
    yield Known("the mean absolute error", mean(np.abs))


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return _divided(float(np.sum(values * weights)), float(np.sum(weights)))


def _divided(above: float, below: float) -> float:
    return above / below if below else 0.0


def _binary() -> Iterator[Known]:
    def counted(threshold: float, *, inclusive: bool) -> Callable[[Data], tuple[float, float, float, float]]:
        def counts(data: Data) -> tuple[float, float, float, float]:
            scores, labels = data.predictions.ravel(), data.labels.ravel() > 0.5
            said = scores >= threshold if inclusive else scores > threshold
            of = [said & labels, said & ~labels, ~said & labels, ~said & ~labels]
            tp, fp, fn, tn = (float(np.sum(data.weights[one])) for one in of)
            return tp, fp, fn, tn

        return counts

    kinds: dict[str, Callable[[float, float, float, float], float]] = {
        "accuracy": lambda tp, fp, fn, tn: _divided(tp + tn, tp + fp + fn + tn),
        "precision": lambda tp, fp, fn, tn: _divided(tp, tp + fp),  # noqa: ARG005
        "recall": lambda tp, fp, fn, tn: _divided(tp, tp + fn),  # noqa: ARG005
    }
    for kind, formula in kinds.items():
        for threshold in THRESHOLDS:
            for inclusive in (False, True):
                counts = counted(threshold, inclusive=inclusive)
                sign = ">=" if inclusive else ">"
                yield Known(
                    f"the {kind} of predictions {sign} {threshold:g}",
                    lambda data, counts=counts, formula=formula: formula(*counts(data)),  # type: ignore[misc]
                )
    for curve in ("ROC", "PR"):
        for count in _COUNTS:
            for interpolated in (False, True) if curve == "PR" else (False,):
                how = ", interpolated" if interpolated else ""
                yield Known(
                    f"the area under the {curve} curve with {count} thresholds{how}",
                    lambda data, given=(curve, count, interpolated): area(data, *given),  # type: ignore[misc]
                )


def area(data: Data, curve: str, count: int, interpolated: bool) -> float:
    """Returns the area under a curve through evenly spaced thresholds.

    Interpolated as of Davis and Goadrich, "The Relationship Between Precision-Recall and ROC Curves" (2006).

    Args:
        data: Binary labels, scores in [0, 1].
        curve: `"ROC"` or `"PR"`.
        count: How many thresholds.
        interpolated: Whether a PR curve is interpolated between its points, and not by trapezoids.
    """
    middle = np.arange(1, count - 1) / (count - 1)
    thresholds = np.concatenate([[-_EPSILON], middle, [1.0 + _EPSILON]])
    said = data.predictions.ravel()[None, :] > thresholds[:, None]
    positive = np.where(data.labels.ravel() > 0.5, data.weights, 0.0)
    tp, fp = said @ positive, said @ (data.weights - positive)
    with np.errstate(all="ignore"):
        recall = np.nan_to_num(tp / positive.sum())
        if curve == "ROC":
            x, y = np.nan_to_num(fp / (data.weights - positive).sum()), recall
            return float(np.sum((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2.0))
        precision = np.nan_to_num(tp / (tp + fp))
        if not interpolated:
            return float(np.sum((recall[:-1] - recall[1:]) * (precision[:-1] + precision[1:]) / 2.0))
        both = tp + fp
        slope = np.nan_to_num((tp[:-1] - tp[1:]) / np.maximum(both[:-1] - both[1:], 0.0), posinf=0.0, neginf=0.0)
        start = tp[1:] - slope * both[1:]
        ratio = np.where((both[:-1] > 0) & (both[1:] > 0), both[:-1] / both[1:], 1.0)
        parts = slope * ((tp[:-1] - tp[1:]) + start * np.log(ratio)) / positive.sum()
    return float(np.sum(np.nan_to_num(parts)))


def _of_classes(classes: int) -> Iterator[Known]:
    def top(count: int) -> Weighted:
        def value(data: Data) -> float:
            labels = data.labels.ravel().astype(int)
            valid = (labels >= 0) & (labels < classes)
            own = data.predictions[np.arange(len(labels)), np.where(valid, labels, 0)]
            right = valid & (np.sum(data.predictions > own[:, None], axis=1) < count)
            return _mean(right.astype(float), data.weights)

        return value

    yield Known("the accuracy of the largest prediction", top(1))
    for count in range(2, min(classes, 11)):
        yield Known(f"the accuracy of the {count} largest predictions", top(count))
    for kind, formula in (
        ("recall (accuracy)", lambda tp, said, real: _divided(tp, real)),  # noqa: ARG005
        ("precision", lambda tp, said, real: _divided(tp, said)),  # noqa: ARG005
        ("F1 score", lambda tp, said, real: _divided(2.0 * tp, said + real)),
    ):
        for present in (False, True):
            of = "classes that occur in the labels" if present else "classes"
            yield Known(
                f"the mean over {of} of each one's {kind}",
                lambda data, given=(formula, present): _by_class(data, classes, *given),  # type: ignore[misc]
            )


def _by_class(data: Data, classes: int, formula: Callable[[float, float, float], float], present: bool) -> float:
    labels, said = data.labels.ravel().astype(int), np.argmax(data.predictions, axis=1)
    found = []
    for number in range(classes):
        real, here = labels == number, said == number
        if real.any() or not present:
            sums = (float(np.sum(data.weights[one])) for one in (real & here, here, real))
            found.append(formula(*sums))
    return float(np.mean(found)) if found else 0.0
