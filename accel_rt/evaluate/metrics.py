"""Intersection over union from a confusion matrix."""

from __future__ import annotations

import numpy as np

from accel_rt.data.classes import IGNORE_LABEL
from accel_rt.errors import UsageError


class ConfusionMatrix:
    """Pixel counts ``[true class, predicted class]``; ignored pixels do not count."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Count one frame: two integer maps of one shape; ``labels`` may hold 255 (ignore).

        Raises :class:`~accel_rt.errors.UsageError` if the shapes differ or a value is no class.
        """
        if labels.shape != predicted.shape:
            raise UsageError(
                f"labels are {labels.shape} and predictions {predicted.shape}: give maps of one "
                f"size"
            )
        classes = len(self.counts)
        counted = labels != IGNORE_LABEL
        true, guess = labels[counted].astype(np.int64), predicted[counted].astype(np.int64)
        for values, what in ((true, "labels"), (guess, "predictions")):
            if values.size and not 0 <= values.min() <= values.max() < classes:
                raise UsageError(
                    f"{what} run from {values.min()} to {values.max()}: classes are 0 to "
                    f"{classes - 1}"
                )
        cells = np.bincount(classes * true + guess, minlength=classes**2)
        self.counts += cells.reshape(classes, classes)

    def iou(self) -> np.ndarray:
        """IoU per class in 0..1; NaN for a class in neither labels nor predictions."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    def miou(self) -> float:
        """Mean IoU in percent over the classes that occur (NaN if none does)."""
        iou = self.iou()
        return float(100 * np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")
