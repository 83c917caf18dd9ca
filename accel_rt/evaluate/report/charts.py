"""Line and point charts of the report: matplotlib's, as SVG with their words as text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accel_rt.plotting import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (6.6, 3.5)  # inches
_COLOURS = ("#0069a8", "#c04a00", "#00795a", "#a03d7e", "#8a6100", "#5b4bb5", "#5a6270")
_MARKERS = ("o", "s", "^", "D", "v")
# Reproducible: identifiers and text depend on what is drawn alone.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "accel-rt", "font.size": 9}


@dataclass(frozen=True)
class Series:
    """Points in order of x; NaN in ``y`` leaves a point out.

    ``quiet`` is for what stands by for comparison (dashed, grey). With ``labels`` every point has a
    name of its own and no line joins them.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    quiet: bool = False
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """What a chart shows; ``x_ticks`` None begins at zero and chooses round numbers."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    x_ticks: Sequence[float] | None = None

    def svg(self) -> str:
        """The chart as a whole SVG file."""
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            figure = new_figure(*_SIZE)
            self.draw(figure.add_subplot())
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()

    def draw(self, axes: Axes) -> None:
        """Draw on empty axes."""
        axes.set(xlabel=self.x_label, ylabel=self.y_label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        drawn = [series for series in self.series if np.isfinite(series.y).any()]
        for number, series in enumerate(drawn):
            _draw(axes, series, number)
        if not drawn:
            axes.text(0.5, 0.5, "no model to draw", transform=axes.transAxes, ha="center")
            return
        if self.x_ticks is None:
            axes.margins(y=0.15)
            axes.set_xlim(0, 1.12 * axes.dataLim.xmax)  # room for the last point's name
        else:
            axes.set_xticks(list(self.x_ticks))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _draw(axes: Axes, series: Series, number: int) -> None:
    if series.quiet:
        axes.plot(series.x, series.y, "--", color="dimgrey", label=series.name)
        return
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    style = "none" if series.labels else "-"
    axes.plot(
        series.x, series.y, color=colour, linestyle=style, marker=marker, ms=5, label=series.name
    )
    for x, y, label in zip(series.x, series.y, series.labels, strict=False):
        axes.annotate(label, (x, y), (7, 0), textcoords="offset points", va="center", size="small")
