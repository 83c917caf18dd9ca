"""Numbers of a live run, drawn on its picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from accel_rt.live.stats import LiveStats, Percentiles
from accel_rt.runtime.schedule import FrameKind
from accel_rt.video.overlay import BACKDROP, FONT, INK, TEXT_HEIGHT, UNIT_TEXT_PX

_MIN_TEXT_PX, _MAX_TEXT_PX = 7, 28


def hud_lines(stats: LiveStats, kind: FrameKind, age_ms: Percentiles | None) -> list[str]:
    """What the HUD says: rates and age, drops and frame kind, and what is out of the ordinary."""
    settings = stats.settings
    lines = [
        f"{_number(stats.fps)} fps of {_number(stats.source_fps)}"
        + (f", age {age_ms.p50:.0f} ms, p95 {age_ms.p95:.0f}" if age_ms else ""),
        f"{kind}, mode {settings.mode}, interval {settings.interval}, {stats.dropped} dropped",
    ]
    if stats.recording:
        lines.append(f"recording {stats.recording}")
    if stats.state != "running":
        lines.append(stats.state)
    if stats.message:
        lines.append(stats.message)
    return lines


def draw_panel(image_bgr: np.ndarray, lines: Sequence[str]) -> None:
    """Write ``lines`` on a dark panel in the lower left corner, in place.

    The text grows with the picture; lines too long for it are cut off.
    """
    height, width = image_bgr.shape[:2]
    text_px = min(_MAX_TEXT_PX, max(_MIN_TEXT_PX, round(min(height, width) * TEXT_HEIGHT)))
    scale, pad = text_px / UNIT_TEXT_PX, max(3, text_px // 2)
    stroke = max(1, round(scale * 1.5))
    widest = max(cv2.getTextSize(line, FONT, scale, stroke)[0][0] for line in lines)
    row_px = text_px + pad
    top = max(0, height - row_px * len(lines) - pad)
    box = image_bgr[top:, : widest + 2 * pad]
    cv2.addWeighted(box, 0.3, np.full_like(box, BACKDROP), 0.7, 0, dst=box)
    for number, line in enumerate(lines):
        place = (pad, pad + row_px * number + text_px)
        cv2.putText(box, line, place, FONT, scale, INK, stroke, cv2.LINE_AA)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
