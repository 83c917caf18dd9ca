"""Finished frames to one picture, or to an animated GIF or WebP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from accel_rt.errors import OutputError
from accel_rt.files import new_token, replacing, unfinished_path
from accel_rt.video.encoder import fit, stretched_note
from accel_rt.video.output import check_output_path, output_errors
from accel_rt.video.picture_file import check_size, encode_picture

ANIMATED = (".gif", ".webp")
"""Suffixes of files that hold several frames."""

_MOST_BYTES = 1 << 30
_TICK_MS = {".gif": 10, ".webp": 1}
_SHORTEST_MS = 20  # browsers take less for a tenth of a second
_QUALITY = 80


class PictureWriter:
    """Takes the place of a :class:`~accel_rt.video.writer.VideoWriter` for pictures.

    Frames of another size than the first are scaled to it; beyond 50 a second, which no browser
    shows, an animation leaves some out. Its frames are held in
    memory until :meth:`complete`, up to a gigabyte. Raises :class:`OutputError` beyond that, for a
    second frame of a file that holds one, for a size that the kind of file cannot have, and for a
    path that cannot be written; what was written before is kept.
    """

    def __init__(self, path: Path, rate: Fraction, token: str | None = None) -> None:
        check_output_path(path)
        self.path, self.pictures, self.stretched = path, 0, 0
        self.notes: list[str] = []
        self.unfinished = unfinished_path(path, token or new_token())
        self._last_s = 1 / rate
        self._images: list[Image.Image] = []
        self._times: list[Fraction] = []

    def adopt(self, path: Path, pictures: int, first_pts: Fraction) -> Iterator[None]:
        """Nothing: a picture is not gone on with."""
        raise OutputError(f"'{self.path}' cannot be gone on with: begin anew without --resume")

    def write(
        self,
        frame_bgr: np.ndarray,
        pts: Fraction,
        duration: Fraction | None = None,
        fresh: bool = False,
    ) -> None:
        """Add a frame, uint8 BGR ``[H, W, 3]``, shown from ``pts`` on; ``fresh`` means nothing."""
        if self._images and self.path.suffix.lower() not in ANIMATED:
            raise OutputError(
                f"'{self.path}' holds one picture: name a video, or a file that ends in "
                f"{' or '.join(ANIMATED)}"
            )
        if not self._images:
            check_size(self._suffix, frame_bgr.shape[:2])
        if (self.pictures + 1) * frame_bgr.size > _MOST_BYTES:
            raise OutputError(
                f"'{self.path}' would be too large: name a video, or give less with --end"
            )
        if self._images:
            width, height = self._images[0].size
            frame_bgr, stretched = fit(frame_bgr, (height, width))
            self.stretched += stretched
        self._images.append(Image.fromarray(np.ascontiguousarray(frame_bgr[:, :, ::-1])))
        self._times.append(pts)
        self._last_s = duration or self._last_s
        self.pictures += 1

    def complete(self) -> bool:
        """Write the file under its unfinished name; False, and no file, without a frame."""
        if not self._images:
            return False
        self.notes += stretched_note(self.stretched)
        with output_errors(self.path), replacing(self.unfinished) as file:
            if len(self._images) == 1:
                file.write(encode_picture(np.asarray(self._images[0])[:, :, ::-1], self._suffix))
                return True
            (first, *others), durations_ms = zip(*self._shown(), strict=True)
            first.save(
                file,
                self._suffix[1:],
                save_all=True,
                append_images=others,
                duration=durations_ms if others else durations_ms[0],
                loop=0,
                quality=_QUALITY,
            )
        return True

    def commit(self) -> None:
        """Give the completed file its name, replacing what was there."""
        with output_errors(self.path):
            os.replace(self.unfinished, self.path)

    def abandon(self) -> None:
        """Leave no file."""
        self.unfinished.unlink(missing_ok=True)

    leave = abandon

    @property
    def _suffix(self) -> str:
        return self.path.suffix.lower()

    def _shown(self) -> list[tuple[Image.Image, int]]:
        """Frames and their milliseconds; what rounding takes from one it gives to the next.

        Where frames follow each other too fast, some are left out.
        """
        tick = _TICK_MS[self._suffix]
        ends = [*self._times[1:], self._times[-1] + self._last_s]
        at = 0
        shown: list[tuple[Image.Image, int]] = []
        for image, end in zip(self._images, ends, strict=True):
            left_ms = 1000 * (end - self._times[0]) - at
            if shown and left_ms < _SHORTEST_MS / 2:
                continue
            shown.append((image, max(_SHORTEST_MS, tick * round(left_ms / tick))))
            at += shown[-1][1]
        return shown
