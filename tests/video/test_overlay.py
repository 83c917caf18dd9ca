"""The overlay against its formula, and the legend by what it draws."""

from __future__ import annotations

import numpy as np
import pytest

from accel_rt.classes import CAMVID, ClassSet
from accel_rt.errors import UsageError
from accel_rt.video.overlay import class_shares, draw_legend, render_overlay

PALETTE = CAMVID.palette_bgr()


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 11, (37, 53), dtype=np.uint8)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("keep", [None, {3, 8}, set()])
def test_blend(frame, labels, alpha, keep):
    expected = (1 - alpha) * frame + alpha * PALETTE[labels]
    if keep is not None:
        expected = np.where(np.isin(labels, list(keep))[..., None], expected, frame)
    before = frame.copy()
    blended = render_overlay(frame, labels, PALETTE, alpha, keep)
    assert blended.dtype == np.uint8
    assert np.abs(blended - expected).max() <= 0.5 + 1e-6
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("keep", [None, {3, 8}])
def test_blend_into_a_given_array(frame, labels, keep):
    expected = render_overlay(frame, labels, PALETTE, keep=keep)
    out = np.empty_like(frame)
    assert render_overlay(frame, labels, PALETTE, keep=keep, out=out) is out
    assert np.array_equal(out, expected)
    assert render_overlay(frame, labels, PALETTE, keep=keep, out=frame) is frame
    assert np.array_equal(frame, expected)


def test_every_label_has_its_colour():
    palette = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    blended = render_overlay(np.zeros((16, 16, 3), np.uint8), labels, palette, 1.0)
    assert np.array_equal(blended, palette[labels])


def test_one_pixel():
    blended = render_overlay(np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 3, np.uint8), PALETTE)
    assert blended.shape == (1, 1, 3)


def test_refusals(frame, labels):
    with pytest.raises(UsageError, match="the frame's size"):
        render_overlay(frame, labels[1:], PALETTE)
    with pytest.raises(UsageError, match=r"between 0 and 1, got 1\.5"):
        render_overlay(frame, labels, PALETTE, alpha=1.5)


def test_shares(labels):
    shares = class_shares(labels, 11)
    assert list(shares) == list(range(11))
    assert shares == pytest.approx({label: (labels == label).mean() for label in range(11)})
    assert sum(shares.values()) == pytest.approx(1)


def has_colour(image, rgb):
    return bool((image == np.array(rgb[::-1], np.uint8)).all(axis=2).any())


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (1080, 1920), (1920, 1080)])
def test_legend_shows_each_class_in_a_corner(size):
    frame = np.full((*size, 3), 99, np.uint8)
    assert draw_legend(frame, CAMVID)
    changed = (frame != 99).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (rows[0], columns[0]) == (0, 0)
    assert columns[-1] < size[1] * 0.45
    assert all(has_colour(frame, rgb) for rgb in CAMVID.colors_rgb)


def test_legend_of_the_chosen_classes_only():
    frame = np.full((480, 640, 3), 99, np.uint8)
    assert draw_legend(frame, CAMVID, keep={0, 3})
    shown = [has_colour(frame, rgb) for rgb in CAMVID.colors_rgb]
    assert [label for label, is_shown in enumerate(shown) if is_shown] == [0, 3]


def test_legend_with_shares_is_wider():
    widths = []
    for shares in (None, {0: 0.25, 3: 0.5}):
        frame = np.full((480, 640, 3), 99, np.uint8)
        assert draw_legend(frame, CAMVID, shares)
        widths.append(np.flatnonzero((frame != 99).any(axis=(0, 2)))[-1])
    assert widths[1] > widths[0]


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (60, 300), (300, 60)])
def test_legend_is_left_out_where_it_cannot_fit(size):
    frame = np.full((*size, 3), 99, np.uint8)
    assert not draw_legend(frame, CAMVID, {0: 1.0})
    assert (frame == 99).all()


def test_legend_of_many_classes():
    many = ClassSet(tuple(f"class {n}" for n in range(150)), tuple((n, 0, 0) for n in range(150)))
    frame = np.full((480, 640, 3), 99, np.uint8)
    assert not draw_legend(frame, many)
    assert draw_legend(frame, many, keep={1, 2, 3})
