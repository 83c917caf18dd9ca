"""What a camera does to light: edges, exposure, vignette, blur and noise. Geometry is untouched."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.random import Generator

_NOISE_SIZE = 256


@functools.lru_cache(maxsize=4)
def _noise_bank(size: tuple[int, int]) -> np.ndarray:
    """Normal noise, int8 at 16 counts per sigma, larger than a frame so that crops differ."""
    height, width = size
    rng = np.random.default_rng(1)
    shape = (height + _NOISE_SIZE, width + _NOISE_SIZE, 3)
    noise = rng.normal(0, 16, shape).astype(np.float32)
    # Colour noise of a camera is partly shared between channels and neighbours.
    noise = 0.6 * noise + 0.6 * noise.mean(2, keepdims=True)
    return np.clip(noise, -127, 127).astype(np.int8)


def smooth_edges(picture: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Soften the stairs between different faces of ``picture`` ``[H, W, 3]``."""
    edge = np.zeros(ids.shape, bool)
    across = ids[:, 1:] != ids[:, :-1]
    down = ids[1:] != ids[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    soft = cv2.GaussianBlur(picture, (3, 3), 0.7)
    cv2.copyTo(soft, edge.view(np.uint8), picture)
    return picture


class Sensor:
    """A drive's camera characteristics, drawn once."""

    def __init__(self, rng: Generator, size: tuple[int, int]) -> None:
        height, width = size
        self._size = size
        self._blur = rng.uniform(0.3, 0.75)
        self._noise = rng.uniform(0.8, 5.5)
        self._exposure = rng.uniform(0.9, 1.12)
        self._drift = rng.uniform(0.0, 0.14)
        self._rate = rng.uniform(0.15, 0.8)
        self._phase = rng.uniform(0, 2 * np.pi)
        self._gamma = rng.uniform(0.85, 1.2)
        balance = rng.normal(0, 0.025)
        x = (np.arange(width) - width / 2) / max(size)
        y = (np.arange(height) - height / 2) / max(size)
        falloff = 1 - rng.uniform(0.0, 0.7) * (x**2 + y[:, None] ** 2)
        tone = np.array((1 - balance, 1.0, 1 + balance))
        self._falloff = (falloff[..., None] * tone).astype(np.float32)

    def expose(self, picture: np.ndarray, time_s: float, rng: Generator) -> np.ndarray:
        """Turn light (float32 BGR ``[H, W, 3]``) into an 8-bit frame; ``rng`` is the frame's."""
        gain = self._exposure * (1 + self._drift * np.sin(self._rate * time_s + self._phase))
        picture = cv2.GaussianBlur(picture, (3, 3), self._blur)
        picture *= self._falloff * np.float32(gain)
        left, top = rng.integers(0, _NOISE_SIZE, 2)
        height, width = self._size
        noise = _noise_bank(self._size)[top : top + height, left : left + width]
        frame = cv2.scaleAdd(noise.astype(np.float32), self._noise / 16, picture)
        return cv2.LUT(to_bytes(frame), self._curve())

    def _curve(self) -> np.ndarray:
        """Tone curve ``[256]``."""
        return np.rint(255 * (np.arange(256) / 255) ** self._gamma).astype(np.uint8)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Rounded and clipped to uint8."""
    return cv2.convertScaleAbs(np.maximum(picture, 0, out=picture))
