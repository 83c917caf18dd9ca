"""Random fields that paintings are made of."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator


def fractal(rng: Generator, height: int, width: int, cells: tuple[int, ...]) -> np.ndarray:
    """Smooth noise that tiles: float32 ``[height, width]``, about -1..1.

    One octave per entry of ``cells`` (its number of cells across the picture), each half as
    strong as the one before.
    """
    total = np.zeros((height, width), np.float32)
    strength, norm = 1.0, 0.0
    for count in cells:
        grid = np.pad(rng.uniform(-1, 1, (count, count)).astype(np.float32), 2, mode="wrap")
        pad_y, pad_x = 2 * height // count, 2 * width // count
        big = cv2.resize(
            grid, (width + 2 * pad_x, height + 2 * pad_y), interpolation=cv2.INTER_CUBIC
        )
        total += strength * big[pad_y : pad_y + height, pad_x : pad_x + width]
        norm += strength * 0.5
        strength *= 0.55
    return total / norm


def crop_noise(rng: Generator, height: int, width: int, cells: tuple[int, ...]) -> np.ndarray:
    """The same noise for pictures that do not tile; float32 ``[height, width]``, about -1..1."""
    size = max(height, width)
    return fractal(rng, size, size, cells)[:height, :width]


def speckle(rng: Generator, height: int, width: int, sigma: float) -> np.ndarray:
    """Independent normal noise per texel, float32 ``[height, width]``."""
    return rng.normal(0, sigma, (height, width)).astype(np.float32)
