"""Random scale, crop, flip and colour for one labelled frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from accel_rt.data.classes import IGNORE_LABEL
from accel_rt.data.normalise import MEAN_BGR_UINT8


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from; ``crop`` is ``(width, height)`` in pixels.

    ``scale`` is drawn log-uniformly; ``colour`` bounds the relative change of brightness,
    contrast and saturation, and (a quarter of it, in turns) of hue.
    """

    crop: tuple[int, int] = (320, 240)
    scale: tuple[float, float] = (0.5, 1.75)
    flip: bool = True
    colour: float = 0.3

    def __call__(
        self, image_bgr: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """uint8 ``[H, W, 3]`` and ``[H, W]`` to the same at the crop's size.

        Where the scaled image is smaller than the crop the rest is mean colour and ignored.
        """
        width, height = self.crop
        scale = np.exp(rng.uniform(*np.log(self.scale)))
        # Crop before resizing: only what is kept is resampled.
        source_w, source_h = width / scale, height / scale
        left = rng.uniform(min(0, labels.shape[1] - source_w), max(0, labels.shape[1] - source_w))
        top = rng.uniform(min(0, labels.shape[0] - source_h), max(0, labels.shape[0] - source_h))
        mirrored = self.flip and rng.random() < 0.5
        # Pixel (x, y) of the crop shows source pixel (x + 0.5) / scale - 0.5 + left.
        matrix = np.array(
            [[1 / scale, 0, 0.5 / scale - 0.5 + left], [0, 1 / scale, 0.5 / scale - 0.5 + top]]
        )
        if mirrored:
            matrix[0] = [-1 / scale, 0, matrix[0, 2] + (width - 1) / scale]
        shrinking = scale < 0.75
        image = cv2.warpAffine(
            cv2.blur(image_bgr, (2, 2)) if shrinking else image_bgr,
            matrix,
            self.crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderValue=MEAN_BGR_UINT8,
        )
        target = cv2.warpAffine(
            labels,
            matrix,
            self.crop,
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderValue=IGNORE_LABEL,
        )
        return (jitter_colour(image, self.colour, rng) if self.colour else image), target


def jitter_colour(image_bgr: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast, saturation and hue as one 3x3 colour matrix."""
    brightness, contrast, saturation = 1 + rng.uniform(-amount, amount, 3)
    angle = 2 * np.pi * rng.uniform(-amount, amount) / 4
    luma = np.full((3, 3), 1 / 3)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = luma + np.cos(angle) * (np.eye(3) - luma) + np.sin(angle) * axis
    matrix = luma + saturation * (hue - luma)
    matrix *= brightness * contrast
    offset = 128 * brightness * (1 - contrast)
    return cv2.transform(image_bgr, np.column_stack([matrix, np.full(3, offset)]))
