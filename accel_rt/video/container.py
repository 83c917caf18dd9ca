"""Video files and URLs as a frame source, decoded through FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av

from accel_rt.errors import InputError, UsageError
from accel_rt.video.clock import JOIN_S, DecodingTimes, PictureClock, Timed
from accel_rt.video.color import FrameConverter
from accel_rt.video.headers import (
    coded_size,
    container_length,
    packet_end,
    stream_end,
    time_base,
    video_stream,
)
from accel_rt.video.limits import DEFAULT_LIMITS, Limits
from accel_rt.video.location import is_read_once, is_url
from accel_rt.video.opening import PIPE_HINT, open_container, reason
from accel_rt.video.source import Frame, Source, SourceInfo
from accel_rt.video.vectors import VectorReader

# Seeks that land behind the wanted time are repeated this much earlier, then from the start.
_SEEK_MARGINS_S = (0, 5, 30)
# A lone thread decodes 1080p faster than it is used and always reports damage; FFmpeg's frame
# threads may output a frame before they find that it is damaged.
_THREADED_FROM_PIXELS = 1920 * 1088
_UNKNOWN_RATE = Fraction(25)
DECODING_TIMES_ONLY = ("avi",)
NO_TIMESTAMPS = 0x0080  # AVFMT_NOTIMESTAMPS: times are made up from a nominal rate
_CLOCK_MAY_JUMP = 0x0200  # AVFMT_TS_DISCONT: recordings are joined by writing one after the other


class VideoSource(Source):
    """Frames of the video stream of a file, a pipe or a URL, see :func:`video_stream`.

    Times never run backwards: where a stream's clock is set back, as in joined transport
    streams, the frames after that follow on from the ones before. Frames that the decoder marks
    as damaged count as corrupt. Raises as :func:`accel_rt.video.reader.open_source`.
    """

    def __init__(
        self,
        location: str | Path,
        name: str,
        start_s: float | None = None,
        end_s: float | None = None,
        limits: Limits = DEFAULT_LIMITS,
        rate: Fraction | None = None,
        one_clock: bool = False,
    ) -> None:
        super().__init__()
        self._location, self._limits = location, limits
        self._first_packet: bytes | None = None
        options = {"framerate": str(rate)} if rate else {}
        self._container = open_container(location, limits, options)
        try:
            self._stream = video_stream(self._container, name)
            pixels = math.prod(coded_size(self._stream))
            self._stream.thread_type = "AUTO" if pixels > _THREADED_FROM_PIXELS else "NONE"
            self._stream.codec_context.options = limits.of_decoder
            self._vectors = VectorReader(self._stream)
            self._convert = FrameConverter(self._stream.sample_aspect_ratio)
            limits.check_size(name, self._convert.shown_size(coded_size(self._stream)))
            self._untimed = bool(self._container.format.flags & NO_TIMESTAMPS)
            self._read_once = is_read_once(location)
            may_jump = bool(self._container.format.flags & _CLOCK_MAY_JUMP)
            self.one_clock = one_clock or is_url(location) or not may_jump
            self._seeks = not (self._untimed or self._read_once)
            self._rate = rate if self._untimed else None
            self._header_end = stream_end(self._container, self._stream)
            self._read_end = Fraction(0)
            self.info = self._describe(location, name, start_s, end_s)
            origin = self._origin()
            self._clock = PictureClock(origin, 1 / self.info.rate)
            self.joins = self._clock.joins
            self._start = None if not start_s else origin + Fraction(str(start_s))
            self._end = None if end_s is None else origin + Fraction(str(end_s))
            self._passed_s: float | None = None  # where a frame after the span is
            frames = self._deliver()
            first = next(frames, None)
            if first is None:
                raise self._nothing_read(start_s, end_s)
        except BaseException:
            self._container.close()
            raise
        height, width = first.image_bgr.shape[:2]
        self.info = replace(self.info, width=width, height=height)
        self._frames = chain([first], frames)

    def open_beside(self) -> av.container.InputContainer | None:
        """The source once more; None for a pipe, or a stream that does not begin as before."""
        if is_read_once(self._location):
            return None
        if self.info.kind == "video" or self._begins_as_before():
            return open_container(self._location, self._limits)
        return None

    def _begins_as_before(self) -> bool:
        """Whether a stream without a length is a file rather than live, somewhere else by now."""
        with open_container(self._location, self._limits) as container:
            try:
                packet = next(container.demux(container.streams[self._stream.index]))
            except (av.FFmpegError, OSError, IndexError, StopIteration):
                return False
            return bytes(packet) == self._first_packet

    def _release(self) -> None:
        self._container.close()

    def _describe(
        self, location: str | Path, name: str, start_s: float | None, end_s: float | None
    ) -> SourceInfo:
        stream, container = self._stream, self._container
        average, guessed = stream.average_rate, stream.guessed_rate
        if not average and guessed == 1 / time_base(stream):
            guessed = None  # the unit of its times is all that the container says
        variable = None
        if average and stream.base_rate:
            variable = abs(float(average / stream.base_rate) - 1) > 0.01
        rate = self._rate or (guessed if guessed and not variable else average)
        rate = rate if rate and rate > 0 else _UNKNOWN_RATE
        total_s = None
        if self._header_end is not None:
            total_s = float(self._header_end - self._origin())
        elif length := container_length(container):
            total_s = float(length)
        duration_s = total_s
        if total_s is not None:
            duration_s = max(0.0, min(end_s or math.inf, total_s) - (start_s or 0.0))
        whole = not start_s and (end_s is None or (total_s is not None and end_s >= total_s))
        frame_count = stream.frames or None
        if frame_count is None or not whole:
            frame_count = None
            if total_s is not None:
                first_s = 0.0  # sound may begin before the pictures
                if stream.start_time is not None:
                    first_s = float(stream.start_time * time_base(stream) - self._origin())
                shown_s = min(end_s or math.inf, total_s) - max(start_s or 0.0, first_s)
                frame_count = max(0, round(shown_s * rate))
        ahead = is_url(location) and total_s is None
        return SourceInfo(
            name=name,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            rate=rate,
            frame_count=frame_count,
            duration_s=duration_s,
            has_audio=bool(container.streams.audio),
            variable_rate=variable,
            kind="stream" if ahead or is_read_once(location) else "video",
        )

    def _origin(self) -> Fraction:
        """The time that spans count from: where the earliest of all streams starts."""
        if self._container.start_time is not None:
            return Fraction(self._container.start_time, av.time_base)
        return (self._stream.start_time or 0) * time_base(self._stream)

    def _nothing_read(self, start_s: float | None, end_s: float | None) -> Exception:
        if self._passed_s is not None:
            span = f"{float(start_s or 0):g} to {float(end_s or 0):g} s"
            return UsageError(
                f"'{self.info.name}' has no frame from {span}: the next one is at "
                f"{self._passed_s:.3f} s"
            )
        length_s = self._header_end and float(self._header_end - self._origin())
        if start_s and length_s is not None and start_s >= length_s and not self.joins:
            return UsageError(
                f"the start, {start_s} s, is after the end of '{self.info.name}', "
                f"which lasts {length_s:.3f} s"
            )
        if start_s:
            return InputError(f"'{self.info.name}' holds no frame from {start_s} s on")
        hint = f": {PIPE_HINT}" if self._read_once else ""
        return InputError(f"'{self.info.name}' holds no frame that can be read{hint}")

    def _deliver(self) -> Iterator[Frame]:
        """Frames of the span, then the closing notes."""
        index, last_end = 0, self._origin()
        for picture in self._clock.order(map(self._timed, self._from_start())):
            pts = picture.time or Fraction(0)
            last_end = pts + (picture.duration or 1 / self.info.rate)
            if self._start is not None and pts < self._start:
                continue
            if self._end is not None and pts >= self._end:
                self._passed_s = float(pts - self._origin())
                self._note_times()
                return
            image = self._convert(picture.item)
            if self._convert.saw_hdr:
                self._note_once("the source is HDR; it was tone-mapped to 8-bit BT.709")
            motion = self._vectors.motion(picture.item)
            yield Frame(index, pts, image, picture.duration, motion=motion)
            index += 1
        self._note_times()
        self._note_length(index, last_end)

    def _is_end(self, error: av.FFmpegError | OSError) -> bool:
        """Whether ``error`` is how FFmpeg reports the end of an answer without a length."""
        unmeasured = is_url(self._location) and self._container.size < 0
        return unmeasured and error.errno == errno.EIO

    def _timed(self, decoded: av.VideoFrame) -> Timed[av.VideoFrame]:
        base = decoded.time_base or time_base(self._stream)
        return Timed(
            decoded,
            None if decoded.pts is None else decoded.pts * base,
            decoded.duration * base if decoded.duration else None,
        )

    def _note_once(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _note_times(self) -> None:
        """Say what was wrong with pictures and their times."""
        self._note_corrupt()
        if self.joins:
            self._note_once("the source's clock was set back; its frames were joined up")
        if count := self._clock.misplaced:
            frames = "frame" if count == 1 else "frames"
            self._note_once(f"{count} {frames} out of order in time went between the neighbours")

    def _note_length(self, delivered: int, last_end: Fraction) -> None:
        """Say where the source turned out longer or shorter than its headers say."""
        if self._header_end is not None:
            origin = self._origin()
            begin = origin if self._start is None else self._start
            mean_step = (last_end - begin) / max(delivered, 1)
            slack = Fraction(3, 2) * max(mean_step, 1 / self.info.rate)
            self.truncated = self.truncated or (
                self._header_end - max(self._read_end, last_end - sum(self.joins[-1:])) > slack
            )
            if last_end - self._header_end > slack:
                found_s, said_s = float(last_end - origin), float(self._header_end - origin)
                self._note_once(f"the video lasts {found_s:.3f} s; its headers say {said_s:.3f} s")
        if self.truncated:
            expected = self.info.frame_count
            of = f" of {expected}" if expected else ""
            self.notes.append(f"{self.info.name} ended early: {delivered}{of} frames could be read")

    def _from_start(self) -> Iterator[av.VideoFrame]:
        """Decoded frames from the last keyframe before the span on."""
        if self._start is None or not self._seeks:
            return self._decode()
        if not self.one_clock:
            return self._decode(self._packets_before(self._start))
        base = time_base(self._stream)
        for margin_s in _SEEK_MARGINS_S:
            target = max(self._start - margin_s, self._origin())
            try:
                self._container.seek(math.floor(target / base), stream=self._stream)
            except (av.FFmpegError, OSError):
                break
            frames = self._decode()
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts * base <= self._start:
                return chain([first], frames)
        with suppress(av.FFmpegError, OSError):  # what cannot seek is read from where it is
            self._container.seek(self._container.start_time or 0)
        return self._decode()

    def _packets_before(self, start: Fraction) -> int:
        """How many packets need no decoding: those before the last keyframe before ``start``.

        None of them if the clock is set back before that: then pictures have to be counted.
        """
        before, latest = 0, -math.inf
        with open_container(self._location, self._limits) as container:
            packets = container.demux(container.streams[self._stream.index])
            with suppress(av.FFmpegError, OSError, IndexError):
                for number, packet in enumerate(packets):
                    if packet.dts is None or packet.pts is None:
                        continue
                    time = packet.dts * packet.time_base
                    if time < latest - JOIN_S:
                        return 0
                    if time > start:
                        break
                    latest = time
                    if packet.is_keyframe and packet.pts * packet.time_base <= start:
                        before = number
        return before

    def _decode(self, skipped: int = 0) -> Iterator[av.VideoFrame]:
        """Frames as they come, skipping what cannot be decoded, until the end or the budget.

        The first ``skipped`` packets are not even tried. A packet of no size shows the picture
        before it once more, as in Theora. The one that ends a stream has no time.
        """
        last: av.VideoFrame | None = None
        packets: Iterator[av.Packet[av.VideoStream]]
        packets = islice(self._container.demux(self._stream), skipped, None)
        context = self._stream.codec_context
        times = None
        if self._container.format.name in DECODING_TIMES_ONLY and context.reorder_depth:
            times = DecodingTimes()
        while True:
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError:
                if not self._count_corrupt():
                    return
                packets = self._container.demux(self._stream)
                continue
            except IndexError:
                # A damaged table invented a stream that PyAV does not know; it is not ours.
                packets = self._container.demux(self._stream)
                continue
            except (av.FFmpegError, OSError) as error:
                if not self._is_end(error):
                    self.truncated = True
                    self.notes.append(f"{self.info.name} stopped: {reason(error)}")
                packet = None
            if packet is not None:
                end = packet_end(packet)
                if end is not None:
                    self._read_end = max(self._read_end, end)
                if self._first_packet is None:
                    self._first_packet = bytes(packet)
            if packet is not None and packet.size == 0:
                if last is not None and packet.pts is not None and not context.has_b_frames:
                    last.pts = packet.pts
                    yield last
                continue
            if packet is not None and times:
                times.read(packet.dts)
            if packet is not None:
                self._vectors.mark(packet)
            try:
                frames = self._stream.decode(packet)
            except av.error.EOFError:
                return
            except (av.FFmpegError, ValueError):
                if not self._count_corrupt():
                    return
                frames = []
            for frame in frames:
                if times:
                    frame.pts = times.next(context.reorder_depth)
                if frame.is_corrupt:
                    if not self._count_corrupt():
                        return
                    continue
                self._corrupt_in_a_row = 0
                if self._untimed:
                    frame.pts, frame.duration = None, 0
                last = frame
                yield frame
            if packet is None:
                return
