"""The last stage of ``accel-rt segment``: a frame and its labels to overlay video and masks."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Protocol

import numpy as np

from accel_rt.cli.run_files import CHECKPOINT_FRAMES
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.style import OverlayStyle
from accel_rt.video.masks import MaskWriter
from accel_rt.video.picture_writer import PictureWriter
from accel_rt.video.source import Frame
from accel_rt.video.stats_log import StatsLog
from accel_rt.video.writer import VideoWriter


class Files(Protocol):
    """What frames are written to; ``first`` is the index of the first one."""

    video: VideoWriter | PictureWriter | None
    masks: MaskWriter | None
    stats: StatsLog | None
    first: int

    def checkpoint(self, frame: Frame, policy_state: dict[str, Any]) -> None:
        """Note that the run can go on with ``frame``."""


class FrameOutputs:
    """Renders and encodes frame after frame; the ``output`` of a pipeline.

    ``states`` has what is to be remembered at keyframes; see
    :class:`~accel_rt.runtime.resumable.ResumableSegmenter`.
    """

    def __init__(
        self, style: OverlayStyle, files: Files, states: dict[int, dict[str, Any]]
    ) -> None:
        self._style = style
        self._files, self._states = files, states
        self._checkpoint = files.first
        self._canvas: np.ndarray | None = None

    def __call__(self, frame: Frame, result: FrameResult) -> dict[str, float]:
        started = perf_counter()
        files = self._files
        picture = self._render(frame.image_bgr, result) if files.video else None
        rendered = perf_counter()
        state = self._states.pop(frame.index, None)
        since = frame.index - self._checkpoint
        begins = state is not None and (frame.index == 0 or since >= CHECKPOINT_FRAMES)
        if files.video and picture is not None:
            files.video.write(picture, frame.pts, frame.duration, fresh=begins)
        if begins and state is not None:
            files.checkpoint(frame, state)
            self._checkpoint = frame.index
        if files.masks:
            files.masks.write(frame.index, result.labels, frame.name)
        if files.stats:
            files.stats.add(frame.index, frame.pts, result.labels, result.margin)
        return {
            "render": (rendered - started) * 1e3,
            "encode": (perf_counter() - rendered) * 1e3,
        }

    def _render(self, frame_bgr: np.ndarray, result: FrameResult) -> np.ndarray:
        picture = result.picture
        if picture is None:
            # The segmenter may still hold the frame, which is not drawn on; the canvas is kept.
            if self._canvas is None or self._canvas.shape != frame_bgr.shape:
                self._canvas = np.empty_like(frame_bgr)
            picture = self._style.blend(frame_bgr, result.labels, self._canvas)
        return self._style.finish(picture, frame_bgr, result.labels)
