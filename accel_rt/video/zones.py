"""Named polygons of a picture, and what share of each a class covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from accel_rt.errors import InputError
from accel_rt.jsonfile import read_json, typed
from accel_rt.video.overlay import class_shares

WHOLE = "picture"
"""The zone that is everything."""


class Zones:
    """The whole picture and polygons of it, ``{name: [[x, y], ...]}``.

    Corners are in pixels, or in fractions of width and height where none is above 1.
    """

    def __init__(self, polygons: dict[str, np.ndarray] | None = None) -> None:
        self._polygons = polygons or {}
        self.names = (WHOLE, *self._polygons)
        self._masks: dict[str, np.ndarray] = {}
        self._shape: tuple[int, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Zones:
        """The zones of a JSON file; raises :class:`InputError` for one that cannot be used."""
        try:
            stored = typed(read_json(path), dict, "the zones")
            if WHOLE in stored:
                raise ValueError(f"'{WHOLE}' is the name of the whole picture")
            return cls({name: _polygon(name, corners) for name, corners in stored.items()})
        except (OSError, ValueError) as error:
            raise InputError(
                f"'{path}' does not hold zones such as {{\"left\": [[0, 0], [0.5, 0], [0.5, 1]]}}: "
                f"{error}"
            ) from error

    def measure(
        self, labels: np.ndarray, classes: int, margin: np.ndarray | None = None
    ) -> dict[str, list[float | None]]:
        """For each zone its mean of ``margin`` and the share, 0 to 1, of each class.

        ``labels`` is uint8 ``[H, W]``, ``margin`` float32 ``[H, W]``. All are None for a zone
        without a pixel in the picture, and the mean is where there is no ``margin``.
        """
        self._fit(labels.shape)
        return {
            name: _measure(labels, classes, margin, self._masks.get(name)) for name in self.names
        }

    def _fit(self, shape: tuple[int, ...]) -> None:
        if shape == self._shape:
            return
        self._shape = shape
        height, width = shape
        for name, polygon in self._polygons.items():
            corners = polygon if polygon.max() > 1 else polygon * (width - 1, height - 1)
            mask = np.zeros(shape, np.uint8)
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
            self._masks[name] = mask.astype(bool)


def _measure(
    labels: np.ndarray, classes: int, margin: np.ndarray | None, mask: np.ndarray | None
) -> list[float | None]:
    if mask is not None:
        labels = labels[mask][None]
        margin = None if margin is None else margin[mask]
    if not labels.size:
        return [None] * (classes + 1)
    mean = None if margin is None else float(margin.mean())
    return [mean, *class_shares(labels, classes).values()]


def _polygon(name: str, stored: Any) -> np.ndarray:
    corners = [typed(corner, list, f"a corner of '{name}'") for corner in typed(stored, list, name)]
    if len(corners) < 3 or any(len(corner) != 2 for corner in corners):
        raise ValueError(f"'{name}' is not three or more corners [x, y]")
    numbers = [[typed(part, float, f"a corner of '{name}'") for part in c] for c in corners]
    polygon = np.array(numbers, float)
    if not (np.abs(polygon) < 1e6).all():
        raise ValueError(f"'{name}' reaches beyond any picture")
    return polygon
