"""A segmented frame as a picture to look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.live.settings import LiveSettings
from accel_rt.video.overlay import Legend, draw_outlines, render_overlay

_SAMPLE = 16  # one pixel in so many, in both directions
_BLACK = 24  # of 255; above the noise of a dark sensor, and above the black of limited range
_BLACK_LASTS_S = 1.0


def render(
    frame_bgr: np.ndarray,
    labels: np.ndarray,
    classes: ClassSet,
    shares: Mapping[int, float],
    settings: LiveSettings,
) -> np.ndarray:
    """The overlay of a frame, uint8 BGR ``[H, W, 3]``; wider side by side and with the legend.

    ``shares`` is each label's share of the picture, 0 to 1, for the legend.
    """
    keep = None if settings.classes is None else classes.indices(settings.classes)
    palette = classes.palette_bgr()
    image = render_overlay(frame_bgr, labels, palette, settings.alpha, keep)
    if settings.outline:
        draw_outlines(image, labels, palette, keep)
    if settings.side_by_side:
        image = np.hstack([frame_bgr, image])
    if settings.legend:
        return Legend(image.shape[:2], classes, keep).beside(image, shares)
    return image


class BlackPictures:
    """Notices pictures without light, as of a covered lens; ``lasting`` after a second of them."""

    lasting = False

    def __init__(self) -> None:
        self._since: float | None = None

    def ends(self, frame_bgr: np.ndarray, captured_at: float) -> bool:
        """Take the next frame; whether it is the first that shows something again."""
        if int(frame_bgr[::_SAMPLE, ::_SAMPLE].max()) > _BLACK:
            ended, self.lasting, self._since = self.lasting, False, None
            return ended
        self._since = captured_at if self._since is None else self._since
        self.lasting = captured_at - self._since >= _BLACK_LASTS_S
        return False
