"""Image files: their size before anything is decoded, and every picture they hold."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from accel_rt.video.limits import DEFAULT_LIMITS, Limits

_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
_BYTES_PER_PIXEL = 8  # of the largest files taken: four channels of 16 bits
_SUBFILE_TYPE, _NO_PAGE = 254, 1 | 4  # TIFF: pages that are a smaller copy or a mask of another
_UNSAID_S = Fraction(1, 10)  # what browsers do where a picture says it is shown for no time

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Chosen by how a file begins; opened this way they read the header alone.
_PLUGINS = (
    (b"\x89PNG", PngImagePlugin.PngImageFile),
    (b"\xff\xd8", JpegImagePlugin.JpegImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"P", PpmImagePlugin.PpmImageFile),
)


class PictureFile:
    """One picture, the frames of an animated PNG or WebP, or the pages of a TIFF.

    ``count`` says how many, and is 1 for a file that cannot be read. A context manager.
    """

    def __init__(self, path: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        self._path = path
        self._limits = limits
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of tags that do not matter here
            self._header = _open_header(path)
            self._pages = _pages(self._header)

    @property
    def count(self) -> int:
        return len(self._pages)

    @property
    def moves(self) -> bool:
        """Whether the pictures follow each other in time, as those of an animation do."""
        return self.count > 1 and not isinstance(self._header, TiffImagePlugin.TiffImageFile)

    def read(self, number: int) -> np.ndarray | None:
        """Picture ``number`` as uint8 BGR ``[H, W, 3]``, or None if it cannot be decoded.

        Orientation tags are obeyed, greyscale is repeated over the channels, 16-bit values are
        divided by 257, those of PGM and PPM scaled from the largest that they name to 255, and an
        alpha channel is dropped. Raises
        :class:`~accel_rt.errors.InputError` if the picture or the file is too large.
        """
        if self._header is None:
            return None
        try:
            if self.count > 1:
                self._header.seek(self._pages[number])
            size = self._header.size
        except Exception:  # Pillow has no common class for what damaged files raise
            return None
        self._limits.check_size(self._path.name, size[::-1])
        if self.moves:
            return _rgb_to_bgr(self._header)
        if self._path.stat().st_size > _BYTES_PER_PIXEL * max(self._limits.max_pixels, 1 << 20):
            return None
        if isinstance(self._header, TiffImagePlugin.TiffImageFile) and self._header.mode == "RGBA":
            self._header.filename = ""  # so that Pillow maps no memory: it would, as if turned
            return _rgb_to_bgr(self._header)  # OpenCV would multiply by the alpha channel
        page = self._pages[number] if self.count > 1 else None
        return _decode(self._path, page, largest_of_pnm(self._header))

    def shown_s(self) -> Fraction:
        """How long the picture read last is shown in an animation, in seconds."""
        shown_ms = self._header.info.get("duration", 0) if self._header else 0
        return Fraction(shown_ms / 1000).limit_denominator(100_000) or _UNSAID_S

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._header:
            self._header.close()


def read_image_bgr(path: Path, limits: Limits = DEFAULT_LIMITS) -> np.ndarray | None:
    """The first picture of an image file, as :meth:`PictureFile.read` gives it."""
    with PictureFile(path, limits) as file:
        return file.read(0)


def largest_of_pnm(image: Image.Image) -> int | None:
    """The largest value that the header of a PGM or PPM names; None for what is none, or if 255.

    ``image`` is open, but not yet read.
    """
    tile = next(iter(getattr(image, "tile", ())), None)
    if tile is None or not tile[0].startswith("ppm") or image.mode not in ("L", "I", "RGB"):
        return None
    return int(tile[3][1])


def _open_header(path: Path) -> Image.Image | None:
    try:
        with path.open("rb") as file:
            start = file.read(4)
        plugin = next((plugin for begin, plugin in _PLUGINS if start.startswith(begin)), None)
        return plugin(path) if plugin else None
    except Exception:  # Pillow has no common class for what damaged files raise
        return None


def _pages(header: Image.Image | None) -> list[int]:
    """Which of an image's frames are pictures to show."""
    try:
        pages = list(range(getattr(header, "n_frames", 1)))
        if getattr(header, "default_image", False):
            return pages[1:]  # shown by programs that know no animations
        if isinstance(header, TiffImagePlugin.TiffImageFile):
            pages = [page for page in pages if _is_page(header, page)]
    except Exception:
        return [0]
    return pages or [0]


def _is_page(tiff: TiffImagePlugin.TiffImageFile, number: int) -> bool:
    tiff.seek(number)
    return not tiff.tag_v2.get(_SUBFILE_TYPE, 0) & _NO_PAGE


def _rgb_to_bgr(image: Image.Image) -> np.ndarray | None:
    try:
        turned = ImageOps.exif_transpose(image).convert("RGB")
        return np.ascontiguousarray(np.asarray(turned)[..., ::-1])
    except Exception:
        return None


def _fits_chunks(data: memoryview) -> bool:
    """Whether no chunk of a PNG claims more than the file has: OpenCV would make room for it."""
    at = len(_PNG_SIGNATURE)
    if data[:at] != _PNG_SIGNATURE:
        return True
    while at + 8 <= len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return at <= len(data) + 8


def _decode(path: Path, page: int | None, largest: int | None) -> np.ndarray | None:
    """The only picture of a file, or one ``page`` of several; ``largest`` of a PNM."""
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        data = np.fromfile(path, np.uint8)
        if not _fits_chunks(data.data):
            return None
        if page is None:
            image = cv2.imdecode(data, _FLAGS)
        else:
            image = cv2.imdecodemulti(data, _FLAGS, range=(page, page + 1))[1][0]
    except (OSError, IndexError, cv2.error):
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255 / (largest or 65535))
    elif largest and data[1] in b"56":  # of text OpenCV itself makes the largest 255
        image = cv2.convertScaleAbs(image, alpha=255 / largest)
    return np.ascontiguousarray(image)
