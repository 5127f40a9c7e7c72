"""`compare_arrays` against a naive oracle: one element at a time, Python numbers, no screening and no blocks."""

import math
from fractions import Fraction
from unittest import mock

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lockstep.compare.metrics import blocks, compare_arrays, traversal

FLOATS = [np.dtype(d) for d in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ml_dtypes.float8_e5m2)]
INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)] + [np.dtype(bool)]
COMPLEXES = [np.dtype(np.complex64), np.dtype(np.complex128)]
TOLERANCES = st.sampled_from([0.0, 1e-12, 1e-7, 1e-3, 0.25, 1.0, 1e35]) | st.floats(0, 2)


# ------------------------------------------------------------------------------------------------------- the oracle


def steps_from_zero(value):
    """Rank of a float among its dtype's values: by its bits, or by listing them if they are few."""
    if value.dtype.itemsize == 1:
        values = np.arange(256, dtype=np.uint8).view(value.dtype).astype(float)
        finite = sorted({float(v) for v in values if not math.isnan(v)})
        return finite.index(float(value)) - finite.index(0.0)
    raw = int.from_bytes(value.tobytes(), "little")
    sign = 1 << (8 * value.dtype.itemsize - 1)
    return -(raw - sign) if raw & sign else raw


def ulps(one, other):
    if one.dtype.kind == "c":
        return max(ulps(one.real, other.real), ulps(one.imag, other.imag))
    return abs(steps_from_zero(one) - steps_from_zero(other))


def oracle(reference, candidate, rtol, atol):  # noqa: C901 - one branch for each rule of the documentation
    found = {
        "elements": reference.size, "finite_pairs": 0, "nan_mismatches": 0, "inf_mismatches": 0,
        "nonzero_at_zero_reference": 0, "beyond_tolerance": 0, "first_beyond_index": None, "max_abs_reference": 0,
        "max_abs_error": 0, "max_abs_index": None, "max_rel_error": 0.0, "max_rel_index": None, "max_ulp": 0,
    }  # fmt: skip
    kind = "c" if reference.dtype.kind == "c" else "i" if reference.dtype.kind in "biu" else "f"
    number = {"c": np.complex128, "i": int, "f": np.float64}[kind]
    errors, signed = [], []
    for index in np.ndindex(reference.shape):
        r, c = number(reference[index]), number(candidate[index])
        r_nan, c_nan = (kind != "i" and bool(np.isnan(x)) for x in (r, c))
        r_finite, c_finite = (kind == "i" or bool(np.isfinite(x)) for x in (r, c))
        if r_finite:
            found["max_abs_reference"] = max(found["max_abs_reference"], abs(r))
        beyond = False
        if r_finite and c_finite:
            found["finite_pairs"] += 1
            error, scale = abs(c - r), abs(r)
            errors.append(float(error))
            signed.append(c - r)
            if error > found["max_abs_error"]:
                found["max_abs_error"], found["max_abs_index"] = error, index
            if scale and float(error) / float(scale) > found["max_rel_error"]:
                found["max_rel_error"], found["max_rel_index"] = float(error) / float(scale), index
            found["nonzero_at_zero_reference"] += bool(error and not scale)
            if kind != "i":
                found["max_ulp"] = max(found["max_ulp"], ulps(reference[index], candidate[index]))
            limit = atol + rtol * float(scale)
            beyond = Fraction(error) > Fraction(limit) if kind == "i" and math.isfinite(limit) else error > limit
        elif r_nan != c_nan:
            found["nan_mismatches"] += 1
            beyond = True
        elif not r_nan and r != c:
            found["inf_mismatches"] += 1
            beyond = True
        found["beyond_tolerance"] += bool(beyond)
        if beyond and found["first_beyond_index"] is None:
            found["first_beyond_index"] = index
    if kind == "i":
        found["max_ulp"] = None
    count = max(found["finite_pairs"], 1)
    means = {
        "mean_abs_error": sum(errors) / count,
        "rms_error": math.sqrt(sum(e * e for e in errors) / count),
        "mean_signed_error": sum(signed) / count,
    }
    found["bit_equal"] = (
        reference.astype(reference.dtype.newbyteorder("=")).tobytes()
        == candidate.astype(candidate.dtype.newbyteorder("=")).tobytes()
    )
    return found, means


# -------------------------------------------------------------------------------------------------------- strategies


@st.composite
def pairs(draw, dtypes):
    """A pair of equal dtype: near each other, unrelated, or any bits at all (NaN, infinity, subnormal numbers)."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))

    def any_bits():
        size = math.prod(shape) * dtype.itemsize
        raw = generator.integers(0, 256, size, dtype=np.uint8)
        return (raw & 1).view(bool).reshape(shape) if dtype.kind == "b" else raw.view(dtype).reshape(shape)

    def ordinary():
        values = generator.standard_normal(shape) * 10.0 ** draw(st.integers(-3, 2))
        return np.asarray(values).astype(dtype)

    reference = any_bits() if draw(st.booleans()) else ordinary()
    match draw(st.sampled_from(["same", "near", "sparse", "unrelated", "bits"])):
        case "same":
            candidate = reference.copy()
        case "near" if dtype.kind != "b" and dtype.kind != "c":
            jitter = generator.integers(-3, 4, shape).astype(f"i{dtype.itemsize}")
            candidate = (np.asarray(reference).view(jitter.dtype) + jitter).view(dtype)
        case "bits":
            candidate = any_bits()
        case "unrelated":
            candidate = ordinary()
        case _:
            candidate = np.where(generator.random(shape) < 0.1, ordinary(), reference).astype(dtype)
    zeros = draw(st.sampled_from([0.0, 0.3]))
    specials = draw(st.lists(st.sampled_from([math.nan, math.inf, -math.inf, -0.0]), max_size=2))
    sides = [np.array(reference), np.array(candidate)]
    for side in sides:
        side[generator.random(shape) < zeros] = 0
    for special in specials if dtype.kind not in "biu" else []:
        for side in draw(st.sampled_from([sides[:1], sides[1:], sides])):
            side[generator.random(shape) < 0.1] = special
    return sides[0], sides[1]


def views(array, how):
    """The same values in another layout."""
    if how == "fortran" and array.ndim:  # NumPy would make a 0-d array 1-d
        return np.asfortranarray(array)
    if how == "strided" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        wide[..., 1::2] = array
        return wide[..., 1::2]
    if how == "reversed" and array.ndim:
        return np.array(array[::-1])[::-1]
    if how == "swapped" and array.dtype.kind in "fciu" and array.dtype.itemsize > 1:
        return array.astype(array.dtype.newbyteorder(">"))
    return array


LAYOUTS = st.sampled_from(["plain", "fortran", "strided", "reversed", "swapped"])


def assert_as_the_oracle(pair, layouts, tolerances, block, threads):
    reference, candidate = (views(array, how) for array, how in zip(pair, layouts, strict=True))
    rtol, atol = tolerances
    small = mock.patch.multiple(blocks, _BLOCK=block, _PIECE=max(1, block // 3))
    threaded = mock.patch.multiple(traversal, _PARALLEL_FROM=0, _cores=lambda: threads)
    with small, threaded:
        figures = compare_arrays(reference, candidate, rtol=rtol, atol=atol)
    with np.errstate(all="ignore"):
        expected, means = oracle(*pair, rtol, atol)
    # NumPy's vectorised complex modulus and its scalar one differ in the last bit.
    rounded = 1e-15 if pair[0].dtype.kind == "c" else 0
    for name, value in expected.items():
        got = getattr(figures, name)
        if rounded and isinstance(value, float):
            assert got == pytest.approx(value, rel=rounded, abs=0), name
        elif not (rounded and name in ("max_abs_index", "max_rel_index", "beyond_tolerance", "first_beyond_index")):
            assert got == value, name
    if expected["max_abs_index"] is not None and not rounded:
        where = expected["max_abs_index"]
        assert figures.max_abs_values == (pair[0][where], pair[1][where])
    scale = means["mean_abs_error"]
    if math.isfinite(means["rms_error"]) and scale < 1e300:
        assert figures.mean_abs_error == pytest.approx(scale, rel=1e-5, abs=0)
        assert figures.rms_error == pytest.approx(means["rms_error"], rel=1e-5, abs=1e-160)
        assert abs(figures.mean_signed_error - means["mean_signed_error"]) <= 1e-5 * scale


SETTINGS = settings(max_examples=300, deadline=None)
EVEN_BLOCKS = st.sampled_from([2, 6, 64, 5000])


@SETTINGS
@given(
    pairs(FLOATS), st.tuples(LAYOUTS, LAYOUTS), st.tuples(TOLERANCES, TOLERANCES), EVEN_BLOCKS, st.sampled_from([1, 3])
)
def test_floats_agree_with_the_oracle(pair, layouts, tolerances, block, threads):
    assert_as_the_oracle(pair, layouts, tolerances, block, threads)


@SETTINGS
@given(
    pairs(INTEGERS),
    st.tuples(LAYOUTS, LAYOUTS),
    st.tuples(TOLERANCES, TOLERANCES),
    EVEN_BLOCKS,
    st.sampled_from([1, 3]),
)
def test_integers_agree_with_the_oracle(pair, layouts, tolerances, block, threads):
    assert_as_the_oracle(pair, layouts, tolerances, block, threads)


@settings(max_examples=150, deadline=None)
@given(
    pairs(COMPLEXES),
    st.tuples(LAYOUTS, LAYOUTS),
    st.tuples(TOLERANCES, TOLERANCES),
    EVEN_BLOCKS,
    st.sampled_from([1, 3]),
)
def test_complexes_agree_with_the_oracle(pair, layouts, tolerances, block, threads):
    assert_as_the_oracle(pair, layouts, tolerances, block, threads)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FLOATS[:4]),
    st.integers(0, 2**32),
    st.integers(4000, 20_000),
    st.floats(1e-9, 2).filter(lambda noise: noise > 0),
    st.sampled_from([0, 1e-30, 1e-3, 1e30]),
    TOLERANCES,
)
def test_large_blocks_agree_with_plain_numpy(dtype, seed, size, noise, rare, rtol):
    """The row sums, the margins and the thresholds only come into play with many elements."""
    generator = np.random.default_rng(seed)
    wide = generator.standard_normal(size)
    wide[generator.random(size) < 0.01] *= rare
    with np.errstate(over="ignore"):
        reference = wide.astype(dtype)
        candidate = (wide * (1 + noise * generator.standard_normal(size))).astype(dtype)
    figures = compare_arrays(reference, candidate, rtol=rtol, atol=1e-3 * rtol)
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    with np.errstate(all="ignore"):
        finite = np.isfinite(r) & np.isfinite(c)
        error = np.where(finite, np.abs(c - r), 0)
        relative = np.where(finite & (r != 0), error / np.abs(r), 0)
        beyond = (error > 1e-3 * rtol + rtol * np.abs(r)) | (~finite & (r != c) & ~(np.isnan(r) & np.isnan(c)))
    assert figures.max_abs_error == error.max()
    assert figures.max_abs_index == ((error.argmax(),) if error.any() else None)
    assert figures.max_rel_error == relative.max()
    assert figures.max_rel_index == ((relative.argmax(),) if relative.any() else None)
    assert figures.beyond_tolerance == beyond.sum()
    assert figures.first_beyond_index == ((beyond.argmax(),) if beyond.any() else None)
    assert figures.nonzero_at_zero_reference == (finite & (r == 0) & (c != 0)).sum()
    assert figures.max_abs_reference == np.abs(r[np.isfinite(r)]).max()
    assert figures.mean_abs_error == pytest.approx(error.sum() / finite.sum(), rel=1e-6, abs=0)
    assert figures.rms_error == pytest.approx(math.sqrt(np.square(error).sum() / finite.sum()), rel=1e-6, abs=0)
    bits = f"i{reference.dtype.itemsize}"
    signed = [side.view(bits).astype(object) for side in (reference[finite], candidate[finite])]
    minimum = int(np.iinfo(bits).min)
    ranks = [np.where(side < 0, minimum - side, side) for side in signed]
    assert figures.max_ulp == max(abs(ranks[0] - ranks[1]))


@settings(max_examples=100, deadline=None)
@given(pairs(FLOATS), st.sampled_from(FLOATS + INTEGERS))
def test_mixed_dtypes_are_compared_in_the_wider(pair, other):
    reference = pair[0]
    with np.errstate(all="ignore"):
        candidate = np.nan_to_num(pair[1].astype(np.float64), posinf=100, neginf=-100).clip(0, 100).astype(other)
        figures = compare_arrays(reference, candidate)
        r, c = reference.astype(np.float64), candidate.astype(np.float64)
        error = np.where(np.isfinite(r), np.abs(c - r), 0)
    assert figures.max_abs_error == error.max(initial=0)
    assert figures.beyond_tolerance == np.count_nonzero(~((r == c) | (np.isnan(r) & np.isnan(c))))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_texts_agree_with_python(data):
    words = st.lists(st.text(max_size=3), max_size=20)
    ours = data.draw(words)
    theirs = [data.draw(st.sampled_from([word, word + "x"])) for word in ours]
    encode = data.draw(st.booleans())
    reference = np.array(ours, dtype=object)
    candidate = np.array([word.encode("utf-8", "surrogatepass") if encode else word for word in theirs], dtype=object)
    unequal = [i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]
    figures = compare_arrays(reference, candidate)
    assert figures.beyond_tolerance == len(unequal)
    assert figures.first_beyond_index == ((unequal[0],) if unequal else None)
    assert figures.bit_equal == (not unequal)
