"""Coded video from file to file without decoding it: counting, copying, and writing it anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from accel_rt.video.headers import video_stream
from accel_rt.video.opening import open_container

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


def remux(source: Path, target: Path, format: str, options: dict[str, str]) -> None:
    """Write all streams of ``source`` to ``target`` with FFmpeg's muxer ``format``, as they are.

    Times, tags, chapters and what a stream is for are kept. Raises what PyAV raises.
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
        for packet in _with_durations(old):
            if packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)


def _copy_of(stream: Any, container: av.container.OutputContainer) -> Any:
    """A stream of ``container`` for the packets of ``stream``."""
    try:
        copy = container.add_stream_from_template(stream)
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
