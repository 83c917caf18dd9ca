"""Mixing classes of two samples."""

import numpy as np

from accel_rt.data.classes import IGNORE_LABEL
from accel_rt.data.mix import class_mix


def test_half_the_classes_move_with_their_pixels() -> None:
    rng = np.random.default_rng(0)
    image, other = rng.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    labels = np.full((24, 32), 9, np.uint8)
    other_labels = rng.integers(0, 5, (24, 32), dtype=np.uint8)
    other_labels[:4] = IGNORE_LABEL
    mixed, mixed_labels = class_mix(image, labels, other, other_labels, rng)
    pasted = mixed_labels != 9
    assert len(np.unique(mixed_labels[pasted])) == 3  # of five, rounded up
    np.testing.assert_array_equal(mixed_labels[pasted], other_labels[pasted])
    np.testing.assert_array_equal(mixed[pasted], other[pasted])
    np.testing.assert_array_equal(mixed[~pasted], image[~pasted])
    assert not pasted[:4].any()


def test_nothing_to_paste() -> None:
    image, other = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
    labels, ignored = np.zeros((4, 4), np.uint8), np.full((4, 4), IGNORE_LABEL, np.uint8)
    mixed, mixed_labels = class_mix(image, labels, other, ignored, np.random.default_rng(0))
    np.testing.assert_array_equal(mixed, image)
    np.testing.assert_array_equal(mixed_labels, labels)
