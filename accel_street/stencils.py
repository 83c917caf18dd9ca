"""Cut-out shapes: uint8 ``[h, w]`` masks (255 inside) that give tree crowns and wheels outlines."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from accel_street.noise import fractal, speckle

SIZE = 256


def leafy_crown(rng: Generator, slim: float) -> np.ndarray:
    """A crown in leaf: a ragged blob with a few gaps; ``slim`` narrows its width."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / (SIZE / 2) - 1
    radius = np.sqrt((x / slim) ** 2 + y**2)
    leaves = cv2.GaussianBlur(speckle(rng, SIZE, SIZE, 1.0), (9, 9), 1.5)
    ragged = 0.16 * fractal(rng, SIZE, SIZE, (4, 9, 18, 36)) + 0.25 * leaves
    gaps = fractal(rng, SIZE, SIZE, (9, 18, 36)) + leaves > 1.0 - 0.25 * radius
    return ((radius + ragged < 0.8) & ~gaps).astype(np.uint8) * 255


def bare_crown(rng: Generator) -> np.ndarray:
    """A winter crown: branches that fork upward into dense twigs."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    branches = [(SIZE / 2, SIZE - 1.0, -np.pi / 2, SIZE * 0.2, 9.0)]
    while branches:
        x, y, angle, length, width = branches.pop()
        x1, y1 = x + length * np.cos(angle), y + length * np.sin(angle)
        cv2.line(mask, (int(x), int(y)), (int(x1), int(y1)), 255, max(int(width), 1))
        if length > 8:
            for _ in range(3 if length < 40 else 2 + int(rng.random() < 0.5)):
                turn = rng.normal(0, 0.5)
                shrink = rng.uniform(0.62, 0.86)
                branches.append((x1, y1, angle + turn, length * shrink, width * 0.62))
        if len(branches) > 4000:
            break
    return mask


def wheel() -> np.ndarray:
    """A bicycle wheel: tyre, hub and spokes."""
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (32, 32), 28, 255, 6)
    cv2.circle(mask, (32, 32), 4, 255, -1)
    for angle in np.arange(0, np.pi, np.pi / 4):
        dx, dy = int(28 * np.cos(angle)), int(28 * np.sin(angle))
        cv2.line(mask, (32 - dx, 32 - dy), (32 + dx, 32 + dy), 255, 1)
    return mask


def pyramid(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """``mask`` and its halvings down to 8 texels."""
    levels = [mask]
    while min(levels[-1].shape) > 8:
        height, width = levels[-1].shape
        levels.append(
            cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        )
    return tuple(levels)
