"""Mixing two labelled frames into one training sample."""

from __future__ import annotations

import numpy as np

from accel_rt.classes import IGNORE_LABEL


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


def cut_mix(
    image_bgr: np.ndarray,
    labels: np.ndarray,
    other_bgr: np.ndarray,
    other_labels: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a box of the other frame, of half its area on average, into the same place.

    Images are uint8 ``[H, W, 3]``, labels uint8 ``[H, W]`` (Yun et al., CutMix, 2019; French et
    al., 2020).
    """
    height, width = labels.shape
    share, narrow = rng.uniform(0.25, 0.75), rng.uniform(0, 1)
    box_h = round(height * share**narrow)
    box_w = round(width * share ** (1 - narrow))
    top, left = int(rng.integers(height - box_h + 1)), int(rng.integers(width - box_w + 1))
    box = slice(top, top + box_h), slice(left, left + box_w)
    mixed, mixed_labels = image_bgr.copy(), labels.copy()
    mixed[box], mixed_labels[box] = other_bgr[box], other_labels[box]
    return mixed, mixed_labels


MIXES = {"class": class_mix, "box": cut_mix}
"""How two frames can be mixed."""
