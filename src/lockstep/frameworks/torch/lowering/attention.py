"""Attention in operations that TensorFlow code writes it with."""

from __future__ import annotations

import math
from typing import Any

import torch

Decompositions = dict[Any, Any]


def decompositions() -> Decompositions:
    """Returns how operations are taken apart for the lowering: PyTorch's own way, but for attention and `lerp`.

    Of `lerp` PyTorch makes a choice between two formulas by the weight's size, which no code that is ported has: it
    would be a condition of which only one side is ever met.
    PyTorch multiplies queries and keys with the root of the scale each, and gives its kernel's strides to the result,
    which a view may then refuse (PyTorch 2.13 on GPT-2).
    """
    table: Any = torch.export.default_decompositions()
    for kept in (torch.ops.aten.lerp.Scalar, torch.ops.aten.lerp.Tensor):
        table.pop(kept, None)
    table[torch.ops.aten.scaled_dot_product_attention.default] = scaled_dot_product_attention
    found: Decompositions = table
    return found


def scaled_dot_product_attention(  # PyTorch's signature
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Computes `softmax(scale * query @ key^T + mask) @ value`, scaling the product as most TensorFlow code does.

    Args:
        query: `(..., heads, length, features)`.
        key: `(..., heads, places, features)`.
        value: `(..., heads, places, width)`.
        attn_mask: Added, or truth values: false where nothing is looked at.
        dropout_p: The share of weights that is dropped.
        is_causal: Whether each place looks at itself and those in front alone.
        scale: The factor; None: one by the root of the number of features.
        enable_gqa: Whether several heads of queries share one of keys and values.

    Returns:
        `(..., heads, length, width)`.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = torch.matmul(query, key.transpose(-2, -1)) * factor
    if is_causal:
        seen = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(~seen, -math.inf)
    if attn_mask is not None:
        truth = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if truth else scores + attn_mask
    weights = torch.softmax(scores, -1) if attn_mask is None else torch.ops.aten._safe_softmax.default(scores, -1)
    if dropout_p > 0:
        weights = torch.ops.aten.native_dropout.default(weights, dropout_p, True)[0]
    return torch.matmul(weights, value)
