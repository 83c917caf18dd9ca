"""Accuracy and intersection over union against scikit-learn, hand-worked cases and pixel sets."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from accel_rt.errors import UsageError
from accel_rt.evaluate.metrics import (
    ConfusionMatrix,
    class_counts,
    confusion,
    mean_accuracy,
    miou,
    pixel_accuracy,
)


def random_maps(classes: int, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels with a fifth ignored and the last class absent, and predictions of every class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - 1, shape).astype(np.uint8)
    labels[rng.random(shape) < 0.2] = 255
    return labels, rng.integers(0, classes, shape).astype(np.uint8)


def test_hand_worked() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 2]]))
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    iou = matrix.iou()
    assert iou[:2].tolist() == [0.5, 0.5]
    assert np.isnan(iou[2])
    assert matrix.miou() == 50.0
    counts = class_counts(matrix.counts)
    assert counts.tolist() == [[1, 1, 0], [2, 1, 0], [1, 2, 0]]
    assert pixel_accuracy(counts) == pytest.approx(100 * 2 / 3)
    assert mean_accuracy(counts) == pytest.approx(100 * (1 / 2 + 1) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_random_maps_against_scikit_learn(seed: int) -> None:
    classes = 3 + 4 * seed
    labels, predicted = random_maps(classes, (9, 31), seed)
    matrix = confusion(labels, predicted, classes)
    counted = labels != 255
    true, guess = labels[counted], predicted[counted]
    every = list(range(classes))
    assert (matrix == sklearn.confusion_matrix(true, guess, labels=every)).all()
    counts = class_counts(matrix)
    of_class = sklearn.jaccard_score(true, guess, labels=every, average=None, zero_division=0)
    assert miou(counts) == pytest.approx(100 * of_class.mean())
    assert pixel_accuracy(counts) == pytest.approx(100 * sklearn.accuracy_score(true, guess))
    recall = sklearn.recall_score(true, guess, labels=np.unique(true), average="macro")
    assert mean_accuracy(counts) == pytest.approx(100 * recall)


def test_class_in_neither_map_does_not_count() -> None:
    labels, predicted = random_maps(5, (8, 8), 7)
    expected = miou(class_counts(confusion(labels, predicted, 5)))
    wider = class_counts(confusion(labels, predicted, 9))
    assert miou(wider) == pytest.approx(expected)


def test_frames_add_up() -> None:
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
    nothing = np.zeros((3, 2), int)
    assert np.isnan(pixel_accuracy(nothing))
    assert np.isnan(mean_accuracy(nothing))


def test_predictions_do_not_matter_where_labels_are_ignored() -> None:
    labels = np.full((4, 4), 255, np.uint8)
    assert confusion(labels, np.full((4, 4), 200, np.uint8), 3).sum() == 0


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match=r"labels are \(2, 2\) and predictions \(2, 3\)"):
        ConfusionMatrix(2).add(np.zeros((2, 2), int), np.zeros((2, 3), int))


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([[0, 0]], [[0, 2]], "predictions run from 0 to 2: classes are 0 to 1"),
        ([[0, 9]], [[0, 0]], "labels run from 0 to 9: classes are 0 to 1"),
        ([[-1, 0]], [[0, 0]], "labels run from -1 to 0: classes are 0 to 1"),
        ([[0, 0]], [[0, 300]], "predictions run from 0 to 300: classes are 0 to 1"),
    ],
)
def test_values_must_be_classes(labels: list, predicted: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ConfusionMatrix(2).add(np.array(labels), np.array(predicted))
