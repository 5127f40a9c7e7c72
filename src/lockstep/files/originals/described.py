"""What a configuration says of an original that is a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KINDS = ("saved_model", "frozen_graph", "meta_graph", "keras_file")
"""The keys of a side's table that name a file in place of `entry`."""

KEYS = {
    "saved_model": ("signature", "tags", "inputs", "inference_feeds"),
    "frozen_graph": ("inputs", "outputs", "inference_feeds", "weights"),
    "meta_graph": ("signature", "inputs", "outputs", "inference_feeds"),
    "keras_file": (),
}
"""What else the table may say of each."""


@dataclass(frozen=True)
class OriginalFile:
    """A file that holds a model.

    Attributes:
        kind: One of `KINDS`.
        path: The file; of a SavedModel its folder, of a MetaGraph the prefix of its checkpoint.
        label: What reports call it: the path as it was written.
        signature: The signature, or the function, that is run; empty for the only one, or `serving_default`.
        tags: The tags of the SavedModel's graph; none for the only one, or `serve`.
        inputs: Input name -> name of the graph's tensor, or of the signature's input.
        outputs: Output name -> name of the graph's tensor.
        feeds: Name of a further placeholder -> the number or flag that it is fed in every run.
        weights: A regular expression: the constants of a frozen graph in whose name it is found are weights.
    """

    kind: str
    path: Path
    label: str
    signature: str = ""
    tags: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    feeds: Mapping[str, bool | int | float] = field(default_factory=dict)
    weights: str = ""
