"""The corpus of faithful rewrites: pairs that compute the same otherwise."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.soundness.case import Case
from benchmarks.soundness.pairs.pair import Pair, Topic

TOPICS = (
    "dense",
    "activations",
    "normalization",
    "algebra",
    "losses",
    "convolution",
    "attention",
    "recurrence",
    "structure",
)
"""The modules of `pairs`, each with its `PAIRS`."""


def cases() -> list[Case]:
    """Returns all cases; no framework is imported before one of their makers is called."""
    return [_case(topic, pair) for topic, pair in pairs()]


def pairs() -> Iterator[tuple[str, Pair]]:
    """Yields every pair with its topic."""
    for name in TOPICS:
        topic: Topic = importlib.import_module(f"benchmarks.soundness.pairs.{name}").PAIRS
        for pair in topic:
            yield topic.title, pair


def _case(topic: str, pair: Pair) -> Case:
    return Case(
        name=f"{topic}/{pair.name}",
        reference=pair.original.subject,
        candidate=pair.candidate,
        inputs=lambda: pair.original.inputs,
        options=pair.options,
        kind="native" if pair.native else "shim",
        reason=pair.reason,
    )
