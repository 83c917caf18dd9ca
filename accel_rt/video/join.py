"""Coded video from file to file without decoding it: counting, copying, and writing it anew."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from accel_rt.video.headers import video_stream
from accel_rt.video.opening import open_container

_MOST_TICKS = (1 << 31) - 1  # that MP4's muxer takes for the length of a picture
_START_CODES = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


def coded_pictures(path: Path) -> Iterator[av.Packet]:
    """The video packets of ``path`` in their order, up to the first that is damaged or cut off.

    They are as an encoder gives them: H.264 and HEVC with start codes, not with lengths as files
    have them. Raises :class:`~accel_rt.errors.InputError` if it is no video.
    """
    with open_container(str(path)) as container:
        stream = video_stream(container, str(path))
        name = _START_CODES.get(stream.codec_context.name)
        filter = BitStreamFilterContext(name, stream) if name else None
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    return
                if packet.size and packet.pts is not None:
                    yield from filter.filter(packet) if filter else [packet]
        except (av.FFmpegError, OSError):
            return


def count_pictures(path: Path, most: int | None = None) -> int:
    """How many coded pictures of ``path`` are there to be read, ``most`` at most."""
    return sum(1 for _ in islice(coded_pictures(path), most))


def remux(
    source: Path, target: Path, format: str, options: dict[str, str], end: Fraction | None = None
) -> None:
    """Write all streams of ``source`` to ``target`` with FFmpeg's muxer ``format``, as they are.

    Times, tags, chapters and what a stream is for are kept; the pictures last to ``end`` in
    seconds, if that is known. Raises what PyAV raises.
    """
    with (
        av.open(f"file:{source}") as old,
        av.open(f"file:{target}", "w", format=format, options=options) as new,
    ):
        new.metadata.update(old.metadata)
        streams = {}
        for stream in old.streams:
            if stream.type != "data":  # the chapters once more, as MP4 also keeps them
                streams[stream.index] = _copy_of(stream, new)
        if chapters := old.chapters():
            new.set_chapters(chapters)
        packets = _with_durations(old)
        for packet in packets if end is None else _lasting_to(end, packets):
            if packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)


def _copy_of(stream: Any, container: av.container.OutputContainer) -> Any:
    """A stream of ``container`` for the packets of ``stream``."""
    try:
        copy = container.add_stream_from_template(stream)
        if stream.type == "video":  # the muxer itself reads tags of sound that it does not take
            copy.codec_context.codec_tag = stream.codec_context.codec_tag
    except (av.codec.codec.UnknownCodecError, AttributeError):  # no encoder of that name is here
        copy = container.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition
    copy.time_base = stream.time_base
    return copy


def _with_durations(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """All packets; those that do not say how long they last do so until the stream's next one."""
    held: dict[int, av.Packet] = {}
    for packet in container.demux():
        if packet.dts is None or not packet.size:
            continue
        stream = packet.stream
        before = held.pop(stream.index, None)
        if before is not None:
            before.duration = packet.dts - (before.dts or 0)
            yield before
        if packet.duration or stream.type != "video":
            yield packet
        else:
            held[stream.index] = packet
    for packet in held.values():
        stream = packet.stream
        if stream.duration:
            end = (stream.start_time or 0) + stream.duration
            packet.duration = max(1, end - (packet.dts or 0))
        yield packet


def _lasting_to(end: Fraction, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """``packets`` with durations from which MP4's muxer learns that the pictures last to ``end``.

    It takes the latest end of all as the video's, and stores distances of decoding times; those of
    the picture that is decoded last, which need not be the one shown last, end with the video.
    """
    last: av.Packet | None = None
    first_shown = first_decoded = 0
    for packet in packets:
        if packet.stream.type != "video" or packet.pts is None:
            yield packet
            continue
        decoded = packet.dts or 0
        if last is None:
            first_shown, first_decoded = packet.pts, decoded
        else:
            yield last
        first_shown, last = min(first_shown, packet.pts), packet
        packet.duration = min(max(1, round(end / packet.time_base) - packet.pts), _MOST_TICKS)
    if last is not None:
        length = round(end / last.time_base) - first_shown
        last.duration = max(1, length - ((last.dts or 0) - first_decoded))
        yield last
