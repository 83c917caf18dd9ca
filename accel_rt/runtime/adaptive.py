"""Keyframes where the picture can no longer be carried, as many as a fixed interval would take."""

from __future__ import annotations

import math

import cv2
import numpy as np

from accel_rt.flow.dis import dense_flow
from accel_rt.runtime.policy import Decision
from accel_rt.runtime.schedule import Schedule

_SIZE = (96, 72)
_FINEST_SCALE = 1  # of DIS: half of _SIZE, which takes a fifth of a millisecond
_GAIN = 0.15
_LONGEST = 4


class Adaptive:
    """A keyframe once enough has gone wrong since the last one, on average every ``interval``
    frames; updates as :class:`~accel_rt.runtime.policy.FixedInterval` places them.

    A thumbnail of the keyframe travels along by flow of its own, the same wherever the networks
    run. What goes wrong is the square root of its mean absolute difference from the frame, summed
    up since the keyframe: where things change at a rate, the sum of losses is least if every
    interval brings the same sum. (A bound on the last difference alone spends too much on quick
    motion, whose keyframes soon are of no use.)

    The bound is what the first interval sums up to, and then rises with every keyframe and falls
    with every frame, so that over some dozens of keyframes the average holds. No interval is
    longer than four times that.
    """

    def __init__(self, interval: int, update_every: int = 1) -> None:
        Schedule(interval, update_every)  # refuses what is out of range
        self._interval, self._update_every = interval, update_every
        self.reset()

    def reset(self) -> None:
        self._previous: np.ndarray | None = None
        self._keyframe: np.ndarray | None = None
        self._flow: np.ndarray | None = None
        self._bound: float | None = None
        self._sum = self._spent = 0.0
        self._due = False

    def decide(self, picture_bgr: np.ndarray, since_keyframe: int) -> Decision:
        previous = self._previous
        small = cv2.resize(picture_bgr, _SIZE, interpolation=cv2.INTER_AREA)
        self._previous = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        if since_keyframe == 1:
            self._keyframe, self._flow, self._sum, self._due = previous, None, 0.0, False
            self._spent += 1
        if previous is not None and self._keyframe is not None:
            self._spent -= 1 / self._interval
            self._sum += math.sqrt(self._residual(previous, self._previous))
            self._due = self._enough(since_keyframe)
        if self._due:
            self._keyframe = self._flow = None
            return Decision("key")
        return Decision("carry" if since_keyframe % self._update_every else "update")

    def _enough(self, since_keyframe: int) -> bool:
        factor = math.exp(_GAIN * self._spent)
        if self._bound is None:
            if since_keyframe < self._interval:
                return False
            self._bound = self._sum / factor
        return self._sum >= self._bound * factor or since_keyframe >= _LONGEST * self._interval

    def _residual(self, previous: np.ndarray, current: np.ndarray) -> float:
        """Mean absolute difference, 0 to 255, of the keyframe's thumbnail, moved, and this one."""
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        dis.setFinestScale(_FINEST_SCALE)
        flow = dense_flow(dis, previous, current)
        if self._flow is not None:
            flow = flow + _sample(self._flow, flow)
        self._flow = flow
        assert self._keyframe is not None
        return float(cv2.absdiff(_sample(self._keyframe, flow), current).mean())


def _sample(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``image`` warped by flow ``[h, w, 2]`` in pixels, its border repeated."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = flow + np.stack([x, y], -1)
    return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
