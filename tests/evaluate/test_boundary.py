"""Boundary F-score against distances between all pairs of contour pixels, and by hand."""

import numpy as np
import pytest

from accel_rt.evaluate.boundary import TrueBoundary, boundary_f, mean_boundary_f


def halves(edge: int, size: int = 40) -> np.ndarray:
    """Class 0 left of column ``edge``, class 1 from there on."""
    return (np.arange(size) >= edge).astype(np.uint8) * np.ones((size, 1), np.uint8)


def test_same_map_is_perfect() -> None:
    labels = halves(20)
    counts = TrueBoundary(labels, 3).counts(labels)
    assert counts[:, 0].tolist() == [40] * 4
    assert boundary_f(counts)[:2].tolist() == [100, 100]
    assert np.isnan(boundary_f(counts)[2])
    assert mean_boundary_f(counts) == 100


def test_shifted_contour_counts_up_to_the_tolerance() -> None:
    tolerance = 3 / np.hypot(40, 40)
    true = TrueBoundary(halves(20), 2, tolerance)
    assert mean_boundary_f(true.counts(halves(23))) == 100
    assert mean_boundary_f(true.counts(halves(24))) == 0


def test_invented_and_missed_contours() -> None:
    flat, split = halves(40), halves(20)
    assert boundary_f(TrueBoundary(flat, 2).counts(split)).tolist() == [0, 0]
    assert boundary_f(TrueBoundary(split, 2).counts(flat)).tolist() == [0, 0]
    assert np.isnan(mean_boundary_f(TrueBoundary(flat, 2).counts(flat)))


def test_hand_worked_precision_and_recall() -> None:
    labels = np.array([[0, 1, 1, 1, 1, 1, 1, 1]], np.uint8)
    predicted = np.array([[0, 1, 1, 1, 1, 2, 2, 2]], np.uint8)
    counts = TrueBoundary(labels, 3, tolerance=1e-6).counts(predicted)
    # Class 0: found. Class 1: column 1 found, column 4 invented. Class 2: column 5 invented.
    assert counts.tolist() == [[1, 1, 0], [1, 2, 1], [1, 1, 0], [1, 1, 0]]
    assert boundary_f(counts) == pytest.approx([100, 100 * 2 * 0.5 / 1.5, 0])


def test_nothing_counts_near_ignored_pixels() -> None:
    labels = halves(20)
    labels[:, 18:22] = 255
    assert not TrueBoundary(labels, 2, tolerance=2 / np.hypot(40, 40)).counts(halves(20)).any()


def test_ignored_pixels_are_no_other_class_in_small_frames_either() -> None:
    """Here the tolerance is less than a pixel."""
    labels = halves(20)
    labels[10:15, 17:24] = 255
    counts = TrueBoundary(labels, 2).counts(halves(20))
    assert boundary_f(counts).tolist() == [100, 100]


@pytest.mark.parametrize("seed", range(3))
def test_random_maps_against_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes, reach = 4, 1.5 + seed
    blocks = rng.integers(0, classes - 1, (2, 4, 5)).astype(np.uint8)
    labels, predicted = blocks.repeat(5, 1).repeat(6, 2)
    predicted = predicted.copy()
    predicted[7, 9] = classes - 1
    labels = labels.copy()
    labels[0, 0] = labels[12, 17] = 255
    counts = TrueBoundary(labels, classes, reach / np.hypot(*labels.shape)).counts(predicted)
    assert counts.tolist() == by_pairs(labels, predicted, classes, reach)


def by_pairs(labels: np.ndarray, predicted: np.ndarray, classes: int, reach: float) -> list:
    height, width = labels.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    ignored = [p for p in places if labels[p] == 255]

    def near(p: tuple[int, int], others: list) -> bool:
        return any(np.hypot(p[0] - q[0], p[1] - q[1]) <= reach for q in others)

    def contour(image: np.ndarray) -> list:
        found = []
        for y, x in places:
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            around = [q for q in around if 0 <= q[0] < height and 0 <= q[1] < width]
            differs = any(image[q] != image[y, x] for q in around)
            if differs and not near((y, x), ignored):
                found.append((y, x))
        return found

    guess, true = contour(predicted), contour(labels)
    rows: list[list[int]] = [[0] * classes for _ in range(4)]
    for c in range(classes):
        ours = [p for p in guess if predicted[p] == c]
        theirs = [p for p in true if labels[p] == c]
        rows[0][c] = sum(near(p, theirs) for p in ours)
        rows[1][c] = len(ours)
        rows[2][c] = sum(near(p, ours) for p in theirs)
        rows[3][c] = len(theirs)
    return rows
