"""One picture to a file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from accel_rt.errors import OutputError, UsageError
from accel_rt.files import write_whole
from accel_rt.size import wxh

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Pillow's formats by file suffix."""

_LARGEST_SIDE = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500, ".gif": 65535}

UNREADABLE = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that it cannot read."""

_QUALITY = 92  # of JPEG and WebP; the others ignore it


def encode_picture(picture_bgr: np.ndarray, suffix: str) -> bytes:
    """uint8 BGR ``[H, W, 3]`` as the kind of file that ``suffix`` names.

    Raises :class:`~accel_rt.errors.UsageError` for a suffix that names none, and as
    :func:`check_size`.
    """
    if suffix.lower() not in FORMATS:
        raise UsageError(f"a picture's file ends in {', '.join(FORMATS)}, got '{suffix}'")
    check_size(suffix, picture_bgr.shape[:2])
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture_bgr[:, :, ::-1]))
    image.save(file, FORMATS[suffix.lower()], quality=_QUALITY)
    return file.getvalue()


def check_size(suffix: str, size: tuple[int, ...]) -> None:
    """Raise :class:`~accel_rt.errors.OutputError` for ``(height, width)`` beyond the kind's."""
    largest = _LARGEST_SIDE.get(suffix.lower())
    if largest is not None and max(size) > largest:
        raise OutputError(
            f"a {suffix} has up to {largest} pixels a side, got {wxh(size)}: name a .png or a video"
        )


def is_picture(path: Path) -> bool:
    """Whether ``path`` is written as a picture, by its suffix."""
    return path.suffix.lower() in FORMATS


def frames_in(path: Path) -> int | None:
    """How many frames a picture's file says it holds; None if it is missing, damaged or huge."""
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except UNREADABLE:
        return None


def save_picture(path: Path, picture_bgr: np.ndarray) -> None:
    """Write uint8 BGR ``[H, W, 3]`` to ``path``, replacing what was there only when complete.

    Raises as :func:`encode_picture`, and :class:`~accel_rt.errors.OutputError` if it cannot be
    written.
    """
    write_whole(path, encode_picture(picture_bgr, path.suffix))
