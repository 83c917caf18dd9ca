"""Frames as networks take them: RGB, ImageNet mean and standard deviation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
"""Of values in 0..1, as ImageNet checkpoints expect."""

_SCALE = torch.tensor([1 / (255 * s) for s in STD_RGB])
_SHIFT = torch.tensor([-m / s for m, s in zip(MEAN_RGB, STD_RGB, strict=True)])


def normalise(frames_bgr: Tensor) -> Tensor:
    """uint8 BGR ``[N, H, W, 3]`` to normalised float32 RGB ``[N, 3, H, W]``, channels_last."""
    rgb = frames_bgr.flip(-1).to(torch.float32)
    return (rgb * _SCALE.to(rgb.device) + _SHIFT.to(rgb.device)).permute(0, 3, 1, 2)


def pad_to(frame_bgr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Extend a frame right and below to ``size`` ``(height, width)`` with the mean colour."""
    height, width = frame_bgr.shape[:2]
    if (height, width) == size:
        return frame_bgr
    padded = np.empty((*size, 3), np.uint8)
    padded[:height, :width] = frame_bgr
    padded[:height, width:] = MEAN_BGR_UINT8
    padded[height:] = MEAN_BGR_UINT8
    return padded


MEAN_BGR_UINT8 = tuple(round(255 * m) for m in reversed(MEAN_RGB))
"""The colour that normalises to (nearly) zero."""
