"""What is asked of an array before a model is fed with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lockstep.common.errors import InputError
from lockstep.ground import sparse
from lockstep.ground.records import ONLY_INPUT
from lockstep.ground.tensors import dtype_name

Arrays = Mapping[str, np.ndarray] | np.ndarray
"""What a model is fed: arrays by input name, or one array for a model that takes one tensor."""


MAX_DIMENSIONS = 32
"""How many dimensions an array may have: NumPy 1, on which an original may run, has no more."""


def named(inputs: Arrays) -> dict[str, np.ndarray]:
    """Returns arrays by input name; the one of a model that takes one tensor gets the name that recordings give it."""
    return dict(inputs) if isinstance(inputs, Mapping) else {ONLY_INPUT: inputs}


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Returns the dtype of that name; bfloat16 and the narrower ones are TensorFlow's, which NumPy alone does not know.

    >>> numpy_dtype("float8_e5m2").itemsize
    1
    """
    try:
        dtype: np.dtype[Any] = np.dtype(name)
    except TypeError:
        import ml_dtypes  # comes with TensorFlow; NumPy knows its dtypes from then on

        dtype = np.dtype(getattr(ml_dtypes, name, object))
        if dtype.name != name:
            raise
    return dtype


def not_finite(array: np.ndarray) -> str:
    """Describes the values that are NaN or infinite; an empty string if there are none.

    >>> not_finite(np.array([1.0, np.nan]))
    '1 value that is NaN or infinite, the first at [1]'
    """
    if array.dtype.kind in "iubSUO":
        return ""
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if not count:
        return ""
    values = "1 value that is" if count == 1 else f"{count:,} values that are"
    return f"{values} NaN or infinite, the first at {[int(i) for i in np.argwhere(bad)[0]]}"


def checked_inputs(inputs: Arrays) -> Arrays:
    """Returns the inputs as arrays that something can be concluded from.

    A sparse one, a `tf.compat.v1.SparseTensorValue`, becomes the three arrays that `ground.sparse` says.

    Raises:
        InputError: There are none, or one is empty, not of numbers or strings, or holds NaN or infinity.
    """
    if not isinstance(inputs, Mapping):
        return _checked("the input", inputs)
    if not inputs:
        raise InputError("no inputs were given; pass a dict of input name -> array.")
    arrays = {key: value for name, given in inputs.items() for key, value in _in_parts(name, given)}
    return {name: _checked(f"input {name!r}", value) for name, value in arrays.items()}


def _in_parts(name: str, given: Any) -> Iterator[tuple[str, Any]]:
    """Yields an input as it is, or a sparse value's indices, values and shape."""
    if not isinstance(given, tuple) or getattr(given, "_fields", None) != ("indices", "values", "dense_shape"):
        yield name, given
        return
    yield name + sparse.INDICES, np.asarray(given[0], np.int64)
    yield name + sparse.VALUES, given[1]
    yield name + sparse.SHAPE, np.asarray(given[2], np.int64)


def _checked(what: str, value: Any) -> np.ndarray:
    if isinstance(value, Mapping):
        raise InputError(
            f"{what} is a {type(value).__name__} of {', '.join(map(str, value)) or 'nothing'}; inputs are arrays by "
            "name. Give each of its entries as an input of its own, and put them together again in both sides' code."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise _of_rows(what, value) from error
    if array.dtype.kind == "O" and type(value).__name__ == "RaggedTensor":
        raise _of_rows(what, value)
    if array.dtype.kind == "O" and any(isinstance(item, (list, tuple, np.ndarray)) for item in array.flat):
        raise _of_rows(what, value)
    if array.dtype.kind == "O" and not all(isinstance(item, (str, bytes)) for item in array.flat):
        raise InputError(f"{what} is not an array of numbers or strings (a {type(value).__name__} was given).")
    if array.size == 0:
        raise InputError(f"{what} is empty (shape {array.shape}); there would be nothing to compare.")
    bad = not_finite(array)
    if bad:
        raise InputError(f"{what} holds {bad}; whatever comes out of that proves nothing.")
    return array


def _of_rows(what: str, value: Any) -> InputError:
    """Returns what is said of values that are no one array: rows of several lengths, as lists or as a ragged tensor."""
    kind = type(value).__name__
    if kind in ("list", "tuple", "ndarray", "RaggedTensor"):
        return InputError(
            f"{what} has rows of different lengths (a {kind}), and inputs are arrays. Give all values in one array and "
            "the lengths in another, as two inputs, and make a tf.RaggedTensor of them in both sides' code "
            "(tf.RaggedTensor.from_row_lengths); or pad the rows."
        )
    return InputError(
        f"{what} is a {kind}, and inputs are arrays. Give the arrays that it is made of as inputs of their own, and "
        "put them together again in both sides' code."
    )


def is_rounded(dtype: np.dtype[Any]) -> bool:
    """Tells whether a dtype is floating, `ml_dtypes`' narrow ones among them, or complex."""
    return dtype.kind in "fc" or dtype_name(dtype).startswith(("bfloat", "float"))


def largest_magnitude(values: np.ndarray) -> float:
    """Returns the largest finite magnitude of a floating or complex tensor; 0 if there is none, or of another dtype.

    >>> largest_magnitude(np.array([1.0, -3.0, np.inf])), largest_magnitude(np.array([7]))
    (3.0, 0.0)
    """
    array = np.asarray(values)
    if array.size == 0 or not is_rounded(array.dtype):
        return 0.0
    # Minimum and maximum instead of the magnitude: no temporary as large as the tensor.
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    with np.errstate(invalid="ignore"):  # bfloat16's NaN raise a flag there
        largest = max(float(max(abs(float(part.min())), abs(float(part.max())))) for part in parts)
    if np.isfinite(largest):
        return largest
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0
