"""Confidence intervals: they cover what they should, and blocks keep neighbours together."""

import warnings

import numpy as np
import pytest

from accel_rt.evaluate.bootstrap import block_length, interval_95, resampled_weights


def test_every_resample_has_as_many_frames() -> None:
    weights = resampled_weights([7, 13], block=1, resamples=50)
    assert weights.shape == (50, 20)
    assert (weights.sum(1) == 20).all()
    assert (weights >= 0).all()
    assert len(np.unique(weights, axis=0)) == 50
    assert (resampled_weights([7, 13], 1, 50) == weights).all()


def test_blocks_are_consecutive_and_stay_in_their_clip() -> None:
    for row in resampled_weights([6, 5], block=11, resamples=30):
        # One block of 11 of a clip of 6 or 5 goes round: all of it, and nothing of the other.
        assert row.sum() == 11
        assert (row[:6].sum() == 0) or (row[6:].sum() == 0)
        drawn = row[row > 0]
        assert drawn.max() - drawn.min() <= 1


def test_coverage_of_the_mean() -> None:
    """Of many samples of independent frames, about 95% have the truth in their interval."""
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        values = rng.normal(0, 1, 60)
        weights = resampled_weights([60], 1, 400, seed=trial)
        low, high = interval_95(weights @ values / 60)
        inside += low <= 0 <= high
    assert 180 <= inside <= 198


def test_the_interval_of_nothing_is_none_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(interval_95(np.full(9, np.nan))).all()


def test_the_interval_leaves_out_a_fortieth_at_either_end() -> None:
    assert interval_95(np.arange(1001)) == (25, 975)
    assert interval_95(np.append(np.arange(1001.0), np.nan)) == (25, 975)


def test_blocks_widen_the_interval_of_frames_that_look_alike() -> None:
    values = np.repeat(np.random.default_rng(2).normal(0, 1, 12), 10)
    spread = {}
    for block in (1, 20):
        weights = resampled_weights([120], block, 1000)
        low, high = interval_95(weights @ values / weights.sum(1))
        spread[block] = high - low
    assert spread[20] > 2 * spread[1]


@pytest.mark.parametrize(
    ("dense", "rate", "frames", "length"),
    [
        (True, 15, 101, 15),
        (False, 15, 101, 1),
        (True, 0.2, 101, 1),
        (True, 15, 11, 2),
        (True, 15, 3, 1),
    ],
)
def test_block_length(dense: bool, rate: float, frames: int, length: int) -> None:
    assert block_length(dense, rate, frames) == length
