"""Video files and images as a live source."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from accel_rt.live.source import LiveFrame, Pace
from accel_rt.video.reader import open_source


class FileSource:
    """A video file or images, played at their own pace as a stand-in for a camera.

    ``limits`` are those of :func:`~accel_rt.video.reader.open_source`.
    """

    live = False

    def __init__(self, path: str | Path, repeat: bool = False, **limits: Any) -> None:
        self._repeat = repeat
        self._open = partial(open_source, path, **limits)
        self._source = self._open()
        self._frames = iter(self._source)
        self._offset = self._end = Fraction(0)
        self._pace = Pace()
        self.name = self._source.info.name
        self.rate: float | None = float(self._source.info.rate)

    def read(self) -> LiveFrame | None:
        frame = next(self._frames, None)
        if frame is None and self._repeat:
            self._source.close()
            self._source = self._open()
            self._frames = iter(self._source)
            frame = next(self._frames, None)
            assert frame is not None, "a source that opens has a frame"
            self._offset = self._end - frame.pts
        if frame is None:
            return None
        pts = frame.pts + self._offset
        self._end = pts + (frame.duration or 1 / self._source.info.rate)
        image = frame.image_bgr
        return LiveFrame(self._pace.wait(pts), pts, lambda: image, frame.motion)

    @property
    def damaged(self) -> int:
        return self._source.corrupt_frames

    def resume(self) -> None:
        self._pace.resume()

    def close(self) -> None:
        self._source.close()
