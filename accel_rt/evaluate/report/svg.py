"""Line and point charts as inline SVG, coloured by the page's style sheet.

Series have a colour (CSS variable ``--c0`` ...), a marker and a label at their end, so they can be
told apart without colour, on a dark page and on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np

COLOURS = 7
"""How many there are; further series start over, with other markers."""

_MARKERS = 5
_LINE_HEIGHT = 15
_LETTER = 6.6  # width of a letter of the labels, about


@dataclass(frozen=True)
class Series:
    """Points in order of x; NaN in ``y`` leaves a point out.

    ``number`` chooses colour and marker, ``quiet`` is for what stands by for comparison (dashed,
    without markers), ``joined`` draws lines between points. ``labels`` names every point; without
    them the last one is labelled ``name``.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    number: int
    quiet: bool = False
    joined: bool = True
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """A chart's words and size in pixels; ``x_ticks`` None chooses round numbers from zero."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Sequence[float] | None = None
    width: int = 520
    height: int = 340
    right: int = 126

    def draw(self, series: Sequence[Series]) -> str:
        """The chart as an ``<svg>`` element."""
        return _Drawing(self, [s for s in series if np.isfinite(s.y).any()]).svg()


def round_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from below ``low`` to above ``high``, at most ``most`` steps apart."""
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / most))
    steps = [m * power for m in (1, 2, 5, 10, 20)]
    step = next(s for s in steps if np.ceil(high / s) - np.floor(low / s) <= most)
    first, last = np.floor(low / step), np.ceil(high / step)
    return [float(round(k * step, 10)) for k in np.arange(first, last + 1)]


class _Drawing:
    def __init__(self, chart: Chart, series: Sequence[Series]) -> None:
        self._chart, self._series = chart, series
        self._left, self._top, self._bottom = 50, 14, 44
        if not series:
            return
        ys = np.concatenate([np.asarray(s.y, float) for s in series])
        xs = np.concatenate([np.asarray(s.x, float) for s in series])
        ys, xs = ys[np.isfinite(ys)], xs[np.isfinite(ys)]
        self._y_ticks = round_ticks(float(ys.min()), float(ys.max()))
        self._x_ticks = list(chart.x_ticks or round_ticks(0, float(xs.max())))
        self._x_range = self._x_ticks[0], self._x_ticks[-1]
        self._y_range = self._y_ticks[0], self._y_ticks[-1]

    def svg(self) -> str:
        """Everything; a sentence where there is nothing to draw."""
        chart = self._chart
        if not self._series:
            return f'<p class="none">{escape(chart.title)}: no model to draw.</p>'
        names = ", ".join(s.name for s in self._series)
        head = (
            f'<svg class="chart" role="img" viewBox="0 0 {chart.width} {chart.height}" '
            f'xmlns="http://www.w3.org/2000/svg" aria-label="{escape(chart.title)}: '
            f'{escape(names)}">'
        )
        return "\n".join([head, *self._axes(), *self._lines(), *self._labels(), "</svg>"])

    def _x(self, value: float) -> float:
        low, high = self._x_range
        width = self._chart.width - self._left - self._chart.right
        return self._left + width * (value - low) / max(high - low, 1e-9)

    def _y(self, value: float) -> float:
        low, high = self._y_range
        height = self._chart.height - self._top - self._bottom
        return self._top + height * (high - value) / max(high - low, 1e-9)

    def _axes(self) -> list[str]:
        chart = self._chart
        left, right = self._left, chart.width - chart.right
        base = chart.height - self._bottom
        parts = []
        for tick in self._y_ticks:
            y = self._y(tick)
            parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" '
                f'text-anchor="end">{tick:g}</text>'
            )
        for tick in self._x_ticks:
            x = self._x(tick)
            parts.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>'
            )
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{base + 17}" '
                f'text-anchor="middle">{tick:g}</text>'
            )
        middle = (left + right) / 2
        parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>')
        parts.append(
            f'<text class="name" x="{middle}" y="{chart.height - 6}" '
            f'text-anchor="middle">{escape(chart.x_label)}</text>'
        )
        up = (self._top + base) / 2
        parts.append(
            f'<text class="name" transform="translate(13 {up}) rotate(-90)" '
            f'text-anchor="middle">{escape(chart.y_label)}</text>'
        )
        return parts

    def _points(self, series: Series) -> list[tuple[float, float, float, float]]:
        """(x, y) in pixels and values of the points that are there."""
        return [
            (self._x(x), self._y(y), x, y)
            for x, y in zip(series.x, series.y, strict=True)
            if np.isfinite(y)
        ]

    def _lines(self) -> list[str]:
        parts = []
        for series in self._series:
            points = self._points(series)
            colour = f"c{series.number % COLOURS}"
            if series.joined and len(points) > 1:
                path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in points)
                style = f"line {colour} quiet" if series.quiet else f"line {colour}"
                parts.append(f'<polyline class="{style}" points="{path}"/>')
            if series.quiet:
                continue
            names = series.labels or [series.name] * len(points)
            for (px, py, x, y), name in zip(points, names, strict=True):
                tip = f"<title>{escape(name)}: {y:.1f} at {x:g}</title>"
                shape = _marker(series.number % _MARKERS, px, py)
                parts.append(f'<path class="mark {colour}" d="{shape}">{tip}</path>')
        return parts

    def _labels(self) -> list[str]:
        """A label at each line's end, or at each point where points have names of their own."""
        boxes = [
            _Box(px - 5, py - 5, px + 5, py + 5)
            for s in self._series
            if s.labels
            for px, py, _, _ in self._points(s)
        ]
        wanted = []
        for series in self._series:
            points = self._points(series)
            names = series.labels or [series.name]
            points = points if series.labels else points[-1:]
            wanted += [
                (px, py, name, series) for (px, py, _, _), name in zip(points, names, strict=True)
            ]
        parts = []
        for x, y, text, series in sorted(wanted, key=lambda label: label[1]):
            box = _place(x, y, _LETTER * len(text), boxes, around=bool(series.labels))
            boxes.append(box)
            parts.append(
                f'<text class="label c{series.number % COLOURS}" x="{box.left:.1f}" '
                f'y="{box.bottom - 3.5:.1f}">{escape(text)}</text>'
            )
        return parts


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        """Whether the two share some of the picture."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def _place(x: float, y: float, width: float, taken: list[_Box], around: bool) -> _Box:
    """A free box for a label of a point: right of it, else (``around``) on another side, else
    further and further down."""
    half = _LINE_HEIGHT / 2
    right = _Box(x + 9, y - half, x + 9 + width, y + half)
    left = _Box(x - 9 - width, y - half, x - 9, y + half)
    above = _Box(x - width / 2, y - 7 - 2 * half, x + width / 2, y - 7)
    below = _Box(x - width / 2, y + 7, x + width / 2, y + 7 + 2 * half)
    lower = [_Box(right.left, right.top + d, right.right, right.bottom + d) for d in range(200)]
    choices = [right, above, left, below, *lower] if around else lower
    free = (box for box in choices if not any(box.meets(other) for other in taken))
    return next(free, right)


def _marker(number: int, x: float, y: float) -> str:
    """Path of a circle, square, triangle, diamond or triangle upside down about a point."""
    if number == 0:
        return f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z"
    corners = _CORNERS[number - 1]
    return "M" + "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in corners) + "z"


_CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
    ((0, -4.8), (4.4, 3.4), (-4.4, 3.4)),
    ((0, -5), (5, 0), (0, 5), (-5, 0)),
    ((0, 4.8), (4.4, -3.4), (-4.4, -3.4)),
)
