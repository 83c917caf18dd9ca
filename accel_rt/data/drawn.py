"""Labels drawn from polygons and run lengths, as annotation tools export them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco

from accel_rt.classes import ClassSet
from accel_rt.data.dataset import DatasetFrame
from accel_rt.data.labels import class_coding
from accel_rt.errors import InputError
from accel_rt.video.images import IMAGE_SUFFIXES, folders_in, image_files

BACKGROUND = "background"
MOST_PIXELS = 2**28
_FARTHEST = 2**15  # pixels from the corner, within or without
NO_CODING = class_coding(1, (), "")  # drawn labels are no values on disk


@dataclass(frozen=True)
class Shape:
    """What one annotation covers: ``polygons`` of corners ``(x, y)``, or run lengths.

    ``runs`` are pixels outside and inside in turn, row by row (column by column with ``by_column``)
    in a box ``(left, top, width, height)``; a text is COCO's compressed form of them.
    """

    label: int
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()
    runs: tuple[int, ...] | str = ()
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    by_column: bool = False

    def draw(self, labels: np.ndarray) -> None:
        """Set the pixels of ``labels`` that it covers; raises ``ValueError`` if it has no sense."""
        for polygon in self.polygons:
            self._fill(labels, np.array(polygon, np.float64).reshape(-1, 2))
        if self.runs:
            left, top, width, height = self.box
            inside = self._inside(width, height)
            part = labels[max(top, 0) : top + height, max(left, 0) : left + width]
            inside = inside[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
            part[inside] = self.label

    def area(self) -> float:
        """About how many pixels it covers."""
        if isinstance(self.runs, str):
            _, _, width, height = self.box
            return float(coco.area({"size": [height, width], "counts": self.runs}))
        return sum(self.runs[1::2]) + sum(map(_polygon_area, self.polygons))

    def _fill(self, labels: np.ndarray, corners: np.ndarray) -> None:
        """Set the pixels whose middles are inside; the first pixel reaches from 0 to 1."""
        if not np.isfinite(corners).all():
            raise ValueError("its corners are no finite numbers")
        if len(corners) < 3:
            return
        corners = np.clip(corners, -_FARTHEST, _FARTHEST)
        left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int)
        right, bottom = np.maximum(np.ceil(corners.max(0)), 0).astype(int)
        part = labels[top:bottom, left:right]
        if part.size:
            outline = [(corners - (left, top)).ravel().tolist()]
            inside = coco.decode(coco.frPyObjects(outline, *part.shape))[..., 0]
            part[inside.astype(bool)] = self.label

    def _inside(self, width: int, height: int) -> np.ndarray:
        if width * height > MOST_PIXELS:
            raise ValueError(f"its box of {width}x{height} pixels is too large")
        if isinstance(self.runs, str):
            runs = {"size": [height, width], "counts": self.runs}
            return coco.decode([runs])[..., 0].astype(bool)
        if min(self.runs) < 0 or sum(self.runs) != width * height:
            raise ValueError(f"its run lengths do not fill {width}x{height} pixels")
        flat = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs)
        return flat.reshape(width, height).T if self.by_column else flat.reshape(height, width)


def _polygon_area(polygon: tuple[tuple[float, float], ...]) -> float:
    x, y = np.array(polygon, np.float64).reshape(-1, 2).T
    return 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))


@dataclass(frozen=True)
class DrawnFrame(DatasetFrame):
    """A frame whose labels are ``shapes``, drawn in their order; the rest is ``rest``.

    ``label_path`` is the file that the shapes come from.
    """

    shapes: tuple[Shape, ...]
    size: tuple[int, int]  # height, width
    rest: int

    def labels_digest(self) -> str:
        """As :meth:`.dataset.DatasetFrame.labels_digest`, whatever else the file says."""
        return hashlib.sha256(repr((self.shapes, self.size, self.rest)).encode()).hexdigest()

    def labels(self) -> np.ndarray:
        """As :meth:`.dataset.DatasetFrame.labels`."""
        height, width = self.size
        if not 0 < width * height <= MOST_PIXELS or min(self.size) < 1:
            raise InputError(
                f"{self.label_path} gives {self.image_path.name} {width}x{height} pixels"
            )
        labels = np.full((height, width), self.rest, np.uint8)
        try:
            for shape in self.shapes:
                shape.draw(labels)
        except (ValueError, OverflowError, cv2.error) as error:
            raise InputError(
                f"{self.label_path} has a shape of {self.image_path.name} that cannot be drawn "
                f"({error}): export it again"
            ) from error
        return labels


def class_set(names: Iterable[str], colors: Iterable[tuple[int, int, int]]) -> tuple[ClassSet, int]:
    """A class set with :data:`BACKGROUND` for what no shape covers, and the label of that."""
    classes = dict(zip(names, colors, strict=True))
    if BACKGROUND not in classes:
        classes = {BACKGROUND: (0, 0, 0), **classes}
    return ClassSet(tuple(classes), tuple(classes.values())), list(classes).index(BACKGROUND)


class Images:
    """The images below a folder, found by the names that an export has for them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_name: dict[str, list[Path]] = {}
        for folder in (root, *folders_in(root)):
            for path in image_files(folder.iterdir()):
                self._by_name.setdefault(path.name, []).append(path)

    def outside(self, *names: str) -> list[Path]:
        """Those that lie in no folder of these ``names``."""
        paths = (path for paths in self._by_name.values() for path in paths)
        return [path for path in paths if path.parent.name not in names]

    def find(self, name: str, split: str, told_by: Path) -> Path:
        """The image called ``name``, by its last part and the folders that agree with the others.

        Raises :class:`~accel_rt.errors.InputError` if there is none, or no telling which.
        """
        wanted = Path(name)
        found = self._by_name.get(wanted.name, [])
        beside = told_by.parent / wanted
        if beside in found:
            return beside
        for narrower in (str(wanted), split):
            if len(found) > 1:
                fits = [p for p in found if f"/{narrower}/" in f"{p.as_posix()}/"]
                found = fits or found
        if len(found) == 1:
            return found[0]
        what = "is not there" if not found else "is there more than once"
        raise InputError(
            f"{told_by} names the image {name}, which {what} in {self._root} or a folder in it "
            f"({', '.join(IMAGE_SUFFIXES)}): export with images"
        )
