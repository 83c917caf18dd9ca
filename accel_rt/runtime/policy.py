"""When to spend a keyframe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from accel_rt.runtime.schedule import FrameKind, Schedule


@dataclass(frozen=True)
class Decision:
    """What a frame should be, and whether it shows another scene than the last."""

    kind: FrameKind
    cut: bool = False


class KeyframePolicy(Protocol):
    """Decides for each frame, in order, what it is."""

    def decide(self, picture_bgr: np.ndarray, since_keyframe: int) -> Decision:
        """``picture_bgr`` is the frame, or every n-th pixel of it, uint8 ``[h, w, 3]``;
        ``since_keyframe`` counts frames after the last keyframe (its next frame has 1)."""

    def reset(self) -> None:
        """Forget what was seen."""


class FixedInterval:
    """A keyframe every ``interval`` frames (paper section 3), and on every ``update_every``-th
    frame after it an update; the others are carried."""

    def __init__(self, interval: int, update_every: int = 1) -> None:
        Schedule(interval, update_every)  # refuses what is out of range
        self.interval, self.update_every = interval, update_every

    def decide(self, picture_bgr: np.ndarray, since_keyframe: int) -> Decision:
        if since_keyframe >= self.interval:
            return Decision("key")
        return Decision("carry" if since_keyframe % self.update_every else "update")

    def reset(self) -> None:
        pass


class SceneCuts:
    """Another policy's keyframes, and one wherever the picture changes at once.

    A cut is a mean absolute grey difference of consecutive thumbnails that is large both in
    itself and against its recent average: motion and noise raise the average, a cut stands out
    from it.
    """

    _THUMBNAIL = (32, 24)
    _LARGE, _TIMES_AVERAGE = 20.0, 4.0  # of 255

    def __init__(self, inner: KeyframePolicy) -> None:
        self._inner = inner
        self.reset()

    def reset(self) -> None:
        self._inner.reset()
        self._previous: np.ndarray | None = None
        self._average: float | None = None

    def decide(self, picture_bgr: np.ndarray, since_keyframe: int) -> Decision:
        decision = self._inner.decide(picture_bgr, since_keyframe)
        return Decision("key", cut=True) if self._is_cut(picture_bgr) else decision

    def _is_cut(self, picture_bgr: np.ndarray) -> bool:
        small = cv2.resize(picture_bgr, self._THUMBNAIL, interpolation=cv2.INTER_AREA)
        current = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        previous, self._previous = self._previous, current
        if previous is None:
            return False
        difference = float(np.abs(current - previous).mean())
        average = self._average
        if difference > self._LARGE and (
            average is None or difference > self._TIMES_AVERAGE * max(average, 1.0)
        ):
            self._average = None
            return True
        self._average = difference if average is None else 0.8 * average + 0.2 * difference
        return False


class KeyframesAt:
    """Another policy's keyframes, and those at the frames ``at``, counted from the first decision.

    From each of these on the other policy decides as if the frames before had not been seen.
    """

    def __init__(self, inner: KeyframePolicy, at: set[int]) -> None:
        self.at = at
        self._inner = inner
        self._frame = 0

    def reset(self) -> None:
        self._inner.reset()

    def decide(self, picture_bgr: np.ndarray, since_keyframe: int) -> Decision:
        decision = self._inner.decide(picture_bgr, since_keyframe)
        if self._frame in self.at:
            self._inner.reset()
            self._inner.decide(picture_bgr, 0)
            decision = Decision("key", decision.cut)
        self._frame += 1
        return decision
