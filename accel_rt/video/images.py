"""Image sequences as a frame source."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from accel_rt.errors import InputError, UsageError
from accel_rt.video.limits import DEFAULT_LIMITS, Limits
from accel_rt.video.pictures import PictureFile
from accel_rt.video.source import Frame, Source, SourceInfo

DEFAULT_RATE = Fraction(25)

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


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is a dotfile, such as the ``._`` copies that macOS leaves."""
    return path.name.startswith(".")


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The images among ``paths``, by their suffix, in natural order; hidden files do not count."""
    images = (path for path in paths if is_image(path))
    return sorted((p for p in images if os.path.isfile(p) and not is_hidden(p)), key=natural_key)


def folders_in(root: Path) -> list[Path]:
    """Every folder below ``root``, sorted; hidden ones, and what is in them, do not count."""
    found: list[Path] = []
    for path in sorted(root.iterdir()):
        if path.is_dir() and not is_hidden(path):
            found += [path, *folders_in(path)]
    return found


class ImageSource(Source):
    """Images in the order given, with all their frames and pages; damaged ones leave a gap.

    They follow each other at ``rate``, frames a second. Where that is None, a lone animation has
    its own times and everything else :data:`DEFAULT_RATE`. Raises :class:`InputError` if none of
    them can be read, :class:`UsageError` if the span ``start_s`` to ``end_s`` holds none.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        name: str,
        rate: Fraction | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__()
        self._paths, self._limits = paths, limits
        self._too_large: InputError | None = None
        self._start = Fraction(str(start_s or 0))
        self._end = None if end_s is None else Fraction(str(end_s))
        self._ends_at = Fraction(0)
        pictures, moves = len(paths), False
        if len(paths) == 1:
            with PictureFile(paths[0], limits) as file:
                pictures, moves = file.count, file.moves
        self._own_times = moves and rate is None
        self.info = self._describe(name, rate or DEFAULT_RATE, pictures)
        frames = self._read(paths)
        first = next(frames, None)
        if first is None:
            raise self._nothing_read(pictures)
        height, width = first.image_bgr.shape[:2]
        rate = 1 / first.duration if self._own_times and first.duration else self.info.rate
        self.info = replace(self.info, width=width, height=height, rate=rate)
        self._frames = chain([first], frames)

    def picture_names(self) -> list[str]:
        """The names of the pictures of the span, damaged ones, too.

        Those of an animation with its own times are those of all its pictures.
        """
        names: list[str] = []
        for path in self._paths:
            with PictureFile(path, self._limits) as file:
                names += [path.name] * file.count
        if self._own_times:
            return names
        rate, end = self.info.rate, self._end
        return names[math.ceil(self._start * rate) : None if end is None else math.ceil(end * rate)]

    def _describe(self, name: str, rate: Fraction, pictures: int) -> SourceInfo:
        """All but what the first picture tells."""
        count: int | None = pictures
        if self._own_times:
            count = None if self._start or self._end is not None else pictures
        else:
            end = pictures if self._end is None else min(pictures, math.ceil(self._end * rate))
            count = max(0, end - math.ceil(self._start * rate))
        return SourceInfo(
            name=name,
            width=0,
            height=0,
            rate=rate,
            frame_count=count,
            duration_s=None if self._own_times or count is None else float(count / rate),
            has_audio=False,
            variable_rate=None if self._own_times else False,
            kind="images",
        )

    def _read(self, paths: Sequence[Path]) -> Iterator[Frame]:
        index, pts = 0, Fraction(0)
        for path in paths:
            with PictureFile(path, self._limits) as file:
                for number in range(file.count):
                    if self._end is not None and pts >= self._end:
                        self._close_notes()
                        return
                    wanted = pts >= self._start
                    image = self._picture(file, number) if wanted or self._own_times else None
                    duration = file.shown_s() if self._own_times else 1 / self.info.rate
                    begin, pts = pts, pts + duration
                    self._ends_at = pts
                    if image is not None and wanted:
                        self._corrupt_in_a_row = 0
                        yield Frame(index, begin, image, duration, path.name)
                        index += 1
                    elif wanted and not self._count_corrupt():
                        self._close_notes()
                        return
        self._close_notes()

    def _picture(self, file: PictureFile, number: int) -> np.ndarray | None:
        try:
            return file.read(number)
        except InputError as error:
            self._too_large = self._too_large or error
            return None

    def _close_notes(self) -> None:
        self._note_corrupt()
        if self._too_large:
            self.notes.append(str(self._too_large))

    def _nothing_read(self, pictures: int) -> Exception:
        if self._too_large:
            return self._too_large
        if self.corrupt_frames:
            what = f"the image '{self.info.name}' cannot be read: it is"
            if pictures > 1:
                what = f"none of the {pictures} images of '{self.info.name}' can be read: they are"
            return InputError(
                f"{what} damaged, or of a kind that is not read, such as 32-bit values"
            )
        return UsageError(
            f"the start, {float(self._start):g} s, is after the end of '{self.info.name}', which "
            f"lasts {float(self._ends_at):.3f} s at {float(self.info.rate):g} images a second"
        )
