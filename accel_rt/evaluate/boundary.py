"""Boundary F-score: how well the contours of classes match, with some tolerance.

Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?"
(BMVC 2013), section 3. Here contour pixels are added up over all frames before precision and
recall are taken, so that frames can be added and resampled.
"""

from __future__ import annotations

import cv2
import numpy as np

from accel_rt.classes import IGNORE_LABEL
from accel_rt.evaluate.metrics import mean_of_classes, ratio

TOLERANCE = 0.0075
"""Distance at which contours still match, as a share of the frame's diagonal."""


class TrueBoundary:
    """The contours of one label map, uint8 ``[H, W]``, to compare many predictions with.

    Contours within the tolerance of an ignored pixel (255), or beside it, count neither in labels
    nor in predictions: what is there is unknown.
    """

    def __init__(self, labels: np.ndarray, classes: int, tolerance: float = TOLERANCE) -> None:
        self._classes = classes
        radius = tolerance * float(np.hypot(*labels.shape))
        self._disc = _disc(radius)
        ignored = (labels == IGNORE_LABEL).view(np.uint8)
        # At least its neighbours, however small the frame: what is ignored is no other class.
        self._known = cv2.dilate(ignored, _disc(max(1.0, radius))) == 0
        self._contour = _Contour(labels, self._known, self._disc, classes)

    def counts(self, predicted: np.ndarray) -> np.ndarray:
        """Contour pixels int64 ``[4, C]`` of a prediction uint8 ``[H, W]``.

        Rows: predicted ones near a true one of their class, all predicted ones, true ones near
        a predicted one of their class, all true ones.
        """
        found = _Contour(predicted, self._known, self._disc, self._classes)
        rows = [found.near(self._contour), found.labels, self._contour.near(found)]
        rows.append(self._contour.labels)
        return np.stack([np.bincount(row, minlength=self._classes) for row in rows])


def boundary_f(counts: np.ndarray) -> np.ndarray:
    """F-score in percent per class ``[..., C]`` of counts ``[..., 4, C]``.

    NaN for a class without contours; 0 if only one side has some.
    """
    found, predicted, kept, true = np.moveaxis(counts, -2, 0)
    precision, recall = ratio(found, predicted), ratio(kept, true)
    score = 100 * ratio(2 * precision * recall, precision + recall)
    score = np.where((precision + recall == 0) | ((predicted > 0) != (true > 0)), 0.0, score)
    return np.where((predicted == 0) & (true == 0), np.nan, score)


def mean_boundary_f(counts: np.ndarray) -> np.ndarray:
    """Mean of :func:`boundary_f` over the classes that have contours, ``[...]``."""
    return mean_of_classes(boundary_f(counts))


class _Contour:
    """Pixels with a neighbour (of four) in another class, and what lies near them."""

    def __init__(
        self, labels: np.ndarray, known: np.ndarray, disc: np.ndarray, classes: int
    ) -> None:
        edge = np.zeros(labels.shape, bool)
        across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        edge &= known
        self._rows, self._columns = np.nonzero(edge)
        self.labels = labels[self._rows, self._columns]
        self._near = np.zeros((classes, *labels.shape), np.uint8)
        for c in np.unique(self.labels):
            self._near[c] = cv2.dilate((edge & (labels == c)).view(np.uint8), disc)

    def near(self, other: _Contour) -> np.ndarray:
        """Labels of the contour pixels that have one of ``other`` and of their class nearby."""
        return self.labels[other._near[self.labels, self._rows, self._columns] > 0]


def _disc(radius: float) -> np.ndarray:
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return (x**2 + y**2 <= radius**2).astype(np.uint8)
