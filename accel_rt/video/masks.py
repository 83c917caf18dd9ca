"""Label maps to files: indexed PNG, NumPy archives or COCO run-length masks."""

from __future__ import annotations

import io
import json
import struct
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.video.output import PartText, output_errors, write_whole
from accel_rt.video.rle import class_masks

_PNG_COMPRESSION = 4  # label maps are nearly as small as at 9, in a third of the time


class MaskWriter:
    """Writes uint8 label maps ``[H, W]`` under ``directory``, which is made if it is missing.

    * ``png``: ``frame_000000.png``, indexed, with the class colours as its palette;
    * ``npz``: ``frame_000000.npz``, compressed, the labels as ``labels``;
    * ``rle``: one ``masks.json`` as COCO lays it out: ``categories`` (``id`` is the label),
      ``annotations`` (one per class and frame, with compressed run lengths, ``area`` and
      ``bbox``) and ``images`` (``id`` is the frame's index). Labels without a class are left
      out. It gets its name on :meth:`close`.

    Every file is written under a temporary name first. Raises :class:`UsageError` for an unknown
    format, :class:`OutputError` if something cannot be written.
    """

    def __init__(self, directory: Path | str, fmt: str, class_set: ClassSet) -> None:
        formats: dict[str, Callable[[int, np.ndarray], None]] = {
            "png": self._write_png,
            "npz": self._write_npz,
            "rle": self._write_rle,
        }
        if fmt not in formats:
            raise UsageError(f"unknown mask format '{fmt}': choose from {', '.join(formats)}")
        self._write = formats[fmt]
        self._directory = Path(directory)
        self._palette_rgb = class_set.palette_bgr()[:, ::-1].tobytes()
        self._class_set = class_set
        self._json: PartText | None = None
        self._annotations = 0
        self._images = array("q")
        with output_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
        if fmt == "rle":
            self._json = PartText(self._directory / "masks.json")
            self._json.write(f'{{"categories": {self._categories()},\n"annotations": [')

    def write(self, index: int, labels: np.ndarray) -> None:
        """Write the label map of frame ``index``, uint8 ``[H, W]``."""
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise UsageError(f"labels must be uint8 [H, W], got {labels.dtype} {labels.shape}")
        self._write(index, labels)

    def close(self) -> None:
        """Complete what is open; a second call does nothing."""
        if self._json is None:
            return
        self._json.write('\n],\n"images": [')
        images = np.asarray(self._images).reshape(-1, 3)
        for number, (index, height, width) in enumerate(images.tolist()):
            image = {"id": index, "height": height, "width": width}
            self._json.write((",\n" if number else "\n") + json.dumps(image))
        self._json.write("\n]}\n")
        self._json.commit()
        self._json = None

    def abandon(self) -> None:
        """Remove an unfinished ``masks.json``; masks in files of their own stay."""
        if self._json is not None:
            self._json.discard()
            self._json = None

    def __enter__(self) -> MaskWriter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.close()
        else:
            self.abandon()

    def _write_png(self, index: int, labels: np.ndarray) -> None:
        data = encode_indexed_png(labels, self._palette_rgb)
        write_whole(self._directory / f"frame_{index:06d}.png", data)

    def _write_npz(self, index: int, labels: np.ndarray) -> None:
        archive = io.BytesIO()
        np.savez_compressed(archive, labels=labels)
        write_whole(self._directory / f"frame_{index:06d}.npz", archive.getvalue())

    def _write_rle(self, index: int, labels: np.ndarray) -> None:
        if self._json is None:
            raise UsageError("the masks are finished: no frame can be added")
        height, width = labels.shape
        self._images.extend((index, height, width))
        for mask in class_masks(labels, len(self._class_set)):
            annotation = {
                "id": self._annotations,
                "image_id": index,
                "category_id": mask.label,
                "segmentation": {"size": [height, width], "counts": mask.counts},
                "area": mask.area,
                "bbox": mask.box_xywh,
                "iscrowd": 1,
            }
            separator = ",\n" if self._annotations else "\n"
            self._json.write(separator + json.dumps(annotation))
            self._annotations += 1

    def _categories(self) -> str:
        names = enumerate(self._class_set.names)
        return json.dumps([{"id": label, "name": name} for label, name in names])


def encode_indexed_png(labels: np.ndarray, palette_rgb: bytes) -> bytes:
    """A PNG whose pixel values are uint8 ``labels`` ``[H, W]``, shown in 256 RGB colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = labels
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"PLTE", palette_rgb),
            chunk(b"IDAT", zlib.compress(rows.tobytes(), _PNG_COMPRESSION)),
            chunk(b"IEND", b""),
        )
    )
