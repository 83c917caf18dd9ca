"""One way to open everything frames come from: video files, images, folders, globs and URLs."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from accel_rt.errors import InputError, UsageError
from accel_rt.video.container import VideoSource
from accel_rt.video.images import IMAGE_SUFFIXES, ImageSource, image_files, is_image
from accel_rt.video.limits import MAX_PIXELS, MAX_RATE, MIN_RATE, TIMEOUT_S, Limits
from accel_rt.video.location import (
    is_read_once,
    is_url,
    local_path,
    may_not_be_read,
    not_there,
    source_name,
)
from accel_rt.video.opening import interruptible
from accel_rt.video.source import Frame, Source, SourceInfo

__all__ = ["Frame", "Source", "SourceInfo", "open_source"]

_OF_VIDEOS = "folders and patterns of videos go to 'accel-rt segment --workers N'"


def open_source(
    source: str | Path,
    start_s: float | None = None,
    end_s: float | None = None,
    rate: Fraction | float | None = None,
    timeout_s: float = TIMEOUT_S,
    max_pixels: int = MAX_PIXELS,
    allow: Sequence[str | Path] = (),
    one_clock: bool = False,
) -> Source:
    """Open a video file, an image, a folder or glob of images, a pipe, ``-`` or a URL.

    ``start_s`` (inclusive) and ``end_s`` (exclusive) choose a span in seconds from the source's
    beginning. ``rate`` is the frames per second of images and raw streams, which have no times
    of their own (None: what they say themselves, or 25). ``timeout_s``, ``max_pixels`` and
    ``allow`` are those of :class:`~accel_rt.video.limits.Limits`. With ``one_clock`` it is known
    that the video's clock is not set back, so that a span can be sought in every container.

    Raises :class:`InputError` if the source is missing, is no video or holds no frame that can
    be read, :class:`UsageError` if the span, the rate or the URL makes no sense.
    """
    _check_span(start_s, end_s)
    image_rate = exact_rate(rate)
    limits = Limits(timeout_s, max_pixels, allow)

    def video(location: str | Path, name: str) -> Source:
        return VideoSource(location, name, start_s, end_s, limits, image_rate, one_clock)

    def images(paths: Sequence[Path], name: str) -> Source:
        return ImageSource(paths, name, image_rate, start_s, end_s, limits)

    text = str(source)
    if is_url(source) or is_read_once(source):
        return interruptible(lambda: video(source, source_name(source)))
    path = local_path(source)
    if os.path.isdir(path):
        return images(_images_in(path), path.resolve().name)
    if os.path.exists(path):
        return images([path], path.name) if is_image(path) else video(path, path.name)
    if glob.has_magic(text):
        return images(_images_matching(text), path.name)
    raise not_there(text)


def exact_rate(rate: Fraction | float | None) -> Fraction | None:
    """``rate`` as a fraction, None as it is; :class:`UsageError` for what no film can have."""
    if rate is None:
        return None
    if not (math.isfinite(rate) and MIN_RATE <= rate <= MAX_RATE):
        raise UsageError(
            f"the image rate must be {MIN_RATE:g} to {MAX_RATE:g} frames a second, got {rate}"
        )
    return Fraction(rate).limit_denominator(100_000)


def _check_span(start_s: float | None, end_s: float | None) -> None:
    for name, value in (("start", start_s), ("end", end_s)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"the {name} must be a number of seconds from 0 on, got {value}")
    if end_s is not None and end_s <= (start_s or 0):
        raise UsageError(f"the end must come after the start, got {start_s or 0} to {end_s} s")


def _images_in(folder: Path) -> list[Path]:
    try:
        images = image_files(folder.iterdir())
    except PermissionError as error:
        raise InputError(may_not_be_read(folder)) from error
    if not images:
        raise InputError(
            f"the folder '{folder}' holds no images (looked for {', '.join(IMAGE_SUFFIXES)}): "
            + _OF_VIDEOS
        )
    return images


def _images_matching(pattern: str) -> list[Path]:
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]
    images = image_files(matches)
    if not images:
        what = f"{len(matches)} files but no image: {_OF_VIDEOS}"
        raise InputError(
            f"the pattern '{pattern}' matches {what if matches else 'nothing: check the path'}"
        )
    return images
