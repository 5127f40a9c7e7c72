"""Bisection over releases of which some cannot be judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Search:
    """What a search came to, in places of the releases; the reference is at 0.

    Attributes:
        first_that_differs: The first place that is known to differ; None where none of those that were run does.
        last_alike: The last place before it that is like the reference; without a difference the last that is.
        passed_over: The places between these two: none of them could be judged.
        asked: The places that were run, in that order.
    """

    first_that_differs: int | None
    last_alike: int
    passed_over: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()


@dataclass
class _Asker:
    """Asks once for each place."""

    run: Callable[[int], bool | None]
    answers: dict[int, bool | None] = field(default_factory=dict)

    def __call__(self, place: int) -> bool | None:
        if place not in self.answers:
            self.answers[place] = self.run(place)
        return self.answers[place]


def search(count: int, run: Callable[[int], bool | None], *, every: bool = False) -> Search:
    """Looks for the first release that differs from the one at place 0.

    The last that can be judged is asked first; then always one near the middle of what is between a place that is
    like the reference and one that differs. Where differences come and go, the answer is one change among several.

    Args:
        count: How many releases there are.
        run: Tells of a place whether it differs from the reference; None where that cannot be judged.
        every: Whether all are asked, so that the first change of all is found.

    >>> search(8, lambda place: place >= 5)
    Search(first_that_differs=5, last_alike=4, passed_over=(), asked=(7, 3, 5, 4))
    """
    ask = _Asker(run)
    if every:
        differing = [place for place in range(1, count) if ask(place)]
        high = differing[0] if differing else None
    else:
        high = next((place for place in range(count - 1, 0, -1) if ask(place) is not None), None)
        if high is not None and not ask(high):
            high = None
    if high is None:
        alike = [place for place, answer in ask.answers.items() if answer is False]
        return Search(None, max(alike, default=0), asked=tuple(ask.answers))
    low = 0
    if every:
        low = max((place for place in range(1, high) if ask(place) is False), default=0)
    while (place := _next(low, high, ask)) is not None:
        if ask(place):
            high = place
        elif ask(place) is False:
            low = place
    return Search(high, low, tuple(range(low + 1, high)), tuple(ask.answers))


def _next(low: int, high: int, ask: _Asker) -> int | None:
    """Returns the place nearest to the middle that was not asked; None where all between were."""
    left = [place for place in range(low + 1, high) if place not in ask.answers]
    return min(left, key=lambda place: (abs(2 * place - low - high), place), default=None)
