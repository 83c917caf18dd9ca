"""What fakes of a segmenter have in common."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from accel_rt.runtime.result import FrameResult, Overlay


class Stepper:
    """A segmenter whose frames are ready at once; ``step`` is to be written."""

    def push(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: object = None
    ) -> list[FrameResult]:
        return [self.step(frame_bgr, pts)]

    def draw(self, overlay: Overlay | None) -> bool:
        return False

    def flush(self) -> list[FrameResult]:
        return []
