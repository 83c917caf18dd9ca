"""Intersection over union against hand-worked cases and a set-based count."""

import numpy as np
import pytest

from accel_rt.errors import UsageError
from accel_rt.evaluate.metrics import ConfusionMatrix


def test_hand_worked() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 2]]))
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    iou = matrix.iou()
    assert iou[:2].tolist() == [0.5, 0.5]
    assert np.isnan(iou[2])
    assert matrix.miou() == 50.0


def test_random_maps_against_sets_of_pixels() -> None:
    rng = np.random.default_rng(5)
    matrix, true, guess = ConfusionMatrix(6), [], []
    for _ in range(3):
        labels = rng.integers(0, 6, (7, 9)).astype(np.uint8)
        labels[rng.random((7, 9)) < 0.2] = 255
        predicted = rng.integers(0, 5, (7, 9)).astype(np.uint8)
        matrix.add(labels, predicted)
        true.append(labels)
        guess.append(predicted)
    labels, predicted = np.stack(true), np.stack(guess)
    for c in range(6):
        counted = labels != 255
        a, b = (labels == c) & counted, (predicted == c) & counted
        assert matrix.iou()[c] == pytest.approx((a & b).sum() / (a | b).sum())


def test_nothing_counted() -> None:
    assert np.isnan(ConfusionMatrix(2).miou())


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match=r"labels are \(2, 2\) and predictions \(2, 3\)"):
        ConfusionMatrix(2).add(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_values_must_be_classes() -> None:
    with pytest.raises(UsageError, match="predictions run from 0 to 2: classes are 0 to 1"):
        ConfusionMatrix(2).add(np.zeros((1, 2), int), np.array([[0, 2]]))
