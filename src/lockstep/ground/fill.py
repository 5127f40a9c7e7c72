"""Values for variables and inputs that need no random generator, the same on every machine and NumPy version."""

import hashlib
import re
from typing import Any, Tuple

import numpy as np

GUIDE_CONSTANT = 0.001
"""What the guide sets every variable to."""


def takes_values(dtype: str) -> bool:
    """Tells whether variables of a dtype are filled: counters and indices keep what they have.

    A fraction would not fit them, and another index means another thing.
    """
    return dtype.startswith(("float", "bfloat", "complex"))


def values(kind: str, name: str, shape: Tuple[int, ...], dtype: Any, positive: bool = False) -> np.ndarray:
    """Returns the values of a variable.

    Args:
        kind: `"constant"`, `"distinct"`, `"even"`, `"tiny"` (see `TINY`), `"faint"` (see `FAINT`), or `"wide/1"` and
            so on (see `WIDE`).
        name: The variable's name.
        shape: Its shape.
        dtype: Its dtype.
        positive: Whether it is read as what has to be positive, whatever its name says.
    """
    if kind == "constant":
        return constant(shape, dtype)
    if kind == "even":
        return even(name, shape, dtype, positive)
    if kind == "tiny":
        found = distinct(name, shape, dtype, positive)
        return np.asarray(found * TINY).astype(dtype) if positive or _VARIANCE.search(name) else found
    if kind == "faint":
        found = distinct(name, shape, dtype, positive)
        kept = positive or len(shape) >= 2 or _VARIANCE.search(name) or _SCALE.search(name)
        return found if kept else np.asarray(found * FAINT).astype(dtype)
    if kind.startswith("wide/"):
        return wide(int(kind[len("wide/") :]), name, shape, dtype, positive)
    return distinct(name, shape, dtype, positive)


WIDE = (4.0, 32.0, 32.0, 512.0)
"""How far values reach that are chosen to meet what the distinct ones do not: all by 4, two halves of the variables by
32 (all of them would overflow in a deep network), all by 512 for what is dead otherwise."""


TINY = 1e-6
"""Of what variances are otherwise: the smallest epsilon in use is 1e-12, the usual ones are 1e-3 to 1e-6."""


FAINT = 1e-8
"""Of what biases, and inputs, are otherwise: below the bounds that keep a division from zero."""


_VARIANCE = re.compile(r"(^|[/_])(moving_|running_)?(variance|var)$|second_moment|stddev", re.IGNORECASE)
_SCALE = re.compile(r"(^|[/_])(gamma|scale)$", re.IGNORECASE)


def constant(shape: Tuple[int, ...], dtype: Any) -> np.ndarray:
    """Returns an array full of the guide's constant."""
    return np.full(shape, GUIDE_CONSTANT, dtype)


def even(name: str, shape: Tuple[int, ...], dtype: Any, positive: bool = False) -> np.ndarray:
    """Returns one value for all elements that a deep network neither amplifies nor loses, where the guide's does.

    Kernels (rank 2 and more) have 1 / fan-in, so that a layer gives means of what it reads; variances and scales have
    1, other vectors the guide's constant.
    """
    if positive or _VARIANCE.search(name) or _SCALE.search(name):
        return np.full(shape, 1.0, dtype)
    if len(shape) >= 2:
        return np.full(shape, 1.0 / _fan_in(shape), dtype)
    return constant(shape, dtype)


def wide(number: int, name: str, shape: Tuple[int, ...], dtype: Any, positive: bool = False) -> np.ndarray:
    """Returns values that reach further than the distinct ones: `WIDE[number]` times for some or all variables."""
    reach = WIDE[number]
    if number in (1, 2) and (hashed_uniform("half/" + name, 1)[0] < 0.5) != (number == 1):
        reach = 1.0
    salted = "wide/%d/%s" % (number, name)
    found = distinct(salted, shape, np.float64, positive)
    if np.dtype(dtype).kind == "c":
        found = distinct(salted, shape, dtype, positive)
    grown = positive or bool(_VARIANCE.search(name)) or len(shape) >= 2
    # A vector lies in [-0.1, 0.1): as wide as a kernel makes its neighbours, so that a bias crosses a kink.
    return np.asarray(found * (reach if grown else 10.0 * reach)).astype(dtype)


def _fan_in(shape: Tuple[int, ...]) -> int:
    count = int(np.prod(shape, dtype=np.int64))
    return max(count // max(shape[-1], 1), 1)


def distinct(name: str, shape: Tuple[int, ...], dtype: Any, positive: bool = False) -> np.ndarray:
    """Returns values that depend on the variable's name and on each element's place in it.

    A constant hides a transposed kernel, two swapped weights and a wrong axis; these values show them.
    Kernels (rank 2 and more) are uniform with mean 0 and variance 1 / fan-in, so that activations keep their
    size through a deep network (LeCun et al., "Efficient BackProp", 1998, section 4.6). Variances and scales
    lie in [0.5, 1.5): they stay positive. Other vectors lie in [-0.1, 0.1).

    Args:
        name: The variable's name; two names give unrelated values.
        shape: The variable's shape; fan-in is the product of all dimensions but the last.
        dtype: A floating or complex dtype (complex values get equal parts, half the variance each).
        positive: Whether it is read as a variance is, whatever its name says.
    """
    count = int(np.prod(shape, dtype=np.int64))
    unit = hashed_uniform(name, count)
    if positive or _VARIANCE.search(name) or _SCALE.search(name):
        values = unit + 0.5
    elif len(shape) >= 2:
        values = (2.0 * unit - 1.0) * np.sqrt(3.0 / _fan_in(shape))
    else:
        values = 0.2 * unit - 0.1
    if np.dtype(dtype).kind == "c":
        values = values * (1 + 1j) / np.sqrt(2.0)
    return values.astype(dtype).reshape(shape)


def cotangent(path: str, shape: Tuple[int, ...], dtype: Any) -> np.ndarray:
    """Returns what an output is weighted with where gradients are taken of it and the user gave no loss.

    The weights are uniform with mean 0, and the expectation of their squares' sum is 1: whatever the output's size, its
    random projection is as large as one of its elements (root mean square).

    Args:
        path: The output's path in the returned structure; two paths give unrelated weights.
        shape: The output's shape.
        dtype: A floating dtype.
    """
    count = int(np.prod(shape, dtype=np.int64))
    unit = hashed_uniform("cotangent/" + path, count)
    weights: np.ndarray = (2.0 * unit - 1.0) * np.sqrt(3.0 / max(count, 1))
    return weights.astype(dtype).reshape(shape)


def update_gradient(name: str, number: int, shape: Tuple[int, ...], dtype: Any) -> np.ndarray:
    """Returns the gradient that the optimizers of both sides are given for a variable in a trial update.

    Magnitudes are spread over seven powers of ten, from 1e-7 to 1, times 1, 100, 0.01, 10 and 1 for one update after
    the other: among the small ones an epsilon shows, among the large ones clipping. The first element is as large as
    any.

    Args:
        name: The variable's name.
        number: Which update it is for, from 0.
        shape: The variable's shape.
        dtype: Its dtype.
    """
    count = int(np.prod(shape, dtype=np.int64))
    magnitude: np.ndarray = 10.0 ** (-7.0 * hashed_uniform("update/%d/%s" % (number, name), count))
    magnitude[:1] = 1.0
    sign = np.where(hashed_uniform("update sign/%d/%s" % (number, name), count) < 0.5, -1.0, 1.0)
    scaled: np.ndarray = sign * magnitude * (1.0, 100.0, 0.01, 10.0, 1.0)[number % 5]
    return scaled.astype(dtype).reshape(shape)


_FLOAT_BITS = {2: np.int16, 4: np.int32, 8: np.int64}


def jittered(array: np.ndarray, name: str) -> np.ndarray:
    """Moves every finite element that is not zero up or down by one unit in the last place, as a hash of `name` says.

    Zeros stay: what is exactly zero in both computations (padding, an initial bias) is no rounded number. Masks stay as
    a whole, for the same reason: a last place of them, times the -1e9 that attention adds, would excuse any mistake.

    >>> jittered(np.array([1.5, 0.0], np.float32), "x").tolist() in ([1.5 + 2.0**-23, 0.0], [1.5 - 2.0**-23, 0.0])
    True
    >>> jittered(np.array([1.0, 0.0], np.float32), "x").tolist()
    [1.0, 0.0]
    """
    bits = _FLOAT_BITS.get(array.dtype.itemsize)
    if array.dtype.kind != "f" or bits is None:  # integers, strings; bfloat16 and complex numbers stay as they are
        return array
    if _is_mask(array):
        return array
    steps = np.where(hashed_uniform(name, array.size) < 0.5, -1, 1).astype(bits).reshape(array.shape)
    movable = np.isfinite(array) & (array != 0)
    plain = np.ascontiguousarray(array).reshape(array.shape)  # which makes a scalar an array of one
    moved = plain.view(bits) + np.where(movable, steps, 0).astype(bits)
    result = moved.view(array.dtype)
    return np.where(np.isfinite(result), result, array)


def _is_mask(array: np.ndarray) -> bool:
    """Whether an array holds zeros and one other whole number, which nothing has rounded."""
    if array.size <= 1:
        return False
    zero = array == 0
    other = array.reshape(-1)[int(np.argmin(zero))]
    whole = bool(np.isfinite(other)) and float(other) == float(np.floor(other))
    return whole and bool(zero.any()) and bool((zero | (array == other)).all()) and not bool(zero.all())


_BLOCK = 1 << 15  # what is worked on at a time stays in the cache: three times faster than all at once


def hashed_uniform(name: str, count: int) -> np.ndarray:
    """Returns `count` float64 values in [0, 1), a hash of `name` and of each index.

    The hash is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014),
    seeded by the first eight bytes of SHA-256 of the name: integer arithmetic alone, so bit-identical wherever
    it runs. NumPy promises no such thing of its generators' streams.

    >>> [round(float(value), 6) for value in hashed_uniform("image", 2)]
    [0.324882, 0.555021]
    """
    seed = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    values = np.empty(count)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        z = np.arange(start + 1, stop + 1, dtype=np.uint64)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z += seed
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        z >>= np.uint64(11)
        values[start:stop] = z
        values[start:stop] *= 2.0**-53
    return values
