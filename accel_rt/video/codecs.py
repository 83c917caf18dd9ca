"""The codecs and file types that can be written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2

from accel_rt.errors import UsageError
from accel_rt.size import wxh

FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}
"""FFmpeg's muxers by file suffix."""

COPIED: dict[str, set[str] | None] = {
    ".mp4": {"aac", "mp3", "opus", "flac"},
    ".m4v": {"aac", "mp3"},
    ".mov": {"aac", "mp3", "alac", "ac3", "eac3", "pcm_mulaw", "pcm_alaw"}
    | {f"pcm_s{bits}{end}" for bits in (16, 24, 32) for end in ("le", "be")},
    ".mkv": None,
    ".webm": {"opus", "vorbis"},
}
"""Sound that browsers and players play from each kind of file; None: all that the muxer takes."""


@dataclass(frozen=True)
class Codec:
    """How a codec is written: encoder, quality and what it takes.

    ``min_size`` is the smallest side of a picture in pixels, ``max_rate`` the most frames a second
    that the encoder can be told; the frames' own times may be closer.

    ``low_delay`` holds further options for files that are read while they are written.
    """

    encoder: str
    crf: int
    max_crf: int
    min_size: int
    suffixes: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    tag: str | None = None
    low_delay: dict[str, str] = field(default_factory=dict)
    max_rate: int = 1000


_AVX_512 = 13  # OpenCV's CPU_AVX_512F, which it names in C++ only
# With its AVX-512 code x264 now and then (about 1 encode in 150) gives other bytes for the same
# pictures, never seen with AVX2. Why is not known; its macroblock tree seems to be involved.
_SAME_EVERY_TIME = {"x264-params": "asm=AVX2"} if cv2.checkHardwareSupport(_AVX_512) else {}
_ALL = tuple(FORMATS)
CODECS = {
    "h264": Codec(
        "libx264",
        20,
        51,
        2,
        _ALL[:-1],
        {"preset": "veryfast", **_SAME_EVERY_TIME},
        low_delay={"tune": "zerolatency", "forced-idr": "1"},
    ),
    "hevc": Codec(
        "libx265",
        23,
        51,
        16,
        _ALL[:-1],
        {"preset": "veryfast", "x265-params": "log-level=none"},
        "hvc1",
        {"tune": "zerolatency", "forced-idr": "1"},
    ),
    "vp9": Codec(
        "libvpx-vp9",
        31,
        63,
        2,
        (".mp4", ".mkv", ".webm"),
        {"deadline": "realtime", "cpu-used": "7", "row-mt": "1"},
    ),
    "av1": Codec(
        "libsvtav1", 32, 63, 64, (".mp4", ".mkv", ".webm"), {"preset": "10"}, max_rate=240
    ),
}
"""The codecs by the names that users give them."""


def check_choice(
    path: Path, codec: str, crf: int | None, size: tuple[int, int], rate: Fraction | float
) -> Codec:
    """The codec called ``codec``; :class:`UsageError` for choices that do not go together."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"'{path}' is not a kind of video file that can be written: "
            f"end its name in {', '.join(FORMATS)}"
        )
    choice = CODECS.get(codec)
    if choice is None:
        raise UsageError(f"unknown codec '{codec}': choose from {', '.join(CODECS)}")
    if suffix not in choice.suffixes:
        others = [name for name, other in CODECS.items() if suffix in other.suffixes]
        raise UsageError(
            f"a {suffix} file cannot hold {codec}: choose the codec {' or '.join(others)}, or end "
            f"its name in {' or '.join(choice.suffixes)}"
        )
    if crf is not None and not 0 <= crf <= choice.max_crf:
        raise UsageError(f"the crf of {codec} goes from 0 to {choice.max_crf}, got {crf}")
    if min(size) < 1 or not 0 < rate < math.inf:
        raise UsageError(
            f"a video needs a size of at least 1x1 and a positive rate, "
            f"got {wxh(size)} at {float(rate):g}"
        )
    return choice
