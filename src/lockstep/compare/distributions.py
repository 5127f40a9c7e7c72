"""Whether two variables' initial values come from the same distribution, whatever the seeds."""

from __future__ import annotations

import math

import numpy as np

_SAMPLE = 20_000
_ENOUGH = 100
_STANDARD_ERRORS = 6.5

# Chance of calling two samples of one distribution different. A network of a thousand variables then raises a
# false alarm in one check of a million.
_ALPHA = 1e-9


def describe(values: np.ndarray) -> str:
    """`constant 0`, or `mean 0.00012, deviation 0.05, from -0.1 to 0.1`.

    >>> describe(np.zeros(3, np.float32))
    'constant 0'
    """
    if values.size == 0:
        return "empty"
    if values.dtype.kind not in "fiubc":
        return f"{values.size} values of {values.dtype.name}"
    if np.all(values == values.flat[0]):
        return f"constant {values.flat[0]:g}"
    wide = _sample(values).astype(np.complex128 if values.dtype.kind == "c" else np.float64)
    if wide.dtype.kind == "c":
        return f"mean {wide.mean():.3g}, deviation {wide.std():.3g}"
    return f"mean {wide.mean():.3g}, deviation {wide.std():.3g}, from {wide.min():.3g} to {wide.max():.3g}"


def same_distribution(reference: np.ndarray, candidate: np.ndarray) -> bool:
    """Tells whether two sets of initial values may come from one distribution.

    Constants must be equal. Otherwise the two-sample Kolmogorov-Smirnov test decides, with the asymptotic
    bound `D <= sqrt(-ln(alpha / 2) / 2) * sqrt((n + m) / (n m))` (Smirnov, 1948) at alpha = 1e-9, over at most
    20,000 values a side. It sees the shape of a distribution; a wrong scale or mean it sees late, so from 100
    values on both have to agree as well, within 6.5 of their own standard errors (two-sided chance 8e-11; the
    error of a deviation from the sample's kurtosis: Kendall and Stuart, vol. 1, section 10.8). A handful of values
    says little, and passes.
    """
    if reference.size == 0 or candidate.size == 0:
        return reference.size == candidate.size
    if reference.dtype.kind not in "fiub" or candidate.dtype.kind not in "fiub":
        return True
    constant = [bool(np.all(a == a.flat[0])) for a in (reference, candidate)]
    if all(constant):
        # A single value may be a draw; two equal ones or more are a constant.
        return reference.size == 1 or bool(reference.flat[0] == candidate.flat[0])
    if any(constant):
        return min(reference.size, candidate.size) == 1
    a, b = (np.sort(_sample(x).astype(np.float64)) for x in (reference, candidate))
    if min(a.size, b.size) >= _ENOUGH and not _same_moments(a, b):
        return False
    both = np.concatenate([a, b])
    distance = np.abs(np.searchsorted(a, both, "right") / a.size - np.searchsorted(b, both, "right") / b.size).max()
    bound = math.sqrt(-math.log(_ALPHA / 2) / 2) * math.sqrt((a.size + b.size) / (a.size * b.size))
    return bool(distance <= bound)


def _same_moments(a: np.ndarray, b: np.ndarray) -> bool:
    means, deviations = (a.mean(), b.mean()), (a.std(), b.std())
    of_mean = math.hypot(deviations[0] / math.sqrt(a.size), deviations[1] / math.sqrt(b.size))
    of_logarithm = math.hypot(*(math.sqrt((_kurtosis(x) - 1.0) / (4.0 * x.size)) for x in (a, b)))
    same_mean = abs(means[0] - means[1]) <= _STANDARD_ERRORS * of_mean
    return bool(same_mean and abs(math.log(deviations[0] / deviations[1])) <= _STANDARD_ERRORS * of_logarithm)


def _kurtosis(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float(np.mean(centred**4) / np.mean(centred**2) ** 2)


def _sample(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // _SAMPLE)]
