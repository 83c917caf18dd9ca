"""What a segmenter is, and what it returns for a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.flow.motion import Motion
from accel_rt.palette import recolor
from accel_rt.runtime.schedule import FrameKind
from accel_rt.video.overlay import Legend, class_shares, render_overlay
from accel_rt.video.picture_file import encode_picture, save_picture

if TYPE_CHECKING:
    from torch import Tensor

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
    ``classes`` are what the labels mean; ``scores`` are float ``[1, C, h, w]`` on the networks'
    grid, None where graphs of a GPU computed them; ``flow`` says where flow from the
    frame before came from: ``codec``, ``dis``, ``flownets``, or ``none`` where none ran. A notebook
    shows the picture.
    """

    index: int
    pts: Fraction | None
    kind: FrameKind
    labels: np.ndarray
    timings: dict[str, float] = field(default_factory=dict)
    margin: np.ndarray | None = None
    picture: np.ndarray | None = None
    classes: ClassSet | None = None
    scores: Tensor | None = None
    flow: str = "none"

    def shares(self) -> dict[str, float]:
        """The share of the picture, 0 to 1, that each class covers, by its name.

        Raises :class:`~accel_rt.errors.UsageError` for a result without ``classes``.
        """
        names = self._classes().names
        shares = class_shares(self.labels, len(names))
        return {names[label]: share for label, share in shares.items()}

    def plot(self, frame_bgr: np.ndarray | None = None, legend: bool = True) -> np.ndarray:
        """The classes in colour over ``frame_bgr``, alone without it; uint8 BGR ``[H', W', 3]``.

        ``frame_bgr`` is uint8 ``[H, W, 3]``; the legend makes the picture wider, and a low one
        higher, too. Raises :class:`~accel_rt.errors.UsageError` for a frame of another size or a
        result without ``classes``.
        """
        classes = recolor(self._classes())
        palette = classes.palette_bgr()
        picture = palette[self.labels]
        if frame_bgr is not None:
            picture = render_overlay(frame_bgr, self.labels, palette)
        if not legend:
            return picture
        shares = class_shares(self.labels, len(classes))
        return Legend(self.labels.shape, classes).beside(picture, shares)

    def save(self, path: Path | str, frame_bgr: np.ndarray | None = None) -> None:
        """Write :meth:`plot` as a picture; the suffix says what kind.

        Raises :class:`~accel_rt.errors.UsageError` as that and for a suffix of no picture,
        :class:`~accel_rt.errors.OutputError` if it cannot be written.
        """
        save_picture(Path(path), self.plot(frame_bgr))

    def _repr_png_(self) -> bytes:
        picture = self.plot() if self.picture is None else self.picture
        return encode_picture(picture, ".png")

    def _classes(self) -> ClassSet:
        if self.classes is None:
            raise UsageError("this result does not say what its labels mean: set its classes")
        return self.classes


class FrameStepper(Protocol):
    """What segments one frame after the other, perhaps some frames late."""

    def push(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: Motion | None = None
    ) -> list[FrameResult]:
        """Take the next frame, uint8 BGR ``[H, W, 3]``; returns what is ready, in order.

        ``motion`` is what the video's compression says of how it moved since the frame before.
        """

    def flush(self) -> list[FrameResult]:
        """The results of all frames that are still waited for."""


class FrameSegmenter(FrameStepper, Protocol):
    """Segments a video frame by frame; :class:`~accel_rt.runtime.segmenter.Segmenter` is one."""

    classes: ClassSet
    kind: FrameKind

    def step(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: Motion | None = None
    ) -> FrameResult:
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
