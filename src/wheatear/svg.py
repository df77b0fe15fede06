"""Small charts as inline SVG: lines, dots and bars on two axes. Text and axes take the colour of the page."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44  # room for the numbers and the names of the axes
MOST_TICKS = 6  # on an axis

Point = tuple[float, float]
Place = Callable[[float, float], Point]  # from values on the axes to pixels of the drawing
Mark = Callable[[Place], str]


@dataclass(frozen=True)
class Axis:
    """The name of an axis and its ends; ticks, as (number, text), if round numbers would not do.

    whole: its values are whole numbers, so there are no ticks between these.
    """

    name: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]] = ()
    whole: bool = False


def chart(
    title: str, x: Axis, y: Axis, marks: Iterable[Mark], width: int = WIDTH, height: int = HEIGHT
) -> str:
    """An SVG element; the title is for screen readers. Points beyond the axes are drawn at their ends."""
    place = _placing(x, y, width, height)
    parts = [_grid(x, y, place), *(mark(place) for mark in marks), _names(x, y, width, height)]
    head = f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, *parts, "</svg>"])


def line(points: Iterable[Point], colour: str, dashed: bool = False) -> Mark:
    """A line through the points."""
    points = list(points)

    def draw(place: Place) -> str:
        path = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'

    return draw


def dots(points: Iterable[Point], colour: str, names: Iterable[str], radius: float = 4) -> Mark:
    """A dot for each point, with a name that is shown under the mouse."""
    named = list(zip(points, names, strict=True))

    def draw(place: Place) -> str:
        circles = []
        for point, name in named:
            x, y = place(*point)
            circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}" fill-opacity=".75">'
            circles.append(f"{circle}<title>{escape(name)}</title></circle>")
        return "\n".join(circles)

    return draw


def bars(spans: Iterable[tuple[float, float, float]], colour: str) -> Mark:
    """A bar from 0 for each (left, right, height); height may be negative and is shown under the mouse."""
    spans = list(spans)

    def draw(place: Place) -> str:
        rectangles = []
        for left, right, height in spans:
            (x0, y0), (x1, y1) = place(left, 0), place(right, height)
            box = f'x="{x0:.1f}" y="{min(y0, y1):.1f}" width="{x1 - x0:.1f}" height="{abs(y1 - y0):.1f}"'
            rectangles.append(f'<rect {box} fill="{colour}"><title>{height:.4g}</title></rect>')
        return "\n".join(rectangles)

    return draw


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers from low to high (low < high), at most MOST_TICKS of them.

    They are 1, 2 or 5 times a power of ten apart; whole: they are integers.
    """
    raw = max((high - low) / (MOST_TICKS - 1), 1.0 if whole else 0.0)
    power = 10 ** math.floor(math.log10(raw))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _placing(x: Axis, y: Axis, width: int, height: int) -> Place:
    def place(at_x: float, at_y: float) -> Point:
        right = (min(max(at_x, x.low), x.high) - x.low) / (x.high - x.low)
        up = (min(max(at_y, y.low), y.high) - y.low) / (y.high - y.low)
        return LEFT + right * (width - LEFT - RIGHT), height - BOTTOM - up * (height - TOP - BOTTOM)

    return place


def _grid(x: Axis, y: Axis, place: Place) -> str:
    parts = []
    for number, text in _labelled(y):
        (x0, height), (x1, _) = place(x.low, number), place(x.high, number)
        parts.append(f'<line x1="{x0:.1f}" x2="{x1:.1f}" y1="{height:.1f}" y2="{height:.1f}" class="grid"/>')
        parts.append(f'<text x="{x0 - 6:.1f}" y="{height + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for number, text in _labelled(x):
        left, bottom = place(number, y.low)
        parts.append(f'<text x="{left:.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{escape(text)}</text>')
    return "\n".join(parts)


def _labelled(axis: Axis) -> list[tuple[float, str]]:
    round_numbers = ticks(axis.low, axis.high, whole=axis.whole)
    return list(axis.ticks) or [(number, f"{number:,.10g}") for number in round_numbers]


def _names(x: Axis, y: Axis, width: int, height: int) -> str:
    middle = TOP + (height - TOP - BOTTOM) / 2
    return (
        f'<text x="{(LEFT + width - RIGHT) / 2:g}" y="{height - 8}" text-anchor="middle">{escape(x.name)}</text>\n'
        f'<text transform="translate(13 {middle:g}) rotate(-90)" text-anchor="middle">{escape(y.name)}</text>'
    )
