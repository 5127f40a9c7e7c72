"""The random tool of a recording: it notes every draw, and can be given the seeds that another side drew with."""

from __future__ import annotations

from collections.abc import Sequence

from lockstep.randomness import DeterministicRandomTestTool


class RecordedDraws(DeterministicRandomTestTool):
    """Notes the operation seed of every draw.

    Args:
        mode: As of `DeterministicRandomTestTool`.
        seeds: The operation seeds of the first draws, in mode `"num_random_ops"`; those that follow count on from
            the largest. In mode `"constant"` every draw has the same seed anyway.
    """

    def __init__(self, mode: str, seeds: Sequence[int] = ()) -> None:
        super().__init__(mode=mode)
        self._taken: list[int] = []
        self._given = list(reversed(seeds)) if mode == "num_random_ops" else []
        if self._given:
            self.operation_seed = max(self._given) + 1

    @property
    def taken(self) -> tuple[int, ...]:
        """The operation seeds of all draws so far, in their order."""
        return tuple(self._taken)

    def _take(self) -> int:
        seed = self._given.pop() if self._given else super()._take()
        self._taken.append(seed)
        return seed
