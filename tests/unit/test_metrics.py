"""`compare_arrays`: every figure has a case here in which a wrong value is noticed."""

import dataclasses
import math
import subprocess
import sys
import tracemalloc
from unittest import mock

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.common.errors import InputError
from lockstep.compare.metrics import Extent, Figures, blocks, compare_arrays, measure_extent, traversal
from lockstep.compare.metrics.plan import make_plan
from lockstep.compare.pairs import TensorComparison, compare_tensor
from lockstep.compare.tolerance import FixedTolerance

NAN, INF = math.nan, math.inf
TINY_FLOATS = [
    np.dtype(getattr(ml_dtypes, name)) for name in dir(ml_dtypes) if name.startswith(("float8_", "float6_", "float4_"))
]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def differing(size, dtype=np.float32, noise=1e-6, seed=0):
    generator = np.random.default_rng(seed)
    reference = generator.standard_normal(size)
    return reference.astype(dtype), (reference * (1 + noise * generator.standard_normal(size))).astype(dtype)


class TestErrors:
    def test_every_figure_of_a_small_case(self):
        reference = np.float32([[1, -2, 0], [4, 0, 8]])
        candidate = np.float32([[1, -2.5, 0], [3, 0.25, 8]])
        figures = compare_arrays(reference, candidate, rtol=0.2, atol=0.1)
        assert figures == Figures(
            elements=6,
            finite_pairs=6,
            bit_equal=False,
            max_abs_error=1.0,
            max_abs_index=(1, 0),
            max_abs_values=(4.0, 3.0),
            max_rel_error=0.25,
            max_rel_index=(0, 1),
            nonzero_at_zero_reference=1,
            max_ulp=0x3E800000,  # from 0 to 0.25 float32 counts as many steps as 0.25 has in its bits
            beyond_tolerance=2,  # 1 > 0.1 + 0.2 * 4 and 0.25 > 0.1, but not 0.5 > 0.1 + 0.2 * 2
            first_beyond_index=(1, 0),
            nan_mismatches=0,
            inf_mismatches=0,
            mean_abs_error=1.75 / 6,
            mean_signed_error=-1.25 / 6,
            rms_error=math.sqrt((0.25 + 1 + 0.0625) / 6),
            max_abs_reference=8.0,
            reference_dtype="float32",
            candidate_dtype="float32",
            common_dtype="float32",
            ulp_dtype="float32",
            rtol=0.2,
            atol=0.1,
        )

    def test_the_error_of_far_apart_float32_values_is_not_rounded_to_float32(self):
        figures = compare_arrays(np.float32([2**25]), np.float32([-1]))
        assert figures.max_abs_error == 2**25 + 1

    def test_of_errors_that_float32_cannot_tell_apart_the_larger_one_is_found(self):
        figures = compare_arrays(np.float32([2**25] * 3), np.float32([-1, -2, -1]))
        assert (figures.max_abs_error, figures.max_abs_index) == (2**25 + 2, (1,))

    @pytest.mark.parametrize("block", [7, 5000])
    @pytest.mark.parametrize("factor", [1.1, -0.3])  # differences that float32 holds exactly, and that it rounds
    def test_of_quotients_that_float32_cannot_tell_apart_the_larger_one_is_found(self, block, factor):
        fooled = 0
        for seed in range(40):
            reference = np.random.default_rng(seed).uniform(1, 8, 500).astype(np.float32)
            candidate = reference * np.float32(factor)
            exact = np.abs(candidate.astype(float) - reference) / reference
            fooled += exact.argmax() != (np.abs(candidate - reference) / reference).argmax()
            with mock.patch.object(blocks, "_BLOCK", block):
                figures = compare_arrays(reference, candidate)
            assert (figures.max_rel_error, figures.max_rel_index) == (exact.max(), (exact.argmax(),))
        assert fooled > 5

    def test_errors_that_float32_cannot_tell_apart_are_found_across_blocks(self):
        with mock.patch.object(blocks, "_BLOCK", 1):
            figures = compare_arrays(np.float32([2**25] * 3), np.float32([-1, -2, -1]))
        assert (figures.max_abs_error, figures.max_abs_index) == (2**25 + 2, (1,))

    def test_a_difference_beyond_float32_is_still_finite(self):
        figures = compare_arrays(np.float32([3e38, 1]), np.float32([-3e38, 1]))
        assert figures.max_abs_error == float(np.float32(3e38)) * 2
        assert figures.finite_pairs == 2
        assert figures.inf_mismatches == 0

    def test_huge_errors_that_cancel_in_the_sum_do_not_overflow_the_means(self):
        reference = np.zeros(4096, np.float32)
        candidate = np.tile(np.float32([1e38, -1e38]), 2048)
        figures = compare_arrays(reference, candidate)
        assert figures.mean_signed_error == 0
        assert figures.mean_abs_error == pytest.approx(1e38, rel=1e-6, abs=0)
        assert figures.rms_error == pytest.approx(1e38, rel=1e-6, abs=0)

    def test_squares_of_large_float32_errors_do_not_overflow(self):
        figures = compare_arrays(np.zeros(2000, np.float32), np.full(2000, 1e20, np.float32))
        assert figures.rms_error == pytest.approx(1e20, rel=1e-6, abs=0)

    def test_squares_of_tiny_float32_errors_do_not_vanish(self):
        figures = compare_arrays(np.zeros(2000, np.float32), np.full(2000, 1e-30, np.float32))
        assert figures.rms_error == pytest.approx(1e-30, rel=1e-6, abs=0)

    def test_the_reference_scales_the_relative_error(self):
        assert compare_arrays(np.float32([4]), np.float32([5])).max_rel_error == 0.25
        assert compare_arrays(np.float32([5]), np.float32([4])).max_rel_error == 1 / 5

    def test_zero_references_are_counted_and_do_not_hide_other_quotients(self):
        figures = compare_arrays(np.float32([0, 0, -0.0, 8]), np.float32([0, 1e-30, 2, 9]))
        assert (figures.max_rel_error, figures.max_rel_index) == (0.125, (3,))
        assert figures.nonzero_at_zero_reference == 2

    def test_a_quotient_beyond_float32_is_found_exactly(self):
        reference, candidate = np.float32([1e-30, 2e-30, 0]), np.float32([1e30, 3e30, 1])
        figures = compare_arrays(reference, candidate)
        assert figures.max_rel_error == (float(candidate[1]) - float(reference[1])) / float(reference[1])
        assert figures.max_rel_index == (1,)

    def test_equal_arrays_have_no_indices(self):
        array = differing(5000)[0]
        figures = compare_arrays(array, array.copy())
        assert figures.bit_equal
        assert (figures.max_abs_error, figures.max_rel_error, figures.max_ulp, figures.rms_error) == (0, 0, 0, 0)
        assert (figures.max_abs_index, figures.max_rel_index, figures.max_abs_values) == (None, None, None)
        assert figures.max_abs_reference == np.abs(array).max()

    @pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64, np.int32, np.complex64])
    def test_ties_go_to_the_first_element(self, dtype):
        reference = np.ones(40_000, dtype)
        candidate = reference.copy()
        candidate[[17, 18_000, 39_999]] = 2
        with mock.patch.object(blocks, "_BLOCK", 1000):
            figures = compare_arrays(reference, candidate)
        assert figures.max_abs_index == figures.max_rel_index == figures.first_beyond_index == (17,)

    def test_means_keep_float64_accuracy_over_many_elements(self):
        reference, candidate = differing(1_000_003, noise=1e-3)
        error = candidate.astype(float) - reference.astype(float)
        figures = compare_arrays(reference, candidate)
        scale = np.abs(error).mean()
        assert figures.mean_abs_error == pytest.approx(scale, rel=1e-7, abs=0)
        assert figures.rms_error == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-6, abs=0)
        assert abs(figures.mean_signed_error - error.mean()) < 1e-8 * scale

    def test_the_bias_is_positive_where_the_candidate_is_too_large(self):
        assert compare_arrays(np.float64([1, 1]), np.float64([1.5, 1])).mean_signed_error == 0.25


class TestTolerance:
    def test_the_reference_scales_the_tolerance(self):
        assert compare_arrays(np.float64([10]), np.float64([11]), rtol=0.095).beyond_tolerance == 1
        assert compare_arrays(np.float64([11]), np.float64([10]), rtol=0.095).beyond_tolerance == 0

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.complex64])
    def test_an_error_equal_to_the_limit_is_within(self, dtype):
        assert compare_arrays(np.array([2], dtype), np.array([3], dtype), rtol=0.25, atol=0.5).beyond_tolerance == 0
        assert compare_arrays(np.array([2], dtype), np.array([3], dtype), rtol=0.25, atol=0.4999).beyond_tolerance == 1

    @pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64])
    @pytest.mark.parametrize(("rtol", "atol"), [(1e-6, 0), (0, 1e-6), (1e-7, 1e-7), (1e-3, 1e-9), (1e-40, 1e-36)])
    def test_counts_are_those_of_float64(self, dtype, rtol, atol):
        reference, candidate = differing(30_000, dtype)
        reference[:500] = 0
        wide = reference.astype(float), candidate.astype(float)
        beyond = np.abs(wide[0] - wide[1]) > atol + rtol * np.abs(wide[0])
        figures = compare_arrays(reference, candidate, rtol=rtol, atol=atol)
        assert figures.beyond_tolerance == beyond.sum() > 0
        assert figures.first_beyond_index == (beyond.argmax(),)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_only_the_largest_errors_are_beyond_a_tolerance_just_below_them(self, dtype):
        reference, candidate = differing(5000, dtype)
        error = np.sort(np.abs(reference.astype(float) - candidate))
        assert compare_arrays(reference, candidate, atol=error[-2]).beyond_tolerance == 1
        assert compare_arrays(reference, candidate, atol=error[-1]).beyond_tolerance == 0

    @pytest.mark.parametrize("atol", [0, 0.01])
    def test_limits_that_float32_rounds_are_decided_in_float64(self, atol):
        fooled = 0
        for seed in range(20):
            reference = np.random.default_rng(seed).uniform(1, 8, 5000).astype(np.float32)
            candidate = reference * np.float32(1.1) + np.float32(atol)
            error, scale = np.abs(reference.astype(float) - candidate), reference.astype(float)
            rtol = float(np.quantile((error - atol) / scale, 0.1 + seed / 25))
            beyond = error > atol + rtol * scale
            narrow = np.abs(reference - candidate) > np.float32(atol) + np.float32(rtol) * reference
            fooled += beyond.sum() != narrow.sum()
            assert compare_arrays(reference, candidate, rtol=rtol, atol=atol).beyond_tolerance == beyond.sum()
        assert fooled > 5

    @pytest.mark.parametrize("rtol", [1e-7, 3e-7, 1e-6])
    def test_subnormal_limits_are_decided_in_float64(self, rtol):
        generator = np.random.default_rng(0)
        reference = generator.uniform(1e-39, 2e-38, 5000).astype(np.float32)
        candidate = reference + generator.integers(0, 9, 5000).astype(np.float32) * np.float32(2.0**-149)
        beyond = np.abs(reference.astype(float) - candidate) > rtol * reference.astype(float)
        assert 0 < beyond.sum() < beyond.size
        assert compare_arrays(reference, candidate, rtol=rtol).beyond_tolerance == beyond.sum()

    def test_tolerances_beyond_float32_are_no_infinity(self):
        reference, candidate = np.float32([0, 1e-44, 1, 5]), np.float32([1, 1e20, 1e20, 6])
        assert compare_arrays(reference, candidate, rtol=1e39).beyond_tolerance == 2
        assert compare_arrays(reference, candidate, rtol=1e39, atol=1e39).beyond_tolerance == 0

    @pytest.mark.parametrize("tolerance", [-1e-9, NAN, INF])
    @pytest.mark.parametrize("name", ["rtol", "atol"])
    def test_a_tolerance_that_is_no_tolerance_is_refused(self, name, tolerance):
        with pytest.raises(InputError, match=f"^{name} is "):
            compare_arrays(np.zeros(1), np.zeros(1), **{name: tolerance})


class TestNotFinite:
    @pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64, np.complex64, np.complex128])
    def test_every_meeting_of_nan_infinity_and_numbers(self, dtype):
        reference = np.array([NAN, NAN, 1.0, NAN, INF, INF, INF, 2.0, INF, 3.0]).astype(dtype)
        candidate = np.array([NAN, 1.0, NAN, INF, INF, -INF, 2.0, INF, NAN, 3.5]).astype(dtype)
        figures = compare_arrays(reference, candidate, rtol=100, atol=100)
        assert figures.nan_mismatches == 4
        assert figures.inf_mismatches == 3
        assert figures.beyond_tolerance == 7
        assert figures.first_beyond_index == (1,)
        assert figures.finite_pairs == 1
        assert (figures.max_abs_error, figures.max_abs_index) == (0.5, (9,))
        assert (figures.mean_abs_error, figures.rms_error, figures.mean_signed_error) == (0.5, 0.5, 0.5)
        assert figures.max_abs_reference == 3.0
        assert figures.max_ulp == compare_arrays(reference[9:], candidate[9:]).max_ulp > 0

    def test_the_reference_counts_for_its_scale_where_the_candidate_is_nan(self):
        assert compare_arrays(np.float32([7, 1]), np.float32([NAN, 1])).max_abs_reference == 7

    def test_equal_nan_and_infinity_are_within_zero_tolerance(self):
        array = np.float32([NAN, INF, -INF, 1])
        figures = compare_arrays(array, array.copy())
        assert figures.beyond_tolerance == 0
        assert figures.bit_equal

    def test_an_infinity_deep_inside_a_large_array_is_found(self):
        reference, candidate = differing(300_000)
        candidate[256_789] = -INF
        figures = compare_arrays(reference, candidate, rtol=1)
        assert figures.first_beyond_index == (256_789,)
        assert figures.finite_pairs == 299_999

    def test_bits_tell_zeros_and_nan_payloads_apart(self):
        zeros = compare_arrays(np.float32([0.0]), np.float32([-0.0]))
        assert not zeros.bit_equal
        assert (zeros.beyond_tolerance, zeros.max_ulp) == (0, 0)
        payload = np.uint32([0x7FC00001]).view(np.float32)
        assert not compare_arrays(np.float32([NAN]), payload).bit_equal

    def test_a_complex_infinity_must_be_equal_as_a_whole(self):
        figures = compare_arrays(
            np.array([complex(INF, 1), complex(INF, 1)]), np.array([complex(INF, 1), complex(INF, 2)])
        )
        assert (figures.inf_mismatches, figures.first_beyond_index) == (1, (1,))


class TestUlp:
    @pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64])
    @pytest.mark.parametrize("value", [1.0, 2.0, -1.0, 3.7, 0.0, 1e-5, -255.0])
    def test_steps_of_nextafter(self, dtype, value):
        start = np.array([value]).astype(dtype)
        step = ml_dtypes_nextafter if dtype is BFLOAT16 else np.nextafter
        place = start
        for steps in range(1, 6):
            place = step(place, np.array([100.0]).astype(dtype))
            assert compare_arrays(start, place).max_ulp == steps
            assert compare_arrays(place, start).max_ulp == steps

    @pytest.mark.parametrize("dtype", TINY_FLOATS, ids=str)
    def test_small_formats_count_their_own_values(self, dtype):
        with np.errstate(invalid="ignore"):
            values = np.arange(256, dtype=np.uint8).view(dtype)
            wide = values.astype(np.float32)
        order = sorted(set(wide[np.isfinite(wide)].tolist()))
        array = np.array(order, np.float32).astype(dtype)
        figures = compare_arrays(array[:-1], array[1:])
        assert figures.max_ulp == 1
        assert compare_arrays(array[:1], array[-1:]).max_ulp == len(order) - 1
        assert figures.max_abs_error == np.diff(order).max()
        assert (figures.common_dtype, figures.ulp_dtype) == (dtype.name, dtype.name)

    @pytest.mark.parametrize(("dtype", "bits"), [(np.float32, 0x7F7FFFFF), (np.float64, 0x7FEFFFFFFFFFFFFF)])
    def test_across_zero_the_steps_of_both_sides_add_up(self, dtype, bits):
        largest = np.finfo(dtype).max
        assert compare_arrays(np.array([largest]), np.array([-largest])).max_ulp == 2 * bits
        smallest = np.finfo(dtype).smallest_subnormal
        assert compare_arrays(np.array([smallest]), np.array([-smallest])).max_ulp == 2

    def test_the_largest_distance_need_not_be_at_the_largest_relative_error(self):
        reference = np.float32([1.0, 1.99])  # the same steps are a larger quotient just above a power of two
        candidate = np.float32([1 + 3 * 2.0**-23, np.float32(1.99) + 5 * np.float32(2.0**-23)])
        figures = compare_arrays(reference, candidate)
        assert (figures.max_rel_index, figures.max_ulp) == ((0,), 5)

    def test_mixed_dtypes_count_in_the_narrower_one(self):
        figures = compare_arrays(np.float64([1.0, 2.0]), np.float32([1.0, 2.0 + 2.0**-22]))
        assert (figures.ulp_dtype, figures.common_dtype, figures.max_ulp) == ("float32", "float64", 1)
        figures = compare_arrays(np.array([1.0], BFLOAT16), np.float16([1.01]))
        assert (figures.ulp_dtype, figures.common_dtype) == ("bfloat16", "float32")
        assert figures.max_abs_error == float(np.float16(1.01)) - 1

    def test_complex_takes_the_larger_part(self):
        figures = compare_arrays(np.complex64([1 + 1j]), np.complex64([complex(1 + 2**-23, 1 + 3 * 2**-23)]))
        assert (figures.max_ulp, figures.ulp_dtype) == (3, "float32")
        figures = compare_arrays(np.complex64([1 + 1j]), np.complex64([complex(1 + 4 * 2**-23, 1)]))
        assert figures.max_ulp == 4


def ml_dtypes_nextafter(start, towards):
    bits = start.view(np.int16).copy()
    upwards = (towards > start) == (start >= 0)
    bits[0] = 1 if start[0] == 0 else bits[0] + (1 if upwards[0] else -1)
    return bits.view(BFLOAT16)


class TestIntegers:
    def test_int64_differences_neither_overflow_nor_round(self):
        reference, candidate = np.int64([-(2**63), 2**62]), np.int64([2**63 - 1, 2**62 + 1])
        figures = compare_arrays(reference, candidate)
        assert figures.max_abs_error == 2**64 - 1
        assert figures.max_abs_values == (-(2**63), 2**63 - 1)
        assert figures.max_abs_reference == 2**63
        assert compare_arrays(reference[1:], candidate[1:]).max_abs_error == 1
        assert figures.mean_signed_error == 2.0**63

    def test_integer_errors_meet_the_limit_without_rounding(self):
        reference, candidate = np.int64([0]), np.int64([2**53 + 1])
        assert compare_arrays(reference, candidate, atol=2.0**53).beyond_tolerance == 1
        assert compare_arrays(reference, candidate, atol=2.0**53 + 2).beyond_tolerance == 0
        assert compare_arrays(reference, candidate, atol=1e30).beyond_tolerance == 0
        assert compare_arrays(np.uint64([0]), np.uint64([2**64 - 1]), atol=2.0**63 + 2.0**12).beyond_tolerance == 1

    def test_uint64(self):
        figures = compare_arrays(np.uint64([2**64 - 1, 5]), np.uint64([0, 7]))
        assert (figures.max_abs_error, figures.max_abs_reference) == (2**64 - 1, 2**64 - 1)
        assert compare_arrays(np.uint64([5]), np.uint64([7])).mean_signed_error == 2

    def test_int64_against_uint64_uses_python_integers(self):
        figures = compare_arrays(np.int64([-(2**63), 1]), np.uint64([2**64 - 1, 2]), rtol=0.5)
        assert figures.max_abs_error == 2**64 - 1 + 2**63
        assert figures.common_dtype == "object"
        assert figures.beyond_tolerance == 2
        assert not figures.bit_equal
        assert type(figures.max_abs_error) is int

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
    def test_the_ends_of_each_dtype(self, dtype):
        ends = np.iinfo(dtype)
        figures = compare_arrays(np.array([ends.min], dtype), np.array([ends.max], dtype))
        assert figures.max_abs_error == ends.max - ends.min
        assert figures.max_ulp is None
        assert figures.ulp_dtype is None

    def test_bool(self):
        figures = compare_arrays(np.array([True, False, True]), np.array([True, True, False]))
        assert (figures.max_abs_error, figures.max_abs_index, figures.max_abs_values) == (1, (1,), (False, True))
        assert (figures.beyond_tolerance, figures.mean_abs_error) == (2, 2 / 3)
        assert compare_arrays(np.array([True]), np.array([True])).bit_equal

    def test_four_bit_integers(self):
        figures = compare_arrays(np.array([-8, 1]).astype(ml_dtypes.int4), np.array([7, 1]).astype(ml_dtypes.int4))
        assert (figures.max_abs_error, figures.max_abs_values) == (15, (-8, 7))

    def test_integer_against_floating(self):
        figures = compare_arrays(np.int32([1, 2]), np.float32([1, 2.5]))
        assert (figures.max_abs_error, figures.max_abs_index, figures.bit_equal) == (0.5, (1,), False)
        assert (figures.common_dtype, figures.ulp_dtype, figures.max_ulp) == ("float64", "float32", 2**21)


class TestComplex:
    def test_the_modulus_of_the_difference(self):
        figures = compare_arrays(np.complex64([1, 6 + 8j]), np.complex64([1, 9 + 4j]), rtol=0.5)
        assert (figures.max_abs_error, figures.max_rel_error, figures.max_abs_reference) == (5, 0.5, 10)
        assert figures.mean_signed_error == complex(1.5, -2)
        assert figures.max_abs_values == (6 + 8j, 9 + 4j)
        assert figures.beyond_tolerance == 0


class TestText:
    @pytest.mark.parametrize(
        "pair",
        [
            (np.array(["a", "b", "ä"]), np.array(["a", "x", "o"])),
            (np.array([b"a", b"b", b"c"]), np.array([b"a", b"xyz", b"d"])),
            (np.array([b"a", b"b", b"c"], object), np.array(["a", "c", "d"], object)),
            (np.array(["a", "b", "ä"]), np.array([b"a", b"b ", b"\xc3"], object)),
        ],
    )
    def test_unequal_texts_are_counted(self, pair):
        figures = compare_arrays(*pair, rtol=5, atol=5)
        assert (figures.beyond_tolerance, figures.first_beyond_index) == (2, (1,))
        assert (figures.max_abs_error, figures.mean_abs_error, figures.bit_equal) == (1, 2 / 3, False)
        assert figures.max_abs_values == (pair[0][1], pair[1][1])
        assert (figures.max_ulp, figures.nonzero_at_zero_reference) == (None, 0)

    def test_text_equals_its_utf8_bytes(self):
        figures = compare_arrays(np.array(["ä", ""]), np.array(["ä".encode(), b""], object))
        assert (figures.beyond_tolerance, figures.bit_equal) == (0, True)

    def test_objects_that_are_not_text_are_refused(self):
        with pytest.raises(InputError, match="candidate is an object array that holds a NoneType"):
            compare_arrays(np.array(["a"], object), np.array([None], object))

    def test_text_against_numbers_is_refused(self):
        with pytest.raises(InputError, match="numbers against text"):
            compare_arrays(np.array(["1"]), np.array([1.0]))


class TestLayout:
    def test_different_shapes_are_refused_naming_both(self):
        with pytest.raises(InputError, match=r"reference has shape \(2, 3\), candidate has shape \(3, 2\)"):
            compare_arrays(np.zeros((2, 3)), np.zeros((3, 2)))
        with pytest.raises(InputError, match=r"\(\).*\(1,\)"):
            compare_arrays(np.zeros(()), np.zeros(1))

    @pytest.mark.parametrize("dtype", ["V2", "datetime64[s]"])
    def test_unknown_dtypes_are_refused(self, dtype):
        with pytest.raises(InputError, match="cannot be compared"):
            compare_arrays(np.zeros(1, dtype), np.zeros(1, dtype))

    def test_a_scalar_has_the_empty_index(self):
        figures = compare_arrays(np.float32(1), np.float32(2))
        assert (figures.max_abs_index, figures.first_beyond_index, figures.elements) == ((), (), 1)

    @pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
    @pytest.mark.parametrize("dtype", [np.float32, np.int64, np.complex64, object])
    def test_empty_arrays_give_zeros_and_no_index(self, shape, dtype):
        figures = compare_arrays(np.zeros(shape, dtype), np.zeros(shape, dtype))
        assert (figures.elements, figures.finite_pairs, figures.beyond_tolerance) == (0, 0, 0)
        assert (figures.max_abs_error, figures.mean_abs_error, figures.rms_error) == (0, 0, 0)
        assert (figures.max_abs_index, figures.max_rel_index, figures.first_beyond_index) == (None, None, None)

    @pytest.mark.parametrize("order", [">f4", ">f8", ">f2", ">i4", ">c8"])
    def test_big_endian(self, order):
        reference, candidate = differing(999, np.dtype(order).newbyteorder("="), noise=0.5)
        expected = compare_arrays(reference, candidate)
        assert compare_arrays(reference.astype(order), candidate.astype(order)) == expected
        assert compare_arrays(reference.astype(order), candidate) == expected
        assert compare_arrays(reference.astype(order), reference).bit_equal

    def test_unaligned(self):
        reference, candidate = differing(5000)
        shifted = np.frombuffer(b"x" + reference.tobytes(), np.float32, offset=1)
        assert not shifted.flags.aligned
        assert compare_arrays(shifted, candidate) == compare_arrays(reference, candidate)

    def test_memory_mapped(self, tmp_path):
        reference, candidate = (array.reshape(100, 50) for array in differing(5000))
        np.save(tmp_path / "reference.npy", reference)
        mapped = np.load(tmp_path / "reference.npy", mmap_mode="r")
        assert compare_arrays(mapped, candidate) == compare_arrays(reference, candidate)

    def test_indices_are_plain_integers(self):
        figures = compare_arrays(np.zeros((2, 2)), np.eye(2))
        assert [type(i) for i in figures.max_abs_index] == [int, int]


class TestThreads:
    @pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64, np.int32, np.complex64])
    @pytest.mark.parametrize("spoilt", [False, True])
    def test_threads_change_no_figure(self, dtype, spoilt):
        reference, candidate = differing(100_000, dtype, noise=1e-2)
        if spoilt and dtype is not np.int32:
            candidate[[5, 70_000]] = NAN
        with mock.patch.object(blocks, "_BLOCK", 3000):
            alone = compare_arrays(reference, candidate, rtol=1e-2, atol=1e-3)
            with mock.patch.multiple(traversal, _PARALLEL_FROM=1, _cores=lambda: 4):
                assert compare_arrays(reference, candidate, rtol=1e-2, atol=1e-3) == alone

    def test_large_arrays_use_more_than_one_thread(self):
        plan = make_plan(np.dtype(np.float32), np.dtype(np.float32), 0.0, 0.0)
        with mock.patch.multiple(traversal, _cores=lambda: 3):
            assert traversal._threads(plan, 10_000_000) == 3
            assert traversal._threads(plan, 1000) == 1
        with mock.patch.multiple(traversal, _cores=lambda: 300):
            assert traversal._threads(plan, 10**9) == traversal._MAX_THREADS

    def test_no_warning_escapes_a_thread(self):
        reference = np.zeros(10_000, np.float32)
        candidate = np.full(10_000, INF, np.float32)
        threaded = mock.patch.multiple(traversal, _PARALLEL_FROM=1, _cores=lambda: 2)
        with mock.patch.object(blocks, "_BLOCK", 1000), threaded:
            assert compare_arrays(reference, candidate).inf_mismatches == 10_000


@pytest.mark.parametrize("spoilt", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_no_temporary_grows_with_the_arrays(dtype, spoilt):
    reference = np.ones(8_000_000, dtype)
    candidate = reference.copy()
    candidate[:: 3 if spoilt else 1000] = 2
    if spoilt and dtype is not np.int64:
        reference[::10_000] = NAN
    tracemalloc.start()
    with mock.patch.object(traversal, "_cores", return_value=64):
        compare_arrays(reference, candidate, rtol=1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6


def test_figures_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        compare_arrays(np.zeros(1), np.zeros(1)).elements = 2


def test_bfloat16_is_known_without_importing_ml_dtypes():
    code = (
        "import sys, lockstep.compare.metrics; print(sorted({'ml_dtypes', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


class TestExtent:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("size", [1, 7, (1 << 16) - 1, 1 << 16, 200_001])
    def test_it_is_what_the_figures_say(self, dtype, size):
        reference, candidate = differing(size, dtype, noise=1e-3)
        for flip in (1, -1):  # the largest difference is positive once and negative once
            extent, figures = measure_extent(flip * reference, flip * candidate), compare_arrays(reference, candidate)
            assert extent.max_abs_error == pytest.approx(figures.max_abs_error, rel=2.0**-22)
            assert extent.max_abs_reference == figures.max_abs_reference
            assert (extent.elements, extent.finite_pairs, extent.bit_equal) == (size, size, False)

    @pytest.mark.parametrize("place", [0, 99_999, 200_000])
    def test_one_element_anywhere_counts(self, place):
        reference = np.zeros(200_001, np.float32)
        candidate = reference.copy()
        candidate[place] = -3
        assert measure_extent(reference, candidate).max_abs_error == 3
        assert measure_extent(candidate, reference).max_abs_reference == 3

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize(("ours", "theirs"), [(NAN, 1), (1, NAN), (NAN, NAN), (INF, INF), (-INF, 1), (1, INF)])
    def test_nan_and_infinity_are_left_to_the_figures(self, dtype, ours, theirs):
        sides = [np.ones(100_000, dtype) for _ in range(2)]
        sides[0][70_000], sides[1][70_000] = ours, theirs
        assert measure_extent(*sides) is None

    def test_what_it_cannot_measure_it_leaves_to_the_figures(self):
        ones = np.ones((4, 4), np.float32)
        assert measure_extent(ones, ones) is not None
        assert measure_extent(ones, ones.astype(np.float64)) is None
        assert measure_extent(ones.astype(np.float16), ones.astype(np.float16)) is None
        assert measure_extent(ones.astype(np.int64), ones.astype(np.int64)) is None
        assert measure_extent(ones.T[:, :2], ones[:, :2]) is None
        assert measure_extent(ones.astype(">f4"), ones.astype(">f4")) is None
        assert measure_extent(ones[:0], ones[:0]) is None
        assert measure_extent(np.float32([3e38]), np.float32([-3e38])) is None

    def test_bits_tell_the_zeros_apart(self):
        zeros = np.zeros(3, np.float32)
        assert measure_extent(zeros, zeros.copy()).bit_equal
        assert not measure_extent(zeros, -zeros).bit_equal
        assert measure_extent(np.float32(2), np.float32([2])[0]).bit_equal


class TestJudgedByExtent:
    """`compare_tensor` judges by an extent where that is enough; the answer is the figures' one."""

    @settings(deadline=None, max_examples=300)
    @given(st.integers(0, 2**32 - 1), st.floats(-9, -3), st.floats(-8, 4), st.sampled_from(["float32", "float64"]))
    def test_the_verdict_is_that_of_the_figures(self, seed, noise, scale, dtype):
        generator = np.random.default_rng(seed)
        reference = (generator.standard_normal(50) * 10**scale).astype(dtype)
        candidate = (reference * (1 + 10**noise * generator.standard_normal(50))).astype(dtype)
        tolerance = FixedTolerance()
        rtol, atol = tolerance.for_tensor(reference)
        figures = compare_arrays(reference, candidate, rtol=rtol, atol=atol)
        pair = compare_tensor("x", reference, candidate, tolerance)
        assert pair.passed == (figures.beyond_tolerance == 0)
        assert float(pair.figures.max_abs_error) == pytest.approx(float(figures.max_abs_error), rel=2.0**-22)
        assert pair.scaled_error == pytest.approx(TensorComparison("x", figures).scaled_error, rel=2.0**-22)

    def test_agreement_takes_the_short_way_and_a_difference_the_long_one(self):
        ones = np.ones(5, np.float32)
        near = compare_tensor("x", ones, ones + np.float32(1e-6), FixedTolerance())
        assert isinstance(near.figures, Extent)
        assert near.passed
        assert near.describe() == "x: all 5 within tolerance, largest difference 9.54e-07"
        far = compare_tensor("x", ones, ones + np.float32(1e-4), FixedTolerance())
        assert isinstance(far.figures, Figures)
        assert not far.passed

    def test_a_reference_of_zeros_has_the_guides_tolerance(self):
        zeros = np.zeros(5, np.float32)
        assert compare_tensor("x", zeros, zeros + np.float32(9e-6), FixedTolerance()).passed
        assert not compare_tensor("x", zeros, zeros + np.float32(1.1e-5), FixedTolerance()).passed
