"""What one trial came to, and how a target finds out."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lockstep.common.errors import LockstepError

Kind = Literal["right", "wrong", "traceback", "hang", "abort"]

LONGEST = 4_000
"""Characters of a message that a reader can still take in; longer ones repeat what a hostile file holds."""


@dataclass(frozen=True)
class Outcome:
    """What one trial came to.

    Attributes:
        what: What was tried, in a few words.
        kind: `"right"`: a sentence, or an answer that is right. `"wrong"`: an answer that is not, or a message that
            nobody could read. `"traceback"`: an exception that is not Lockstep's own. `"hang"` and `"abort"`: the
            process did not come back, or died.
        detail: What was seen; empty where there is nothing to say.
    """

    what: str
    kind: Kind
    detail: str = ""


def generator(seed: int, name: str) -> random.Random:
    """The random generator of one trial: the same for the same seed and target, on every machine."""
    return random.Random(f"{name}:{seed}")


def attempt(what: str, call: Callable[[], str | None], *, slow_s: float = 10) -> Outcome:
    """Runs a trial within this process.

    Args:
        what: What is tried.
        call: Returns what is wrong with the answer, None where nothing is. `LockstepError` is a refusal, which is
            right.
        slow_s: From how many seconds on the trial counts as a hang though it came back.
    """
    started = time.monotonic()
    try:
        wrong = call()
    except LockstepError as error:
        text = str(error)
        wrong = None if text.strip() else "a refusal without a word"
        if len(text) > LONGEST:
            wrong = f"a refusal of {len(text):,} characters: {text[:200]}"
    except Exception:
        return Outcome(what, "traceback", traceback.format_exc(limit=-6))
    taken = time.monotonic() - started
    if taken > slow_s:
        return Outcome(what, "hang", f"came back after {taken:.1f} s")
    return Outcome(what, "wrong" if wrong else "right", wrong or "")
