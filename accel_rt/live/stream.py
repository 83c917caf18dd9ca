"""Network streams as a live source, decoded through FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av

from accel_rt.errors import InputError
from accel_rt.live.source import LiveFrame, Pace
from accel_rt.redact import redact
from accel_rt.video.color import FrameConverter
from accel_rt.video.container import NO_TIMESTAMPS
from accel_rt.video.headers import video_stream
from accel_rt.video.limits import STREAM_TIMEOUT_S, Limits
from accel_rt.video.location import split_url
from accel_rt.video.opening import open_container
from accel_rt.video.source import MAX_CORRUPT_IN_A_ROW
from accel_rt.video.vectors import VectorReader

_SEGMENTED = ("hls", "dash")  # deliver seconds at once
_CLOCK_WINDOW = 500
_LONGEST_S, _LONGEST_FRAMES = 2.0, 10  # a larger step in time than both is a jump of the clock


class StreamSource:
    """The first video stream of a URL.

    Live streams are read as they come. Recordings behind a URL, and streams that come in segments
    of seconds, are played at their own pace; a recording has an end, unless it shall ``repeat``,
    and a live stream is opened again. ``name`` never tells a password.

    Raises :class:`~accel_rt.errors.UsageError` for what is no URL or of no kind that is
    read, and :class:`~accel_rt.errors.InputError` if it cannot be opened or has pictures beyond its
    limits and, from :meth:`read`, if the stream breaks off or stalls.
    """

    def __init__(
        self, url: str, repeat: bool = False, timeout_s: float = STREAM_TIMEOUT_S, **limits: Any
    ) -> None:
        self.name = _url_name(url)
        self._timeout_s = timeout_s
        bounds = Limits(timeout_s, **limits)
        self._container = open_container(url, bounds, _LOW_DELAY)
        try:
            self._stream = video_stream(self._container, self.name)
            context = self._stream.codec_context
            context.options = bounds.of_decoder
            bounds.check_size(self.name, (context.height, context.width))
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "SLICE"  # frame threads would hold frames back
        self._convert = FrameConverter(self._stream.sample_aspect_ratio)
        self._vectors = VectorReader(self._stream)
        kind = self._container.format
        recorded = bool(self._container.duration)
        self.live = repeat or not recorded
        segmented = kind.name in _SEGMENTED
        self._paced = recorded or segmented
        self._timed = not kind.flags & NO_TIMESTAMPS
        guessed = self._stream.average_rate or self._stream.guessed_rate
        self.rate: float | None = float(guessed) if guessed and self._timed else None
        self.damaged = 0
        # The clock of a stream may be set between its segments; a slideshow's pictures are long.
        longest_s = max(_LONGEST_S, _LONGEST_FRAMES / (self.rate or math.inf))
        self._pace, self._clock = Pace(longest_s if segmented else math.inf), ArrivalClock()
        self._frames = self._decode()

    def read(self) -> LiveFrame | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        now = time.monotonic()
        if self._timed and frame.pts is not None and frame.time_base is not None:
            pts = frame.pts * frame.time_base
            taken = self._pace.wait(pts) if self._paced else self._clock.captured_at(pts, now)
        else:
            pts, taken = Fraction(now).limit_denominator(1_000_000), now
        motion = self._vectors.motion(frame)
        return LiveFrame(taken, pts, lambda: self._convert(frame), motion)

    def resume(self) -> None:
        self._pace.resume()

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        in_a_row = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is not None:
                    self._vectors.mark(packet)
                frames = [] if packet is None else self._stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.InvalidDataError:
                self.damaged += 1
                in_a_row += 1
                if in_a_row >= MAX_CORRUPT_IN_A_ROW:
                    raise InputError(
                        f"'{self.name}' sent {in_a_row} packets in a row that cannot be decoded"
                    ) from None
                packets = self._container.demux(self._stream)
                continue
            except IndexError:
                # The sender has added a stream, sound it may be, that PyAV does not know.
                packets = self._container.demux(self._stream)
                continue
            except (av.FFmpegError, OSError) as error:
                raise InputError(self._why_lost(error)) from error
            if packet is None:
                return
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    in_a_row = 0
                    yield frame

    def _why_lost(self, error: Exception) -> str:
        if isinstance(error, (av.error.ExitError, TimeoutError)):
            return f"'{self.name}' has sent nothing for {self._timeout_s:g} s"
        return f"'{self.name}' broke off: {(getattr(error, 'strerror', None) or error)}".lower()


def _url_name(url: str) -> str:
    shown = redact(url)
    parts = split_url(shown)
    return Path(unquote(parts.path)).name or parts.hostname or shown


# Without "nobuffer": it throws away what was probed, which may be all that a short stream has.
_LOW_DELAY = {"probesize": "500000", "analyzeduration": "1000000"}


class ArrivalClock:
    """When frames were taken, from their times in the stream and when they arrived.

    The frame that arrived soonest after its time in the stream is taken to have had no delay; what
    others are later is time they spent in buffers. A delay that builds up therefore shows. Times
    that jump begin a new clock, and the last :data:`_CLOCK_WINDOW` frames make up for drift.
    """

    _JUMP_S = 2.0

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=_CLOCK_WINDOW)
        self._last: tuple[float, float] | None = None

    def captured_at(self, pts: Fraction, arrived_at: float) -> float:
        """The time of ``time.monotonic`` at which the frame of time ``pts`` was taken."""
        if self._last is not None:
            step_pts, step = float(pts) - self._last[0], arrived_at - self._last[1]
            if not -self._JUMP_S < step_pts - step < self._JUMP_S:
                self._offsets.clear()
        self._last = float(pts), arrived_at
        self._offsets.append(arrived_at - float(pts))
        return float(pts) + min(self._offsets)
