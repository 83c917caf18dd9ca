"""Sample pictures of a run."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from accel_rt.classes import ClassSet


def comparison(images_bgr: Tensor, labels: Tensor, scores: Tensor, classes: ClassSet) -> np.ndarray:
    """A row per sample: the image, its labels, and what was found in it; uint8 BGR.

    ``images_bgr`` is uint8 ``[N, H, W, 3]``, ``labels`` uint8 ``[N, H, W]``, ``scores``
    ``[N, C, h, w]``.
    """
    size = labels.shape[-2:]
    full = F.interpolate(scores.float(), size, mode="bilinear", align_corners=False)
    palette = classes.palette_bgr()
    rows = np.concatenate(
        [
            images_bgr.cpu().numpy(),
            palette[labels.cpu().numpy()],
            palette[full.argmax(1).cpu().numpy()],
        ],
        axis=2,
    )
    return rows.reshape(-1, *rows.shape[2:])
