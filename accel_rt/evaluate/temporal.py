"""Temporal stability: consecutive predictions compared along the optical flow.

The flow is OpenCV's DIS at its finest preset, whatever flow the model used, so that all models are
measured alike. Temporal consistency is the mIoU of the previous frame's prediction, warped to
the current frame, against the current prediction (Liu et al., "Efficient semantic video
segmentation with per-frame inference", ECCV 2020, section 4). Disoccluded pixels, where
forward and backward flow disagree, do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from accel_rt.classes import IGNORE_LABEL
from accel_rt.evaluate.metrics import class_counts, confusion
from accel_rt.flow.dis import dense_flow

STILL = 0.5
"""Pixels per frame; what moves less counts as still."""

_FINEST = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM


@dataclass(frozen=True)
class Correspondence:
    """Where each pixel of a frame was in the previous one.

    ``source`` float32 ``[H, W, 2]``: (x, y) of each pixel's place in the previous frame;
    ``seen`` bool: that place is in the previous frame and shows the same thing; ``still`` bool:
    seen, and moved less than :data:`STILL`.
    """

    source: np.ndarray
    seen: np.ndarray
    still: np.ndarray


class CorrespondenceEstimator:
    """Correspondences between frames uint8 BGR ``[H, W, 3]`` that are given in order."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(_FINEST)
        self._previous: np.ndarray | None = None

    def step(self, frame_bgr: np.ndarray) -> Correspondence | None:
        """The one with the frame before, None for the first."""
        grey = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2GRAY)
        previous, self._previous = self._previous, grey
        if previous is None or previous.shape != grey.shape:
            return None
        backward = dense_flow(self._dis, previous, grey).copy()
        forward = dense_flow(self._dis, grey, previous)
        return correspondence(backward, forward)


def correspondence(backward: np.ndarray, forward: np.ndarray) -> Correspondence:
    """From flow float32 ``[H, W, 2]`` in pixels: current to previous frame, and back.

    A pixel counts as seen if both agree to a pixel and a twentieth of their lengths.
    """
    height, width = backward.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source = backward + np.stack([x, y], -1)
    inside = ((source >= -0.5) & (source < (width - 0.5, height - 0.5))).all(-1)
    returned = _sample(forward, source, cv2.INTER_LINEAR)
    length = np.linalg.norm(backward, axis=-1)
    apart = np.linalg.norm(backward + returned, axis=-1)
    seen = inside & (apart <= 1 + 0.05 * (length + np.linalg.norm(returned, axis=-1)))
    return Correspondence(source, seen, seen & (length < STILL))


def consistency_counts(
    previous: np.ndarray, current: np.ndarray, moved: Correspondence, classes: int
) -> np.ndarray:
    """Class counts ``[3, C]`` of the current labels against the warped previous ones.

    Both uint8 ``[H, W]``. The IoU of these counts is symmetric in the two.
    """
    warped = _sample(previous, moved.source, cv2.INTER_NEAREST)
    return class_counts(confusion(np.where(moved.seen, warped, IGNORE_LABEL), current, classes))


def flicker_counts(previous: np.ndarray, current: np.ndarray, moved: Correspondence) -> np.ndarray:
    """``(changed, all)``: still pixels whose label changed, and all still pixels."""
    changed = np.count_nonzero((previous != current) & moved.still)
    return np.array([changed, np.count_nonzero(moved.still)], np.int64)


def _sample(image: np.ndarray, places: np.ndarray, method: int) -> np.ndarray:
    # The stubs do not know that one map may hold both coordinates.
    return cv2.remap(image, places, None, method, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
