"""Two arrays of equal shape -> the figures that say how far they are apart, from one pass over memory.

The pass goes through blocks that stay in the processor's cache. Real floating blocks without NaN and infinity are
*screened* in their own precision: a cheap bound says which few elements can still change a figure, and only those
are evaluated as documented, in float64. Every other block (NaN, infinity, integers, complex numbers, text, two
different dtypes) is evaluated in full. Both ways give the same maxima, indices and counts; tests hold them to it.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from lockstep.errors import InputError

Array = npt.NDArray[Any]
DType = np.dtype[Any]
Scalar = bool | int | float | complex | str | bytes

# Elements per block, half of it for 8-byte floats. 2 MB arrays lie beyond the second-level cache and still are the
# fastest: with smaller blocks two threads wait for the interpreter's lock too often. Median of 50 million float32 pairs
# on two cores: 95 ms with 2**16 elements, 53 with 2**17, 38 with 2**18, 34 with 2**19; on one core 63, 55, 52, 54.
_BLOCK = 1 << 19
# What needs many float64 temporaries goes through a block in pieces of this many elements.
_PIECE = 16_384
_PARALLEL_FROM = 1 << 21  # below this many elements starting threads costs more than it saves
_MAX_THREADS = 4  # bounds the scratch memory, about 10 MB each; memory bandwidth is used up soon anyway
# float32 screening decides only beyond this relative margin; its own rounding is below 3 * 2**-24.
_FLOAT32_MARGIN = 2.0**-20
_ROW = 256  # elements summed in the blocks' own precision before float64 takes over
_ROWS = 16  # _ROW * _ROWS stays below OpenBLAS's threshold for starting threads of its own (9,216 elements)
_DOT = 1024

_PRECISION = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
_TINY_FLOATS = ("float8_", "float6_", "float4_")
_TINY_INTEGERS = ("int1", "int2", "int4", "uint1", "uint2", "uint4")


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


def compare_arrays(
    reference: npt.ArrayLike, candidate: npt.ArrayLike, *, rtol: float = 0.0, atol: float = 0.0
) -> Figures:
    """Compares two arrays of equal shape and returns all figures of `Figures` from one pass.

    An element is beyond tolerance if `|reference - candidate| > atol + rtol * |reference|`: NumPy's rule, with the
    *reference* on the scaling side (in `np.allclose(a, b)` that is `b`). NaN equals NaN, an infinity equals itself;
    any other meeting of NaN or infinity is beyond every tolerance. An empty array gives zeros and no index.

    Memory-mapped, non-contiguous, big-endian and 0-d arrays are fine; nothing as large as the arrays is allocated.

    Args:
        reference: Array of any shape: floating (float16 to float64, bfloat16 and the smaller ones of `ml_dtypes`),
            integer, bool, complex64, complex128, strings, bytes, or objects that are all `str` or `bytes`.
        candidate: Array of the same shape. Two floating dtypes are compared in the wider one, integer against
            floating in float64 (integers beyond 2**53 are rounded).
        rtol: Relative tolerance, finite and not negative.
        atol: Absolute tolerance, finite and not negative, in the arrays' own unit.

    Raises:
        InputError: The shapes differ, a dtype is not one of the above, or a tolerance is negative or not finite.

    >>> import numpy as np
    >>> figures = compare_arrays(np.float32([0, 2, 4, np.nan]), np.float32([0, 2, 5, np.nan]), rtol=0.1, atol=0.5)
    >>> figures.max_abs_error, figures.max_abs_index, figures.max_abs_values
    (1.0, (2,), (4.0, 5.0))
    >>> figures.max_rel_error, figures.max_ulp, figures.beyond_tolerance, figures.first_beyond_index
    (0.25, 2097152, 1, (2,))
    >>> compare_arrays(np.zeros(2), np.zeros(3))
    Traceback (most recent call last):
    lockstep.errors.InputError: reference has shape (2,), candidate has shape (3,); only equal shapes can be compared
    """
    ours, theirs = np.asarray(reference), np.asarray(candidate)
    if ours.shape != theirs.shape:
        raise InputError(
            f"reference has shape {ours.shape}, candidate has shape {theirs.shape}; only equal shapes can be compared"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is {value!r}; give a finite number that is not negative")
    plan = _plan(ours.dtype, theirs.dtype, float(rtol), float(atol))
    return _figures(ours, theirs, plan, _pass(ours, theirs, plan))


# ---------------------------------------------------------------------------------------------- what is to be done


@dataclass(frozen=True)
class _Plan:
    """How a pair of dtypes is compared.

    Attributes:
        kind: "float", "complex", "integer" or "text".
        common: The dtype for the values of both sides.
        ulp: The dtype whose steps are counted, or None; for complex values that of a part.
        screened: Whether finite blocks take the fast way.
        same_dtype: Whether bit equality is possible at all.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """

    kind: str
    common: DType
    ulp: DType | None
    screened: bool
    same_dtype: bool
    rtol: float
    atol: float

    @property
    def block(self) -> int:
        """Elements per block."""
        return _BLOCK // 2 if self.common.itemsize == 8 else _BLOCK


def _kind(dtype: DType) -> str:
    # ml_dtypes registers its dtypes with NumPy, mostly as kind "V"; their names tell them apart without importing it.
    if dtype.name == "bfloat16" or dtype.name.startswith(_TINY_FLOATS) or dtype.name in _PRECISION:
        return "float"
    if dtype.kind in "biu" or dtype.name in _TINY_INTEGERS:
        return "integer"
    if dtype.name in ("complex64", "complex128"):
        return "complex"
    if dtype.kind in "SUOT":
        return "text"
    advice = "; view it as the dtype it stands for, such as ml_dtypes.bfloat16" if dtype.kind == "V" else ""
    raise InputError(f"arrays of dtype {dtype} cannot be compared{advice}")


def _plan(reference: DType, candidate: DType, rtol: float, atol: float) -> _Plan:
    kinds = {_kind(reference), _kind(candidate)}
    if "text" in kinds and len(kinds) > 1:
        raise InputError(f"reference has dtype {reference}, candidate has dtype {candidate}: numbers against text")
    kind = next(kind for kind in ("text", "complex", "float", "integer") if kind in kinds)
    native = reference.newbyteorder("="), candidate.newbyteorder("=")
    same = native[0] == native[1] and kind != "text"
    parts = [_part(dtype) for dtype in native if kind in ("float", "complex") and _kind(dtype) != "integer"]
    return _Plan(
        kind=kind,
        common=_common(kind, *native),
        ulp=min(parts, key=_precision) if parts else None,
        screened=same and kind == "float" and native[0].name in _PRECISION,
        same_dtype=same,
        rtol=rtol,
        atol=atol,
    )


def _common(kind: str, reference: DType, candidate: DType) -> DType:
    if kind == "text":
        return np.dtype(object)
    if reference == candidate and kind != "integer":
        return reference
    joint = np.result_type(_numpy_only(reference), _numpy_only(candidate))
    # NumPy's answer for int64 and uint64 is float64, which holds neither; Python integers hold both.
    return np.dtype(object) if kind == "integer" and joint.kind == "f" else joint


def _numpy_only(dtype: DType) -> DType:
    """A dtype of NumPy itself that holds every value of `dtype`; bool as a number."""
    if dtype.kind == "b" or (dtype.name in _TINY_INTEGERS and dtype.name.startswith("u")):
        return np.dtype(np.uint8)
    if dtype.name in _TINY_INTEGERS:
        return np.dtype(np.int8)
    if dtype.name == "bfloat16" or dtype.name.startswith(_TINY_FLOATS):
        return np.dtype(np.float32)
    return dtype


def _part(dtype: DType) -> DType:
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def _precision(dtype: DType) -> int:
    """Significant bits, the hidden one included."""
    if dtype.name in _PRECISION:
        return _PRECISION[dtype.name]
    grid = _grid(dtype)
    return int(math.log2(np.count_nonzero((grid >= 1) & (grid < 2)))) + 1


@functools.cache
def _grid(dtype: DType) -> Array:
    """All values of a one-byte floating dtype, ascending, without NaN, the two zeros as one; float32."""
    with np.errstate(invalid="ignore"):
        values = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    return np.unique(values[~np.isnan(values)])


# ------------------------------------------------------------------------------------------------- what is gathered


class _Partial(NamedTuple):
    """Sums over one block, float64."""

    absolute: float
    signed: float | complex
    squared: float


@dataclass
class _Largest:
    """A running maximum and the first flat index that attains it, whatever the order of the offers."""

    value: float | int = 0
    index: int | None = None

    def offer(self, value: float | int, index: int | None) -> None:
        if index is None or value < self.value or value == 0:
            return
        if self.index is None or value > self.value or index < self.index:
            self.value, self.index = value, index


@dataclass
class _Tally:
    """What one thread has gathered so far."""

    absolute: _Largest = field(default_factory=_Largest)
    relative: _Largest = field(default_factory=_Largest)
    partials: list[_Partial] = field(default_factory=list)
    bit_equal: bool = True
    finite: int = 0
    nonzero_at_zero: int = 0
    ulp: int = 0
    beyond: int = 0
    first_beyond: int | None = None
    nan_mismatches: int = 0
    inf_mismatches: int = 0
    scale: float | int = 0

    def check_bits(self, reference: Array, candidate: Array) -> None:
        if self.bit_equal:
            self.bit_equal = bool(np.array_equal(reference.view(np.uint8), candidate.view(np.uint8)))

    def count_beyond(self, mask: Array, start: int) -> None:
        count = int(np.count_nonzero(mask))
        if count:
            self.beyond += count
            self._first(start + int(mask.argmax()))

    def _first(self, index: int | None) -> None:
        if index is not None and (self.first_beyond is None or index < self.first_beyond):
            self.first_beyond = index

    def merge(self, other: _Tally) -> None:
        self.absolute.offer(other.absolute.value, other.absolute.index)
        self.relative.offer(other.relative.value, other.relative.index)
        self.partials += other.partials
        self.bit_equal &= other.bit_equal
        self.finite += other.finite
        self.nonzero_at_zero += other.nonzero_at_zero
        self.ulp = max(self.ulp, other.ulp)
        self.beyond += other.beyond
        self._first(other.first_beyond)
        self.nan_mismatches += other.nan_mismatches
        self.inf_mismatches += other.inf_mismatches
        self.scale = max(self.scale, other.scale)


def _figures(reference: Array, candidate: Array, plan: _Plan, tally: _Tally) -> Figures:
    def place(flat: int | None) -> tuple[int, ...] | None:
        return None if flat is None else tuple(int(i) for i in np.unravel_index(flat, reference.shape))

    number = float if plan.kind in ("float", "complex") else int
    worst = place(tally.absolute.index)
    count = max(tally.finite, 1)
    signed = _exact_sum([complex(part.signed).real for part in tally.partials]) / count
    imaginary = _exact_sum([complex(part.signed).imag for part in tally.partials]) / count
    return Figures(
        elements=reference.size,
        finite_pairs=tally.finite,
        bit_equal=tally.bit_equal and (plan.same_dtype or plan.kind == "text"),
        max_abs_error=number(tally.absolute.value),
        max_abs_index=worst,
        max_abs_values=None if worst is None else (_scalar(reference, worst), _scalar(candidate, worst)),
        max_rel_error=float(tally.relative.value),
        max_rel_index=place(tally.relative.index),
        nonzero_at_zero_reference=tally.nonzero_at_zero,
        max_ulp=None if plan.ulp is None else tally.ulp,
        beyond_tolerance=tally.beyond,
        first_beyond_index=place(tally.first_beyond),
        nan_mismatches=tally.nan_mismatches,
        inf_mismatches=tally.inf_mismatches,
        mean_abs_error=_exact_sum([part.absolute for part in tally.partials]) / count,
        mean_signed_error=complex(signed, imaginary) if plan.kind == "complex" else signed,
        rms_error=math.sqrt(_exact_sum([part.squared for part in tally.partials]) / count),
        max_abs_reference=number(tally.scale),
        reference_dtype=reference.dtype.name,
        candidate_dtype=candidate.dtype.name,
        common_dtype=plan.common.name,
        ulp_dtype=None if plan.ulp is None else plan.ulp.name,
        rtol=plan.rtol,
        atol=plan.atol,
    )


def _exact_sum(parts: list[float]) -> float:
    """The sum, the same for every order of `parts`, so that threads cannot change a figure."""
    try:
        return math.fsum(parts)
    except (OverflowError, ValueError):  # parts beyond float64's range, or infinities of both signs
        return math.inf if all(part >= 0 for part in parts) else math.nan


def _scalar(array: Array, index: tuple[int, ...]) -> Scalar:
    value: Any = array[index]
    if array.dtype.kind in "biucSU":
        value = value.item()
        return cast(Scalar, value)
    if _kind(array.dtype) == "integer":
        return int(value)
    return cast(Scalar, value) if isinstance(value, str | bytes) else float(value)


# -------------------------------------------------------------------------------------------------------- the pass


def _pass(reference: Array, candidate: Array, plan: _Plan) -> _Tally:
    """Goes once through both arrays, block by block, on all cores if the arrays are large."""
    if reference.flags.c_contiguous and candidate.flags.c_contiguous:
        reference, candidate = reference.reshape(-1), candidate.reshape(-1)
    blocks = _blocks(reference.shape, plan.block)
    lock = threading.Lock()

    def work() -> _Tally:
        tally = _Tally()
        add = _adder(plan, tally)
        # Warnings are switched off here and not outside: NumPy keeps that setting per thread.
        with np.errstate(all="ignore"):
            while True:
                with lock:
                    start, where = next(blocks, (-1, ()))
                if start < 0:
                    return tally
                add(start, _block(reference, where), _block(candidate, where))

    threads = _threads(plan, reference.size)
    if threads == 1:
        return work()
    total = _Tally()
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            total.merge(future.result())
    return total


def _threads(plan: _Plan, elements: int) -> int:
    if elements < _PARALLEL_FROM or plan.common.kind == "O":  # objects need the interpreter's lock all the time
        return 1
    return max(1, min(_cores(), _MAX_THREADS, elements // plan.block))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(shape: tuple[int, ...], size: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Cuts a shape into runs of at most `size` elements that follow each other in C order.

    Yields:
        The flat index of the run's first element, and the NumPy index that selects the run.

    >>> list(_blocks((2, 3), 2))
    [(0, (0, slice(0, 2, None))), (2, (0, slice(2, 4, None))), (3, (1, slice(0, 2, None))), (5, (1, slice(2, 4, None)))]
    """
    if math.prod(shape) == 0:
        return
    axis = next(axis for axis in range(len(shape)) if math.prod(shape[axis + 1 :]) <= size)
    inner = math.prod(shape[axis + 1 :])
    rows = size // inner
    for number, outer in enumerate(np.ndindex(shape[:axis])):
        for first in range(0, shape[axis], rows):
            yield (number * shape[axis] + first) * inner, (*outer, slice(first, first + rows))


def _block(array: Array, where: tuple[Any, ...]) -> Array:
    """A run of elements, 1-d, contiguous and in native byte order; a view where the array allows it."""
    run = np.ascontiguousarray(array[where]).reshape(-1)
    return run if run.dtype.isnative else run.astype(run.dtype.newbyteorder("="))


def _adder(plan: _Plan, tally: _Tally) -> Callable[[int, Array, Array], None]:
    """Returns the function that takes one block (start, reference, candidate) into the tally."""
    measure = {"float": _floats, "complex": _complexes, "integer": _integers, "text": _texts}[plan.kind]
    screen = _Screen(plan, tally) if plan.screened else None

    def add(start: int, reference: Array, candidate: Array) -> None:
        if screen is not None and screen.add(start, reference, candidate):
            return
        if plan.same_dtype:
            tally.check_bits(reference, candidate)
        for first in range(0, reference.size, _PIECE):
            piece = slice(first, first + _PIECE)
            _add_pairs(start + first, measure(reference[piece], candidate[piece], plan), plan, tally)

    return add


# ----------------------------------------------------------------------------------------------- in full, any dtype


class _Pairs(NamedTuple):
    """A piece of both arrays, measured element by element; all arrays have its length.

    `error` and `signed` are 0 where a value is not finite, `scale` is 0 where the reference is not.
    """

    error: Array  # float64, uint64, or Python integers
    signed: Array  # float64 or complex128
    scale: Array  # |reference|, as error
    finite: Array  # bool
    nan_mismatch: Array  # bool
    mismatch: Array  # bool: beyond every tolerance
    ulp: Array | None  # unsigned integers


def _add_pairs(start: int, pairs: _Pairs, plan: _Plan, tally: _Tally) -> None:
    error = pairs.error.astype(np.float64)
    scale = pairs.scale.astype(np.float64)
    measured = scale != 0
    relative = np.divide(error, scale, out=np.zeros_like(error), where=measured)
    for largest, values in ((tally.absolute, pairs.error), (tally.relative, relative)):
        index = int(values.argmax())
        largest.offer(values[index].item() if isinstance(values[index], np.generic) else values[index], start + index)
    unequal = pairs.error != 0
    tally.finite += int(np.count_nonzero(pairs.finite))
    tally.nonzero_at_zero += int(np.count_nonzero(unequal & pairs.finite & ~measured))
    top = pairs.scale.max()
    tally.scale = max(tally.scale, top.item() if isinstance(top, np.generic) else top)
    tally.partials.append(_Partial(float(error.sum()), pairs.signed.sum().item(), float(np.square(error).sum())))
    if pairs.ulp is not None:
        tally.ulp = max(tally.ulp, int(np.where(pairs.finite, pairs.ulp, 0).max()))
    nan_mismatches = int(np.count_nonzero(pairs.nan_mismatch))
    tally.nan_mismatches += nan_mismatches
    if plan.kind == "text":
        tally.bit_equal &= not pairs.mismatch.any()
    else:
        tally.inf_mismatches += int(np.count_nonzero(pairs.mismatch)) - nan_mismatches
    limit = plan.atol + plan.rtol * scale
    tally.count_beyond(pairs.mismatch | _exceeds(pairs.error, limit), start)


def _exceeds(error: Array, limit: Array) -> Array:
    """`error > limit` without rounding an integer error to float64."""
    if error.dtype.kind == "f":
        return error > limit
    if error.dtype.kind == "O":
        return (error > limit.astype(object)).astype(bool)
    whole = np.floor(limit)
    representable = whole < 2.0**64
    return representable & (error > np.where(representable, whole, 0.0).astype(np.uint64))


def _floats(reference: Array, candidate: Array, plan: _Plan) -> _Pairs:
    return _continuous(reference, candidate, plan, np.dtype(np.float64))


def _complexes(reference: Array, candidate: Array, plan: _Plan) -> _Pairs:
    return _continuous(reference, candidate, plan, np.dtype(np.complex128))


def _continuous(reference: Array, candidate: Array, plan: _Plan, wide: DType) -> _Pairs:
    ours, theirs = reference.astype(wide), candidate.astype(wide)
    ours_finite = np.isfinite(ours)
    finite = ours_finite & np.isfinite(theirs)
    signed = np.where(finite, theirs - ours, 0)
    nan_mismatch = np.isnan(ours) != np.isnan(theirs)
    # Neither NaN, not both finite, not the same: here infinity meets something else.
    inf_mismatch = ~(finite | np.isnan(ours) | np.isnan(theirs)) & (ours != theirs)
    ulp = None if plan.ulp is None else _ulp_of_parts(reference, candidate, plan.ulp)
    scale = np.where(ours_finite, np.abs(ours), 0)
    return _Pairs(np.abs(signed), signed, scale, finite, nan_mismatch, nan_mismatch | inf_mismatch, ulp)


def _ulp_of_parts(reference: Array, candidate: Array, dtype: DType) -> Array:
    if "c" not in (reference.dtype.kind, candidate.dtype.kind):
        return _ulp_distance(reference.astype(dtype, copy=False), candidate.astype(dtype, copy=False))
    wide = reference.astype(np.complex128), candidate.astype(np.complex128)
    real = _ulp_distance(wide[0].real.astype(dtype), wide[1].real.astype(dtype))
    imaginary = _ulp_distance(wide[0].imag.astype(dtype), wide[1].imag.astype(dtype))
    return np.maximum(real, imaginary)


def _ulp_distance(reference: Array, candidate: Array) -> Array:
    """Steps between representable neighbours, for arrays of one floating dtype; unsigned integers.

    IEEE formats are sign and magnitude: the bits below the sign, read as an integer, count the steps from zero. On one
    side of zero the distance is the difference of those counts, across zero their sum. It fits the unsigned integer of
    the same width.

    >>> _ulp_distance(np.float32([1.0, -0.0]), np.float32([1.0000001, 1e-45])).tolist()
    [1, 1]
    """
    if reference.dtype.itemsize == 1:  # these have several layouts, some without a sign; ranks hold for all of them
        grid = _grid(reference.dtype)
        ranks = [np.searchsorted(grid, side.astype(np.float32)) for side in (reference, candidate)]
        return np.asarray(np.abs(ranks[0] - ranks[1]), dtype=np.uint64)
    unsigned = np.dtype(f"u{reference.dtype.itemsize}")
    magnitude = unsigned.type((1 << (8 * unsigned.itemsize - 1)) - 1)
    ours, theirs = reference.view(unsigned), candidate.view(unsigned)
    across = (ours ^ theirs) > magnitude
    ours, theirs = ours & magnitude, theirs & magnitude
    within = np.maximum(ours, theirs) - np.minimum(ours, theirs)
    return cast(Array, np.where(across, ours + theirs, within))


def _integers(reference: Array, candidate: Array, plan: _Plan) -> _Pairs:
    ours, theirs = reference.astype(plan.common), candidate.astype(plan.common)
    if plan.common.kind == "O":
        error, scale = np.abs(theirs - ours), np.abs(ours)
    else:
        # Modulo 2**64 the differences come out right although int64 itself overflows.
        wide, other = ours.astype(np.uint64), theirs.astype(np.uint64)
        error = np.where(theirs >= ours, other - wide, wide - other)
        scale = np.where(ours < 0, np.uint64(0) - wide, wide)
    size = error.astype(np.float64)
    no = np.zeros(error.shape, dtype=bool)
    return _Pairs(error, np.where(theirs >= ours, size, -size), scale, ~no, no, no, None)


def _texts(reference: Array, candidate: Array, plan: _Plan) -> _Pairs:
    del plan
    ours, theirs = _encoded(reference, "reference"), _encoded(candidate, "candidate")
    unequal = np.fromiter((one != other for one, other in zip(ours, theirs, strict=True)), bool, len(ours))
    error, no = unequal.astype(np.uint64), np.zeros_like(unequal)
    return _Pairs(error, np.zeros(len(ours)), np.ones_like(error), ~no, no, unequal, None)


def _encoded(texts: Array, side: str) -> list[bytes]:
    encoded = []
    for text in texts.tolist():
        if not isinstance(text, str | bytes):
            raise InputError(f"{side} is an object array that holds a {type(text).__name__}; only str and bytes work")
        encoded.append(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return encoded


# ------------------------------------------------------------------------------------------- screened, real floating


def _pieces(places: Array) -> Iterator[Array]:
    return (places[first : first + _PIECE] for first in range(0, places.size, _PIECE))


def _sum64(values: Array) -> float:
    return float(np.add.reduce(values, axis=None, dtype=np.float64)) if values.size else 0.0


class _Screen:
    """Takes finite blocks of one floating dtype into a tally at a few passes over cached memory.

    Everything is computed in `work` precision (float64 for float64, else float32), whose maxima lie within the margin
    of the float64 ones; then only the elements within that margin are evaluated in float64. Three facts carry it:

    - Rounding is monotone: the largest float64 difference is among those whose rounded difference is the largest.
    - Two different float32 numbers differ by at least 2**-25 of either, so no quotient underflows.
    - Between two numbers of one sign, floating numbers of p bits are at least `smaller * 2**-p` apart. With
      `q = error / |reference| < 1` the distance is therefore at most `2**p * q / (1 - q)` ULPs, so that t ULPs need
      `q >= t / (2**p + t)`.
    """

    def __init__(self, plan: _Plan, tally: _Tally) -> None:
        self.plan = plan
        self.tally = tally
        self.work = np.dtype(np.float64 if plan.common.name == "float64" else np.float32)
        self.exact = plan.common.name == "float64"
        self.margin = 0.0 if self.exact else _FLOAT32_MARGIN
        self.steps = 2.0 ** _precision(plan.common)
        self.widened = [np.empty(plan.block, np.float32) for _ in range(2)] if plan.common.itemsize == 2 else []
        self.error = np.empty(plan.block, self.work)
        self.quotient = np.empty(plan.block, self.work)
        self.ones = np.ones(_ROW, self.work)

    def add(self, start: int, reference: Array, candidate: Array) -> bool:
        """Takes in a block; returns False, having done nothing, if it holds NaN or infinity."""
        tally, count = self.tally, reference.size
        raw = reference, candidate
        reference, candidate = self._widen(reference, 0), self._widen(candidate, 1)
        error, quotient = self.error[:count], self.quotient[:count]
        np.subtract(candidate, reference, out=error)
        signed = self._sum(error)
        if not math.isfinite(signed):  # NaN and infinity survive a sum; so does a difference too large for `work`
            return False
        np.absolute(reference, out=quotient)
        np.absolute(error, out=error)
        largest = float(error.max())
        tally.scale = max(tally.scale, float(quotient.max()))
        tally.finite += count
        if largest == 0:
            tally.check_bits(*raw)
            return True
        tally.bit_equal = False
        tally.partials.append(self._partial(signed, error, largest))
        np.divide(error, quotient, out=quotient)
        ratio = float(np.fmax.reduce(quotient))  # fmax passes over the NaN of 0/0
        at_zero = ratio == math.inf and self._set_zeros_apart(raw, reference, error, quotient)
        if at_zero:
            ratio = float(quotient.max())
        self._locate(start, reference, candidate, largest, ratio)
        self._count_ulps(raw, quotient, ratio)
        self._judge(start, reference, candidate, largest, math.inf if at_zero else ratio)
        return True

    def _widen(self, block: Array, side: int) -> Array:
        if block.dtype == self.work:
            return block
        wide = self.widened[side][: block.size]
        if block.dtype.name == "bfloat16":  # the upper half of a float32; ten times faster than the registered cast
            bits = wide.view(np.uint32)
            np.copyto(bits, block.view(np.uint16))
            np.left_shift(bits, 16, out=bits)
        else:
            np.copyto(wide, block)
        return wide

    def _sum(self, values: Array) -> float:
        # Rows by matrix product: the same figure as numpy.sum to 1e-9, in half its time.
        whole = values.size - values.size % (_ROW * _ROWS)
        rows = np.matmul(values[:whole].reshape(-1, _ROWS, _ROW), self.ones)
        return _sum64(rows) + _sum64(values[whole:])

    def _partial(self, signed: float, error: Array, largest: float) -> _Partial:
        if not self.exact and not 1e-15 < largest < 1e17:  # float32 sums or squares would leave float32's range
            wide = error.astype(np.float64)
            return _Partial(_sum64(wide), signed, _sum64(np.square(wide)))
        whole = error.size - error.size % _DOT
        rows = np.matmul(error[:whole].reshape(-1, 1, _DOT), error[:whole].reshape(-1, _DOT, 1))
        squared = _sum64(rows) + _sum64(np.square(error[whole:], dtype=np.float64))
        return _Partial(self._sum(error), signed, squared)

    def _set_zeros_apart(self, raw: tuple[Array, Array], reference: Array, error: Array, quotient: Array) -> bool:
        """Counts the nonzero candidates at zero references and takes their infinite quotients out."""
        zero = reference == 0
        nonzero = np.flatnonzero(zero & (error > 0))
        if nonzero.size == 0:
            return False  # the quotient of two finite numbers overflowed
        self.tally.nonzero_at_zero += nonzero.size
        self.tally.ulp = max(self.tally.ulp, int(_ulp_distance(raw[0][nonzero], raw[1][nonzero]).max()))
        np.copyto(quotient, 0, where=zero)
        return True

    def _locate(self, start: int, reference: Array, candidate: Array, largest: float, ratio: float) -> None:
        """Finds the block's largest errors in float64, if they can be the largest so far."""
        count = reference.size
        if largest >= float(self.work.type(self.tally.absolute.value)):
            for places in _pieces(np.flatnonzero(self.error[:count] == self.work.type(largest))):
                error = np.abs(candidate[places].astype(np.float64) - reference[places].astype(np.float64))
                index = int(error.argmax())
                self.tally.absolute.offer(float(error[index]), start + int(places[index]))
        if ratio > 0 and ratio * (1 + self.margin) >= self.tally.relative.value:
            close = self.quotient[:count] >= self.work.type(ratio * (1 - self.margin))
            for places in _pieces(np.flatnonzero(close)):
                scale = reference[places].astype(np.float64)
                relative = np.abs(candidate[places].astype(np.float64) - scale) / np.abs(scale)
                index = int(relative.argmax())
                self.tally.relative.offer(float(relative[index]), start + int(places[index]))

    def _count_ulps(self, raw: tuple[Array, Array], quotient: Array, ratio: float) -> None:
        if not ratio > self._ulp_threshold():
            return
        # The largest quotient is close to the largest distance: taken first, it leaves few others to look at.
        places = quotient == self.work.type(ratio)
        for _ in range(2):
            for selected in _pieces(np.flatnonzero(places)):
                distance = _ulp_distance(raw[0][selected], raw[1][selected])
                self.tally.ulp = max(self.tally.ulp, int(distance.max()))
            places = quotient > self._ulp_threshold()

    def _ulp_threshold(self) -> np.floating[Any]:
        """What a quotient must exceed for a distance larger than the largest so far."""
        more = self.tally.ulp + 1
        return cast("np.floating[Any]", self.work.type(more / (self.steps + more) * (1 - _FLOAT32_MARGIN)))

    def _judge(self, start: int, reference: Array, candidate: Array, largest: float, ratio: float) -> None:
        """Counts what is beyond tolerance. Overwrites the quotients."""
        rtol, atol = self.plan.rtol, self.plan.atol
        error, limit = self.error[: reference.size], self.quotient[: reference.size]
        if rtol == 0 and atol == 0:
            self.tally.count_beyond(error > 0, start)
            return
        if largest < atol * (1 - self.margin) or ratio < rtol * (1 - self.margin):
            return
        if self.exact:
            np.multiply(np.absolute(reference, out=limit), rtol, out=limit)
            self.tally.count_beyond(error > np.add(limit, atol, out=limit), start)
            return
        if rtol > 1e30:  # float32 may hold the product but not the factor
            places = np.arange(reference.size)
            beyond = np.zeros(reference.size, dtype=bool)
        else:
            may, beyond = (self._exceeds(reference, error, limit, side) for side in (-1, 1))
            places = np.flatnonzero(may & ~beyond)
        for some in _pieces(places):
            scale = reference[some].astype(np.float64)
            beyond[some] = np.abs(candidate[some].astype(np.float64) - scale) > atol + rtol * np.abs(scale)
        self.tally.count_beyond(beyond, start)

    def _exceeds(self, reference: Array, error: Array, limit: Array, side: int) -> Array:
        """`error > limit` with the limit moved to one side by more than float32 can round it."""
        factor = 1 + side * self.margin
        subnormal = side * 2.0**-147  # what a product may lose in float32's subnormal range
        np.multiply(np.absolute(reference, out=limit), np.float32(self.plan.rtol * factor), out=limit)
        np.add(limit, np.float32(self.plan.atol * factor + subnormal), out=limit)
        return error > limit
