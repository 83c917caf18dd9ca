"""The newest frame of a feed: read in a thread, dropped when a newer one comes, reconnected."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import closing

from accel_rt.errors import InputError
from accel_rt.live.feed import Feed, OpenFeed, Shot
from accel_rt.live.stats import rate

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts to reconnect; the last one repeats."""

_RATE_WINDOW = 60
_SILENCE_S, _SILENT_FRAMES = 2.0, 3
_STEADY_FRAMES = 25  # after this many frames a connection counts as good again


class Capture:
    """Reads a feed in a thread of its own and holds its newest frame.

    - ``dropped`` counts frames that were replaced before anybody took them, from the first one
      taken on; ``reconnects`` how often a live feed came back; ``generation`` how often it opened.
    - ``damaged`` counts what could not be decoded, ``damaged_at`` is when that was last so.
    - ``trouble`` says why a live feed is away, empty while it is there.
    - ``failure`` is the error of a feed that could not be opened the first time, or that ended
      with one.
    """

    def __init__(self, open_feed: OpenFeed, backoff_s: tuple[float, ...] = BACKOFF_S) -> None:
        self._open_feed = open_feed
        self._backoff_s = backoff_s
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._shot: Shot | None = None
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
        """Start to open and read the feed."""
        self._thread.start()

    def stop(self, wait_s: float = 2.0) -> None:
        """Stop reading. A feed that hangs in its driver is left to its thread."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def wait_open(self, timeout_s: float) -> bool:
        """Wait until the feed is open or has failed; False if neither within ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: self.opened or self.ended, timeout_s)

    def take(self, timeout_s: float) -> tuple[Shot, int] | None:
        """The newest frame and its generation, waiting for one that was not taken yet."""
        with self._changed:
            self._changed.wait_for(lambda: self._shot is not None or self.ended, timeout_s)
            self._wanted = True
            shot, self._shot = self._shot, None
            return None if shot is None else (shot, self.generation)

    def rate(self) -> float | None:
        """Frames a second that arrive, measured."""
        with self._changed:
            return rate(self._arrivals)

    def silent_s(self) -> float:
        """Seconds since the last frame arrived; 0 before the first and after the end."""
        with self._changed:
            return time.monotonic() - self._arrivals[-1] if self._arrivals else 0.0

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
        attempt = 0
        while not self._stopping.is_set():
            try:
                with closing(self._open_feed()) as feed:
                    frames = self._read(feed)
                    if not feed.live:
                        return
            except InputError as error:
                if not self.opened:
                    raise
                frames, self.trouble = 0, str(error)
            attempt = 0 if frames >= _STEADY_FRAMES else attempt + 1
            self._stopping.wait(self._backoff_s[min(attempt, len(self._backoff_s) - 1)])

    def _read(self, feed: Feed) -> int:
        """Read until the feed ends or fails; the number of frames that came."""
        frames = damaged = 0
        try:
            while not self._stopping.is_set() and (shot := feed.read()) is not None:
                if frames == 0:
                    self._begin(feed)
                frames += 1
                self._hold(shot)
                if feed.damaged > damaged:
                    self.damaged += feed.damaged - damaged
                    damaged, self.damaged_at = feed.damaged, time.monotonic()
            self.trouble = f"{feed.name} ended"
        except InputError as error:
            if not feed.live:
                raise
            self.trouble = str(error)
        return frames

    def _begin(self, feed: Feed) -> None:
        with self._changed:
            self.generation += 1
            self.reconnects = self.generation - 1
            self.name, self.nominal_rate, self.trouble = feed.name, feed.rate, ""
            self.opened = True
            self._arrivals.clear()
            self._changed.notify_all()

    def _hold(self, shot: Shot) -> None:
        with self._changed:
            self.dropped += self._shot is not None and self._wanted
            self._shot = shot
            self._arrivals.append(time.monotonic())
            self._changed.notify_all()
