"""How well the classes of a palette can be told apart once they are blended over a street.

    python benchmarks/palette.py                       # the palettes that ship
    python benchmarks/palette.py --search 11 7000 1    # colours for 11 classes, by this measure

Every colour is blended (alpha 0.5) over CamVid's mean road and mean sky, and the result is seen
plainly and as people with protanopia, deuteranopia and tritanopia see it (Machado, Oliveira and
Fernandes 2009, severity 1). Printed is the smallest CIEDE2000 distance of any two classes over the
same ground; 2.3 is just noticeable side by side. Needs scikit-image.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

ALPHA = 0.5
ROAD, SKY = (78, 80, 85), (227, 237, 239)
"""Means over the pixels of CamVid's training images that are labelled so."""

SEEN = {
    "plain": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
"""Linear RGB to linear RGB as somebody sees it."""


def smallest_distances(
    colors_rgb: np.ndarray | Sequence[Sequence[int]], alpha: float = ALPHA
) -> dict[str, float]:
    """For each of :data:`SEEN` the smallest CIEDE2000 distance of two blended colours.

    ``colors_rgb`` is ``[K, 3]`` in 0..255, K at least 2.
    """
    colors = np.asarray(colors_rgb, float)
    grounds = np.array((ROAD, SKY), float)[:, None]
    blended = (alpha * colors + (1 - alpha) * grounds) / 255  # [2, K, 3]
    first, second = np.triu_indices(len(colors), 1)
    seen = np.stack([_seen(blended, matrix) for matrix in SEEN.values()])
    lab = rgb2lab(seen)  # [4, 2, K, 3]
    apart = deltaE_ciede2000(lab[:, :, first], lab[:, :, second])
    return dict(zip(SEEN, apart.min(axis=(1, 2)).tolist(), strict=True))


def search(count: int, steps: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """``count`` colours whose smallest distance of all views is large, by simulated annealing."""
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (count, 3))
    now = best = min(smallest_distances(colors).values())
    kept = colors.copy()
    for step in range(steps):
        heat = 1 - step / steps
        moved = colors.copy()
        one = rng.integers(count)
        moved[one] = np.clip(moved[one] + rng.normal(0, 8 + 80 * heat, 3), 0, 255)
        then = min(smallest_distances(moved).values())
        if then >= now or rng.random() < np.exp((then - now) / (0.02 + 0.3 * heat)):
            colors, now = moved, then
            if now > best:
                kept, best = colors.copy(), now
    return kept, best


def _seen(rgb: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ matrix.T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def main() -> None:
    if sys.argv[1:2] == ["--search"]:
        colors, distance = search(*map(int, sys.argv[2:]))
        print(f"{distance:.1f}: {[tuple(map(int, color)) for color in colors]}")
        return
    from accel_rt.palette import PALETTES

    print(f"{'palette':12}{'classes':>9}" + "".join(f"{name:>9}" for name in SEEN))
    for name, colors in PALETTES.items():
        row = smallest_distances(list(colors.values())).values()
        print(f"{name:12}{len(colors):9}" + "".join(f"{distance:9.1f}" for distance in row))


if __name__ == "__main__":
    main()
