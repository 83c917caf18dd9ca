"""What is shown, written to a file while it is shown."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue

import numpy as np

from accel_rt.errors import AccelError, UsageError
from accel_rt.video.writer import VideoWriter

_WAITING = 8  # pictures; an encoder that is slower than that loses some
_TICKS_PER_S = 90_000


def free_path(path: Path) -> Path:
    """``path``, or the first of ``NAME-2``, ``NAME-3``, ... that is not there yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


class Recorder:
    """Writes pictures to ``path`` in a thread, so that encoding never delays what is shown.

    The file can be played at any moment and after any end, also that of the process: at most its
    last second is missing. Pictures of another size begin another file, ``NAME-2.mp4`` and so on;
    ``path`` is the one that is being written. ``dropped`` counts pictures that the encoder was too
    slow for; ``failure`` is set once no more can be written, as on a full disk.

    ``size`` is ``(width, height)``. Raises as :class:`~accel_rt.video.writer.VideoWriter`, and
    :class:`~accel_rt.errors.UsageError` if there is such a file already.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction) -> None:
        if path.exists():
            raise UsageError(f"'{path}' exists already: choose another name to record to")
        self.path = path
        self.dropped = 0
        self.failure: AccelError | None = None
        self._first, self._rate, self._size = path, rate, size
        self._writer = self._open()
        self._queue: Queue[tuple[np.ndarray, Fraction] | None] = Queue(_WAITING)
        self._last_pts: Fraction | None = None
        self._thread = threading.Thread(target=self._work, name="record", daemon=True)
        self._thread.start()

    def write(self, image_bgr: np.ndarray, captured_at: float) -> None:
        """Add a picture, taken at ``captured_at`` seconds of any clock; never waits."""
        pts = Fraction(captured_at).limit_denominator(_TICKS_PER_S)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + Fraction(1, _TICKS_PER_S))
        try:
            self._queue.put_nowait((image_bgr, pts))
        except Full:
            self.dropped += 1
        else:
            self._last_pts = pts

    def close(self, wait_s: float = 10.0) -> None:
        """Write what waits and complete the file."""
        deadline = time.monotonic() + wait_s
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._queue.put(None, timeout=0.1)
                break
            except Full:
                continue
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _open(self) -> VideoWriter:
        return VideoWriter(self.path, self._size, self._rate, fragmented=True)

    def _work(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                image_bgr, pts = item
                size = image_bgr.shape[1], image_bgr.shape[0]
                if size != self._size:
                    self._begin_another(size)
                self._writer.write(image_bgr, pts)
            self._writer.finish()
        except AccelError as error:
            self.failure = error

    def _begin_another(self, size: tuple[int, int]) -> None:
        self._writer.finish()
        self.path, self._size = free_path(self._first), size
        self._writer = self._open()
