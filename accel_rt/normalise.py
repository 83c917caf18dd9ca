"""Frames as networks take them: RGB, less a mean, divided by a standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
"""Of values in 0..1, as ImageNet checkpoints expect."""


@dataclass(frozen=True)
class Normalisation:
    """What a network was trained to see: ``(value - mean_rgb) / std_rgb`` of RGB in 0..1."""

    mean_rgb: tuple[float, float, float] = MEAN_RGB
    std_rgb: tuple[float, float, float] = STD_RGB

    @property
    def padding_bgr(self) -> tuple[int, ...]:
        """The byte colour that becomes (nearly) zero."""
        return tuple(min(255, max(0, round(255 * mean))) for mean in reversed(self.mean_rgb))

    def __call__(self, frames_bgr: Tensor) -> Tensor:
        """uint8 BGR ``[N, H, W, 3]`` to normalised float32 RGB ``[N, 3, H, W]``, channels_last."""
        scale, shift = _scale_and_shift(self)
        rgb = frames_bgr.flip(-1).to(torch.float32)
        return (rgb * scale.to(rgb.device) + shift.to(rgb.device)).permute(0, 3, 1, 2)

    def of_bytes(self, frames: Tensor) -> Tensor:
        """Byte values RGB ``[N, 3, H, W]``, as :data:`BYTES` leaves them, to float32 of the same
        shape."""
        scale, shift = (part.to(frames.device).view(3, 1, 1) for part in _scale_and_shift(self))
        return frames.float() * scale + shift


@cache
def _scale_and_shift(normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    means, stds = normalisation.mean_rgb, normalisation.std_rgb
    scale = torch.tensor([1 / (255 * std) for std in stds])
    return scale, torch.tensor([-mean / std for mean, std in zip(means, stds, strict=True)])


BYTES = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
"""Byte values as they are, which every floating type holds exactly."""

IMAGENET = Normalisation()
"""That of ImageNet checkpoints, and of every network that is trained here."""

CAFFE_MEAN_RGB = (123.15 / 255, 115.90 / 255, 103.06 / 255)
"""Less which Caffe's checkpoints, and their heirs in MXNet, take colours, undivided."""


def normalise(frames_bgr: Tensor) -> Tensor:
    """uint8 BGR ``[N, H, W, 3]`` to float32 RGB ``[N, 3, H, W]`` by :data:`IMAGENET`."""
    return IMAGENET(frames_bgr)


def pad_to(
    frame_bgr: np.ndarray,
    size: tuple[int, int],
    colour_bgr: tuple[int, ...] = IMAGENET.padding_bgr,
) -> np.ndarray:
    """Extend a frame uint8 ``[H, W, 3]`` right and below to ``size`` ``(height, width)``."""
    height, width = frame_bgr.shape[:2]
    if (height, width) == size:
        return frame_bgr
    padded = np.empty((*size, 3), np.uint8)
    padded[:height, :width] = frame_bgr
    padded[:height, width:] = colour_bgr
    padded[height:] = colour_bgr
    return padded
