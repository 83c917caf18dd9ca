"""The overlay against its formula, and the legend by what it draws."""

from __future__ import annotations

import numpy as np
import pytest

from accel_rt.classes import CAMVID, ClassSet
from accel_rt.errors import UsageError
from accel_rt.video.overlay import Legend, class_shares, draw_outlines, render_overlay

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
    for other in (frame[..., 0], frame.astype(np.float32), np.dstack([frame, frame[..., :1]])):
        with pytest.raises(UsageError, match="a frame is a uint8 array"):
            render_overlay(other, labels, PALETTE)
    with pytest.raises(UsageError, match="labels must be uint8"):
        render_overlay(frame, labels.astype(np.int64), PALETTE)
    with pytest.raises(UsageError, match="a palette is"):
        render_overlay(frame, labels, PALETTE[:11])
    for out in (frame[1:].copy(), frame.astype(np.float32)):  # in which nothing would be written
        with pytest.raises(UsageError, match="out must be uint8 and have the frame's size"):
            render_overlay(frame, labels, PALETTE, out=out)
    for label in (-1, 256):
        with pytest.raises(UsageError, match=f"between 0 and 255, got .*{label}"):
            render_overlay(frame, labels, PALETTE, keep=[3, label])


def test_shares(labels):
    shares = class_shares(labels, 11)
    assert list(shares) == list(range(11))
    assert shares == pytest.approx({label: (labels == label).mean() for label in range(11)})
    assert sum(shares.values()) == pytest.approx(1)


def has_colour(image, rgb):
    return bool((image == np.array(rgb[::-1], np.uint8)).all(axis=2).any())


@pytest.mark.parametrize("size", [(1, 1), (48, 64), (240, 320), (1080, 1920), (1920, 1080)])
@pytest.mark.parametrize("keep", [None, {0, 3}])
def test_a_legend_names_each_chosen_class_and_hides_nothing(size, keep):
    picture = np.full((*size, 3), 99, np.uint8)
    legend = Legend(size, CAMVID, keep)
    both = legend.beside(picture, {0: 0.25})
    assert both.shape == (*legend.shape, 3)
    assert (both[: size[0], : size[1]] == 99).all()
    shown = [has_colour(both[:, size[1] :], rgb) for rgb in CAMVID.colors_rgb]
    wanted = range(len(CAMVID)) if keep is None else keep
    assert [label for label, is_shown in enumerate(shown) if is_shown] == list(wanted)


def test_a_legend_of_many_classes_has_columns_beside_the_picture():
    colors = tuple((n, 255 - n, 1) for n in range(150))
    legend = Legend((480, 640), ClassSet(tuple(f"class {n}" for n in range(150)), colors))
    both = legend.beside(np.zeros((480, 640, 3), np.uint8), {})
    assert legend.shape[0] == 480
    assert all(has_colour(both, rgb) for rgb in colors)


def test_outlines_are_the_chosen_classes_borders_in_full_colour():
    labels = np.full((60, 80), 3, np.uint8)
    labels[20:40, 30:50] = 8
    for keep in (None, {8}):
        picture = np.zeros((60, 80, 3), np.uint8)
        draw_outlines(picture, labels, PALETTE, keep)
        assert (picture[20, 30] == PALETTE[8]).all()
        assert not picture[30, 40].any()
        assert (picture[19, 30] == (PALETTE[3] if keep is None else 0)).all()
