"""The random tool of a recording: it notes every draw, and draws what another side drew in the same places.

Which place of the other side is the same is a matter of what a draw is for, not of how many came before it: draws are
paired in their order, those that lead to an output, a loss or an update with their like, whatever was drawn in between
for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lockstep.frameworks.tensorflow.randomness import DeterministicRandomTestTool
from lockstep.ground.records import ForwardDraw

_MOST_PAIRS = 4_000_000
"""Beyond this many comparisons (2,000 draws on either side) draws of another number are paired from the front."""

_BOTH_USED, _ONE_USED, _NONE_USED = 1000, 10, 9


class RecordedDraws(DeterministicRandomTestTool):
    """Notes the operation seed of every draw.

    Args:
        mode: As of `DeterministicRandomTestTool`.
        given: For each seed that is asked for, in order: the draw whose numbers are to be drawn; None for numbers of
            its own. Those that follow count on from the largest seed.

    Attributes:
        unaligned: Whether some numbers could not be drawn as they were given, as they come later in their stream.
    """

    def __init__(self, mode: str, given: Sequence[ForwardDraw | None] = ()) -> None:
        super().__init__(mode=mode)
        self._taken: list[int] = []
        self._given = list(reversed(given))
        self._streams: dict[int, int] = {}
        self._now: ForwardDraw | None = None
        self.unaligned = False
        seeds = [draw.seed for draw in given if draw is not None]
        if seeds and mode == "num_random_ops":
            self.operation_seed = max(seeds) + 1

    @property
    def taken(self) -> tuple[int, ...]:
        """The operation seeds of all draws so far, in their order."""
        return tuple(self._taken)

    def _take(self) -> int:
        self._now = self._given.pop() if self._given else None
        counts = self._mode == "num_random_ops"
        seed = self._now.seed if self._now is not None and counts else super()._take()
        self._taken.append(seed)
        return seed

    def _next_seeds(self, op_seed: int | None) -> tuple[int, int]:
        before = len(self._taken)
        seeds = super()._next_seeds(op_seed)
        if len(self._taken) > before and self._now is not None:
            self._wind_on(self._now, seeds)
        return seeds

    def _wind_on(self, draw: ForwardDraw, seeds: tuple[int, int]) -> None:
        """Brings the stream of a draw to where it was: an operation in a loop goes on where it stopped.

        Executed eagerly, operations of equal seeds share one stream, which goes on from one to the next.
        """
        import tensorflow as tf

        if not tf.executing_eagerly():
            return
        # In mode constant the streams of all operations have just been set back.
        drawn = self._streams.get(seeds[1], 0) if self._mode == "num_random_ops" else 0
        if drawn > len(draw.earlier):
            tf.random.set_seed(self._seed)
            self._streams.clear()
            drawn = 0
        for size in draw.earlier[drawn:]:
            self.unaligned |= not _draw_for_nothing(draw, size, seeds)
        self._streams[seeds[1]] = len(draw.earlier) + 1


def _draw_for_nothing(draw: ForwardDraw, size: int, seeds: tuple[int, int]) -> bool:
    """Draws numbers that nobody reads, as often as a loop did before; returns whether it can be done.

    A kernel takes as much of its stream as numbers are asked for, whatever their range.
    """
    import tensorflow as tf

    known = {"seed": seeds[0], "seed2": seeds[1]}
    for numbers in (tf.int32, tf.int64):  # the shape's dtype is part of what tells a kernel from another
        shape = tf.constant([size], numbers)
        if draw.type in ("RandomUniform", "RandomStandardNormal", "TruncatedNormal"):
            getattr(tf.raw_ops, draw.type)(shape=shape, dtype=draw.dtype, **known)
        elif draw.type == "RandomUniformInt":
            low, high = tf.constant(0, draw.dtype), tf.constant(2, draw.dtype)
            tf.raw_ops.RandomUniformInt(shape=shape, minval=low, maxval=high, **known)
        else:
            return False
    return True


def matched(
    reference: Sequence[ForwardDraw], asked_for: Sequence[ForwardDraw | None]
) -> tuple[ForwardDraw | None, ...]:
    """Returns for each seed that a candidate asks for which draw of the reference it is.

    Each draw of the reference goes to one of the candidate at most, so that a mask which serves two places is not
    taken for two masks. Draws of another type or another number of values are not the same; the shape is no matter.

    Args:
        reference: The draws of the reference's forward pass.
        asked_for: What the candidate asks for seeds for; None where it draws nothing.

    Example:
        >>> mask, noise = ForwardDraw(7, "RandomUniform", "float32", 8), ForwardDraw(9, "TruncatedNormal", "float32", 8)
        >>> unused = ForwardDraw(0, "RandomUniform", "float32", 8, used=False)
        >>> [draw and draw.seed for draw in matched([mask, noise], [None, unused, mask, noise])]
        [None, None, 7, 9]
    """
    drawn = [(place, draw) for place, draw in enumerate(asked_for) if draw is not None]
    found: list[ForwardDraw | None] = [None] * len(asked_for)
    for ours, theirs in _pairs(reference, [draw for _, draw in drawn]):
        found[drawn[theirs][0]] = reference[ours]
    return tuple(found)


def _pairs(reference: Sequence[ForwardDraw], candidate: Sequence[ForwardDraw]) -> list[tuple[int, int]]:
    same = len(reference) == len(candidate)
    if same and all(_alike(a, b) and a.used == b.used for a, b in zip(reference, candidate, strict=True)):
        return [(place, place) for place in range(len(reference))]
    if len(reference) * len(candidate) > _MOST_PAIRS:
        used = [[n for n, draw in enumerate(side) if draw.used] for side in (reference, candidate)]
        return [(a, b) for a, b in zip(*used, strict=False) if _alike(reference[a], candidate[b])]
    found = _in_order(reference, candidate)
    return [*found, *_in_any_order(reference, candidate, found)]


def _in_any_order(
    reference: Sequence[ForwardDraw], candidate: Sequence[ForwardDraw], known: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Pairs what is left on both sides: two branches may be computed one before the other, or the other before one."""
    left = [b for b in range(len(candidate)) if candidate[b].used and all(b != pair[1] for pair in known)]
    for a, ours in enumerate(reference):
        if ours.used and all(a != pair[0] for pair in known):
            fitting = next((b for b in left if _alike(ours, candidate[b])), None)
            if fitting is not None:
                left.remove(fitting)
                yield a, fitting


def _in_order(reference: Sequence[ForwardDraw], candidate: Sequence[ForwardDraw]) -> list[tuple[int, int]]:
    """Pairs as many as can be paired without crossing, those that are used on both sides first.

    The longest common subsequence, each pair counted by its weight.
    """
    rows, columns = len(reference), len(candidate)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for a in reversed(range(rows)):
        for b in reversed(range(columns)):
            best[a][b] = max(best[a + 1][b], best[a][b + 1], _weight(reference[a], candidate[b]) + best[a + 1][b + 1])
    pairs, a, b = [], 0, 0
    while a < rows and b < columns:
        weight = _weight(reference[a], candidate[b])
        if weight and best[a][b] == weight + best[a + 1][b + 1]:
            pairs.append((a, b))
            a, b = a + 1, b + 1
        elif best[a][b] == best[a + 1][b]:
            a += 1
        else:
            b += 1
    return pairs


def _weight(ours: ForwardDraw, theirs: ForwardDraw) -> int:
    if not _alike(ours, theirs):
        return 0
    return (_NONE_USED, _ONE_USED, _BOTH_USED)[ours.used + theirs.used]


def _alike(ours: ForwardDraw, theirs: ForwardDraw) -> bool:
    """Whether equal seeds give equal numbers; what nobody knows of a draw is taken to be alike."""
    known = (pair for pair in ((ours.type, theirs.type), (ours.dtype, theirs.dtype)) if all(pair))
    sizes = ours.size < 0 or theirs.size < 0 or ours.size == theirs.size
    return sizes and all(one == other for one, other in known)
