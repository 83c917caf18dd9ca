"""A segmenter without networks, and a program that runs the command line with it.

``python -m tests.cli.fake DELAY_S ARGS...`` is ``accel-rt ARGS...`` with a segmenter that takes
``DELAY_S`` seconds for a frame.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from typing import Any

import numpy as np

from accel_rt.data.classes import CAMVID
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.settings import SegmenterSettings


class FakeSegmenter:
    """Labels every pixel with its column's share of the classes; keyframes as set."""

    classes = CAMVID

    def __init__(self, settings: SegmenterSettings, delay_s: float = 0.0) -> None:
        self.settings = settings
        self.sizes: list[tuple[int, int]] = []
        self._delay_s = delay_s
        self.reset()

    def reset(self) -> None:
        self._index = 0

    def describe(self) -> dict[str, Any]:
        return {"reference": self.settings.reference, "interval": self.settings.interval}

    def step(self, frame_bgr: np.ndarray, pts: Fraction | None = None) -> FrameResult:
        assert frame_bgr.dtype == np.uint8
        assert frame_bgr.ndim == 3
        assert frame_bgr.shape[2] == 3
        time.sleep(self._delay_s)
        height, width = frame_bgr.shape[:2]
        self.sizes.append((width, height))
        row = np.arange(width) * len(CAMVID) // width
        labels = np.ascontiguousarray(np.broadcast_to(row.astype(np.uint8), (height, width)))
        kind = "update" if self._index % self.settings.interval else "key"
        self._index += 1
        return FrameResult(self._index - 1, pts, kind, labels, {"flow": 1, "network": 2})


if __name__ == "__main__":
    import accel_rt.runtime.load
    from accel_rt.cli.main import main

    delay_s = float(sys.argv[1])
    accel_rt.runtime.load.load_segmenter = lambda settings: FakeSegmenter(settings, delay_s)
    main(sys.argv[2:])
