"""The last stage of ``accel-rt segment``: a frame and its labels to overlay video and masks."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.cli.run_files import CHECKPOINT_FRAMES, RunFiles
from accel_rt.runtime.result import FrameResult, Overlay
from accel_rt.video.overlay import Legend, class_shares, draw_outlines, render_overlay
from accel_rt.video.source import Frame


@dataclass(frozen=True)
class OverlayStyle:
    """How classes are shown: blended by ``alpha``, only those in ``keep`` (None: all).

    ``show`` is ``overlay``, ``mask`` (the colours alone) or ``side-by-side`` (the frame first).
    """

    classes: ClassSet
    alpha: float = 0.5
    legend: bool = False
    keep: list[int] | None = None
    outline: bool = False
    show: str = "overlay"

    @property
    def overlay(self) -> Overlay:
        """The blending alone, for a segmenter that draws by itself."""
        keep = None if self.keep is None else tuple(self.keep)
        alpha = 1.0 if self.show == "mask" else self.alpha
        return Overlay(self.classes.palette_bgr(), alpha, keep)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of what is shown of a frame of that size."""
        wide = 2 * width if self.show == "side-by-side" else width
        return self._legend((height, wide)).shape if self.legend else (height, wide)

    def finish(
        self, picture_bgr: np.ndarray, frame_bgr: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """``picture_bgr`` of :attr:`overlay` with all that goes on it (in place) and beside it."""
        if self.outline:
            draw_outlines(picture_bgr, labels, self.classes.palette_bgr(), self.keep)
        if self.show == "side-by-side":
            picture_bgr = np.hstack([frame_bgr, picture_bgr])
        if self.legend:
            shares = class_shares(labels, len(self.classes))
            picture_bgr = self._legend(picture_bgr.shape[:2]).beside(picture_bgr, shares)
        return picture_bgr

    def _legend(self, size: tuple[int, int]) -> Legend:
        return Legend(size, self.classes, self.keep)


class FrameOutputs:
    """Renders and encodes frame after frame; the ``output`` of a pipeline.

    ``states`` has what is to be remembered at keyframes; see
    :class:`~accel_rt.runtime.resumable.ResumableSegmenter`.
    """

    def __init__(
        self, style: OverlayStyle, files: RunFiles, states: dict[int, dict[str, Any]]
    ) -> None:
        self._style = style
        self._overlay = style.overlay
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
            picture = self._blend(frame_bgr, result.labels)
        return self._style.finish(picture, frame_bgr, result.labels)

    def _blend(self, frame_bgr: np.ndarray, labels: np.ndarray) -> np.ndarray:
        # The segmenter may still hold the frame, so it is not drawn on; the canvas is used again.
        if self._canvas is None or self._canvas.shape != frame_bgr.shape:
            self._canvas = np.empty_like(frame_bgr)
        overlay = self._overlay
        return render_overlay(
            frame_bgr, labels, overlay.palette_bgr, overlay.alpha, overlay.keep, self._canvas
        )
