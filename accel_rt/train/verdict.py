"""What a finished pair is worth: its accuracy with an interval, and a picture of what it finds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.data.dataset import DataSet
from accel_rt.evaluate.bootstrap import block_length, interval_95, resampled_weights
from accel_rt.evaluate.metrics import class_counts, confusion, iou, miou
from accel_rt.evaluate.stream import predictions
from accel_rt.files import write_whole
from accel_rt.palette import recolor
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.video.overlay import Legend, class_shares
from accel_rt.video.picture_file import save_picture

PICTURE, ACCURACY = "predictions.png", "accuracy.json"
_PICTURED = 4  # frames
_RATE = 15.0  # frames/s of videos that do not say theirs


@dataclass(frozen=True)
class Verdict:
    """mIoU in percent with its 95% interval, and each class's IoU (None where it never occurs)."""

    miou: float
    ci95: tuple[float, float]
    class_iou: dict[str, float | None]
    frames: int


def judge(weights: Path, dataset: DataSet, device: str = "auto") -> Verdict:
    """Run the pair in the folder ``weights`` as 'accel-rt segment' does; write what it is worth.

    Writes :data:`PICTURE` and :data:`ACCURACY` into the folder. Raises as
    :func:`~accel_rt.runtime.load.load_segmenter`.
    """
    run = str(weights)
    settings = SegmenterSettings.preset("balanced", reference=run, update=run, device=device)
    segmenter = load_segmenter(settings)
    classes, frames = dataset.classes, dataset.labelled()
    shown = {frames[n].image_path for n in np.linspace(0, len(frames) - 1, _PICTURED).astype(int)}
    counts, rows = [], []
    found = (predictions(segmenter, sequence.frames) for sequence in dataset.sequences)
    for frame, predicted in chain.from_iterable(found):
        image, labels = frame.read()
        counts.append(confusion(labels, predicted, len(classes)))
        if frame.image_path in shown:
            rows.append((image, labels, predicted))
    verdict = _verdict(classes, np.stack(counts), dataset)
    save_picture(weights / PICTURE, _picture(rows, classes))
    write_whole(weights / ACCURACY, json.dumps(asdict(verdict), indent=1) + "\n")
    return verdict


def _verdict(classes: ClassSet, matrices: np.ndarray, dataset: DataSet) -> Verdict:
    counts = class_counts(matrices)
    runs = [len(list(sequence.labelled())) for sequence in dataset.sequences]
    block = block_length(max(runs) > 1, _RATE, len(counts))
    weights = resampled_weights([run for run in runs if run], block)
    resampled = np.einsum("rf,fkc->rkc", weights, counts)
    found = iou(counts.sum(0))
    low, high = interval_95(miou(resampled))
    return Verdict(
        round(float(miou(counts.sum(0))), 2),
        (round(low, 2), round(high, 2)),
        {
            name: None if np.isnan(value) else round(100 * float(value), 2)
            for name, value in zip(classes.names, found, strict=True)
        },
        len(counts),
    )


def _picture(
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], classes: ClassSet
) -> np.ndarray:
    """A row per frame: the image, its labels, and what was found; the classes' names beside it."""
    classes = recolor(classes)
    palette = classes.palette_bgr()
    bands = [
        np.concatenate([image, palette[labels], palette[found]], axis=1)
        for image, labels, found in rows
    ]
    width = max(band.shape[1] for band in bands)
    padded = [np.pad(band, ((0, 4), (0, width - band.shape[1]), (0, 0))) for band in bands]
    picture = np.concatenate(padded)
    labels = np.concatenate([labels.ravel() for _, labels, _ in rows])[None]
    legend = Legend(picture.shape[:2], classes)
    return legend.beside(picture, class_shares(labels, len(classes)))
