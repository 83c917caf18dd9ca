"""When the coded pictures of a video are shown: read from its packets, nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from accel_rt.video.container import DECODING_TIMES_ONLY, NO_TIMESTAMPS
from accel_rt.video.headers import video_stream
from accel_rt.video.limits import DEFAULT_LIMITS, Limits
from accel_rt.video.opening import open_container


@dataclass(frozen=True)
class PacketTable:
    """The coded pictures of a video in their order in the file.

    ``times`` (int64 ``[N]``, in units of ``time_base`` seconds) are those they are shown at, and
    ``keys`` (bool ``[N]``) says which can be decoded alone. ``origin`` is the time in seconds that
    spans count from. ``timed`` is false where the file does not say the times of all of them.
    """

    times: np.ndarray
    keys: np.ndarray
    time_base: Fraction
    origin: Fraction = Fraction(0)
    timed: bool = True


def read_packets(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> PacketTable:
    """The packets of a video file, up to the first that cannot be read.

    Raises :class:`~accel_rt.errors.InputError` if it is no video.
    """
    with open_container(path, limits) as container:
        stream = video_stream(container, str(path))
        base = stream.time_base or Fraction(1, av.time_base)
        untimed = container.format.flags & NO_TIMESTAMPS
        timed = not untimed and container.format.name not in DECODING_TIMES_ONLY
        times: list[int] = []
        keys: list[bool] = []
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                timed = timed and packet.pts is not None
                times.append(packet.pts or 0)
                keys.append(packet.is_keyframe)
        except (av.FFmpegError, OSError, IndexError):
            pass
        start = container.start_time
        if start is not None:
            origin = Fraction(start, av.time_base)
        else:
            origin = (stream.start_time or 0) * base
    return PacketTable(np.array(times, np.int64), np.array(keys, bool), base, origin, timed)
