"""What every frame source offers: frames with times, what the source is, what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.flow.motion import Motion

if TYPE_CHECKING:
    import av

MAX_CORRUPT_IN_A_ROW = 100
"""A source gives up after this many frames in a row that cannot be decoded."""


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    ``index`` counts delivered frames from 0. ``pts`` and ``duration`` are seconds in the
    source's own time, ``duration`` None where the source does not say. ``image_bgr`` is uint8
    ``[H, W, 3]``, C-contiguous, the way round it is shown. ``name`` is that of the picture's own
    file, if it has one; ``motion`` what the video's compression says of how it moved.
    """

    index: int
    pts: Fraction
    image_bgr: np.ndarray
    duration: Fraction | None
    name: str | None = None
    motion: Motion | None = None


@dataclass(frozen=True)
class SourceInfo:
    """What is known about a source before it is read.

    ``width`` and ``height`` are those of the first delivered frame. ``rate`` is frames per
    second (the average where the rate varies). ``frame_count`` and ``duration_s`` describe the
    chosen span; both come from the container's headers, so a damaged file may hold less, and
    both are None for live streams. ``variable_rate`` is None where the container does not say.
    """

    name: str
    width: int
    height: int
    rate: Fraction
    frame_count: int | None
    duration_s: float | None
    has_audio: bool
    variable_rate: bool | None
    kind: Literal["video", "images", "stream"]


class Source:
    """An iterator over each :class:`Frame`, and a context manager.

    ``corrupt_frames`` counts frames that were skipped because they could not be decoded,
    ``truncated`` says that the source ended before its own headers say it does, and ``notes``
    holds sentences for the user; all three are final once the iteration has ended. ``joins``
    holds what has been added to the source's own times, in seconds, since its clock was set back
    for the first, second, ... time. Without ``one_clock`` that may happen: a seek to a time may
    then land in another one of the recordings that were joined.
    """

    info: SourceInfo
    joins: list[Fraction]
    one_clock = True

    def __init__(self) -> None:
        self.corrupt_frames = 0
        self.truncated = False
        self.notes: list[str] = []
        self.joins = []
        self._corrupt_in_a_row = 0
        self._frames: Iterator[Frame] = iter(())
        self._closed = False
        self._reading = threading.Lock()  # frames may be read in another thread than closes

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._reading:
            if self._closed:
                raise UsageError(
                    f"'{self.info.name}' is closed: read its frames before the with block ends"
                )
            return next(self._frames)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_beside(self) -> av.container.InputContainer | None:
        """The source once more, for its sound and subtitles; None if it cannot be had again.

        Raises :class:`~accel_rt.errors.InputError` if it cannot be opened any more.
        """
        return None

    def picture_names(self) -> list[str] | None:
        """The name of each frame, where they come of pictures' own files; None of a video."""
        return None

    def close(self) -> None:
        """Release the file or connection; a second call does nothing.

        A frame that another thread reads at that moment is waited for.
        """
        with self._reading:
            self._closed = True
            self._frames = iter(())
            self._release()

    def _release(self) -> None:
        """Give back what reading needs."""

    def _count_corrupt(self) -> bool:
        """Count one frame that cannot be decoded; False once the source should give up."""
        self.corrupt_frames += 1
        self._corrupt_in_a_row += 1
        if self._corrupt_in_a_row < MAX_CORRUPT_IN_A_ROW:
            return True
        self.truncated = True
        self.notes.append(
            f"{self.info.name} was given up after {MAX_CORRUPT_IN_A_ROW} corrupt frames in a row"
        )
        return False

    def _note_corrupt(self) -> None:
        if self.corrupt_frames:
            frames = "frame was" if self.corrupt_frames == 1 else "frames were"
            self.notes.append(f"{self.corrupt_frames} corrupt {frames} skipped")


def check_frame(frame_bgr: np.ndarray) -> None:
    """Raise :class:`UsageError` unless it is a frame, uint8 BGR ``[H, W, 3]``."""
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
