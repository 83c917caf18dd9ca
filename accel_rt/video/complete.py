"""Whether a video file that exists already is complete, so that its work can be skipped."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from accel_rt.errors import InputError
from accel_rt.video.headers import packet_end, stream_end, video_stream
from accel_rt.video.opening import open_container
from accel_rt.video.picture_file import UNREADABLE
from accel_rt.video.source import SourceInfo

_SLACK_FRAMES = Fraction(3, 2)  # a container may not say how long its last frame lasts


def complete_pictures(path: Path | str, source: SourceInfo | None = None) -> int | None:
    """The number of pictures of a video that reaches its own end and decodes up to there.

    Where ``source`` is given, the file must also have the source's number of frames, one less
    at most, or its length to within a frame and a half: where the source says neither, no file is
    known to be complete. All packets are read, only those from the last keyframe on are decoded.
    None for anything that is missing or cannot be read.
    """
    try:
        with open_container(str(path)) as container:
            stream = video_stream(container, str(path))
            return _reaches_its_end(container, stream, source)
    except (InputError, av.FFmpegError, OSError, IndexError):
        return None


def complete_animation(path: Path, source: SourceInfo) -> int | None:
    """The number of frames of a picture's file.

    None if it is missing, cannot be read, or is an animation of less than all of ``source``.
    """
    try:
        with Image.open(path) as image:
            frames, shown_ms = getattr(image, "n_frames", 1), 0.0
            for number in range(frames):
                image.seek(number)
                image.load()
                shown_ms += image.info.get("duration", 0)
    except UNREADABLE:
        return None
    slack_s = float(_SLACK_FRAMES / source.rate)
    return frames if _covers(source, frames, shown_ms / 1000, slack_s) else None


def _reaches_its_end(
    container: av.container.InputContainer, stream: av.VideoStream, source: SourceInfo | None
) -> int | None:
    stream.thread_type = "NONE"  # only a lone thread reports all damage
    frames, end, start, last_keyframe = 0, Fraction(0), None, None
    for packet in container.demux(stream):
        if packet.size == 0 or packet.pts is None:
            continue
        if packet.is_corrupt:
            return None
        frames += 1
        end = max(end, packet_end(packet) or end)
        time = packet.pts * packet.time_base
        start = time if start is None else min(start, time)
        if packet.is_keyframe:
            last_keyframe = packet.pts
    if start is None or last_keyframe is None:
        return None
    slack_s = _SLACK_FRAMES / (stream.average_rate or 25)
    header_end = stream_end(container, stream)
    if header_end is not None and header_end - end > slack_s:
        return None
    if source is not None and not _covers(source, frames, float(end - start), float(slack_s)):
        return None
    container.seek(last_keyframe, stream=stream)
    tail = list(container.decode(stream))
    return frames if tail and not any(frame.is_corrupt for frame in tail) else None


def _covers(source: SourceInfo, frames: int, length_s: float, slack_s: float) -> bool:
    if source.frame_count is not None and frames >= source.frame_count - 1:
        return True
    return source.duration_s is not None and length_s >= source.duration_s - slack_s
