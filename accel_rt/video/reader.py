"""One way to open everything frames come from: video files, images, folders, globs and URLs."""

from __future__ import annotations

import glob
import math
import re
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

from accel_rt.errors import InputError, UsageError
from accel_rt.video.container import VideoSource
from accel_rt.video.images import IMAGE_SUFFIXES, ImageSource, natural_key
from accel_rt.video.source import Frame, Source, SourceInfo

__all__ = ["Frame", "Source", "SourceInfo", "open_source"]

DEFAULT_IMAGE_RATE = 25
OPEN_TIMEOUT_S = 15.0

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")


def open_source(
    source: str | Path,
    start_s: float | None = None,
    end_s: float | None = None,
    rate: Fraction | float = DEFAULT_IMAGE_RATE,
    timeout_s: float = OPEN_TIMEOUT_S,
) -> Source:
    """Open a video file, an image, a folder of images, a glob of images or a URL.

    ``start_s`` (inclusive) and ``end_s`` (exclusive) choose a span in seconds from the source's
    beginning. ``rate`` is the frames per second that images are given; ``timeout_s`` bounds how
    long a URL may take to open or to send something.

    Raises :class:`InputError` if the source is missing, is no video or holds no frame that can
    be read, :class:`UsageError` if the span or the rate makes no sense.
    """
    _check_span(start_s, end_s)
    image_rate = Fraction(rate).limit_denominator(100_000) if _is_positive(rate) else None
    if not image_rate:
        raise UsageError(f"the image rate must be a positive number of frames a second, got {rate}")
    text = str(source)
    if _URL.match(text) and not text.startswith("file://"):
        return VideoSource(text, _url_name(text), start_s, end_s, timeout_s=timeout_s)
    path = Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(source)
    if path.is_dir():
        images = _images_in(path)
        return ImageSource(images, path.resolve().name, image_rate, start_s, end_s)
    if path.exists():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageSource([path], path.name, image_rate, start_s, end_s)
        return VideoSource(str(path), path.name, start_s, end_s)
    if glob.has_magic(text):
        images = _images_matching(text)
        return ImageSource(images, path.name, image_rate, start_s, end_s)
    raise InputError(f"there is no file or folder '{text}': check the path")


def _is_positive(value: Fraction | float) -> bool:
    return math.isfinite(value) and value > 0


def _check_span(start_s: float | None, end_s: float | None) -> None:
    for name, value in (("start", start_s), ("end", end_s)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"the {name} must be a number of seconds from 0 on, got {value}")
    if end_s is not None and end_s <= (start_s or 0):
        raise UsageError(f"the end must come after the start, got {start_s or 0} to {end_s} s")


def _url_name(url: str) -> str:
    parts = urlsplit(url)
    return Path(unquote(parts.path)).name or parts.hostname or url


def _images_in(folder: Path) -> list[Path]:
    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    if not images:
        raise InputError(
            f"the folder '{folder}' holds no images (looked for {', '.join(IMAGE_SUFFIXES)})"
        )
    return sorted(images, key=natural_key)


def _images_matching(pattern: str) -> list[Path]:
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]
    images = [p for p in matches if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    if not images:
        what = f"{len(matches)} files but no image" if matches else "nothing"
        raise InputError(f"the pattern '{pattern}' matches {what}: check the path")
    return sorted(images, key=natural_key)
