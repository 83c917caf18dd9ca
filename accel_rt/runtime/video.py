"""A video as segmenters take it: frames of one size, and the policy that looks at them."""

from __future__ import annotations

from typing import Any

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.policy import Decision, KeyframePolicy
from accel_rt.runtime.program import FrameProgram


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
        _check_frame(frame_bgr)
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
        every = max(1, min(self.geometry.source) // min(self.geometry.processed))
        return self.policy.decide(frame_bgr[::every, ::every], since_keyframe)

    def describe(self) -> dict[str, Any]:
        """The size that the networks see, ready for a report."""
        return {} if self.geometry is None else self.geometry.describe()


def _check_frame(frame_bgr: np.ndarray) -> None:
    """Raise :class:`~accel_rt.errors.UsageError` unless it is a frame, uint8 BGR ``[H, W, 3]``."""
    if not isinstance(frame_bgr, np.ndarray):
        raise UsageError(
            f"a frame is a uint8 array [height, width, 3] in BGR order, got "
            f"{type(frame_bgr).__name__}"
        )
    if frame_bgr.dtype != np.uint8 or frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3:
        raise UsageError(
            f"a frame is a uint8 array [height, width, 3] in BGR order, got {frame_bgr.dtype} "
            f"{list(frame_bgr.shape)}"
        )
    if 0 in frame_bgr.shape:
        raise UsageError(f"a frame needs at least one pixel, got {list(frame_bgr.shape)}")
