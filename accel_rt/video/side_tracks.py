"""What runs beside the pictures, sound, subtitles and chapters, from source to output."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from typing import Any, cast

import av

from accel_rt.errors import InputError
from accel_rt.video.audio import EncodedSound, open_encoded
from accel_rt.video.codecs import COPIED, FORMATS
from accel_rt.video.layouts import name_layouts
from accel_rt.video.source import Source
from accel_rt.video.tracks import Track, can_copy

_PROBE_PACKETS, _PROBE_MOST = 8, 256  # a track may be silent for long
_PROBE_BYTES = 4 << 20
_JUMP_S = 1  # a lone packet that is further ahead of the next one is left out
_FOR_EVER_S = 1 << 31
_SEEK_MARGIN_S = 1  # sound may lie that much before its pictures in the file
_BLOCK_S = 5  # tracks may lie in the file in blocks of that much
# An edit list hides what a codec needs before time 0; elsewhere it would move the pictures.
_HAS_EDIT_LIST = (".mp4", ".m4v", ".mov")


class SideTracks:
    """The sound (if it is wanted), subtitles and chapters of ``source`` that ``output`` takes.

    Streams are copied where the muxer for ``suffix`` takes them and players know them there;
    other sound is encoded anew (AAC; Opus for WebM and Matroska). Whatever cannot be kept is left
    out, and ``notes`` say so: nothing that is wrong with a side track raises.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        source: Source,
        suffix: str,
        sound: bool = True,
    ) -> None:
        self.notes: list[str] = []
        self._output, self._suffix = output, suffix
        self._joins, self._seeks = source.joins, source.one_clock
        self._origin = self._end = Fraction(0)
        self._keeps_priming = False
        self._tracks: dict[int, Track] = {}
        self._pending: av.Packet | None = None
        self._packets: Iterator[av.Packet] = iter(())
        self._probed: list[av.Packet] = []
        self._input = self._open(source, sound)
        if self._input is None:
            return
        name_layouts(self._input)
        kinds = ("audio", "subtitle") if sound else ("subtitle",)
        wanted = [stream for stream in self._input.streams if stream.type in kinds]
        first = self._probe([stream for stream in wanted if stream.codec_context is not None])
        left_out = []
        for stream in wanted:
            track = self._open_track(stream, first.get(stream.index, []))
            if track is None:
                left_out.append(_describe(stream))
            else:
                self._tracks[stream.index] = track
        if any(isinstance(track, EncodedSound) for track in self._tracks.values()):
            self.notes.append(f"the sound was re-encoded to fit {suffix[1:]}")
        if left_out:
            self.notes.append(f"left out of the {suffix[1:]}: {', '.join(left_out)}")

    @property
    def start(self) -> Fraction | None:
        """When the first sound starts, in seconds of the source's time; None without sound."""
        starts = [track.start for track in self._tracks.values() if track.is_sound]
        return min((start for start in starts if start is not None), default=None)

    def begin(self, origin: Fraction, length: Fraction | None = None) -> None:
        """Take what is there from ``origin`` on, a time of the source that the output has as 0.

        ``length`` is that of the output in seconds, None if it goes to the end.
        """
        self._origin = origin
        self._end = origin + (_FOR_EVER_S if length is None else length)
        if self._input is None:
            return
        self._keep_chapters(self._input, length)
        start = self.start
        self._keeps_priming = self._suffix in _HAS_EDIT_LIST and start is not None
        streams = [track.stream for track in self._tracks.values()]
        packets = chain(self._probed, self._demux(streams))
        if start is not None and origin > start:
            self._keeps_priming = False
            if self._seeks and origin - _SEEK_MARGIN_S > start:
                packets = self._from(self._input, streams, start) or packets
        self._packets = self._without_jumps(packets)
        self._pending = next(self._packets, None)

    def pump(self, until: Fraction) -> None:
        """Mux what starts before ``until``, in seconds of the output's time."""
        self._pump(until, until + self._origin)

    def finish(self, until: Fraction) -> None:
        """Write what is left before ``until``, where the output ends; note what is missing."""
        self._pump(until, None)
        goes_on = self._pending is not None
        self._take_what_lies_behind(until)
        for track in self._tracks.values():
            track.finish()
            if track.is_sound and goes_on and track.filled < until / 2:
                self.notes.append(
                    f"of the {_describe(track.stream)} only {float(track.filled):.1f} s lie within "
                    "the time of the pictures"
                )
            if track.lost:
                packets = "packet" if track.lost == 1 else "packets"
                self.notes.append(
                    f"left out: {track.lost} {packets} of the {_describe(track.stream)} that "
                    "repeated a time or could not be read"
                )

    def close(self) -> None:
        """Close the source."""
        if self._input is not None:
            self._input.close()

    def _open(self, source: Source, sound: bool) -> av.container.InputContainer | None:
        """``source`` once more, or None and a note if it has sound that cannot be had."""
        reason = "which can be read once only"
        try:
            container = source.open_beside()
        except InputError as error:
            container, reason = None, str(error)
        if container is None and sound and source.info.has_audio:
            self.notes.append(f"left out: the sound of {source.info.name} ({reason})")
        return container

    def _pump(self, until: Fraction, shown: Fraction | None) -> None:
        while self._pending is not None:
            packet = self._pending
            track = self._tracks[packet.stream.index]
            time = track.place(packet, shown)
            if time is None or time - self._origin >= until:
                break
            self._take(track, packet, time)
            self._pending = next(self._packets, None)
        for track in self._tracks.values():
            track.advance(until)

    def _take_what_lies_behind(self, until: Fraction) -> None:
        """Mux what starts before ``until`` and lies in the file behind what starts later."""
        past: set[int] = set()
        while self._pending is not None and len(past) < len(self._tracks):
            packet = self._pending
            track = self._tracks[packet.stream.index]
            time = track.place(packet, None)
            if time is None or time - self._origin > until + _BLOCK_S:
                break
            if time - self._origin < until:
                self._take(track, packet, time)
            else:
                past.add(packet.stream.index)
            self._pending = next(self._packets, None)

    def _take(self, track: Track, packet: av.Packet, time: Fraction) -> None:
        """Mux what is wanted of ``packet``, placed at ``time``."""
        if track.repeats(packet, time):
            track.lost += 1
            return
        taken = self._is_in_span(track, packet, time)
        track.passes(packet, time, taken)
        if taken and not track.is_sound:
            time = track.trim(packet, time, self._origin, self._end)
        if taken:
            track.write(packet, time, self._origin)

    def _open_track(self, stream: av.stream.Stream, packets: list[av.Packet]) -> Track | None:
        """A track for ``stream``, or None if it can be neither copied nor encoded."""
        if stream.codec_context is None:
            return None
        name, known = stream.codec_context.codec.canonical_name, COPIED[self._suffix]
        is_known = stream.type != "audio" or known is None or name in known
        if is_known and can_copy(stream, packets, FORMATS[self._suffix]):
            out = self._output.add_stream_from_template(stream)
            return Track(self._output, stream, out, self._joins)
        if stream.type != "audio":
            return None
        sound = cast(av.AudioStream, stream)
        return open_encoded(self._output, sound, self._joins, packets, self._suffix)

    def _probe(self, streams: list[av.stream.Stream]) -> dict[int, list[av.Packet]]:
        """The first packets of each stream, which :meth:`begin` takes again."""
        found: dict[int, list[av.Packet]] = {stream.index: [] for stream in streams}
        sound = [found[stream.index] for stream in streams if stream.type == "audio"]
        size = 0
        for packet in self._demux(streams) if sound else ():
            self._probed.append(packet)
            found[packet.stream.index].append(packet)
            size += packet.size
            counts = [len(each) for each in sound]
            if size > _PROBE_BYTES or min(counts) >= _PROBE_PACKETS or max(counts) >= _PROBE_MOST:
                break
        return found

    def _from(
        self,
        container: av.container.InputContainer,
        streams: list[av.stream.Stream],
        start: Fraction,
    ) -> chain[av.Packet] | None:
        """Packets from the origin, or a little before, on; None where nothing seeks."""
        try:
            for target in (self._origin - _SEEK_MARGIN_S, start):
                container.seek(int(target * av.time_base))
                packets = self._demux(streams)
                first = list(islice(packets, 1))
                if not first or (_time(first[0]) or start) <= self._origin:
                    break
            return chain(first, packets)
        except (av.FFmpegError, OSError):
            return None

    def _demux(self, streams: list[av.stream.Stream]) -> Iterator[av.Packet]:
        """Packets with data, up to the end or to the first thing that cannot be read."""
        if self._input is None or not streams:
            return
        try:
            for packet in self._input.demux(streams):
                if packet.size:
                    yield packet
        except (av.FFmpegError, OSError, IndexError):
            return

    def _without_jumps(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """``packets`` of the tracks without lone ones of sound whose times are far ahead."""
        held: dict[int, av.Packet] = {}
        last: dict[int, Fraction] = {}
        for packet in packets:
            index, time = packet.stream.index, _time(packet)
            if index not in self._tracks:
                continue
            if packet.stream.type != "audio" or time is None:
                yield packet
                continue
            before = held.get(index)
            held[index] = packet
            if before is None:
                continue
            jumped = (_time(before) or 0) - time > _JUMP_S
            if jumped and index in last and time >= last[index]:
                self._tracks[index].lost += 1
                continue
            last[index] = _time(before) or last.get(index, Fraction(0))
            yield before
        yield from held.values()

    def _is_in_span(self, track: Track, packet: av.Packet, time: Fraction) -> bool:
        if time >= self._origin or self._keeps_priming or isinstance(track, EncodedSound):
            return True
        length = (packet.duration or 0) * packet.time_base
        return not track.is_sound and time + length > self._origin

    def _keep_chapters(
        self, container: av.container.InputContainer, length: Fraction | None
    ) -> None:
        """Chapters of the span, in the output's times."""
        kept: list[Any] = []
        for chapter in container.chapters():
            base = chapter["time_base"] or Fraction(1, av.time_base)
            begin = chapter["start"] * base - self._origin
            end = chapter["end"] * base - self._origin
            if end <= 0 or (length is not None and begin >= length):
                continue
            begin, end = max(begin, Fraction(0)), end if length is None else min(end, length)
            kept.append({**chapter, "start": round(begin / base), "end": round(end / base)})
        if kept:
            self._output.set_chapters(kept)


def sound_start(source: Source, suffix: str) -> Fraction | None:
    """When the first sound that a file with ``suffix`` would have of ``source`` starts.

    In seconds of the source's time; None without sound.
    """
    with av.open(io.BytesIO(), "w", format=FORMATS[suffix]) as nowhere:
        tracks = SideTracks(nowhere, source, suffix)
        try:
            return tracks.start
        finally:
            tracks.close()


def _time(packet: av.Packet) -> Fraction | None:
    time = packet.dts if packet.pts is None else packet.pts
    return None if time is None else time * packet.time_base


def _describe(stream: av.stream.Stream) -> str:
    kind = "sound" if stream.type == "audio" else "subtitles"
    if stream.codec_context is None:
        return f"{kind} (of an unknown kind)"
    return f"{kind} ({stream.codec_context.codec.canonical_name})"
