"""How long causes are looked for, what is said meanwhile, and what is said when the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lockstep.common.errors import InputError

SEARCH_TIME_S = 120.0
"""Seconds for the causes of one comparison of two programs: those of a recurrent cell or of a transformer take ten."""
MOST_S = 86_400
"""A day."""
_SHARE_OF_EDITS = 0.5
"""What part of it edits may take that explain all places at once; the rest is for place after place."""
_SILENCE_S = 2.0
"""Seconds between two words of progress."""


def checked_seconds(seconds: float | None) -> float:
    """Returns how long causes are looked for; None is the default.

    Raises:
        InputError: It is no time.
    """
    if seconds is None:
        return SEARCH_TIME_S
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0.0 <= seconds <= MOST_S:
        raise InputError(
            f"search_time is {seconds!r}; it must be a number of seconds, {MOST_S:,} at most (0: no cause is sought)."
        )
    return float(seconds)


@dataclass(frozen=True)
class SearchTime:
    """What is allowed.

    Attributes:
        seconds: How long causes are looked for; 0: not at all.
        say: Told what is being done.
    """

    seconds: float = SEARCH_TIME_S
    say: Callable[[str], None] = lambda _: None


@dataclass
class Watch:
    """Says when the time of one search is over, and remembers that it was.

    What is wrong is known before any cause is looked for, so that no verdict depends on it: a cause is what is told
    about a place, or makes several places one.

    Attributes:
        allowed: What is allowed.
        tried: Edits of the whole program that were tried.
        explained: Places that were looked at.
        unexplained: Places that were not, as the time was over.
        cut_short: Whether edits were left untried.
    """

    allowed: SearchTime = field(default_factory=SearchTime)
    tried: int = 0
    explained: int = 0
    unexplained: int = 0
    cut_short: bool = False
    _began: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def over(self) -> bool:
        """Whether no further place is explained."""
        return self.took_s >= self.allowed.seconds

    def over_for_edits(self, *, alone: bool = False) -> bool:
        """Whether no further edit is tried; `alone`: where nothing is to be done after them."""
        return self.took_s >= self.allowed.seconds * (1.0 if alone else _SHARE_OF_EDITS)

    def says(self) -> None:
        """Tells how far the search is, once in a while."""
        now = time.monotonic()
        if now - self._said >= _SILENCE_S:
            self._said = now
            done = f"{self.tried:,} edits tried, {self.explained:,} places looked at"
            self.allowed.say(f"looking for causes: {done}, {self.took_s:.0f} of {self.allowed.seconds:.0f} s")

    def note(self) -> str | None:
        """Returns the sentence that says what was not looked for; None where all was.

        >>> watch = Watch(SearchTime(0.0)); watch.unexplained = 3
        >>> watch.note()
        'no cause was looked for at 3 places, as --search-time is 0'
        """
        places = f"at {self.unexplained:,} place{'s' if self.unexplained != 1 else ''}"
        if self.allowed.seconds <= 0.0:
            return f"no cause was looked for {places}, as --search-time is 0" if self.unexplained else None
        left = [f"none was looked for {places}"] if self.unexplained else []
        left += ["edits of the whole model were left untried"] if self.cut_short else []
        if not left:
            return None
        more = f"--search-time {2 * self.allowed.seconds:.0f} gives it more"
        return f"the search for causes was ended after {self.took_s:.0f} s: {' and '.join(left)}; {more}"
