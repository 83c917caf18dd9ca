"""The newest frame of a source: read in a thread, dropped when a newer one comes, reconnected."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import closing
from dataclasses import replace

from accel_rt.errors import InputError
from accel_rt.live.source import LiveFrame, LiveSource, OpenSource
from accel_rt.live.stats import rate

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts to reconnect; the last one repeats."""

_RATE_WINDOW = 60
_SILENCE_S, _SILENT_FRAMES = 2.0, 3
_STEADY_FRAMES = 25  # after this many frames a connection counts as good again


class Capture:
    """Reads a source in a thread of its own and holds its newest frame.

    A recording, which has an end, begins when somebody takes its first frame.

    - ``dropped`` counts frames that were replaced before anybody took them, from the first one
      taken on; ``reconnects`` how often a live source came back; ``generation`` how often it
      opened.
    - ``damaged`` counts what could not be decoded, ``damaged_at`` is when that was last so.
    - ``trouble`` says why a live source is away, empty while it is there.
    - ``failure`` is the error of a source that could not be opened the first time or sent no
      frame then, or that ended with one.
    """

    def __init__(self, open_source: OpenSource, backoff_s: tuple[float, ...] = BACKOFF_S) -> None:
        self._open_source = open_source
        self._backoff_s = backoff_s
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._frame: LiveFrame | None = None
        self._wanted = False
        self._arrivals: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self.name = ""
        self.nominal_rate: float | None = None
        self.opened = self.ended = False
        self.trouble = ""
        self.failure: Exception | None = None
        self.dropped = self.reconnects = self.generation = self.damaged = 0
        self.damaged_at: float | None = None

    def start(self) -> None:
        """Start to open and read the source."""
        self._thread.start()

    def stop(self, wait_s: float = 2.0) -> None:
        """Stop reading. A source that hangs in its driver is left to its thread."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def wait_open(self, timeout_s: float) -> bool:
        """Wait until the source is open or has failed; False if neither within ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: self.opened or self.ended, timeout_s)

    def take(self, timeout_s: float) -> tuple[LiveFrame, int] | None:
        """The newest frame and its generation, waiting for one that was not taken yet."""
        with self._changed:
            self._wanted = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._frame is not None or self.ended, timeout_s)
            frame, self._frame = self._frame, None
            return None if frame is None else (frame, self.generation)

    def rate(self) -> float | None:
        """Frames a second that arrive, measured."""
        with self._changed:
            return rate(self._arrivals)

    def silent_s(self) -> float:
        """Seconds since the last frame arrived; 0 before the first and after the end."""
        with self._changed:
            if self.ended or not self._arrivals:
                return 0.0
            return time.monotonic() - self._arrivals[-1]

    def is_silent(self) -> bool:
        """Whether frames stay away for so long that something must be wrong."""
        return self.silent_s() > max(_SILENCE_S, _SILENT_FRAMES / (self.nominal_rate or 1.0))

    def _run(self) -> None:
        try:
            self._keep_reading()
        except Exception as error:
            self.failure = error
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _keep_reading(self) -> None:
        attempt, live = 0, True
        while not self._stopping.is_set():
            try:
                with closing(self._open_source()) as source:
                    live = source.live
                    frames = self._read(source)
                    if frames == 0 and not self.opened and not self._stopping.is_set():
                        raise InputError(self.trouble)
                    if not live:
                        return
            except InputError as error:
                if not (live and self.opened):
                    raise
                frames, self.trouble = 0, str(error)
            attempt = 0 if frames >= _STEADY_FRAMES else attempt + 1
            self._stopping.wait(self._backoff_s[min(attempt, len(self._backoff_s) - 1)])

    def _read(self, source: LiveSource) -> int:
        """Read until the source ends or fails; the number of frames that came."""
        frames = damaged = 0
        try:
            while not self._stopping.is_set() and (frame := source.read()) is not None:
                if frames == 0:
                    self._begin(source)
                    if not source.live:
                        self._wait_until_wanted()
                        source.resume()
                        frame = replace(frame, captured_at=time.monotonic())
                frames += 1
                self._hold(frame)
                if source.damaged > damaged:
                    self.damaged += source.damaged - damaged
                    damaged, self.damaged_at = source.damaged, time.monotonic()
            if frames == 0:
                self.trouble = f"{source.name} ended before a frame came"
            elif source.live:
                self.trouble = f"{source.name} ended"
        except InputError as error:
            if not source.live:
                raise
            self.trouble = str(error)
        return frames

    def _begin(self, source: LiveSource) -> None:
        with self._changed:
            self.generation += 1
            self.reconnects = self.generation - 1
            self.name, self.nominal_rate, self.trouble = source.name, source.rate, ""
            self.opened = True
            self._arrivals.clear()
            self._changed.notify_all()

    def _wait_until_wanted(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._stopping.is_set())

    def _hold(self, frame: LiveFrame) -> None:
        with self._changed:
            self.dropped += self._frame is not None and self._wanted
            if self._frame is not None and frame.motion is not None:
                frame = replace(frame, motion=frame.motion.over(self._frame.motion))
            self._frame = frame
            self._arrivals.append(time.monotonic())
            self._changed.notify_all()
