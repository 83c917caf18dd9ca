"""Image sequences as a frame source."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from accel_rt.errors import InputError, UsageError
from accel_rt.video.source import Frame, Source, SourceInfo

IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
    ".pnm",
)


def natural_key(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key that puts ``frame2`` before ``frame10``."""
    parts = re.split(r"(\d+)", str(path))
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is a dotfile, such as the ``._`` copies that macOS leaves."""
    return path.name.startswith(".")


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The images among ``paths``, by their suffix, in natural order; hidden files do not count."""
    images = (path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((p for p in images if p.is_file() and not is_hidden(p)), key=natural_key)


def folders_in(root: Path) -> list[Path]:
    """Every folder below ``root``, sorted; hidden ones, and what is in them, do not count."""
    found: list[Path] = []
    for path in sorted(root.iterdir()):
        if path.is_dir() and not is_hidden(path):
            found += [path, *folders_in(path)]
    return found


def read_image_bgr(path: Path) -> np.ndarray | None:
    """Read an image as uint8 BGR ``[H, W, 3]``, or None if it cannot be decoded.

    EXIF orientation is applied, greyscale is repeated over the channels, 16-bit values are
    divided by 257 and an alpha channel is dropped.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)
    return np.ascontiguousarray(image)


class ImageSource(Source):
    """Images in the order given, at a constant rate; one that cannot be read leaves a gap.

    Raises :class:`InputError` if none of them can be read, :class:`UsageError` if the span
    ``start_s`` to ``end_s`` holds none.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        name: str,
        rate: Fraction,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> None:
        super().__init__()
        begin = math.ceil(Fraction(str(start_s or 0)) * rate)
        end = len(paths) if end_s is None else math.ceil(Fraction(str(end_s)) * rate)
        chosen = list(enumerate(paths))[begin:end]
        if not chosen:
            raise UsageError(
                f"the start, {start_s} s, is after the end of '{name}', which lasts "
                f"{float(len(paths) / rate):.3f} s at {float(rate):g} images a second"
            )
        self.info = SourceInfo(
            name=name,
            width=0,
            height=0,
            rate=rate,
            frame_count=len(chosen),
            duration_s=float(len(chosen) / rate),
            has_audio=False,
            variable_rate=False,
            kind="images",
        )
        frames = self._read(chosen)
        first = next(frames, None)
        if first is None:
            raise InputError(
                f"none of the {len(chosen)} images of '{name}' can be read: are they damaged?"
            )
        height, width = first.image_bgr.shape[:2]
        self.info = SourceInfo(**{**vars(self.info), "width": width, "height": height})
        self._frames = chain([first], frames)

    def _read(self, chosen: list[tuple[int, Path]]) -> Iterator[Frame]:
        index = 0
        for position, path in chosen:
            image = read_image_bgr(path)
            if image is None:
                if not self._count_corrupt():
                    break
                continue
            self._corrupt_in_a_row = 0
            yield Frame(index, position / self.info.rate, image, 1 / self.info.rate)
            index += 1
        self._note_corrupt()

    def close(self) -> None:
        self._frames = iter(())
