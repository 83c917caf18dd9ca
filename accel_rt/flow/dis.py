"""Dense inverse search (Kroeger et al. 2016) through OpenCV: fast optical flow on the CPU."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.flow.grid import Grid, reduce_flow
from accel_rt.flow.motion import Motion

Preset = Literal["ultrafast", "fast", "medium"]
_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_MIN_SIDE = 32  # pixels; DIS matches 8x8 patches on a pyramid and needs some room


class DISFlow:
    """Flow by OpenCV's DIS; a :class:`~accel_rt.flow.source.FlowSource`.

    ``scale`` reduces the frames first (0.5 quarters the cost).
    """

    name = latest = "dis"
    normalisation = None

    def __init__(self, preset: Preset = "ultrafast", scale: float = 1.0) -> None:
        if preset not in _PRESETS:
            raise UsageError(f"unknown DIS preset '{preset}': choose from {', '.join(_PRESETS)}")
        self._dis = cv2.DISOpticalFlow.create(_PRESETS[preset])
        self._scale = scale

    def view(self, frame: np.ndarray, motion: Motion | None = None) -> np.ndarray:
        """A frame uint8 BGR ``[H, W, 3]`` in grey, uint8 ``[h, w]``, reduced by ``scale``."""
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if self._scale == 1:
            return grey
        return cv2.resize(grey, None, fx=self._scale, fy=self._scale, interpolation=cv2.INTER_AREA)

    def between(self, previous: np.ndarray, current: np.ndarray, grid: Grid) -> Tensor:
        """Backward flow ``[1, 2, *grid.cells]`` in cells between two views."""
        return reduce_flow(dense_flow(self._dis, previous, current), grid)

    def dense(self, previous_bgr: np.ndarray, current_bgr: np.ndarray) -> np.ndarray:
        """Backward flow float32 ``[h, w, 2]`` between any two frames, in pixels of ``scale``."""
        return dense_flow(self._dis, self.view(previous_bgr), self.view(current_bgr))


def dense_flow(dis: cv2.DISOpticalFlow, previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Backward flow float32 ``[H, W, 2]`` in pixels between two grey frames of one size."""
    height, width = current.shape
    border = (0, max(0, _MIN_SIDE - height), 0, max(0, _MIN_SIDE - width))
    if any(border):
        current, previous = (
            cv2.copyMakeBorder(grey, *border, cv2.BORDER_REPLICATE) for grey in (current, previous)
        )
    # Given an array instead of None, OpenCV would take its values as a first guess.
    flow = dis.calc(current, previous, None)  # type: ignore[call-overload]
    return flow[:height, :width]
