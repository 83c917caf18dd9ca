"""Finished frames to a video file that plays everywhere."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter

from accel_rt.errors import OutputError, UsageError
from accel_rt.video.audio import AudioTrack, open_audio
from accel_rt.video.codecs import CODECS as CODECS
from accel_rt.video.codecs import FORMATS, Codec, check_choice
from accel_rt.video.color import BT709, EXACT
from accel_rt.video.output import PartFile, check_output_path, output_errors

_FRAGMENTABLE = ("mp4", "mov")
_PIECE_S = 1
_FRAGMENT_FLAGS = "+frag_keyframe+empty_moov+default_base_moof"
_TICKS_PER_S = 90_000
# Disk space held back: what is being written when the disk fills up, and the index of an MP4.
_RESERVE_BYTES = 3 << 20
_RESERVE_PER_PIXEL = 0.5
_RESERVE_PER_FRAME = 64
_RESERVE_STEP = 1 << 20
_CLUSTER_BYTES = 1 << 20  # Matroska writes a cluster at once: it must fit in the reserve
_LIMITED = 1


class VideoWriter:
    """Writes BGR frames with their times as 8-bit yuv420p video, with the source's sound.

    ``size`` is ``(width, height)`` of the pictures; frames of another size are scaled to it.
    Sizes that 4:2:0 or the codec cannot hold are padded on the right and below by repeating the
    last column and row: to even numbers, and to at least 16 (hevc) or 64 (av1). ``rate``
    is the source's nominal rate; frames keep their own times, on a grid of at least 90,000 a
    second on which multiples of ``1 / rate`` fall exactly. ``crf`` is the codec's constant
    quality (lower is better), None for a good default.

    The output starts at time 0: where the source's first picture or sound is, or at the first
    frame written if ``start_s`` was given. Sound comes from ``audio_from``, ends with the last
    frame or at ``end_s``, and is copied where the container takes its codec, else re-encoded.
    Colours are converted with BT.709's matrix to limited range and tagged so.

    The file is written as ``NAME.part`` and renamed by :meth:`finish`, which every way out but
    an error should reach; an error that leaves the ``with`` block removes it. On a full disk, or
    where no larger file is allowed, the frames already encoded are completed into a playable file
    in space held back for this, then :class:`OutputError` says so. Signal handlers that raise
    must not interrupt :meth:`write`: call it from a thread other than the main one, where Python
    runs no signal handlers.

    With ``fragmented`` an MP4 or MOV has its own name from the start and grows by a piece a second:
    it can be played at any moment, and whatever ends the process. An error leaves it there.

    ``notes`` holds sentences for the user. Raises :class:`UsageError` for an unknown codec or
    file type or a quality outside its range, :class:`OutputError` for a path that cannot be
    written or an encoder that is missing from this build.
    """

    def __init__(
        self,
        path: Path | str,
        size: tuple[int, int],
        rate: Fraction,
        codec: str = "h264",
        crf: int | None = None,
        audio_from: Path | str | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
        fragmented: bool = False,
    ) -> None:
        self.path = Path(path)
        choice = check_choice(self.path, codec, crf, size, rate)
        if fragmented and FORMATS[self.path.suffix.lower()] not in _FRAGMENTABLE:
            raise UsageError(f"'{self.path}' cannot be written in pieces: end its name in .mp4")
        self._fragmented = fragmented
        self.frames = 0
        self.notes: list[str] = []
        self._picture_size = size
        self._from_first_frame = bool(start_s)
        self._span_s = None if end_s is None else Fraction(str(end_s)) - Fraction(str(start_s or 0))
        self._frame_s = 1 / Fraction(rate)
        self._origin = self._last_pts = self._last_end = self._last_piece = Fraction(0)
        self._last_tick = -1
        self._durations: dict[int, int] = {}
        self._reformatter = VideoReformatter()
        self._audio: AudioTrack | None = None
        self._open = True
        check_output_path(self.path)
        self.size = tuple(max(choice.min_size, side + side % 2) for side in size)
        if self.size != size:
            self.notes.append(
                f"the picture was padded from {size[0]}x{size[1]} to "
                f"{self.size[0]}x{self.size[1]} pixels"
            )
        self._time_base = _time_base(Fraction(rate))
        with output_errors(self.path):
            self._file = PartFile(self.path, self._reserve(), in_place=fragmented)
        self._container = self._open_container()
        try:
            self._stream = self._add_stream(choice, crf, Fraction(rate))
            if audio_from is not None:
                self._audio = self._add_audio(audio_from)
        except BaseException:
            self.abandon()
            raise

    def write(self, frame_bgr: np.ndarray, pts: Fraction, duration: Fraction | None = None) -> None:
        """Add a frame, uint8 ``[H, W, 3]``, shown from ``pts`` (the source's time) on.

        ``duration`` matters for the last frame only, ``1 / rate`` where it is None. Raises
        :class:`UsageError` if ``pts`` is not after the last frame's.
        """
        if not self._open:
            raise UsageError(f"'{self.path}' is finished: no frame can be added")
        if self.frames == 0:
            self._begin(pts)
            self._last_piece = pts
        elif pts <= self._last_pts:
            raise UsageError(
                f"frames must come in order of time, got {float(pts):.3f} s "
                f"after {float(self._last_pts):.3f} s"
            )
        tick = max(round((pts - self._origin) / self._time_base), self._last_tick + 1)
        picture = self._to_yuv(frame_bgr)
        picture.pts, picture.time_base = tick, self._time_base
        if self._fragmented and pts - self._last_piece >= _PIECE_S:
            picture.pict_type = PictureType.I  # a piece ends before each keyframe
            self._last_piece = pts
        self._durations[tick] = max(1, round((duration or self._frame_s) / self._time_base))
        with output_errors(self.path):
            self._mux(self._stream.encode(picture))
            if self._audio:
                self._audio.pump(until=pts - self._origin)
            self.frames += 1
            self._last_tick, self._last_pts = tick, pts
            self._last_end = pts - self._origin + (duration or self._frame_s)
            if self.frames * _RESERVE_PER_FRAME % _RESERVE_STEP == 0:
                self._file.reserve(self._reserve())
        if self._file.full:
            self._finish_on_full_disk()

    def finish(self) -> bool:
        """Complete the file and give it its name; a second call does nothing.

        Returns whether there is a file: none is made if no frame was written.
        """
        if not self._open:
            return self.path.exists()
        if self.frames == 0:
            self.abandon()
            return False
        try:
            with output_errors(self.path):
                self._mux(self._stream.encode(None))
                if self._audio:
                    until = self._last_end
                    self._audio.pump(until if self._span_s is None else min(until, self._span_s))
                    self._audio.finish()
            if self._file.full:
                self._finish_on_full_disk()
            self._complete()
        except BaseException:
            self.abandon()
            raise
        return True

    close = finish

    def abandon(self) -> None:
        """Remove what was written, or leave what is whole of a fragmented file.

        Does nothing once the file is complete.
        """
        if not self._open:
            return
        self._open = False
        self._file.discard(keep=self._fragmented and self.frames > 0)
        if self._audio:
            self._audio.close()
        with suppress(av.FFmpegError, OSError, ValueError):  # its file is closed already
            self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.finish()
        else:
            self.abandon()

    def _open_container(self) -> av.container.OutputContainer:
        container = FORMATS[self.path.suffix.lower()]
        if container in _FRAGMENTABLE:
            scale = str(self._time_base.denominator)
            flags = _FRAGMENT_FLAGS if self._fragmented else "+faststart"
            options = {"movflags": flags, "movie_timescale": scale}
        else:
            options = {"cluster_size_limit": str(_CLUSTER_BYTES)}
        return av.open(self._file, "w", format=container, options=options, buffer_size=1 << 18)

    def _add_stream(self, choice: Codec, crf: int | None, rate: Fraction) -> av.VideoStream:
        """The video stream, its encoder open, so that what cannot work fails before any work."""
        rate = min(rate, Fraction(choice.max_rate))
        try:
            stream = cast(av.VideoStream, self._container.add_stream(choice.encoder, rate=rate))
        except av.codec.codec.UnknownCodecError as error:
            raise OutputError(
                f"the encoder {choice.encoder} is missing from this build of PyAV: "
                "choose another codec"
            ) from error
        context = stream.codec_context
        context.width, context.height = self.size
        context.pix_fmt = "yuv420p"
        context.time_base = stream.time_base = self._time_base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = _LIMITED
        context.options = {"crf": str(choice.crf if crf is None else crf), **choice.options}
        if self._fragmented:
            context.options = {**context.options, **choice.low_delay}
        if choice.tag and self.path.suffix.lower() != ".mkv":
            context.codec_tag = choice.tag
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 has no other way to be quiet
        try:
            context.open(strict=False)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"{choice.encoder} cannot encode {self.size[0]}x{self.size[1]} pixels: "
                "choose another codec or size"
            ) from error
        return stream

    def _add_audio(self, source: Path | str) -> AudioTrack | None:
        suffix = self.path.suffix.lower()
        audio = open_audio(self._container, source, suffix)
        if audio and not audio.copied:
            self.notes.append(f"the sound was re-encoded to fit {suffix[1:]}")
        return audio

    def _reserve(self) -> int:
        pixels = self.size[0] * self.size[1]
        return round(_RESERVE_BYTES + _RESERVE_PER_PIXEL * pixels) + (
            _RESERVE_PER_FRAME * self.frames + _RESERVE_STEP
        )

    def _begin(self, first_pts: Fraction) -> None:
        self._origin = first_pts
        if self._audio:
            if not self._from_first_frame:
                self._origin = min(first_pts, self._audio.start)
            self._audio.begin(self._origin)

    def _to_yuv(self, frame_bgr: np.ndarray) -> av.VideoFrame:
        width, height = self._picture_size
        if frame_bgr.shape[:2] != (height, width):
            smaller = frame_bgr.shape[0] * frame_bgr.shape[1] > width * height
            method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            frame_bgr = cv2.resize(frame_bgr, (width, height), interpolation=method)
        if self.size != self._picture_size:
            right, below = self.size[0] - width, self.size[1] - height
            frame_bgr = cv2.copyMakeBorder(frame_bgr, 0, below, 0, right, cv2.BORDER_REPLICATE)
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_bgr), format="bgr24"),
            format="yuv420p",
            dst_colorspace=BT709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT,
        )

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    def _complete(self) -> None:
        """Write the index and give the file its name."""
        with output_errors(self.path):
            self._container.close()
            self._file.commit()
        self._open = False
        if self._audio:
            self._audio.close()

    def _finish_on_full_disk(self) -> None:
        """Complete what the disk could still take, then raise :class:`OutputError`."""
        try:
            self._complete()
        except OutputError:
            self.abandon()
            raise
        raise OutputError(
            f"{self._file.full}: '{self.path}' is playable but ends early, near frame "
            f"{self.frames}; free space or write somewhere else, and run again"
        )


def _time_base(rate: Fraction) -> Fraction:
    """A grid of 90,000 or more ticks a second on which frames of ``rate`` fall exactly."""
    if rate.numerator > 1_000_000:
        return Fraction(1, _TICKS_PER_S)
    return Fraction(1, rate.numerator * math.ceil(_TICKS_PER_S / rate.numerator))
