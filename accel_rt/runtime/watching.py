"""What policies go by: thumbnails, and how the keyframe's own fares when it travels along."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import cv2
import numpy as np

from accel_rt.flow.dis import dense_flow
from accel_rt.runtime.policy import Decision
from accel_rt.runtime.schedule import Schedule

LONGEST = 4
"""No keyframe is kept for longer than so many intervals."""

_SIZE = (96, 72)
_FINEST_SCALE = 1  # of DIS: half of _SIZE, which takes a fifth of a millisecond


class Signs(NamedTuple):
    """What thumbnails tell of a frame.

    ``residual`` is the mean absolute difference, 0 to 255, from the keyframe's thumbnail, moved
    here by flow, and ``changed`` that from the thumbnail of the frame before, as it is; ``moved``
    is the mean length of the flow from that, in a thumbnail's pixels.
    """

    residual: float
    changed: float
    moved: float


class Thumbnails:
    """The keyframe's thumbnail, and flow of its own since then: the same wherever networks run."""

    def __init__(self) -> None:
        self._previous: np.ndarray | None = None
        self._keyframe: np.ndarray | None = None
        self._flow: np.ndarray | None = None

    def see(self, picture_bgr: np.ndarray, since_keyframe: int) -> Signs | None:
        """The next frame, as :meth:`~accel_rt.runtime.policy.KeyframePolicy.decide` has it; None as
        long as there is no keyframe."""
        small = cv2.resize(picture_bgr, _SIZE, interpolation=cv2.INTER_AREA)
        previous, current = self._previous, cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        self._previous = current
        if since_keyframe == 1:
            self._keyframe, self._flow = previous, None
        if previous is None or self._keyframe is None:
            return None
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        dis.setFinestScale(_FINEST_SCALE)
        step = dense_flow(dis, previous, current)
        self._flow = step if self._flow is None else step + _sample(self._flow, step)
        residual = cv2.absdiff(_sample(self._keyframe, self._flow), current).mean()
        changed = cv2.absdiff(previous, current).mean()
        return Signs(float(residual), float(changed), float(np.linalg.norm(step, axis=-1).mean()))

    def forget_keyframe(self) -> None:
        """Until there is another one."""
        self._keyframe = self._flow = None


class Watching(ABC):
    """A :class:`~accel_rt.runtime.policy.KeyframePolicy` that goes by :class:`Signs`.

    Keyframes come every ``interval`` frames on average, and updates as
    :class:`~accel_rt.runtime.policy.FixedInterval` places them. ``_spent`` counts keyframes, less
    those that a fixed interval would have taken by now.
    """

    def __init__(self, interval: int, update_every: int = 1) -> None:
        Schedule(interval, update_every)  # refuses what is out of range
        self._interval, self._update_every = interval, update_every
        self.reset()

    def reset(self) -> None:
        self._thumbnails = Thumbnails()
        self._spent = 0.0
        self._due = False

    def decide(self, picture_bgr: np.ndarray, since_keyframe: int) -> Decision:
        signs = self._thumbnails.see(picture_bgr, since_keyframe)
        if since_keyframe == 1:
            self._due = False
            self._spent += 1
        if signs is not None:
            self._spent -= 1 / self._interval
            self._due = self._enough(signs, since_keyframe)
        if self._due:
            self._thumbnails.forget_keyframe()
            return Decision("key")
        return Decision("carry" if since_keyframe % self._update_every else "update")

    @abstractmethod
    def _enough(self, signs: Signs, since_keyframe: int) -> bool:
        """Whether a keyframe should be taken."""


def _sample(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``image`` warped by flow ``[h, w, 2]`` in pixels, its border repeated."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = flow + np.stack([x, y], -1)
    return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
