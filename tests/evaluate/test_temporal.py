"""Temporal consistency and flicker with motion that is known."""

from itertools import pairwise

import numpy as np
import pytest

from accel_rt.evaluate.metrics import iou, miou
from accel_rt.evaluate.temporal import (
    CorrespondenceEstimator,
    consistency_counts,
    correspondence,
    flicker_counts,
)
from accel_street import StreetDrive


def shifted(shape: tuple[int, int], dx: float, dy: float) -> np.ndarray:
    return np.full((*shape, 2), (dx, dy), np.float32)


def test_labels_that_follow_the_motion_are_consistent() -> None:
    rng = np.random.default_rng(0)
    previous = rng.integers(0, 4, (20, 30)).astype(np.uint8)
    current = np.zeros_like(previous)
    current[2:, 3:] = previous[:-2, :-3]
    moved = correspondence(shifted((20, 30), -3, -2), shifted((20, 30), 3, 2))
    assert moved.seen[2:, 3:].all()
    assert not moved.seen[:2].any()  # these came into the picture from above
    counts = consistency_counts(previous, current, moved, 4)
    assert miou(counts) == 100
    assert counts[1].sum() == 18 * 27
    assert flicker_counts(previous, current, moved).tolist() == [0, 0]  # nothing stands still
    assert miou(consistency_counts(previous, previous, moved, 4)) < 40


def test_flicker_counts_changes_of_still_pixels() -> None:
    previous = np.zeros((4, 5), np.uint8)
    current = previous.copy()
    current[0] = 1
    backward = shifted((4, 5), 0.2, 0)
    backward[3] = (2, 0)  # this row moves
    moved = correspondence(backward, -backward)
    assert flicker_counts(previous, current, moved).tolist() == [5, 15]


def test_pixels_that_came_into_sight_do_not_count() -> None:
    backward, forward = shifted((6, 8), 2, 0), shifted((6, 8), -2, 0)
    forward[:, 4] = (3, 0)  # what was at column 4 went elsewhere: column 2 shows something new
    seen = correspondence(backward, forward).seen
    assert not seen[:, 2].any()
    assert seen[:, [0, 1, 3, 4, 5]].all()
    assert not seen[:, 6:].any()  # outside the previous frame


def test_still_pixels_that_show_something_new_are_no_flicker() -> None:
    backward, forward = shifted((6, 8), 0, 0), shifted((6, 8), 0, 0)
    forward[:, 3] = (4, 0)  # what was there went away, and something else stands there now
    moved = correspondence(backward, forward)
    labels = np.zeros((6, 8), np.uint8)
    changed = labels.copy()
    changed[:, 3] = 1
    assert flicker_counts(labels, changed, moved).tolist() == [0, 6 * 7]


def test_the_picture_ends_half_a_pixel_beyond_its_outer_pixels() -> None:
    for dx, seen in ((-0.4, 8), (-0.6, 7), (0.4, 8), (0.6, 7)):
        moved = correspondence(shifted((6, 8), dx, 0), shifted((6, 8), -dx, 0))
        assert moved.seen.sum() == 6 * seen, dx


def test_consistency_is_symmetric() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 3, (2, 9, 9)).astype(np.uint8)
    still = correspondence(shifted((9, 9), 0, 0), shifted((9, 9), 0, 0))
    forth, back = consistency_counts(a, b, still, 3), consistency_counts(b, a, still, 3)
    assert iou(forth) == pytest.approx(iou(back))


def test_estimated_motion_agrees_with_the_streets() -> None:
    """The labels of a drive follow its true motion: warping by the estimate must keep them."""
    frames = list(StreetDrive(seed=3, size=(144, 192)).frames(3, start=5))
    estimator = CorrespondenceEstimator()
    assert estimator.step(frames[0].image_bgr) is None
    for before, frame in pairwise(frames):
        moved = estimator.step(frame.image_bgr)
        assert moved is not None
        error = np.linalg.norm(moved.source - _source(frame.flow), axis=-1)
        assert np.median(error[moved.seen]) < 0.5
        truth = consistency_counts(before.labels, frame.labels, moved, 11)
        unmoved = correspondence(np.zeros_like(frame.flow), np.zeros_like(frame.flow))
        assert miou(truth) > 85
        assert miou(truth) > miou(consistency_counts(before.labels, frame.labels, unmoved, 11))


def _source(flow: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]]
    return flow + np.stack([x, y], -1)
