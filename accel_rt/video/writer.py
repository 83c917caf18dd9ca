"""Finished frames to a video file that plays everywhere."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from accel_rt.errors import InputError, OutputError, UsageError
from accel_rt.files import DISK_FULL, new_token, replacing, unfinished_path, why_unwritable
from accel_rt.size import wxh
from accel_rt.video.codecs import CODECS as CODECS
from accel_rt.video.codecs import FORMATS, check_choice
from accel_rt.video.encoder import PictureEncoder, coded_size, stretched_note, time_base
from accel_rt.video.join import coded_pictures, count_pictures, remux
from accel_rt.video.output import StreamFile, check_output_path, cut_to_fragments, output_errors
from accel_rt.video.side_tracks import SideTracks
from accel_rt.video.source import Source, check_frame

_FRAGMENTABLE = ("mp4", "mov")
_PIECE_S = 1
# An MP4 grows by a fragment a second; its index comes before the first, with the edit lists.
_FRAGMENTS = {
    "movflags": "+frag_keyframe+delay_moov+default_base_moof",
    "frag_duration": str(_PIECE_S * 1_000_000),
}
_CLUSTERS = {"cluster_time_limit": str(_PIECE_S * 1000)}
_FLUSHED = {"flush_packets": "1"}
_ORDINARY, _PRIVATE = 0o666, 0o600  # rights of a file; the first less what the umask takes
_LONGEST_PICTURE_S = 3600
# MP4 counts the ticks between pictures in 31 bits, also where they are stored in another order.
_LONGEST_TICKS = (1 << 31) // 6
_REASONS: dict[int | None, str] = {
    **dict.fromkeys(DISK_FULL, "the disk is full"),
    errno.EFBIG: "no larger file is allowed there",
}


class VideoWriter:
    """Writes BGR frames with their times as 8-bit yuv420p video, with the source's sound.

    ``size`` is ``(height, width)`` of the pictures; frames of another size are scaled to it.
    Sizes that 4:2:0 or the codec cannot hold are padded on the right and below by repeating the
    last column and row: to even numbers, and to at least 16 (hevc) or 64 (av1). ``rate``
    is the source's nominal rate; frames keep their own times, on a grid of at least 90,000 a
    second on which multiples of ``1 / rate`` fall exactly. ``crf`` is the codec's constant
    quality (lower is better), None for a good default.

    The output starts at time 0: where the source's first picture or sound is, or at the first
    frame written if ``start_s`` was given. Sound (unless ``sound`` is false), subtitles and
    chapters are those of ``tracks_from``, where the frames come from, as far as the container
    takes them, and end with the last frame or at ``end_s``: see
    :class:`~accel_rt.video.side_tracks.SideTracks`.
    Colours are converted with BT.709's matrix to limited range and tagged so.

    While it is written the file is called ``unfinished`` (``NAME.TOKEN.part``, the token random
    unless it is given), grows by a second's piece at a time and can be played at any moment, also
    after the process was killed. :meth:`finish` makes it an ordinary file and gives it its name;
    an error that leaves the ``with`` block removes it. Where a write fails, as on a full disk, what
    was written gets the name as a file that plays, unless another file has it, then
    :class:`OutputError` says so.
    Signal handlers that raise must not interrupt :meth:`write`: call it from a thread other than
    the main one, where Python runs no signal handlers.

    With ``fragmented`` an MP4 or MOV has its own name from the start, stays in pieces, and is
    encoded without delay, as recordings of cameras are: only its owner may read it. An error leaves
    it there.

    With ``piece_of`` this is a piece of a longer video, for :meth:`join`: its times count from
    there, the source's time that the whole has as 0, and an MP4 or MOV stays in fragments.

    ``notes`` holds sentences for the user. Raises :class:`UsageError` for an unknown codec or
    file type or a quality outside its range, :class:`OutputError` for a path that cannot be
    written or an encoder that is missing from this build.
    """

    def __init__(
        self,
        path: Path | str,
        size: tuple[int, int],
        rate: Fraction | float,
        codec: str = "h264",
        crf: int | None = None,
        tracks_from: Source | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
        fragmented: bool = False,
        token: str | None = None,
        sound: bool = True,
        piece_of: Fraction | None = None,
    ) -> None:
        self.path = Path(path)
        choice = check_choice(self.path, codec, crf, size, rate)
        if not isinstance(rate, Fraction):  # such as 29.97, which no double is
            rate = Fraction(rate).limit_denominator(100_000)
        self._format = FORMATS[self.path.suffix.lower()]
        if fragmented and self._format not in _FRAGMENTABLE:
            raise UsageError(f"'{self.path}' cannot be written in pieces: end its name in .mp4")
        self._fragmented, self._piece_of = fragmented, piece_of
        self.frames = self.pictures = 0
        self.notes: list[str] = []
        self._from_first_frame = bool(start_s)
        self._span_s = None if end_s is None else Fraction(str(end_s)) - Fraction(str(start_s or 0))
        self._frame_s = 1 / rate
        self._origin = self._last_pts = self._last_end = self._last_piece = Fraction(0)
        self._last_tick = -1
        self._last_picture: av.VideoFrame | None = None
        self._durations: dict[int, int] = {}
        self._tracks: SideTracks | None = None
        self._open = True
        check_output_path(self.path)
        self.size = coded_size(choice, size)
        if self.size != size:
            self.notes.append(f"the picture was padded from {wxh(size)} to {wxh(self.size)} pixels")
        self._time_base = time_base(rate)
        self._longest_s = min(Fraction(_LONGEST_PICTURE_S), _LONGEST_TICKS * self._time_base)
        self._last_dts_s = -self._longest_s
        self.unfinished = (
            self.path if fragmented else unfinished_path(self.path, token or new_token())
        )
        with output_errors(self.path):
            self._file = StreamFile(self.unfinished, _PRIVATE if fragmented else _ORDINARY)
        try:
            self._container = self._open_container()
            options = {"crf": str(choice.crf if crf is None else crf), **choice.options}
            if fragmented:
                options |= choice.low_delay
            tag = None if self._format == "matroska" else choice.tag
            self._encoder = PictureEncoder(
                self._container, choice, size, rate, self._time_base, options, tag
            )
            if tracks_from is not None:
                self._tracks = SideTracks(
                    self._container, tracks_from, self.path.suffix.lower(), sound
                )
        except BaseException:
            self.abandon()
            raise

    def adopt(self, path: Path, pictures: int, first_pts: Fraction) -> Iterator[None]:
        """Begin with the first ``pictures`` coded pictures of ``path``, one at each step.

        ``path`` is the unfinished file of such a writer, its first frame being shown at
        ``first_pts`` of the source's time. At the last step it is replaced, and goes on under its
        name; the frames written next follow on. None must have been written before.
        """
        self._begin(first_pts)
        yield from self._copy(path, pictures)
        with output_errors(self.path):
            os.replace(self.unfinished, path)
        self.unfinished = path
        self._encoder.restart()

    @property
    def stretched(self) -> int:
        """How many pictures of another shape were stretched to fit."""
        return self._encoder.stretched

    @property
    def end(self) -> Fraction:
        """Where the last frame written ends, in seconds of the source's time."""
        return self._origin + self._last_end

    def join(self, piece: Path, first_pts: Fraction, origin: Fraction, end: Fraction) -> None:
        """Add all coded pictures of ``piece``, as they are.

        It is the file of a writer that was a piece of the video with ``origin`` as its time 0; its
        frames are shown from ``first_pts`` to ``end``, all in seconds of the source's time.
        """
        if not self.frames:
            self._begin(first_pts)
        for _ in self._copy(piece, None, origin - self._origin):
            pass
        self._last_end = end - self._origin

    def _copy(
        self, path: Path, pictures: int | None, shift: Fraction = Fraction(0)
    ) -> Iterator[None]:
        """Take coded pictures (None: all) of ``path`` as they are, one at each step."""
        ticks = round(shift / self._time_base)
        with output_errors(self.path):
            for packet in islice(coded_pictures(path), pictures):
                if ticks and packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                time = (packet.pts or 0) * packet.time_base
                lasts = (packet.duration or 0) * packet.time_base
                packet.stream = self._encoder.stream
                self._mux([packet])
                self._last_tick = max(self._last_tick, round(time / self._time_base))
                self._last_pts = max(self._last_pts, time + self._origin)
                self._last_end = max(self._last_end, time + lasts)
                self.pictures += 1
                self.frames = self.pictures
                if self._tracks:
                    self._tracks.pump(until=self._last_pts - self._origin)
                yield

    def write(
        self,
        frame_bgr: np.ndarray,
        pts: Fraction,
        duration: Fraction | None = None,
        fresh: bool = False,
    ) -> None:
        """Add a frame, uint8 ``[H, W, 3]``, shown from ``pts`` (the source's time) on.

        ``duration`` matters for the last frame only, ``1 / rate`` where it is None. With ``fresh``
        this frame and those after it do not depend on the frames before. A gap of hours is filled
        with the picture before it, repeated every hour or sooner: ``pictures`` counts these, too.
        Raises :class:`UsageError` if ``pts`` is no number or not after the last frame's, and for
        what is no frame.
        """
        check_frame(frame_bgr)
        pts, duration = _seconds(pts), None if duration is None else _seconds(duration)
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
        with self._keeping_what_is_done():
            self._fill_gap(pts)
            if fresh and self.pictures:
                self._mux(self._encoder.flush())
                self._encoder.restart()
            self._last_picture = self._encoder.convert(frame_bgr)
            self._encode(self._last_picture, pts, duration)
            if self._tracks:
                self._tracks.pump(until=pts - self._origin)
            self.frames += 1

    def finish(self) -> bool:
        """Complete the file and give it its name; a second call does nothing.

        Returns whether there is a file: none is made if no frame was written.
        """
        if not self._open:
            return self.path.exists()
        if not self.complete():
            return False
        self.commit()
        return True

    close = finish

    def complete(self) -> bool:
        """Complete the file under its unfinished name; False, and no file, without a frame."""
        if not self._open:
            return False
        if self.frames == 0:
            self.abandon()
            return False
        self.notes += stretched_note(self.stretched)
        with self._keeping_what_is_done():
            self._mux(self._encoder.flush())
            if self._tracks:
                until = self._last_end
                until = until if self._span_s is None else min(until, self._span_s)
                self._tracks.finish(until)
                self.notes += self._tracks.notes
            self._container.close()
            self._file.close()
        try:
            self._defragment(self._last_end)
        except OutputError as error:
            self.notes.append(f"'{self.path}' plays, but seeking in it may be slow ({error})")
        return True

    def commit(self) -> None:
        """Give the completed file its name, replacing what was there."""
        with output_errors(self.path):
            os.replace(self.unfinished, self.path)
        self._end()

    def abandon(self) -> None:
        """Remove what was written, or leave what is whole of a fragmented file.

        Does nothing once the file is complete.
        """
        if self._open:
            self._end()
            if not (self._fragmented and self.frames):
                self.unfinished.unlink(missing_ok=True)

    def leave(self) -> None:
        """Close the file and leave it as it is, for :meth:`adopt`."""
        if self._open:
            self._end()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.finish()
        else:
            self.abandon()

    def _open_container(self) -> av.container.OutputContainer:
        options = {**_CLUSTERS, **_FLUSHED}
        if self._format in _FRAGMENTABLE:
            options = {**_FRAGMENTS, **_FLUSHED, **self._timescale()}
        return av.open(self._file, "w", format=self._format, options=options, buffer_size=1 << 18)

    def _timescale(self) -> dict[str, str]:
        return {"movie_timescale": str(self._time_base.denominator)}

    def _begin(self, first_pts: Fraction) -> None:
        self._origin = first_pts if self._piece_of is None else self._piece_of
        if self._tracks:
            if not self._from_first_frame and self._tracks.start is not None:
                self._origin = min(first_pts, self._tracks.start)
            self._tracks.begin(self._origin, self._span_s)

    def _fill_gap(self, pts: Fraction) -> None:
        if self._last_picture is None or pts - self._last_pts <= self._longest_s:
            return
        gap_h = float(pts - self._last_pts) / 3600
        self.notes.append(f"a gap of {gap_h:.1f} h in the times shows the picture before it")
        while pts - self._last_pts > self._longest_s:
            self._encode(self._last_picture, self._last_pts + self._longest_s, None)

    def _encode(self, picture: av.VideoFrame, pts: Fraction, duration: Fraction | None) -> None:
        tick = max(round((pts - self._origin) / self._time_base), self._last_tick + 1)
        picture.pts, picture.time_base = tick, self._time_base
        if self._fragmented and pts - self._last_piece >= _PIECE_S:
            picture.pict_type = PictureType.I  # a piece ends before each keyframe
            self._last_piece = pts
        self._durations[tick] = max(1, round((duration or self._frame_s) / self._time_base))
        self._mux(self._encoder.encode(picture))
        self.pictures += 1
        self._last_tick, self._last_pts = tick, pts
        self._last_end = pts - self._origin + (duration or self._frame_s)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
            if packet.dts is not None:  # a fresh encoder may start below the last one's end
                packet.dts = max(packet.dts, math.floor(self._last_dts_s / packet.time_base) + 1)
                self._last_dts_s = packet.dts * packet.time_base
            self._container.mux(packet)

    def _defragment(self, end: Fraction | None = None) -> None:
        """Write an MP4 anew with one index, at its beginning; others are ordinary already.

        ``end`` is where its pictures end, if that is known.
        """
        whole = self._piece_of is None and not self._fragmented
        if not whole or self._format not in _FRAGMENTABLE:
            return
        options = {"movflags": "+faststart", **self._timescale()}
        with output_errors(self.path), replacing(self.unfinished) as file:
            remux(self.unfinished, Path(file.name), self._format, options, end)

    @contextmanager
    def _keeping_what_is_done(self) -> Iterator[None]:
        """Where a write fails, make what was written a file that plays, and say so."""
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            cause = self._file.failure or error
            pictures = self._salvage()
            if not pictures:
                raise OutputError(why_unwritable(self.path, cause)) from error
            if cause.errno not in _REASONS:
                raise OutputError(
                    f"{why_unwritable(self.path, cause)} (its first {pictures} frames are kept)"
                ) from error
            raise OutputError(
                f"{_REASONS[cause.errno]}: '{self.path}' is playable but ends early, after "
                f"{pictures} frames; free space or write somewhere else, and run again"
            ) from error

    def _salvage(self) -> int:
        """The number of pictures that are now in the file of the final name; no file without any.

        0, too, where another file has that name: what was written keeps its unfinished one.
        """
        if self._file.failure is None:  # it is not the disk: the encoder's last pictures fit
            with suppress(OSError, av.FFmpegError):
                self._mux(self._encoder.flush())
            with suppress(OSError, av.FFmpegError):
                self._container.close()
        self._end()
        with suppress(OSError):
            if self._format in _FRAGMENTABLE:
                cut_to_fragments(self.unfinished)
        with suppress(InputError):
            if pictures := count_pictures(self.unfinished):
                if not self._fragmented and os.path.exists(self.path):
                    return 0
                with suppress(OutputError):
                    self._defragment()
                with output_errors(self.path):
                    os.replace(self.unfinished, self.path)
                return pictures
        self.unfinished.unlink(missing_ok=True)
        return 0

    def _end(self) -> None:
        """Close everything; what the container has not written yet is lost."""
        self._open = False
        self._file.close()
        if self._tracks:
            self._tracks.close()
        with suppress(av.FFmpegError, OSError, ValueError, AttributeError):
            self._container.close()


def _seconds(value: Fraction | float) -> Fraction:
    try:
        return value if isinstance(value, Fraction) else Fraction(float(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"a frame's time is a number of seconds, got {value}") from error
