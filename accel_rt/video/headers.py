"""What the headers of a container say of its video, as far as it can be believed."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import av
from av.stream import Disposition

from accel_rt.errors import InputError

_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
_DURATION_TAG = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?)")
_LONGEST_S = 10 * 366 * 24 * 3600  # headers that promise more are damaged


def video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The default video stream, the largest of several; :class:`InputError` if there is none.

    Cover pictures, thumbnails and streams without a decoder are none.
    """
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & _NO_VIDEO and stream.codec_context is not None
    ]
    if streams:
        return max(streams, key=_preference)
    kinds = " and ".join(sorted({_kind(stream) for stream in container.streams}))
    raise InputError(f"'{name}' holds no video, only {kinds or 'an empty container'}")


def _kind(stream: av.stream.Stream) -> str:
    if stream.type != "video":
        return stream.type
    return "a cover picture" if stream.disposition & _NO_VIDEO else "video of an unknown kind"


def _preference(stream: av.VideoStream) -> tuple[bool, int]:
    return bool(stream.disposition & Disposition.default), math.prod(coded_size(stream))


def stream_end(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """When the video ends by its headers, in seconds of the source's time; None if unsaid."""
    start = Fraction(0)
    if stream.start_time is not None:
        start = stream.start_time * time_base(stream)
    elif container.start_time is not None:
        start = Fraction(container.start_time, av.time_base)
    length = _sane_s((stream.duration or 0) * time_base(stream))
    if length and container.format.name == "avi" and stream.average_rate:
        # FFmpeg makes the duration of an AVI that was cut off shorter, and leaves its frames.
        length = max(length, _sane_s(stream.frames / stream.average_rate) or length)
    if length:
        return start + length
    tagged = _sane_s(_duration_tag(stream.metadata.get("DURATION", "")))
    if tagged:
        return tagged
    # The container lasts as long as its longest stream, so it speaks for a lone one only.
    length = container_length(container)
    return start + length if length and len(container.streams) == 1 else None


def container_length(container: av.container.InputContainer) -> Fraction | None:
    """How long a container's longest stream lasts by its header, in seconds; None if unsaid."""
    return _sane_s(Fraction(container.duration or 0, av.time_base))


def _sane_s(length: Fraction | None) -> Fraction | None:
    """A length in seconds, or None where it is unknown or absurd."""
    return length if length is not None and 0 < length < _LONGEST_S else None


def coded_size(stream: av.VideoStream) -> tuple[int, int]:
    """Height and width as the pictures are coded, before they are turned."""
    return stream.codec_context.height, stream.codec_context.width


def time_base(stream: av.VideoStream) -> Fraction:
    """The unit of a stream's times in seconds."""
    return stream.time_base or Fraction(1, av.time_base)


def packet_end(packet: av.Packet) -> Fraction | None:
    """When a packet's picture ends, in seconds; None for packets without a time."""
    time = packet.pts if packet.pts is not None else packet.dts
    if time is None:
        return None
    return (time + (packet.duration or 0)) * packet.time_base


def _duration_tag(text: str) -> Fraction | None:
    """Matroska's ``DURATION`` tag, ``HH:MM:SS.fraction``, in seconds; None if it is not one."""
    match = _DURATION_TAG.fullmatch(text)
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])
