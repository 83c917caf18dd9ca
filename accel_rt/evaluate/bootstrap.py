"""Confidence intervals by resampling frames.

Neighbouring frames of a video look alike, so single frames are not independent samples: blocks of
consecutive frames are drawn instead (circular block bootstrap, Politis and Romano 1992). With
one labelled frame a snippet a block is one frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
_BLOCK_S = 1.0  # of video; scenes change about that fast


def resampled_weights(
    runs: Sequence[int], block: int, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """How often each frame is drawn, float64 ``[resamples, frames]``.

    ``runs`` are the numbers of labelled frames of each clip, ``block`` the frames drawn at once
    (from one clip, wrapping around at its end). Each resample has as many frames as there are, to
    within a block.
    """
    frames = sum(runs)
    starts = np.repeat(np.cumsum([0, *runs[:-1]]), runs)  # of each frame's clip
    lengths = np.repeat(runs, runs)
    rng = np.random.default_rng(seed)
    first = rng.integers(frames, size=(resamples, max(1, round(frames / block)), 1))
    along = first - starts[first] + np.arange(block)
    drawn = starts[first] + along % lengths[first]
    weights = np.zeros((resamples, frames))
    np.add.at(weights, (np.arange(resamples)[:, None, None], drawn), 1)
    return weights


def block_length(dense: bool, rate: float, frames: int) -> int:
    """Frames of a block: a second of densely labelled video at ``rate`` Hz, else 1.

    At most a fifth of all ``frames``: fewer blocks give no useful interval.
    """
    return max(1, min(round(_BLOCK_S * rate), frames // 5)) if dense else 1


def interval_95(values: np.ndarray) -> tuple[float, float]:
    """2.5% and 97.5% of the resampled ``values``; NaN where a resample had no value is left out."""
    if np.isnan(values).all():
        return math.nan, math.nan
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)
