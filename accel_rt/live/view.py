"""A segmented frame as a picture to look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accel_rt.data.classes import ClassSet
from accel_rt.live.settings import LiveSettings
from accel_rt.video.overlay import draw_legend, render_overlay


def render(
    frame_bgr: np.ndarray,
    labels: np.ndarray,
    classes: ClassSet,
    shares: Mapping[int, float],
    settings: LiveSettings,
) -> np.ndarray:
    """The overlay of a frame, uint8 BGR: ``[H, W, 3]``, or ``[H, 2 W, 3]`` side by side.

    ``shares`` is each label's share of the picture, 0 to 1, for the legend.
    """
    keep = None if settings.classes is None else classes.indices(settings.classes)
    image = render_overlay(frame_bgr, labels, classes.palette_bgr(), settings.alpha, keep)
    if settings.legend:
        draw_legend(image, classes, shares, keep)
    return np.hstack([frame_bgr, image]) if settings.side_by_side else image
