"""The arrays that both sides are fed: filled by a hash of the input's name, or read from a `.npy` or `.npz` file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lockstep.common.arrays import MAX_DIMENSIONS, not_finite, numpy_dtype
from lockstep.common.errors import InputError
from lockstep.common.values import quoted, shown
from lockstep.config import sparse_files
from lockstep.config.array_files import read_array
from lockstep.config.tables import Table, leaves
from lockstep.ground import sparse
from lockstep.ground.fill import hashed_uniform

if TYPE_CHECKING:
    from lockstep.config.reading import Configuration

_KEYS = ("shape", "dtype", "fill", "low", "high", "density", "path", "key", "as")
_FILLS = ("ones", "uniform", "normal")
_REAL = ("float16", "bfloat16", "float32", "float64")
_COMPLEX = ("complex64", "complex128")
_INTEGER = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_DTYPES = (*_REAL, *_COMPLEX, *_INTEGER, "bool")
_EXACT_INTEGERS = 2**53  # a hash has 53 bits; a wider range of integers would have gaps
_MAX_FILLED = 1 << 26  # elements of all inputs and batches together: filling them takes seconds
MAX_BATCHES = 1000
"""How many batches there can be: each is a check of its own."""


@dataclass(frozen=True)
class InputSpec:
    """What one input's array is made of: `shape` with a fill, or a file.

    Attributes:
        place: Where it is described, for messages.
        shape: Its shape; None where the file decides.
        dtype: The name of its dtype; None where the file decides.
        fill: `"ones"`, `"uniform"` or `"normal"`.
        low: Smallest value of a uniform fill.
        high: Where a uniform fill ends; this value itself is not among integers.
        path: The `.npy` or `.npz` file, or None.
        key: Which array of a `.npz` file; None: the one that bears the input's name, or the only one.
        density: Which share of a sparse input's places is filled; None of a dense one.
        given_as: How a Keras model is given it: a position (`"0"`) or a name; None: that is found out.
    """

    place: str
    shape: tuple[int, ...] | None
    dtype: str | None = "float32"
    fill: str = "uniform"
    low: float = 0
    high: float = 1
    path: Path | None = None
    key: str | None = None
    given_as: str | None = None
    density: float | None = None


def read_input(table: Table, folder: Path) -> InputSpec:
    """Checks the table of one input."""
    table.refuse_unknown(_KEYS)
    shape = _shape(table)
    dtype = table.choice("dtype", _DTYPES, "float32") if "dtype" in table.values else None
    path, key = table.text("path"), table.text("key")
    given_as = table.text("as")
    if given_as is not None and not (given_as.isdecimal() or given_as.isidentifier()):
        raise InputError(
            f'{table.place}: as is {quoted(given_as)}; it must be a position, as in "0", or the name of a keyword or '
            "of an input of the model."
        )
    if path is None:
        if key is not None:
            raise InputError(f"{table.place} has key, which names an array in a .npz file, and no path.")
        if shape is None:
            raise InputError(
                f"{table.place} has neither shape nor path; give shape = [...] or the path of a .npy or .npz file."
            )
        fill = table.choice("fill", _FILLS, "uniform")
        low, high = _range(table, dtype or "float32", fill)
        density = _density(table, shape)
        return InputSpec(table.place, shape, dtype or "float32", fill, low, high, given_as=given_as, density=density)
    for word in ("fill", "low", "high", "density"):
        if word in table.values:
            raise InputError(f"{table.place} has both path and {word}; a file's values are taken as they are.")
    if not Path(path).is_absolute() and leaves(path, folder):
        raise InputError(
            f"{table.place}: path {quoted(path)} leaves the folder of the configuration; move the file into it."
        )
    return InputSpec(table.place, shape, dtype, path=folder / path, key=key, given_as=given_as)


def make_inputs(configuration: Configuration) -> dict[str, np.ndarray]:
    """Returns input name -> array, bit-identical on every machine and NumPy version.

    Raises:
        InputError: A file is missing or no plain array, differs from the shape or dtype that the configuration
            states, is empty, or holds NaN or infinity.
    """
    return make_batches(configuration)[0]


def make_batches(configuration: Configuration) -> list[dict[str, np.ndarray]]:
    """Returns one dict of input name -> array for each batch that is asked for.

    The first batch is filled as if it were the only one, further ones with other values; a file is cut along its first
    axis.

    Raises:
        InputError: As of `make_inputs`, or a file cannot be cut into that many equal parts.
    """
    count = configuration.batches
    _refuse_large(configuration)
    batches: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    for name, spec in configuration.inputs.items():
        if is_sparse(spec):
            for number, batch in enumerate(batches):
                batch.update(_sparse(name if number == 0 else f"{name}#{number + 1}", name, spec, count))
            continue
        whole = None if spec.path is None else _finite(_load(name, spec, spec.path), spec)
        for number, batch in enumerate(batches):
            if whole is None:
                batch[name] = _filled(name if number == 0 else f"{name}#{number + 1}", spec)
            else:
                batch[name] = _part(whole, number, count, spec)
    return batches


def is_sparse(spec: InputSpec) -> bool:
    """Tells whether an input is sparse: one with a density, or a file that `scipy.sparse.save_npz` wrote."""
    return spec.density is not None or (spec.path is not None and sparse_files.is_one(spec.place, spec.path))


def _sparse(hashed: str, name: str, spec: InputSpec, count: int) -> dict[str, np.ndarray]:
    """Returns the three arrays of a sparse input, its values in the order of their places.

    Args:
        hashed: What its numbers are a hash of.
        name: Its name.
        spec: What it is made of.
        count: How many batches there are.
    """
    if spec.path is not None:
        if count > 1:
            raise InputError(f"{spec.place}: a file of a sparse matrix is not cut into batches; take batches out.")
        places, values, shape = sparse_files.read(spec.place, spec.path, spec.key)
        _refuse_other(spec, spec.path, values.dtype, shape)
        values = _finite(values, spec)
    else:
        assert spec.shape is not None
        shape = spec.shape
        unit = hashed_uniform(f"{hashed}/places", math.prod(shape)).reshape(shape)
        places = np.argwhere(unit <= max(spec.density or 0.0, float(unit.min())))  # one at least
        values = _filled(hashed, dataclasses.replace(spec, shape=(len(places),)))
    return {
        name + sparse.INDICES: places.astype(np.int64),
        name + sparse.VALUES: values,
        name + sparse.SHAPE: np.array(shape, np.int64),
    }


def _density(table: Table, shape: tuple[int, ...]) -> float | None:
    density = table.number("density")
    if density is not None and not (0 < density <= 1 and shape):
        raise InputError(
            f"{table.place}: density is {shown(density)}; it must be the share of a sparse tensor's places that is "
            "filled, above 0 and 1 at most, of a shape with at least one dimension."
        )
    return density


def _refuse_large(configuration: Configuration) -> None:
    """Refuses before anything is filled what would take more memory and time than anybody has."""
    sizes = {name: math.prod(spec.shape or ()) for name, spec in configuration.inputs.items() if spec.path is None}
    total = sum(sizes.values()) * configuration.batches
    if total > _MAX_FILLED:
        place = configuration.inputs[max(sizes, key=lambda name: sizes[name])].place
        batches = f", in {configuration.batches:,} batches" if configuration.batches > 1 else ""
        raise InputError(
            f"{place}: all inputs together have {shown(total)} elements{batches}, and {_MAX_FILLED:,} are filled at "
            "most; a smaller batch shows what a model computes, and a file may hold more."
        )


def _part(whole: np.ndarray, number: int, count: int, spec: InputSpec) -> np.ndarray:
    if count == 1:
        return whole
    if whole.ndim == 0 or whole.shape[0] % count:
        raise InputError(
            f"{spec.place}: a file of shape {list(whole.shape)} cannot be cut along its first axis into {count} "
            "batches."
        )
    size = whole.shape[0] // count
    return whole[number * size : (number + 1) * size]


def _filled(name: str, spec: InputSpec) -> np.ndarray:
    assert spec.shape is not None
    assert spec.dtype is not None
    count = math.prod(spec.shape)
    dtype = numpy_dtype(spec.dtype)
    if spec.fill == "ones":
        return np.ones(spec.shape, dtype)
    if dtype.kind == "c":
        values = _real(f"{name}.real", count, spec) + 1j * _real(f"{name}.imaginary", count, spec)
    else:
        values = _real(name, count, spec)
    # A float16 of 70,000 is infinite: what the dtype cannot hold is refused like any other infinity.
    with np.errstate(over="ignore"):
        return _finite(values.astype(dtype).reshape(spec.shape), spec)


def _real(name: str, count: int, spec: InputSpec) -> np.ndarray:
    if spec.fill == "normal":
        # The sum of twelve uniform values less 6 has mean 0, variance 1 and excess kurtosis -0.1. Unlike the
        # Box-Muller formula it needs no logarithm, whose last bit differs from one machine to the next.
        return sum((hashed_uniform(f"{name}.{i}", count) for i in range(12)), np.full(count, -6.0))
    unit = hashed_uniform(name, count)
    if spec.dtype == "bool":
        return unit >= 0.5
    if spec.dtype in _INTEGER:
        # Added up as integers: near 2**63 float64 has no odd numbers.
        wide = np.dtype(np.uint64 if spec.dtype == "uint64" else np.int64)
        return np.floor(unit * (spec.high - spec.low)).astype(wide) + np.array(spec.low, wide)
    return spec.low + unit * (spec.high - spec.low)


def _shape(table: Table) -> tuple[int, ...] | None:
    value = table.values.get("shape")
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(size) is int and size >= 0 for size in value):
        raise InputError(
            f"{table.place}: shape is {shown(value)}; it must be an array of positive integers, the batch size "
            "included."
        )
    if 0 in value:
        raise InputError(f"{table.place}: shape {shown(value)} is empty; there would be nothing to compare.")
    if len(value) > MAX_DIMENSIONS:
        raise InputError(f"{table.place}: shape has {len(value)} dimensions; an array has {MAX_DIMENSIONS} at most.")
    return tuple(value)


def _range(table: Table, dtype: str, fill: str) -> tuple[float, float]:
    low, high = table.number("low"), table.number("high")
    if (fill != "uniform" or dtype == "bool") and (low is not None or high is not None):
        raise InputError(f'{table.place}: low and high belong to fill = "uniform" of numbers; take them out.')
    if dtype in (*_INTEGER, "bool") and fill == "normal":
        raise InputError(f'{table.place}: fill = "normal" does not go with dtype "{dtype}"; use "uniform".')
    if dtype in _INTEGER and fill == "uniform":
        return _integer_range(table, dtype, low, high)
    low, high = 0 if low is None else low, 1 if high is None else high
    if not low < high:
        raise InputError(f"{table.place}: low is {shown(low)} and high is {shown(high)}; low must be the smaller one.")
    if not math.isfinite(float(high) - float(low)):
        raise InputError(
            f"{table.place}: low is {shown(low)} and high is {shown(high)}; they are too far apart for a number."
        )
    return low, high


def _integer_range(table: Table, dtype: str, low: float | None, high: float | None) -> tuple[int, int]:
    if high is None:
        raise InputError(
            f'{table.place}: integers need high, the first value that does not occur (dtype is "{dtype}").'
        )
    low = 0 if low is None else low
    if not (isinstance(low, int) and isinstance(high, int)):
        raise InputError(
            f'{table.place}: low is {shown(low)} and high is {shown(high)}; for dtype "{dtype}" both must be integers.'
        )
    bounds = np.iinfo(dtype)
    if not (bounds.min <= low < high <= int(bounds.max) + 1 and high - low <= _EXACT_INTEGERS):
        raise InputError(
            f"{table.place}: low is {shown(low)} and high is {shown(high)}; low must be the smaller one, the values "
            f"must fit {dtype}, and there can be 2**53 of them at most."
        )
    return low, high


def _load(name: str, spec: InputSpec, path: Path) -> np.ndarray:
    array = read_array(spec.place, name, spec.key, path)
    if array.dtype == np.dtype("V2") and spec.dtype == "bfloat16":
        array = array.view(numpy_dtype("bfloat16"))  # numpy.save forgets the name of this dtype
    found = array.dtype.newbyteorder("=")
    _refuse_other(spec, path, found, array.shape)
    if found.kind not in "fiubcSU" and found.name not in _DTYPES:
        raise InputError(f"{spec.place}: {path.name} holds {found}, which is no array of numbers or strings.")
    if array.size == 0:
        raise InputError(
            f"{spec.place}: {path.name} is empty (shape {list(array.shape)}); there would be nothing to compare."
        )
    return array.astype(found, copy=False)


def _refuse_other(spec: InputSpec, path: Path, found: np.dtype[Any], shape: Sequence[int]) -> None:
    """Refuses a file of another dtype or shape than the configuration says."""
    if spec.dtype is not None and found != numpy_dtype(spec.dtype):
        raise InputError(
            f"{spec.place}: dtype is {spec.dtype}, but {path.name} holds {found.name}; correct the configuration, or "
            "convert the file."
        )
    if spec.shape is not None and tuple(shape) != spec.shape:
        raise InputError(f"{spec.place}: shape is {shown(spec.shape)}, but {path.name} holds {list(shape)}.")


def _finite(array: np.ndarray, spec: InputSpec) -> np.ndarray:
    bad = not_finite(array)
    if bad:
        raise InputError(f"{spec.place}: {spec.path.name if spec.path else 'the fill'} holds {bad}.")
    return array
