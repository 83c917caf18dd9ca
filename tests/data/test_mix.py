"""Mixing classes of two samples."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.augment import paste, some_box, some_classes


def _mixed(part: Callable, *pictures: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    image, labels, other, other_labels = (torch.from_numpy(p) for p in pictures)
    where = part(other_labels, rng)
    return [each.numpy() for each in paste((image, labels), (other, other_labels), where)]


def test_half_the_classes_move_with_their_pixels() -> None:
    rng = np.random.default_rng(0)
    image, other = rng.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    labels = np.full((24, 32), 9, np.uint8)
    other_labels = rng.integers(0, 5, (24, 32), dtype=np.uint8)
    other_labels[:4] = IGNORE_LABEL
    mixed, mixed_labels = _mixed(some_classes, image, labels, other, other_labels, rng=rng)
    pasted = mixed_labels != 9
    assert len(np.unique(mixed_labels[pasted])) == 3  # of five, rounded up
    np.testing.assert_array_equal(mixed_labels[pasted], other_labels[pasted])
    np.testing.assert_array_equal(mixed[pasted], other[pasted])
    np.testing.assert_array_equal(mixed[~pasted], image[~pasted])
    assert not pasted[:4].any()


def test_nothing_to_paste() -> None:
    image, other = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
    labels, ignored = np.zeros((4, 4), np.uint8), np.full((4, 4), IGNORE_LABEL, np.uint8)
    mixed, mixed_labels = _mixed(
        some_classes, image, labels, other, ignored, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(mixed, image)
    np.testing.assert_array_equal(mixed_labels, labels)


def test_a_box_of_the_other_frame_is_pasted() -> None:
    """What comes from the other frame is a rectangle of a quarter to three quarters."""
    image, labels = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
    other, other_labels = image + 9, labels + 1
    shares = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        mixed, mixed_labels = _mixed(some_box, image, labels, other, other_labels, rng=rng)
        assert ((mixed == 9).all(-1) == (mixed_labels == 1)).all()
        rows, columns = np.nonzero(mixed_labels)
        assert mixed_labels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        shares.append(mixed_labels.mean())
    assert not image.any()
    assert not labels.any()
    assert min(shares) > 0.2
    assert max(shares) < 0.8
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)


def test_what_a_teacher_says_is_pasted_with_its_pixels() -> None:
    """Cells that are pasted in part are mixed by that part."""
    picture, labels = (
        torch.zeros(8, 12, 3, dtype=torch.uint8),
        torch.zeros(8, 12, dtype=torch.uint8),
    )
    own, others = torch.rand(2, 5, 2, 3)
    where = torch.zeros(8, 12, dtype=torch.bool)
    where[:, 4:10] = True
    mixed = paste((picture, labels, own), (picture, labels, others), where)[2]
    torch.testing.assert_close(mixed[..., 0], own[..., 0])
    torch.testing.assert_close(mixed[..., 1], others[..., 1])
    torch.testing.assert_close(mixed[..., 2], (own[..., 2] + others[..., 2]) / 2)
