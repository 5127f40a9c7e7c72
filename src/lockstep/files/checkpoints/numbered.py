"""Entries that a file counts instead of naming them, and which variables of a side they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Numbered:
    """Entries that a file counts instead of naming them: the variables of one layer, or all of a model.

    Attributes:
        scopes: The names of the layer and of the layers that it is in, outermost first, as the file tells them; empty
            for a whole model.
        entries: The names of the entries, in the order of their numbers.
    """

    scopes: tuple[str, ...]
    entries: tuple[str, ...]


def named_by_number(
    numbered: Sequence[Numbered], shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Finds for the variables of a side the entries that a file numbers.

    A layer of the file is the side's layer of the same name, with the names of the layers that it is in as far as both
    have them; else the only one on either side whose variables have these shapes; else the first, the second, ... of
    several such layers, as Keras numbers them in the model's order. Entries of a whole model are its variables in
    order.

    Args:
        numbered: The file's layers.
        shapes: Name of an entry -> its shape.
        wanted: Variable key -> its shape, in order of creation.

    Returns:
        Variable key -> name of an entry. Layers whose shapes are others than the file's are not among them.
    """
    ours: dict[tuple[str, ...], list[str]] = {}
    for key in wanted:
        ours.setdefault(tuple(key.split("/")[:-1]), []).append(key)
    found: dict[str, str] = {}
    waiting: dict[tuple[tuple[int, ...], ...], list[Numbered]] = {}
    for layer in numbered:
        if not layer.scopes and len(layer.entries) == len(wanted):
            if all(shapes[name] == shape for name, shape in zip(layer.entries, wanted.values(), strict=True)):
                return dict(zip(wanted, layer.entries, strict=True))
            continue
        scope = _scope_of(layer, list(ours))
        waiting.setdefault(tuple(shapes[name] for name in layer.entries), []).append(layer)
        if scope is not None and _fits(layer, ours[scope], shapes, wanted):
            found.update(zip(ours.pop(scope), layer.entries, strict=True))
            waiting[tuple(shapes[name] for name in layer.entries)].pop()
    for layers in waiting.values():
        alike = [scope for scope, keys in ours.items() if layers and _fits(layers[0], keys, shapes, wanted)]
        if len(alike) == len(layers):
            for scope, layer in zip(alike, layers, strict=True):
                found.update(zip(ours.pop(scope), layer.entries, strict=True))
    return found


def _scope_of(layer: Numbered, scopes: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Returns the only scope that ends as a layer's does, with as many names as both have."""
    for length in range(len(layer.scopes), 0, -1):
        ends = [scope for scope in scopes if scope[-length:] == layer.scopes[-length:]]
        if ends:
            return ends[0] if len(ends) == 1 else None
    return None


def _fits(
    layer: Numbered,
    keys: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
) -> bool:
    return [shapes[name] for name in layer.entries] == [wanted[key] for key in keys]
