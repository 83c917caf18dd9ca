"""What a segmenter is, and what it returns for a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from accel_rt.runtime.schedule import FrameKind

if TYPE_CHECKING:
    from accel_rt.classes import ClassSet
    from accel_rt.runtime.policy import KeyframePolicy


@dataclass(frozen=True)
class Overlay:
    """How classes are drawn over a frame: blended by ``alpha``, 0 to 1, only those in ``keep``.

    ``palette_bgr`` is uint8 ``[256, 3]``; ``keep`` None draws every class.
    """

    palette_bgr: np.ndarray
    alpha: float = 0.5
    keep: tuple[int, ...] | None = None


@dataclass(frozen=True)
class FrameResult:
    """One segmented frame.

    ``labels`` is uint8 ``[H, W]`` at the source frame's size; ``pts`` is the presentation time in
    seconds given to ``step`` (None if none was); ``timings`` holds milliseconds per stage
    (``flow``, ``network``, ``output``); ``margin`` is float32 ``[H, W]``, the best class's score
    less the second best's, for segmenters that were asked for it; ``picture`` is the frame with its
    classes drawn over it, uint8 BGR ``[H, W, 3]``, where :meth:`.segmenter.Segmenter.draw` said so.
    """

    index: int
    pts: Fraction | None
    kind: FrameKind
    labels: np.ndarray
    timings: dict[str, float] = field(default_factory=dict)
    margin: np.ndarray | None = None
    picture: np.ndarray | None = None


class FrameStepper(Protocol):
    """What segments one frame after the other, perhaps some frames late."""

    def push(self, frame_bgr: np.ndarray, pts: Fraction | None = None) -> list[FrameResult]:
        """Take the next frame, uint8 BGR ``[H, W, 3]``; returns what is ready, in order."""

    def flush(self) -> list[FrameResult]:
        """The results of all frames that are still waited for."""


class FrameSegmenter(FrameStepper, Protocol):
    """Segments a video frame by frame; :class:`~accel_rt.runtime.segmenter.Segmenter` is one."""

    classes: ClassSet

    def step(self, frame_bgr: np.ndarray, pts: Fraction | None = None) -> FrameResult:
        """Segment the next frame, uint8 BGR ``[H, W, 3]``, at once."""

    def draw(self, overlay: Overlay | None) -> bool:
        """Draw classes over pictures, or stop that; whether results will carry pictures."""

    def reset(self) -> None:
        """Forget what was seen: the next frame is the first of a video."""

    def set_policy(self, policy: KeyframePolicy) -> None:
        """Place keyframes by another policy from the next frame on."""

    def describe(self) -> dict[str, Any]:
        """What runs, ready for a report."""

    def close(self) -> None:
        """Release what runs beside the frames."""
