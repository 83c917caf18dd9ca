"""Time per model as a bar chart: the paper's figure 3a without its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accel_rt.bench.stream import ModelTimes
from accel_rt.files import replacing
from accel_rt.plotting import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {
    "keyframes": "#215696",
    "update network": "#5c9ed6",
    "flow": "#f18e3d",
    "other": "#969696",
}
"""Of a model's bar, with their colours."""


@dataclass(frozen=True)
class Bar:
    """One model: milliseconds a frame by part, and frames/s over the baseline's."""

    name: str
    parts: dict[str, float]
    speedup: float | None

    @property
    def ms(self) -> float:
        """The whole bar."""
        return sum(self.parts.values())


def bars(models: Sequence[ModelTimes]) -> list[Bar]:
    """Mean milliseconds a frame of each model's stream, split into its parts."""
    baseline = next((times for times in models if times.model.plain), None)
    made = []
    for times in models:
        parts = dict.fromkeys(PARTS, 0.0)
        for frame in times.frames:
            if frame.kind == "key":
                parts["keyframes"] += frame.step
            else:
                branch = frame.stage("network") if frame.branch is None else frame.branch
                parts["update network"] += branch
                parts["flow"] += frame.stage("flow")
                parts["other"] += frame.step - branch - frame.stage("flow")
        # Shares of the mean; the length is the median, which one disturbance cannot move.
        scale = times.measured_ms() / sum(parts.values())
        parts = {name: ms * scale for name, ms in parts.items()}
        speedup = baseline.measured_ms() / times.measured_ms() if baseline else None
        made.append(Bar(times.model.name, parts, speedup))
    return made


def write(path: Path, chart: Sequence[Bar], title: str, subtitle: str) -> None:
    """Write the chart as PNG.

    Raises :class:`~accel_rt.errors.OutputError` if it cannot be written, and
    :class:`~accel_rt.errors.UsageError` without matplotlib.
    """
    figure = draw(chart, title, subtitle)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)


def draw(chart: Sequence[Bar], title: str, subtitle: str) -> Figure:
    """A row of bars for each model, the first one on top."""
    figure = new_figure(10.5, 1.2 + 0.42 * len(chart))
    axes = figure.add_subplot(title=f"{title}\n")
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, size="small", color="dimgrey")
    names = [bar.name for bar in chart]
    ends = [0.0] * len(chart)
    for part, colour in PARTS.items():
        lengths = [bar.parts.get(part, 0.0) for bar in chart]
        axes.barh(names, lengths, 0.7, ends, color=colour, label=part)
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    for name, bar in zip(names, chart, strict=True):
        faster = "" if bar.speedup is None else f"   {bar.speedup:.1f}x"
        axes.annotate(
            f"{bar.ms:.0f} ms{faster}", (bar.ms, name), (6, 0),
            textcoords="offset points", va="center",
        )  # fmt: skip
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("milliseconds a frame")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    return figure
