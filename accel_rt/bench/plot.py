"""Time per model as a bar chart: the paper's figure 3a without its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from accel_rt.bench.stream import ModelTimes
from accel_rt.errors import OutputError

_FINE = 3  # drawn so many times larger, then reduced: smooth letters and edges
_WIDTH, _ROW, TOP, _BOTTOM = 1180, 46, 112, 30
_LEFT, _RIGHT = 250, 190
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _FAINT, _PAPER = (40, 40, 40), (120, 120, 120), (255, 255, 255)
PARTS_BGR = {
    "keyframes": (150, 86, 33),
    "update network": (214, 158, 92),
    "flow": (61, 142, 241),
    "other": (150, 150, 150),
}


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
        parts = dict.fromkeys(PARTS_BGR, 0.0)
        for frame in times.frames:
            if frame.kind == "key":
                parts["keyframes"] += frame.step
            else:
                parts["update network"] += frame.branch
                parts["flow"] += frame.stage("flow")
                parts["other"] += frame.step - frame.branch - frame.stage("flow")
        # Shares of the mean; the length is the median, which one disturbance cannot move.
        scale = times.measured_ms() / sum(parts.values())
        parts = {name: ms * scale for name, ms in parts.items()}
        speedup = baseline.measured_ms() / times.measured_ms() if baseline else None
        made.append(Bar(times.model.name, parts, speedup))
    return made


def draw(chart: Sequence[Bar], title: str, subtitle: str) -> np.ndarray:
    """The chart as a picture, uint8 BGR ``[H, W, 3]``."""
    height = TOP + _ROW * len(chart) + _BOTTOM
    canvas = _Canvas(_WIDTH, height)
    canvas.text(title, 24, 36, 0.72)
    canvas.text(subtitle, 24, 60, 0.42, _FAINT)
    x = float(_LEFT)
    for name, colour in PARTS_BGR.items():
        canvas.box(x, 78, x + 14, 92, colour)
        x = canvas.text(name, x + 21, 91, 0.44) + 26
    per_ms = (_WIDTH - _LEFT - _RIGHT) / max(bar.ms for bar in chart)
    for number, bar in enumerate(chart):
        top = TOP + number * _ROW
        canvas.text(bar.name, _LEFT - 12, top + 25, 0.48, right=True)
        left = float(_LEFT)
        for name, ms in bar.parts.items():
            canvas.box(left, top + 6, left + ms * per_ms, top + _ROW - 8, PARTS_BGR[name])
            left += ms * per_ms
        end = canvas.text(f"{bar.ms:.0f} ms", left + 10, top + 25, 0.48)
        if bar.speedup is not None:
            canvas.text(f"{bar.speedup:.1f}x", end + 12, top + 25, 0.48, _FAINT)
    canvas.box(_LEFT - 1, TOP, _LEFT, height - _BOTTOM, _INK)
    return canvas.picture()


def write(path: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG.

    Raises :class:`~accel_rt.errors.OutputError` if it cannot be written.
    """
    _, data = cv2.imencode(".png", picture)
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


class _Canvas:
    """White paper in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self._image = np.full((height * _FINE, width * _FINE, 3), _PAPER, np.uint8)

    def picture(self) -> np.ndarray:
        return cv2.resize(self._image, None, fx=1 / _FINE, fy=1 / _FINE, interpolation=3)

    def box(
        self, left: float, top: float, right: float, bottom: float, bgr: tuple[int, int, int]
    ) -> None:
        corners = [round(value * _FINE) for value in (left, top, right, bottom)]
        if corners[2] > corners[0]:
            self._image[corners[1] : corners[3], corners[0] : corners[2]] = bgr

    def text(
        self,
        text: str,
        x: float,
        baseline: float,
        size: float,
        bgr: tuple[int, int, int] = _INK,
        right: bool = False,
    ) -> float:
        """Write from ``x``, or up to it; returns where the text ends."""
        scale, stroke = size * _FINE, max(1, round(1.2 * size * _FINE))
        width = cv2.getTextSize(text, _FONT, scale, stroke)[0][0] / _FINE
        start = x - width if right else x
        place = round(start * _FINE), round(baseline * _FINE)
        cv2.putText(self._image, text, place, _FONT, scale, bgr, stroke, cv2.LINE_AA)
        return start + width
