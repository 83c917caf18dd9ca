"""A video as segmenters take it: frames of one size, and the policy that looks at them."""

from __future__ import annotations

from typing import Any

import numpy as np

from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.policy import Decision, KeyframePolicy
from accel_rt.runtime.program import FrameProgram
from accel_rt.video.source import check_frame


class WatchedVideo:
    """``policy``'s decisions for the frames of a video, and their ``geometry``, None before the
    first. ``trained`` and ``size`` are as in :func:`~accel_rt.runtime.geometry.plan`."""

    def __init__(
        self,
        policy: KeyframePolicy,
        program: FrameProgram,
        trained: tuple[int, int] | None,
        size: tuple[int, int] | None,
    ) -> None:
        self.policy, self._program = policy, program
        self._trained, self._size = trained, size
        self.geometry: Geometry | None = None

    def reset(self) -> None:
        """Another video follows."""
        self.geometry = None
        self.policy.reset()

    def is_new_size(self, frame_bgr: np.ndarray) -> bool:
        """Whether a frame is the first, or of another size than those before it.

        Raises :class:`~accel_rt.errors.UsageError` unless it is one.
        """
        check_frame(frame_bgr)
        return self.geometry is None or self.geometry.source != frame_bgr.shape[:2]

    def begin(self, frame_bgr: np.ndarray) -> Geometry:
        """The sizes for frames like this one."""
        source = frame_bgr.shape[0], frame_bgr.shape[1]
        self.geometry = self._program.plan(source, self._trained, self._size)
        return self.geometry

    def decide(self, frame_bgr: np.ndarray, since_keyframe: int) -> Decision:
        """What the policy makes of the next frame."""
        assert self.geometry is not None
        # It gets by with every n-th pixel, so that a GPU's frames are not resized here.
        return self.policy.decide(self.geometry.thinned(frame_bgr), since_keyframe)

    def describe(self) -> dict[str, Any]:
        """The size that the networks see, ready for a report."""
        return {} if self.geometry is None else self.geometry.describe()
