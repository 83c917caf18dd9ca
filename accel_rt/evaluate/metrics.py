"""Accuracy and intersection over union from pixel counts."""

from __future__ import annotations

import numpy as np

from accel_rt.classes import IGNORE_LABEL
from accel_rt.errors import UsageError

_LARGEST = 255  # of label maps in bytes


class ConfusionMatrix:
    """Pixel counts ``[true class, predicted class]``; ignored pixels do not count."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Count one frame: two integer maps of one shape; ``labels`` may hold 255 (ignore).

        Raises :class:`~accel_rt.errors.UsageError` if the shapes differ or a value is no class.
        """
        self.counts += confusion(labels, predicted, len(self.counts))

    def iou(self) -> np.ndarray:
        """IoU per class in 0..1; NaN for a class in neither labels nor predictions."""
        return iou(class_counts(self.counts))

    def miou(self) -> float:
        """Mean IoU in percent over the classes that occur (NaN if none does)."""
        return float(miou(class_counts(self.counts)))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Pixel counts int64 ``[classes, classes]`` of one frame, by true and predicted class.

    Two integer maps of one shape; ``labels`` may hold 255 (ignore). Raises
    :class:`~accel_rt.errors.UsageError` if the shapes differ or a value is no class.
    """
    if labels.shape != predicted.shape:
        raise UsageError(
            f"labels are {labels.shape} and predictions {predicted.shape}: give maps of one size"
        )
    for values, what in ((labels, "labels"), (predicted, "predictions")):
        if values.size and not 0 <= values.min() <= values.max() <= _LARGEST:
            raise _no_classes(what, np.array([values.min(), values.max()]), classes)
    pairs = (labels.astype(np.uint16) << 8) | predicted.astype(np.uint16)
    joint = np.bincount(pairs.ravel(), minlength=(_LARGEST + 1) ** 2)
    joint = joint.reshape(_LARGEST + 1, _LARGEST + 1)[:IGNORE_LABEL]
    for axis, what in ((1, "labels"), (0, "predictions")):
        present = np.flatnonzero(joint.sum(axis))
        if present.size and present[-1] >= classes:
            raise _no_classes(what, present, classes)
    return joint[:classes, :classes]


def _no_classes(what: str, present: np.ndarray, classes: int) -> UsageError:
    low, high = present[0], present[-1]
    return UsageError(f"{what} run from {low} to {high}: classes are 0 to {classes - 1}")


def class_counts(matrices: np.ndarray) -> np.ndarray:
    """Confusion ``[..., C, C]`` to pixels per class ``[..., 3, C]``: hits, true, predicted."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    return np.stack([hits, matrices.sum(-1), matrices.sum(-2)], -2)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole`` elementwise in float64; NaN where ``whole`` is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def mean_of_classes(values: np.ndarray) -> np.ndarray:
    """Mean of ``[..., C]`` over the classes that are not NaN (NaN if all are)."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


def iou(counts: np.ndarray) -> np.ndarray:
    """IoU in 0..1 per class ``[..., C]`` of :func:`class_counts`; NaN for a class in neither."""
    hits, true, predicted = np.moveaxis(counts, -2, 0)
    return ratio(hits, true + predicted - hits)


def miou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU in percent ``[...]`` over the classes that occur, in labels or predictions."""
    return 100 * mean_of_classes(iou(counts))


def pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """Percent ``[...]`` of the counted pixels that have the right class."""
    return 100 * ratio(counts[..., 0, :].sum(-1), counts[..., 1, :].sum(-1))


def mean_accuracy(counts: np.ndarray) -> np.ndarray:
    """Percent ``[...]``: mean over the labelled classes of their share that was found (recall)."""
    return 100 * mean_of_classes(ratio(counts[..., 0, :], counts[..., 1, :]))
