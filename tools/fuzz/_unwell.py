"""A target whose trials go wrong in every way there is, by turns: with it a test sees that the runner tells each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tools.fuzz.outcome import Kind, Outcome, attempt

from lockstep.common.errors import InputError

NAME = "_unwell"
LIMIT_S = 3
WAYS: tuple[Kind, ...] = ("right", "wrong", "traceback", "hang", "abort", "right")


def trials(seed: int, count: int, folder: Path) -> Iterator[Outcome]:
    """Goes through `WAYS`, again and again."""
    for number in range(seed, seed + count):
        way = WAYS[number % len(WAYS)]
        (folder / "trial").write_text(way, encoding="utf-8")
        yield attempt(way, {"right": _refused, "wrong": lambda: "2 + 2 = 5"}.get(way, lambda w=way: _unwell(w)))


def _refused() -> None:
    raise InputError("this file is damaged.")


def _unwell(way: str) -> None:
    print("what a target prints is no answer")
    if way == "traceback":
        raise RuntimeError("unforeseen")
    if way == "hang":
        time.sleep(3600)
    os.abort()
