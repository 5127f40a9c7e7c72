"""Normal forms of the arguments that convolutions and poolings share, and the arithmetic of their shapes."""

from __future__ import annotations

from typing import Any

from lockstep.common.errors import InputError

CHANNELS_FIRST = "channels_first"


def int_tuple(value: Any, length: int, name: str) -> tuple[int, ...]:
    """Returns `value` as a tuple of `length` integers; a single integer counts for every place.

    >>> int_tuple(3, 2, "strides"), int_tuple([1, 2], 2, "strides")
    ((3, 3), (1, 2))
    """
    if isinstance(value, int):
        return (value,) * length
    try:
        sizes = tuple(int(size) for size in value)
    except (TypeError, ValueError):
        sizes = ()
    if len(sizes) != length:
        raise InputError(f"The `{name}` argument must be a tuple of {length} integers. Received: {value}")
    return sizes


def data_format(value: str) -> str:
    """Returns `value` in lower case if it is a data format."""
    lower = value.lower()
    if lower not in (CHANNELS_FIRST, "channels_last"):
        raise InputError(
            f'The `data_format` argument must be one of "channels_first", "channels_last". Received: {value}'
        )
    return lower


def padding(value: str, *, causal: bool = False) -> str:
    """Returns `value` in lower case if it is a padding; `causal` allows that one too."""
    lower = value.lower()
    if lower == "causal" and not causal:
        raise InputError("Causal padding is only supported for `Conv1D` and `SeparableConv1D`.")
    if lower not in ("valid", "same", "causal"):
        raise InputError(f'The `padding` argument must be one of "valid", "same". Received: {value}')
    return lower


def spatial_first(sizes: tuple[int, ...], form: str) -> list[int]:
    """Puts sizes of the spatial axes between ones for batch and channels, as operations take strides.

    >>> spatial_first((2, 3), "channels_last"), spatial_first((2, 3), "channels_first")
    ([1, 2, 3, 1], [1, 1, 2, 3])
    """
    return [1, 1, *sizes] if form == CHANNELS_FIRST else [1, *sizes, 1]


def output_length(length: int | None, window: int, padding: str, stride: int, dilation: int = 1) -> int | None:
    """Returns how many places a window takes along an axis of `length`; None stays None.

    >>> output_length(7, 3, "valid", 2), output_length(7, 3, "same", 2)
    (3, 4)
    """
    if length is None:
        return None
    reach = (window - 1) * dilation if padding == "valid" else 0
    return (length - reach + stride - 1) // stride


def transposed_length(length: Any, window: int, padding: str, stride: int) -> Any:
    """Returns the length that a transposed convolution gives an axis: an int, a scalar tensor or None.

    >>> transposed_length(3, 4, "valid", 2), transposed_length(3, 4, "same", 2)
    (8, 6)
    """
    if length is None:
        return None
    return length * stride + (max(window - stride, 0) if padding == "valid" else 0)
