"""One frame in, labels out: a keyframe policy, and an executor of the frame program."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from accel_rt.classes import ClassSet
from accel_rt.flow.motion import Motion
from accel_rt.runtime.executor import Executor, Order, in_turn
from accel_rt.runtime.policy import KeyframePolicy
from accel_rt.runtime.result import FrameResult, Overlay
from accel_rt.runtime.schedule import FrameKind
from accel_rt.runtime.video import WatchedVideo


class Segmenter:
    """Segments a video frame by frame; the :class:`~accel_rt.runtime.result.FrameSegmenter`.

    ``policy`` places keyframes, ``executor`` runs the frame program, and ``order`` says whether
    keyframes are waited for. ``trained`` and ``size`` are ``(height, width)`` in pixels: the
    weights' processing size, and the user's. With ``overlap`` :meth:`push` begins a frame before it
    waits for the one before, whose result it returns: for files, where delay costs nothing.
    ``kind`` is what the frame taken last became. See
    :func:`accel_rt.runtime.load.build_segmenter`.
    """

    def __init__(
        self,
        classes: ClassSet,
        policy: KeyframePolicy,
        executor: Executor,
        *,
        order: Order = in_turn,
        overlap: bool = False,
        trained: tuple[int, int] | None = (360, 480),
        size: tuple[int, int] | None = None,
        description: dict[str, Any] | None = None,
    ) -> None:
        self.classes = classes
        self._executor, self._order = executor, order
        self._video = WatchedVideo(policy, executor.program, trained, size)
        self._overlap = overlap
        self._description = description or {}
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: the next frame is a keyframe and has index 0."""
        self._index = 0
        self._waiting: Callable[[], FrameResult] | None = None
        self.kind: FrameKind = "key"
        self._restart()

    def _restart(self) -> None:
        self._since_keyframe = 0
        self._video.reset()

    def draw(self, overlay: Overlay | None) -> bool:
        """Ask for pictures with their classes drawn over them, or for none.

        Returns whether results will carry them from the next frame on: where frames are on a GPU,
        it draws.
        """
        return self._executor.draw(overlay) and overlay is not None

    def set_policy(self, policy: KeyframePolicy) -> None:
        """Place keyframes by another policy from the next frame on."""
        self._video.policy = policy

    def close(self) -> None:
        """Release what runs beside the frames; a second call does nothing."""
        self._executor.close()

    def describe(self) -> dict[str, Any]:
        """What runs: networks, device, precision, threads and flow, and once there was a frame the
        size that the networks see, ready for a report."""
        return {**self._description, **self._executor.describe(), **self._video.describe()}

    def push(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: Motion | None = None
    ) -> list[FrameResult]:
        """:meth:`step`, whose result is ready at once; with overlap that of the frame before."""
        begun = self._begin(frame_bgr, pts, motion)
        if not self._overlap:
            return [begun()]
        results, self._waiting = self.flush(), begun
        return results

    def flush(self) -> list[FrameResult]:
        """The result of the frame that is waited for, if there is one."""
        waiting, self._waiting = self._waiting, None
        return [] if waiting is None else [waiting()]

    def step(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: Motion | None = None
    ) -> FrameResult:
        """Segment the next frame, uint8 BGR ``[H, W, 3]``.

        A frame of another size than the one before starts over with a keyframe. Raises
        :class:`~accel_rt.errors.UsageError` if the array is not such a frame.
        """
        return self._begin(frame_bgr, pts, motion)()

    @torch.inference_mode()
    def _begin(
        self, frame_bgr: np.ndarray, pts: Fraction | None, motion: Motion | None
    ) -> Callable[[], FrameResult]:
        """Begin a frame; what is returned waits for its result."""
        if self._video.is_new_size(frame_bgr):
            self._restart()
            self._executor.start(self._video.begin(frame_bgr))
        decision = self._video.decide(frame_bgr, self._since_keyframe)
        self._executor.load(frame_bgr, motion)
        step = self._order(self._executor, decision)
        finished = self._executor.finish()
        self._since_keyframe = 1 if step.begins_keyframe else self._since_keyframe + 1
        self._index += 1
        index, self.kind = self._index - 1, step.kind

        def wait() -> FrameResult:
            data = finished()
            return FrameResult(
                index,
                pts,
                step.kind,
                data.labels,
                data.timings,
                data.margin,
                data.picture,
                self.classes,
                data.scores,
                data.flow,
            )

        return wait
