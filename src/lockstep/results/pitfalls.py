"""The catalogue of pitfalls: each mistake that a cause can be put down to has a slug and a page in `docs/pitfalls/`.

The slugs are a type of their own, so that mypy refuses one in the code that the catalogue does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

Slug = Literal[
    "activation-slope",
    "align-corners",
    "attribute",
    "batch-statistics",
    "channel-order",
    "clip-value",
    "concat-order",
    "constant",
    "constant-factor",
    "data-format",
    "dilation",
    "dropout-place",
    "dropout-rate",
    "dtype",
    "epsilon",
    "exponent",
    "extra-operation",
    "extra-regularizer",
    "extra-update",
    "extra-variable",
    "flatten-order",
    "forget-bias",
    "frozen-statistics",
    "gate-order",
    "gelu-form",
    "half-pixel-centers",
    "head-order",
    "image-range",
    "initial-state",
    "initializer",
    "keep-prob-as-rate",
    "l2-half",
    "leaky-slope",
    "mask",
    "missing-activation",
    "missing-bias",
    "missing-operation",
    "missing-regularizer",
    "missing-scale",
    "missing-update",
    "missing-variable",
    "momentum",
    "offset",
    "operation-order",
    "padding",
    "pooling-kind",
    "regularizer-kind",
    "resize-size",
    "schedule-step",
    "slicing",
    "strides",
    "transposed-axes",
    "transposed-kernel",
    "unbiased-variance",
    "window",
    "wrong-activation",
    "wrong-axis",
    "wrong-input",
    "wrong-operation",
    "wrong-variable",
]
"""The slugs, in alphabetical order."""

Pitfall = Slug | Literal[""]
"""A slug, or an empty string where no pitfall is known."""

SUMMARIES: Mapping[Slug, str] = MappingProxyType(
    {
        "activation-slope": "an activation has a slope that the original's has not",
        "align-corners": "TF1 resizes with align_corners as told; Keras 3 has no such option",
        "attribute": "one attribute of an operation has another value",
        "batch-statistics": "the batch's own statistics are used where moving averages should be",
        "channel-order": "the channels that a step makes are interleaved in another order",
        "clip-value": "values are clipped at another bound",
        "concat-order": "the same tensors are joined in another order",
        "constant": "a constant that the model computes with has another value",
        "constant-factor": "something is multiplied by another number",
        "data-format": "channels are taken to be first on one side and last on the other",
        "dilation": "a convolution skips another number of pixels between its taps",
        "dropout-place": "dropout is applied in another place, or on one side only",
        "dropout-rate": "dropout drops another share of the values",
        "dtype": "one side computes in half precision",
        "epsilon": "epsilon's default is another one in each library",
        "exponent": "something is raised to another power",
        "extra-operation": "the candidate computes something that the original does not",
        "extra-regularizer": "the candidate regularizes a variable that the original does not",
        "extra-update": "the candidate changes a variable in training that the original leaves alone",
        "extra-variable": "the candidate has a variable that the original has not",
        "flatten-order": "the same values in another order: axes were swapped before they were flattened",
        "forget-bias": "TF1's LSTM cells add forget_bias when they run; Keras adds it to the initial bias instead",
        "frozen-statistics": "moving averages are used where the batch's own statistics should be",
        "gate-order": "TF1's LSTM kernel holds its gates as i, j, f, o, Keras's as i, f, c, o",
        "gelu-form": "GELU has an exact form and an approximation by tanh",
        "half-pixel-centers": "TF1 resizes from pixel corners by default, Keras 3 always from pixel centres",
        "head-order": "attention heads are split off with their number behind their size",
        "image-range": "images are mapped to another range before they go in",
        "initial-state": "a recurrence starts from another state",
        "initializer": "a variable starts from another distribution or another order of draws",
        "keep-prob-as-rate": "TF1's keep_prob is what is kept, Keras's rate is what is dropped",
        "l2-half": "TF1's l2_loss carries a factor 1/2 that Keras's L2 does not",
        "leaky-slope": "LeakyReLU's default slope is 0.2 in TensorFlow and 0.3 in Keras",
        "mask": "a mask covers other elements, or is lacking",
        "missing-activation": "the candidate lacks an activation",
        "missing-bias": "the candidate does not add a bias",
        "missing-operation": "the candidate lacks an operation",
        "missing-regularizer": "the candidate does not regularize a variable that the original does",
        "missing-scale": "the candidate lacks a factor",
        "missing-update": "the candidate never changes a variable that the original updates in training",
        "missing-variable": "the candidate lacks a variable",
        "momentum": "moving averages move at another pace: decay or momentum differs",
        "offset": "a constant that is added differs or is lacking",
        "operation-order": "two operations are applied in another order",
        "padding": "a border is padded otherwise: SAME against VALID, or by hand",
        "pooling-kind": "pooling takes the maximum on one side and the mean on the other",
        "regularizer-kind": "a variable is regularized by another norm: L1 against L2",
        "resize-size": "an image is resized to another size, or by the inverse factor",
        "schedule-step": "a learning rate's schedule is a step early or late, or counts epochs for updates",
        "slicing": "another piece of a tensor is taken",
        "strides": "a window moves by another step",
        "transposed-axes": "the axes of a tensor are swapped",
        "transposed-kernel": "a matrix is taken the other way round",
        "unbiased-variance": "TF1's fused batch norm keeps n / (n - 1) times the variance, Keras 3 the variance itself",
        "window": "a pooling window has another size",
        "wrong-activation": "another activation is applied",
        "wrong-axis": "something runs along another axis, or backwards",
        "wrong-input": "an operation reads another tensor",
        "wrong-operation": "another operation is in the same place",
        "wrong-variable": "an operation reads another variable",
    }
)
"""Slug -> what goes wrong, in one line."""

SLUGS: tuple[Slug, ...] = get_args(Slug)


def told(pitfall: str) -> str:
    """Returns what a report says of a pitfall: the command that prints its page, and its summary; nothing for "".

    >>> told("l2-half")
    "lockstep explain l2-half: TF1's l2_loss carries a factor 1/2 that Keras's L2 does not"
    """
    if not pitfall:
        return ""
    command = f"lockstep explain {pitfall}"
    # A report that a later version wrote may know others.
    summary = next((summary for slug, summary in SUMMARIES.items() if slug == pitfall), None)
    return command if summary is None else f"{command}: {summary}"
