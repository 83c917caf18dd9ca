"""CamVid folder layout: ``<split>/*.png`` frames and ``<split>annot/*.png`` label maps.

CamVid: Brostow, Fauqueur, Cipolla, "Semantic object classes in video" (2009), University of
Cambridge; in the common 480x360 version with 11 classes and label 11 for unlabelled pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from accel_rt.data.classes import CAMVID, IGNORE_LABEL
from accel_rt.errors import InputError

_UNLABELLED = 11


@dataclass(frozen=True)
class LabelledFrame:
    """One frame and its labels, read on demand."""

    image_path: Path
    label_path: Path

    def image_bgr(self) -> np.ndarray:
        """The frame, uint8 ``[H, W, 3]``."""
        image = cv2.imread(str(self.image_path), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"cannot read the image {self.image_path}: restore or remove it")
        return image

    def labels(self) -> np.ndarray:
        """The labels, uint8 ``[H, W]``: 0 to 10, and 255 where unlabelled."""
        labels = cv2.imread(str(self.label_path), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2:
            raise InputError(f"cannot read the label map {self.label_path}: restore or remove it")
        labels[labels == _UNLABELLED] = IGNORE_LABEL
        wrong = labels[(labels >= len(CAMVID)) & (labels != IGNORE_LABEL)]
        if wrong.size:
            raise InputError(
                f"{self.label_path} holds label {wrong[0]}: CamVid labels are 0 to 10, and 11 "
                f"for unlabelled"
            )
        return labels


def camvid_frames(root: Path, split: str) -> list[LabelledFrame]:
    """The labelled frames of ``split`` (``train`` or ``val``) in file-name order.

    Raises :class:`~accel_rt.errors.InputError` if a folder or a label map is missing.
    """
    images, labels = root / split, root / f"{split}annot"
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(
                f"no folder {folder}: a CamVid copy has {split}/ and {split}annot/ in it"
            )
    frames = [LabelledFrame(path, labels / path.name) for path in sorted(images.glob("*.png"))]
    if not frames:
        raise InputError(f"{images} holds no PNG images")
    for frame in frames:
        if not frame.label_path.is_file():
            raise InputError(f"{frame.image_path} has no label map {frame.label_path}")
    return frames
