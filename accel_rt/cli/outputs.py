"""The last stage of ``accel-rt segment``: a frame and its labels to overlay video and masks."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.cli.run_files import CHECKPOINT_FRAMES, RunFiles
from accel_rt.runtime.result import FrameResult, Overlay
from accel_rt.video.overlay import class_shares, draw_legend, render_overlay
from accel_rt.video.source import Frame


@dataclass(frozen=True)
class OverlayStyle:
    """How classes are shown: blended by ``alpha``, only those in ``keep`` (None: all)."""

    classes: ClassSet
    alpha: float
    legend: bool
    keep: list[int] | None

    @property
    def overlay(self) -> Overlay:
        """The same, without the legend, for a segmenter that draws by itself."""
        keep = None if self.keep is None else tuple(self.keep)
        return Overlay(self.classes.palette_bgr(), self.alpha, keep)


class FrameOutputs:
    """Renders and encodes frame after frame; the ``output`` of a pipeline.

    ``states`` has what is to be remembered at keyframes; see
    :class:`~accel_rt.runtime.resumable.ResumableSegmenter`.
    """

    def __init__(
        self, style: OverlayStyle, files: RunFiles, states: dict[int, dict[str, Any]]
    ) -> None:
        self.notes: list[str] = []
        self._style = style
        self._palette_bgr = style.classes.palette_bgr()
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
        return {
            "render": (rendered - started) * 1e3,
            "encode": (perf_counter() - rendered) * 1e3,
        }

    def _render(self, frame_bgr: np.ndarray, result: FrameResult) -> np.ndarray:
        labels, style = result.labels, self._style
        picture = result.picture
        if picture is None:
            picture = self._blend(frame_bgr, labels)
        if style.legend:
            shares = class_shares(labels, len(style.classes))
            if not draw_legend(picture, style.classes, shares, style.keep) and not self.notes:
                self.notes.append("the picture is too small for a legend")
        return picture

    def _blend(self, frame_bgr: np.ndarray, labels: np.ndarray) -> np.ndarray:
        # The segmenter may still hold the frame, so it is not drawn on; the canvas is used again.
        if self._canvas is None or self._canvas.shape != frame_bgr.shape:
            self._canvas = np.empty_like(frame_bgr)
        style = self._style
        return render_overlay(
            frame_bgr, labels, self._palette_bgr, style.alpha, style.keep, self._canvas
        )
