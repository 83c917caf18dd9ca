"""From a processed frame to what the networks take."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from accel_rt.data.normalise import normalise, pad_to


def resize_frame(frame_bgr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at ``size`` ``(height, width)``; area averaging where it shrinks."""
    if frame_bgr.shape[:2] == size:
        return frame_bgr
    shrinks = size[0] <= frame_bgr.shape[0] and size[1] <= frame_bgr.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame_bgr, size[::-1], interpolation=method)


def network_input(
    frame_bgr: np.ndarray,
    padded: tuple[int, int],
    scale: float = 1.0,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """A processed frame padded to ``(height, width)``, reduced by ``scale``, and normalised.

    uint8 BGR ``[H, W, 3]`` to RGB ``[1, 3, scale * padded height, scale * padded width]``.
    Padding comes before scaling, so that a cell covers the same pixels at every scale.
    """
    frame = pad_to(frame_bgr, padded)
    if scale != 1:
        frame = resize_frame(frame, (round(padded[0] * scale), round(padded[1] * scale)))
    return normalise(torch.from_numpy(frame)[None].to(device)).to(dtype)
