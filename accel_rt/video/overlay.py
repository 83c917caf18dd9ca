"""Class colours blended over frames, and a legend that names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import cv2
import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT_HEIGHT = 1 / 36  # of the frame's shorter side
_MIN_TEXT_PX = 8  # capitals lower than this are not legible
_MAX_TEXT_PX = 40
_UNIT_TEXT_PX = 21.0  # height of the font's capitals at scale 1
_MAX_SHARE_OF_WIDTH = 0.45
_INK, _BACKDROP = (255, 255, 255), (24, 24, 24)


def render_overlay(
    frame_bgr: np.ndarray,
    labels: np.ndarray,
    palette_bgr: np.ndarray,
    alpha: float = 0.5,
    keep: Collection[int] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Blend each pixel with its class's colour: ``(1 - alpha) * frame + alpha * colour``.

    ``frame_bgr`` is uint8 ``[H, W, 3]``, ``labels`` uint8 ``[H, W]``, ``palette_bgr`` uint8
    ``[256, 3]``, ``alpha`` from 0 (frame only) to 1 (colours only). Where ``keep`` is given,
    pixels of other classes stay as they are. The result is uint8 ``[H, W, 3]``, written to
    ``out`` if that is given (it may be ``frame_bgr``).

    Raises :class:`UsageError` if the shapes differ or ``alpha`` is outside 0..1.
    """
    if labels.shape != frame_bgr.shape[:2]:
        raise UsageError(
            f"labels must have the frame's size, got {labels.shape} for {frame_bgr.shape[:2]}"
        )
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must lie between 0 and 1, got {alpha}")
    colours = cv2.applyColorMap(labels, palette_bgr.reshape(256, 1, 3))
    if keep is None:
        return cv2.addWeighted(frame_bgr, 1 - alpha, colours, alpha, 0, dst=out)
    kept = np.zeros(256, np.uint8)
    kept[list(keep)] = 255
    blended = cv2.addWeighted(frame_bgr, 1 - alpha, colours, alpha, 0, dst=colours)
    if out is None:
        out = frame_bgr.copy()
    elif out is not frame_bgr:
        np.copyto(out, frame_bgr)
    return cv2.copyTo(blended, cv2.LUT(labels, kept), out)


def class_shares(labels: np.ndarray, classes: int) -> dict[int, float]:
    """The share of the picture, 0 to 1, that each of the first ``classes`` labels covers."""
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
    return {label: float(counts[label]) / labels.size for label in range(classes)}


def draw_legend(
    frame_bgr: np.ndarray,
    class_set: ClassSet,
    shares: Mapping[int, float] | None = None,
    keep: Collection[int] | None = None,
) -> bool:
    """Draw the classes' names and colours on ``frame_bgr`` in place, in its upper left corner.

    Names the classes in ``keep`` (all for None), with their share of the picture in percent
    where ``shares`` gives it. Text grows with the frame. Returns False, and draws nothing, where
    the legend cannot be legible or would cover too much of the frame.
    """
    rows = []
    for label, name in enumerate(class_set.names):
        if keep is None or label in keep:
            percent = "" if shares is None else f"{100 * shares.get(label, 0.0):.0f}%"
            rows.append((_bgr(class_set.colors_rgb[label]), name, percent))
    height, width = frame_bgr.shape[:2]
    wanted_px = min(_MAX_TEXT_PX, max(_MIN_TEXT_PX, round(min(height, width) * _TEXT_HEIGHT)))
    for text_px in range(wanted_px, _MIN_TEXT_PX - 1, -1):
        layout = _Layout(rows, text_px, shares is not None)
        if layout.width <= width * _MAX_SHARE_OF_WIDTH and layout.height <= height:
            layout.draw(frame_bgr)
            return bool(rows)
    return False


def _bgr(color_rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = color_rgb
    return blue, green, red


class _Layout:
    """Where the legend's swatches and words go for capitals ``text_px`` high."""

    def __init__(
        self, rows: list[tuple[tuple[int, int, int], str, str]], text_px: int, percent: bool
    ) -> None:
        self.rows = rows
        self.text_px = text_px
        self.scale = text_px / _UNIT_TEXT_PX
        self.stroke = max(1, round(self.scale * 1.5))
        self.pad = max(3, text_px // 2)
        self.row_height = text_px + self.pad
        self.name_x = self.pad + 2 * text_px + self.pad
        names = max((self._text_width(name) for _, name, _ in rows), default=0)
        self.percent_x = self.name_x + names + self.pad
        self.width = self.percent_x + (self._text_width("100%") + self.pad if percent else 0)
        self.height = self.row_height * len(rows) + self.pad

    def draw(self, frame_bgr: np.ndarray) -> None:
        box = frame_bgr[: self.height, : self.width]
        cv2.addWeighted(box, 0.25, np.full_like(box, _BACKDROP), 0.75, 0, dst=box)
        for number, (colour, name, percent) in enumerate(self.rows):
            top = self.pad + number * self.row_height
            bottom = top + self.text_px
            cv2.rectangle(
                box, (self.pad, top), (self.pad + 2 * self.text_px, bottom), colour, cv2.FILLED
            )
            self._text(box, name, self.name_x, bottom)
            right = self.width - self.pad
            self._text(box, percent, right - self._text_width(percent), bottom)

    def _text(self, image: np.ndarray, text: str, x: int, baseline: int) -> None:
        cv2.putText(image, text, (x, baseline), _FONT, self.scale, _INK, self.stroke, cv2.LINE_AA)

    def _text_width(self, text: str) -> int:
        return cv2.getTextSize(text, _FONT, self.scale, self.stroke)[0][0]
