"""One stream beside the pictures, copied: its packets' times checked before the muxer sees them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext

from accel_rt.video.clock import JOIN_S

REFUSED = (av.error.ArgumentError, av.error.InvalidDataError, av.error.PatchWelcomeError)
"""What a muxer, or a filter before it, raises for a packet that it cannot take."""

_NEAR_S = 1  # a clock that is set back by less is not taken for one that begins anew


class Track:
    """``stream`` of the source as ``out`` of ``output``, copied packet by packet.

    Sound that repeats a time is left out. A clock that has begun anew is joined up, with the
    pictures where they were: ``joins`` are those of :class:`~accel_rt.video.source.Source`.
    ``lost`` counts packets that are not in the output, ``filled`` the seconds of those taken.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        stream: av.stream.Stream,
        out: av.stream.Stream,
        joins: Sequence[Fraction],
    ) -> None:
        self.stream = stream
        self.lost = 0
        self.filled = Fraction(0)
        self._output, self._out, self._joins = output, out, joins
        self._time_base = stream.time_base or Fraction(1, av.time_base)
        self._shift = Fraction(0)
        self._end: Fraction | None = None
        self._filter = _aac_filter(output, stream)
        out.disposition = stream.disposition
        for key in ("language", "title"):
            if key in stream.metadata:
                out.metadata[key] = stream.metadata[key]

    @property
    def is_sound(self) -> bool:
        """Whether this is sound rather than subtitles."""
        return self.stream.type == "audio"

    @property
    def start(self) -> Fraction | None:
        """When the stream starts, in seconds of the source's time; None if unsaid."""
        start = self.stream.start_time
        return None if start is None else start * self._time_base

    def place(self, packet: av.Packet, shown: Fraction | None) -> Fraction | None:
        """When ``packet`` starts, in seconds of the source's time with what was joined up.

        None if that cannot be known yet: ``shown`` is how far the pictures are, None once they
        have ended.
        """
        time, end = self._time(packet), self._end
        if end is None or end - time <= JOIN_S:
            return time
        wanted = self._shift + end - time
        near = [join for join in self._joins if abs(join - wanted) < _NEAR_S]
        if near:
            self._shift = min(near, key=lambda join: abs(join - wanted))
        elif shown is not None and shown < end + _NEAR_S:
            return None  # the pictures' clock may yet be set back, too
        elif end - time > _NEAR_S:
            self._shift = wanted
        return self._time(packet)

    def repeats(self, packet: av.Packet, time: Fraction) -> bool:
        """Whether most of ``packet``, placed at ``time``, is sound of a time written already."""
        if not self.is_sound or self._end is None:
            return False
        return time + self._length(packet) / 2 < self._end

    def passes(self, packet: av.Packet, time: Fraction, taken: bool) -> None:
        """Note that ``packet``, placed at ``time``, comes next; if not ``taken``, unwritten."""
        self.filled += self._length(packet) * taken
        end = time + self._length(packet) if self.is_sound else time
        self._end = end if self._end is None else max(self._end, end)

    def write(self, packet: av.Packet, time: Fraction, origin: Fraction) -> None:
        """Take ``packet``, which starts at ``time``; ``origin`` is time 0 of the output."""
        packet.pts = packet.dts = round((time - origin) / self._time_base)
        packet.time_base = self._time_base
        try:
            packets = self._filter.filter(packet) if self._filter else [packet]
        except REFUSED:
            self.lost += 1
        else:
            self._mux(packets)

    def trim(self, packet: av.Packet, time: Fraction, begin: Fraction, end: Fraction) -> Fraction:
        """The time of a subtitle placed at ``time`` once it is cut to ``begin`` and ``end``."""
        until = min(time + self._length(packet), end)
        if packet.duration:
            packet.duration = max(1, round((until - max(time, begin)) / self._time_base))
        return max(time, begin)

    def advance(self, until: Fraction) -> None:
        """Write what was taken up to ``until``, in seconds of the output."""

    def finish(self) -> None:
        """Write what is held back."""

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.stream = self._out
            try:
                self._output.mux(packet)
            except REFUSED:
                self.lost += 1

    def _time(self, packet: av.Packet) -> Fraction:
        time = packet.dts if packet.pts is None else packet.pts
        if time is None:
            return self._end or Fraction(0)
        return time * self._time_base + self._shift

    def _length(self, packet: av.Packet) -> Fraction:
        return (packet.duration or 0) * self._time_base


def _aac_filter(
    output: av.container.OutputContainer, stream: av.stream.Stream
) -> BitStreamFilterContext | None:
    """AAC of transport streams says in every packet what an MP4 wants to hear once."""
    context = stream.codec_context
    if output.format.name not in ("mp4", "mov") or context.name != "aac" or context.extradata:
        return None
    return BitStreamFilterContext("aac_adtstoasc", stream)


def can_copy(stream: av.stream.Stream, packets: Sequence[av.Packet], format: str) -> bool:
    """Whether a file of ``format`` holds ``stream`` with its first ``packets``: a rehearsal.

    Done beforehand because a stream that the muxer refuses, or that no reader of the file then
    opens (AAC whose setup is damaged, in MP4), would spoil the whole file.
    """
    written = io.BytesIO()
    try:
        with av.open(written, "w", format=format) as scratch:
            out = scratch.add_stream_from_template(stream)
            scratch.start_encoding()
            time = 0
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts = copy.dts = time
                copy.time_base, copy.duration = packet.time_base, packet.duration
                copy.stream = out
                scratch.mux(copy)
                time += max(packet.duration or 0, 1)
        if packets:
            written.seek(0)
            av.open(written).close()
    except (av.FFmpegError, OSError, ValueError):
        return False
    return True
