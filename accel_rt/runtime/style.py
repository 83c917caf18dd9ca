"""A segmented frame as a picture to look at: colours, outlines, the frame beside it, a legend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.runtime.result import Overlay
from accel_rt.video.display import FileDisplay, LiveDisplay
from accel_rt.video.overlay import Legend, class_shares, draw_outlines, render_overlay


@dataclass(frozen=True)
class OverlayStyle:
    """Draws ``classes`` as ``display`` says, in their own colours."""

    classes: ClassSet
    display: FileDisplay | LiveDisplay

    @cached_property
    def overlay(self) -> Overlay:
        """The blending alone, for a segmenter that draws by itself.

        Raises :class:`~accel_rt.errors.UsageError` for a name that is not one of the classes.
        """
        palette = self.classes.palette_bgr()
        if self.display.show != "mask":
            return Overlay(palette, self.display.alpha, self._keep)
        if self._keep is not None:  # the colours alone: black where there are none
            palette[[label for label in range(len(palette)) if label not in self._keep]] = 0
        return Overlay(palette, 1.0, None)

    @cached_property
    def _keep(self) -> tuple[int, ...] | None:
        """The classes that are shown; None for all."""
        names = self.display.classes
        return None if names is None else tuple(self.classes.indices(names))

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of what is shown of a frame of that size."""
        wide = 2 * width if self.display.show == "side-by-side" else width
        return self._legend((height, wide)).shape if self.display.legend else (height, wide)

    def blend(
        self, frame_bgr: np.ndarray, labels: np.ndarray, out: np.ndarray | None = None
    ) -> np.ndarray:
        """:attr:`overlay` over a frame, as :func:`~accel_rt.video.overlay.render_overlay`."""
        how = self.overlay
        return render_overlay(frame_bgr, labels, how.palette_bgr, how.alpha, how.keep, out)

    def finish(
        self,
        picture_bgr: np.ndarray,
        frame_bgr: np.ndarray,
        labels: np.ndarray,
        shares: Mapping[int, float] | None = None,
    ) -> np.ndarray:
        """``picture_bgr`` of :attr:`overlay` with all that goes on it (in place) and beside it.

        ``shares`` is each label's share of the picture, if it is known.
        """
        how = self.overlay
        if self.display.outline:
            draw_outlines(picture_bgr, labels, how.palette_bgr, self._keep)
        if self.display.show == "side-by-side":
            picture_bgr = np.hstack([frame_bgr, picture_bgr])
        if self.display.legend:
            shares = shares or class_shares(labels, len(self.classes))
            picture_bgr = self._legend(picture_bgr.shape[:2]).beside(picture_bgr, shares)
        return picture_bgr

    def _legend(self, size: tuple[int, int]) -> Legend:
        return Legend(size, self.classes, self._keep)
