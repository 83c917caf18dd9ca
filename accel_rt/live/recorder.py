"""What is shown, written to a file while it is shown."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue

import numpy as np

from accel_rt.errors import AccelError, OutputError, UsageError
from accel_rt.video.writer import VideoWriter

_WAITING = 8  # pictures; an encoder that is slower than that loses some
_TICKS_PER_S = 90_000


@dataclass(frozen=True)
class RecordingLimits:
    """How much a run may record.

    A recording goes on in another file after ``length_s``; there are at most ``files`` of them in a
    run, and none is written to once less than ``free_bytes`` of the disk are free.
    """

    files: int = 100
    length_s: float = 3600.0
    free_bytes: int = 1_000_000_000


def free_path(path: Path) -> Path:
    """``path``, or the first of ``NAME-2``, ``NAME-3``, ... that nothing is called yet."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


class LimitReached(OutputError):
    """A run has recorded all that it may: nothing of that is missing."""


class Recordings:
    """The files that a run records to: ``path`` and what follows on it, or names by the time.

    All are new files that only their owner may read. Of the recordings that are closed ``failure``
    is the first error that ended one, and ``dropped`` counts the pictures that encoders were too
    slow for.
    """

    def __init__(self, path: Path | None, limits: RecordingLimits) -> None:
        self.limits = limits
        self.failure: AccelError | None = None
        self.dropped = 0
        self._path = path
        self._opened: list[Path] = []

    @property
    def files(self) -> list[Path]:
        """Those that there are: one that no picture could be written to is not."""
        return [path for path in dict.fromkeys(self._opened) if path.exists()]

    def first_path(self) -> Path:
        """Where another recording begins; :class:`UsageError` if the one named is there already."""
        if self._path is None:
            return free_path(Path(time.strftime("live-%Y%m%d-%H%M%S.mp4")))
        if self._opened:
            return free_path(self._path)
        if os.path.lexists(self._path):
            raise UsageError(f"'{self._path}' exists already: choose another name to record to")
        return self._path

    def open(self, path: Path, size: tuple[int, int], rate: Fraction) -> VideoWriter:
        """A writer of pictures of ``size``. Raises :class:`OutputError` beyond the limits."""
        if len(self._opened) >= self.limits.files:
            raise LimitReached(
                f"{len(self._opened)} files were recorded, which is all that this run may: "
                "start it again, or with a higher --max-recordings"
            )
        self.check_space(path)
        writer = VideoWriter(path, size, rate, fragmented=True)
        self._opened.append(path)
        return writer

    def check_space(self, path: Path) -> None:
        """Raise :class:`OutputError` once too little of the disk is free."""
        with suppress(OSError):  # a folder that is missing is the writer's to say
            if shutil.disk_usage(path.parent).free < self.limits.free_bytes:
                raise OutputError(
                    f"less than {self.limits.free_bytes / 1e6:.0f} MB are free where '{path}' is: "
                    "nothing more is recorded; free space, or lower --keep-free"
                )


class Recorder:
    """Writes pictures in a thread, so that encoding never delays what is shown.

    The file can be played at any moment and after any end, also that of the process: at most its
    last second is missing. Pictures of another size begin another file, ``NAME-2.mp4`` and so on;
    ``path`` is the one that is being written. ``dropped`` counts pictures that the encoder was too
    slow for; ``failure`` is set once no more can be written, as on a full disk.

    ``size`` is ``(height, width)``. Raises as :meth:`Recordings.first_path`,
    :meth:`Recordings.open` and :class:`~accel_rt.video.writer.VideoWriter`.
    """

    def __init__(self, recordings: Recordings, size: tuple[int, int], rate: Fraction) -> None:
        self._recordings = recordings
        self.path = recordings.first_path()
        self.dropped = 0
        self.failure: AccelError | None = None
        self._first, self._rate, self._size = self.path, rate, size
        self._began: Fraction | None = None
        self._writer = recordings.open(self.path, size, rate)
        self._queue: Queue[tuple[np.ndarray, Fraction] | None] = Queue(_WAITING)
        self._last_pts: Fraction | None = None
        self._thread = threading.Thread(target=self._work, name="record", daemon=True)
        self._thread.start()

    def write(self, image_bgr: np.ndarray, captured_at: float) -> None:
        """Add a picture, taken at ``captured_at`` seconds of any clock; never waits.

        Nothing is added after a failure.
        """
        if self.failure is not None:
            return
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
        self._recordings.failure = self._recordings.failure or self.failure
        self._recordings.dropped += self.dropped

    def _work(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                self._add(*item)
        except AccelError as error:
            self.failure = error
        try:
            self._writer.finish()
        except AccelError as error:
            self.failure = self.failure or error

    def _add(self, image_bgr: np.ndarray, pts: Fraction) -> None:
        size = image_bgr.shape[0], image_bgr.shape[1]
        self._began = pts if self._began is None else self._began
        if size != self._size or pts - self._began >= self._recordings.limits.length_s:
            self._writer.finish()
            path = free_path(self._first)
            self._writer = self._recordings.open(path, size, self._rate)
            self.path, self._size, self._began = path, size, pts
        self._recordings.check_space(self.path)
        self._writer.write(image_bgr, pts)
