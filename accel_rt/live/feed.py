"""Where live frames come from: one interface for streams, cameras and files.

A feed is read by one thread, frame after frame, as fast as it delivers them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from accel_rt.video.reader import open_source

_CAMERA = re.compile(r"(?:/dev/video)?(\d+)")
_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_FAR_BEHIND_S = 1.0


@dataclass(frozen=True)
class Shot:
    """A frame that has arrived.

    ``captured_at`` is when it was taken, in seconds of ``time.monotonic``, as well as the feed can
    know; ``pts`` the same in the source's time. ``picture()`` converts it to uint8 BGR
    ``[H, W, 3]``: frames that are dropped need not be.
    """

    captured_at: float
    pts: Fraction
    picture: Callable[[], np.ndarray]


class Feed(Protocol):
    """A source of shots. ``live`` feeds are opened again when they end, others have an end.

    ``rate`` is the nominal number of frames a second, None where the source does not say;
    ``damaged`` counts frames or packets that could not be decoded.
    """

    name: str
    live: bool
    rate: float | None

    @property
    def damaged(self) -> int: ...

    def read(self) -> Shot | None:
        """Wait for the next frame; None at the end.

        Raises :class:`~accel_rt.errors.InputError` where the source fails.
        """

    def close(self) -> None:
        """Release the device, file or connection; a second call does nothing."""


OpenFeed = Callable[[], Feed]


def feed_opener(source: str | int | Path, repeat: bool = False) -> OpenFeed:
    """What opens ``source``: a camera (``0``, ``/dev/video0``), a URL, or a file at its own pace.

    A file, folder or glob of images starts again at its end with ``repeat``.
    """
    text = str(source)
    camera = _CAMERA.fullmatch(text)
    if camera:
        from accel_rt.live.camera import CameraFeed

        return lambda: CameraFeed(int(camera[1]))
    if _URL.match(text) and not text.startswith("file://"):
        from accel_rt.live.stream import StreamFeed

        return lambda: StreamFeed(text)
    return lambda: FileFeed(source if isinstance(source, Path) else text, repeat)


class Pace:
    """When frames of recorded material are due, were a camera to take them now.

    A reader that is far behind starts afresh: a camera would not wait for it either.
    """

    def __init__(self) -> None:
        self._origin: float | None = None

    def wait(self, pts: Fraction) -> float:
        """Wait until the frame of time ``pts`` is due, and return when that was."""
        now = time.monotonic()
        due = now if self._origin is None else self._origin + float(pts)
        if self._origin is None or now - due > _FAR_BEHIND_S:
            self._origin, due = now - float(pts), now
        if due > now:
            time.sleep(due - now)
        return due


class FileFeed:
    """A video file or images, played at their own pace as a stand-in for a camera."""

    live = False

    def __init__(self, path: str | Path, repeat: bool = False) -> None:
        self._path, self._repeat = path, repeat
        self._source = open_source(path)
        self._frames = iter(self._source)
        self._offset = self._end = Fraction(0)
        self._pace = Pace()
        self.name = self._source.info.name
        self.rate: float | None = float(self._source.info.rate)

    def read(self) -> Shot | None:
        frame = next(self._frames, None)
        if frame is None and self._repeat:
            self._source.close()
            self._source = open_source(self._path)
            self._frames = iter(self._source)
            frame = next(self._frames, None)
            assert frame is not None, "a source that opens has a frame"
            self._offset = self._end - frame.pts
        if frame is None:
            return None
        pts = frame.pts + self._offset
        self._end = pts + (frame.duration or 1 / self._source.info.rate)
        image = frame.image_bgr
        return Shot(self._pace.wait(pts), pts, lambda: image)

    @property
    def damaged(self) -> int:
        return self._source.corrupt_frames

    def close(self) -> None:
        self._source.close()
