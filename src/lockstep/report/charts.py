"""Figures as paths and ticks: what a template needs to draw an SVG, without knowing what is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 960.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 12.0, 12.0, 30.0
_DECADES = 8
"""Ticks on a logarithmic axis at most."""
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One series.

    Attributes:
        kind: What it is, for its colour: a class of the style sheet.
        label: What the legend calls it.
        path: SVG path data.
        dots: Whether it is drawn as dots.
    """

    kind: str
    label: str
    path: str
    dots: bool = False


@dataclass(frozen=True)
class Mark:
    """A place that a reader should see: where it is, what it is called and where it leads to."""

    x: float
    y: float
    label: str
    link: str


@dataclass(frozen=True)
class LineChart:
    """Lines over a logarithmic axis; what is zero lies on the floor.

    Attributes:
        lines: The series, the first one lowest.
        x_ticks: Of the axis of places.
        y_ticks: Of the axis of errors.
        marks: Places to see.
        floor: Where zero lies.
        left: Where the plot begins.
        right: Where it ends.
        count: How many places there are.
        x_title: What the axis of places is.
    """

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    floor: float
    left: float
    right: float
    count: int
    x_title: str
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Series:
    """What is to be drawn: values at places 0, 1, 2, ..., None where there is none.

    Attributes:
        kind: As of `Line`.
        label: As of `Line`.
        values: The values, none of them negative.
        form: `"line"`, `"dots"`, or `"band"` from zero up to the values.
    """

    kind: str
    label: str
    values: Sequence[float | None]
    form: str = "line"


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis with a place for zero below its least power of ten."""

    low: int
    high: int

    @classmethod
    def of(cls, series: Sequence[Series]) -> Scale:
        """Returns the axis that holds all values."""
        positive = [v for each in series for v in each.values if v is not None and 0.0 < v < math.inf]
        if not positive:
            return cls(-8, 0)
        low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
        return cls(low, max(high, low + 1))

    @property
    def floor(self) -> float:
        """Where zero lies."""
        return HEIGHT - _BOTTOM

    def y(self, value: float) -> float:
        """Where a value lies; an infinite one at the upper edge."""
        if value == 0.0:
            return self.floor
        above = self.floor - 16.0
        share = 1.0 if value == math.inf else (math.log10(value) - self.low) / (self.high - self.low)
        return round(above - min(max(share, 0.0), 1.0) * (above - _TOP), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """Powers of ten, and zero."""
        step = math.ceil((self.high - self.low) / _DECADES)
        powers = range(self.low, self.high + 1, step)
        return (Tick(self.floor, "0"), *(Tick(self.y(10.0**n), power_of_ten(n)) for n in powers))


def power_of_ten(exponent: int) -> str:
    """Writes a power of ten as a person does.

    >>> power_of_ten(-7), power_of_ten(0)
    ('10⁻⁷', '1')
    """
    return "1" if exponent == 0 else f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def line_chart(
    series: Sequence[Series], marks: Sequence[tuple[int, float, str, str]], x_title: str, first: int = 0
) -> LineChart:
    """Draws series over a logarithmic axis.

    Args:
        series: The series, the first one lowest; all of one length.
        marks: Places to see: place, value, label and link.
        x_title: What the places are.
        first: The number of the first place.
    """
    count = max((len(each.values) for each in series), default=0)
    scale = Scale.of(series)
    lines = tuple(Line(each.kind, each.label, _path(each, scale, count), each.form == "dots") for each in series)
    return LineChart(
        lines=lines,
        x_ticks=tuple(Tick(_x(place, count), f"{place + first:,}") for place in _round_places(count, first)),
        y_ticks=scale.ticks(),
        marks=tuple(Mark(_x(place, count), scale.y(value), label, link) for place, value, label, link in marks),
        floor=scale.floor,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        count=count,
        x_title=x_title,
    )


def _x(place: float, count: int) -> float:
    return round(_LEFT + (WIDTH - _RIGHT - _LEFT) * (place / max(count - 1, 1)), 1)


def _round_places(count: int, first: int) -> Sequence[int]:
    if count <= 1:
        return range(count)
    rough = count / 8
    power = 10 ** math.floor(math.log10(rough)) if rough >= 1 else 1
    step = max(next(power * n for n in (1, 2, 5, 10) if power * n >= rough), 1)
    return [number - first for number in range(0, count + first, step) if number >= first]


def _path(series: Series, scale: Scale, count: int) -> str:
    points = [
        None if value is None or math.isnan(value) else (_x(place, count), scale.y(value))
        for place, value in enumerate(series.values)
    ]
    if series.form == "dots":
        return "".join(f"M{x:g} {y:g}h0" for x, y in filter(None, points))
    if series.form == "band":
        known = [point for point in points if point is not None]
        if not known:
            return ""
        edge = "L".join(f"{x:g} {y:g}" for x, y in known)
        return f"M{known[0][0]:g} {scale.floor:g}L{edge}L{known[-1][0]:g} {scale.floor:g}Z"
    # A place that was not compared is no gap in what is known before and behind it.
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in filter(None, points)) if any(points) else ""


@dataclass(frozen=True)
class Bar:
    """One bar: where it begins, how wide and high it is (in units of the chart), and what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str
    text: str


@dataclass(frozen=True)
class Histogram:
    """Bars over powers of two.

    Attributes:
        title: What was counted.
        bars: One for each bin.
        note: What is to be said of it besides.
    """

    title: str
    bars: tuple[Bar, ...]
    note: str
    width: float = 420.0
    height: float = 130.0


def histogram(title: str, counts: Sequence[int], others: int) -> Histogram:
    """Draws how many elements are how many units in the last place apart; heights are logarithmic.

    Args:
        title: What was counted.
        counts: Elements at 0, 1, 2 to 3, 4 to 7, ... units.
        others: Elements that have no distance.
    """
    total, room, base, step = sum(counts) + others, 84.0, 108.0, min(18.0, 400.0 / max(len(counts), 1))
    top = math.log10(max(*counts, 1) + 1)
    bars = []
    for place, count in enumerate(counts):
        height = round(room * math.log10(count + 1) / top, 1) if count else 0.0
        share = f"{count:,} of {total:,} elements ({count / total:.1%}) {_apart(place)}"
        bars.append(
            Bar(round(10.0 + step * place, 1), base - height, round(0.78 * step, 1), height, _tick(place), share)
        )
    exact = counts[0] / total if counts and total else 0.0
    far = max((place for place, count in enumerate(counts) if count), default=0)
    equal = "all equal" if exact == 1.0 else f"{100 * exact:.3g} % equal; the furthest are {_apart(far)}"
    note = f"{total:,} elements, {equal}"
    if others:
        note += f"; {others:,} finite on one side only"
    return Histogram(title, tuple(bars), note)


def _apart(place: int) -> str:
    if place < 2:
        return "equal" if place == 0 else "1 ULP apart"
    return f"{2 ** (place - 1):,} to {2**place - 1:,} ULP apart"


def _tick(place: int) -> str:
    if place < 2:
        return str(place)
    return f"2{str(place - 1).translate(_SUPERSCRIPTS)}" if place % 4 == 1 else ""
