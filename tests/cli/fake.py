"""A segmenter without networks, and a program that runs the command line with it.

``python -m tests.cli.fake SIGNAL@FRAME ARGS...`` is ``accel-rt ARGS...`` with a segmenter that
sends the process SIGNAL while it works on FRAME.
"""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from typing import Any

import numpy as np

from accel_rt.classes import CAMVID
from accel_rt.runtime.policy import KeyframePolicy
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.size import wxh
from tests.stepper import Stepper


class FakeSegmenter(Stepper):
    """Labels every pixel by its column, one band per class; keyframes at the interval.

    ``signals`` are sent to this process at the frames they are given for.
    """

    classes = CAMVID

    def __init__(self, settings: SegmenterSettings, signals: dict[int, int] | None = None) -> None:
        self.settings = settings
        self.sizes: list[tuple[int, int]] = []
        self.signals = signals or {}
        self.reset()

    def reset(self) -> None:
        self._index = 0

    def set_policy(self, policy: KeyframePolicy) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        told = {"reference": self.settings.reference, "interval": self.settings.interval}
        told["backend"] = "torch"
        return {**told, "processed": wxh(self.sizes[-1])} if self.sizes else told

    def step(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: object = None
    ) -> FrameResult:
        assert frame_bgr.dtype == np.uint8
        assert frame_bgr.ndim == 3
        assert frame_bgr.shape[2] == 3
        if self._index in self.signals:
            os.kill(os.getpid(), self.signals[self._index])
        height, width = frame_bgr.shape[:2]
        self.sizes.append((height, width))
        row = np.arange(width) * len(CAMVID) // width
        labels = np.ascontiguousarray(np.broadcast_to(row.astype(np.uint8), (height, width)))
        kind = self.kind = "update" if self._index % self.settings.interval else "key"
        self._index += 1
        return FrameResult(self._index - 1, pts, kind, labels, {"flow": 1, "network": 2})


if __name__ == "__main__":
    import accel_rt.runtime.load
    from accel_rt.cli.main import main

    number, frame = map(int, sys.argv[1].split("@"))
    accel_rt.runtime.load.load_segmenter = lambda settings, **_: FakeSegmenter(
        settings, {frame: number}
    )
    main(sys.argv[2:])
