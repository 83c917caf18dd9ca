"""Mixing two labelled frames into one training sample."""

from __future__ import annotations

import numpy as np

from accel_rt.data.classes import IGNORE_LABEL


def class_mix(
    image_bgr: np.ndarray,
    labels: np.ndarray,
    other_bgr: np.ndarray,
    other_labels: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste half of the other frame's classes, drawn at random, onto a frame of the same size.

    Images are uint8 ``[H, W, 3]``, labels uint8 ``[H, W]`` (Olsson et al., ClassMix, 2021, with
    labels in place of predictions). Ignored pixels are never pasted.
    """
    present = np.unique(other_labels)
    present = present[present != IGNORE_LABEL]
    chosen = rng.permutation(present)[: (len(present) + 1) // 2]
    pasted = np.isin(other_labels, chosen)
    mixed = np.where(pasted[..., None], other_bgr, image_bgr)
    return mixed, np.where(pasted, other_labels, labels)
