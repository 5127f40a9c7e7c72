"""The figures that say how far two arrays are apart."""

from __future__ import annotations

from dataclasses import dataclass

Scalar = bool | int | float | complex | str | bytes


@dataclass(frozen=True)
class Figures:
    """How far a candidate array is from a reference array of the same shape.

    Errors are taken over the *finite pairs*, those in which both values are finite. There `error` is
    `|candidate - reference|`, computed in float64 for floating values (float32 alone would round the difference of
    two numbers that are far apart), exactly for integers, and as the modulus of the complex difference for complex
    values. Ties go to the first element in C order. An index is a tuple as NumPy uses it, `()` for a 0-d array, and
    None if the largest error is 0. Without finite pairs (as in an empty array) all errors and means are 0:
    look at `elements` and `finite_pairs` before calling that agreement.

    Text (strings, bytes, objects holding them) uses the discrete metric: the error of a pair is 0 if equal and 1 if
    not, every text has magnitude 1, and an unequal pair is beyond any tolerance. `str` equals its UTF-8 `bytes`.

    Attributes:
        elements: Number of elements, NaN and infinity included.
        finite_pairs: Number of pairs in which both values are finite.
        bit_equal: Same dtype and same bits everywhere: tells +0 from -0 and one NaN payload from another, but not one
            byte order from another. For text: all pairs equal.
        max_abs_error: Largest `error`; an exact int for integers.
        max_abs_index: Where it is.
        max_abs_values: The reference's and the candidate's value there.
        max_rel_error: Largest `error / |reference|` in float64. The reference scales. Pairs whose reference is 0 are
            left out, because their quotient is 0/0 or infinite and would hide every other one; those of them that
            differ are counted in `nonzero_at_zero_reference`.
        max_rel_index: Where it is.
        nonzero_at_zero_reference: Number of finite pairs with reference 0 and candidate not 0.
        max_ulp: Largest number of steps from one representable value of `ulp_dtype` to the next that lead from
            reference to candidate, across zero if the signs differ; +0 and -0 are the same point. For complex values
            the larger one of both parts. None where `ulp_dtype` is None.
        beyond_tolerance: Number of elements with `error > atol + rtol * |reference|` (float64; integer errors are
            compared exactly with the float64 limit), plus all NaN and infinity mismatches.
        first_beyond_index: The first of them in C order, or None.
        nan_mismatches: Number of elements where exactly one side is NaN. NaN on both sides counts as equal.
        inf_mismatches: Number of elements without NaN where an infinity stands against a finite value or against the
            opposite infinity. A complex pair with an infinite part is taken as a whole: it must be equal.
        mean_abs_error: Mean of `error`.
        mean_signed_error: Mean of `candidate - reference` (the bias; positive: the candidate is too large). Complex
            for complex values, 0 for text.
        rms_error: Root of the mean of `error**2`. Squares beyond float64's range give infinity or 0.
        max_abs_reference: Largest finite `|reference|`.
        reference_dtype: Name of the reference's dtype.
        candidate_dtype: Name of the candidate's dtype.
        common_dtype: The dtype that holds the values of both sides; the wider one of two floating dtypes.
            "object" for int64 against uint64 (Python integers) and for text.
        ulp_dtype: The narrower floating dtype of the two, to which the wider side is rounded for counting ULPs.
            None unless one side is floating or complex.
        rtol: The relative tolerance used.
        atol: The absolute tolerance used.

    Sums: the three means add float64 partial sums exactly; a float32 (float16, bfloat16) partial sum covers at most
    1,024 elements in float32. That bounds their error by about 1e-5 * `mean_abs_error` (1e-5 * `rms_error`);
    measured below 1e-8.
    """

    elements: int
    finite_pairs: int
    bit_equal: bool
    max_abs_error: float | int
    max_abs_index: tuple[int, ...] | None
    max_abs_values: tuple[Scalar, Scalar] | None
    max_rel_error: float
    max_rel_index: tuple[int, ...] | None
    nonzero_at_zero_reference: int
    max_ulp: int | None
    beyond_tolerance: int
    first_beyond_index: tuple[int, ...] | None
    nan_mismatches: int
    inf_mismatches: int
    mean_abs_error: float
    mean_signed_error: float | complex
    rms_error: float
    max_abs_reference: float | int
    reference_dtype: str
    candidate_dtype: str
    common_dtype: str
    ulp_dtype: str | None
    rtol: float
    atol: float
