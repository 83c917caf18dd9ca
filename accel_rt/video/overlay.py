"""Class colours blended over frames, and a legend that names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import cv2
import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.video.source import check_frame

FONT = cv2.FONT_HERSHEY_SIMPLEX
TEXT_HEIGHT = 1 / 36  # of the frame's shorter side
_MIN_TEXT_PX = 8  # capitals lower than this are not legible
_MAX_TEXT_PX = 40
UNIT_TEXT_PX = 21.0  # height of the font's capitals at scale 1
_MIN_ROWS = 12
INK, BACKDROP = (255, 255, 255), (24, 24, 24)


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

    Raises :class:`UsageError` for arrays of other kinds or shapes, ``alpha`` outside 0..1 and
    labels in ``keep`` outside 0..255.
    """
    check_frame(frame_bgr)
    if labels.shape != frame_bgr.shape[:2] or labels.dtype != np.uint8:
        raise UsageError(
            f"labels must be uint8 and have the frame's size, got {labels.dtype} {labels.shape} "
            f"for {frame_bgr.shape[:2]}"
        )
    if palette_bgr.shape != (256, 3) or palette_bgr.dtype != np.uint8:
        raise UsageError(
            f"a palette is a uint8 array [256, 3], got {palette_bgr.dtype} {palette_bgr.shape}"
        )
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must lie between 0 and 1, got {alpha}")
    if out is not None and (out.shape != frame_bgr.shape or out.dtype != np.uint8):
        raise UsageError(
            f"out must be uint8 and have the frame's size, got {out.dtype} {out.shape} for "
            f"{frame_bgr.shape}"
        )
    if keep is not None and not all(0 <= label <= 255 for label in keep):
        raise UsageError(f"labels to keep lie between 0 and 255, got {sorted(keep)}")
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


def draw_outlines(
    picture_bgr: np.ndarray,
    labels: np.ndarray,
    palette_bgr: np.ndarray,
    keep: Collection[int] | None = None,
) -> None:
    """Draw the borders of the classes in ``keep`` (all for None) in place, in their full colours.

    ``picture_bgr`` is uint8 ``[H, W, 3]``, ``labels`` uint8 ``[H, W]``, ``palette_bgr`` uint8
    ``[256, 3]``. Lines grow with the picture.
    """
    reach = max(1, round(min(labels.shape) / 500))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    border = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, square)
    if keep is not None:
        kept = np.zeros(256, np.uint8)
        kept[list(keep)] = 255
        border = cv2.bitwise_and(cv2.LUT(labels, kept), border)
    colours = cv2.applyColorMap(labels, palette_bgr.reshape(256, 1, 3))
    cv2.copyTo(colours, border, picture_bgr)


class Legend:
    """Names the classes in ``keep`` (all for None) on a panel to the right of a picture.

    Nothing of the picture is hidden. ``size`` is (height, width) of the picture; text grows with
    it. Names fill as many columns as the height needs; a picture lower than twelve of them
    is padded below. ``shape`` is (height, width) of picture and panel together.
    """

    def __init__(
        self, size: tuple[int, int], class_set: ClassSet, keep: Collection[int] | None = None
    ) -> None:
        self._labels = [n for n in range(len(class_set)) if keep is None or n in keep]
        self._classes = class_set
        height, width = size
        text_px = round(min(size) * TEXT_HEIGHT)
        self._text_px = text_px = min(_MAX_TEXT_PX, max(_MIN_TEXT_PX, text_px))
        self._scale = text_px / UNIT_TEXT_PX
        self._stroke = max(1, round(self._scale * 1.5))
        self._pad = pad = max(3, text_px // 2)
        self._row_px = text_px + pad
        self._rows = max(_MIN_ROWS, (height - pad) // self._row_px)
        names = max((self._text_width(class_set.names[n]) for n in self._labels), default=0)
        self._column_px = 2 * text_px + names + self._text_width("100%") + 4 * pad
        columns = -(-len(self._labels) // self._rows)
        lowest = min(len(self._labels), self._rows) * self._row_px + pad
        self.shape = max(height, lowest), width + columns * self._column_px

    def beside(self, picture_bgr: np.ndarray, shares: Mapping[int, float]) -> np.ndarray:
        """``picture_bgr`` with the panel, which says each class's share of it in percent."""
        height, width = picture_bgr.shape[:2]
        canvas = np.empty((*self.shape, 3), np.uint8)
        canvas[:] = BACKDROP
        canvas[:height, :width] = picture_bgr
        for number, label in enumerate(self._labels):
            column, row = divmod(number, self._rows)
            left = width + column * self._column_px + self._pad
            top = row * self._row_px + self._pad
            right, bottom = left + 2 * self._text_px, top + self._text_px
            colour = _bgr(self._classes.colors_rgb[label])
            cv2.rectangle(canvas, (left, top), (right, bottom), colour, cv2.FILLED)
            cv2.rectangle(canvas, (left, top), (right, bottom), INK, 1)  # dark colours, too
            self._text(canvas, self._classes.names[label], right + self._pad, bottom)
            percent = f"{100 * shares.get(label, 0.0):.0f}%"
            end = width + (column + 1) * self._column_px - self._pad
            self._text(canvas, percent, end - self._text_width(percent), bottom)
        return canvas

    def _text(self, image: np.ndarray, text: str, x: int, baseline: int) -> None:
        cv2.putText(image, text, (x, baseline), FONT, self._scale, INK, self._stroke, cv2.LINE_AA)

    def _text_width(self, text: str) -> int:
        return cv2.getTextSize(text, FONT, self._scale, self._stroke)[0][0]


def _bgr(color_rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = color_rgb
    return blue, green, red
