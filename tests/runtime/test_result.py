"""What a result says and shows of itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from accel_rt.classes import CAMVID
from accel_rt.errors import UsageError
from accel_rt.palette import recolor
from accel_rt.runtime.result import FrameResult

SHOWN = recolor(CAMVID)


@pytest.fixture
def result():
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 45:] = 8
    return FrameResult(0, None, "key", labels, classes=CAMVID)


def test_shares_are_by_name(result):
    shares = result.shares()
    assert list(shares) == list(CAMVID.names)
    assert (shares["sky"], shares["car"], shares["road"]) == (0.75, 0.25, 0)


def test_a_plot_has_colours_alone_or_over_the_frame(result):
    car = np.array(SHOWN.colors_rgb[8][::-1])
    assert (result.plot(legend=False)[5, 50] == car).all()
    over = result.plot(np.full((40, 60, 3), 100, np.uint8))
    assert np.abs(over[5, 50] - (car + 100) / 2).max() <= 1
    assert over.shape[1] > 60


def test_results_are_saved_and_shown_by_notebooks(result, tmp_path):
    result.save(tmp_path / "x.png")
    saved = np.asarray(Image.open(tmp_path / "x.png"))
    shown = np.asarray(Image.open(io.BytesIO(result._repr_png_())))
    assert (saved == shown).all()
    assert (saved[5, 50] == SHOWN.colors_rgb[8]).all()
    with pytest.raises(UsageError, match="a picture's file ends in"):
        result.save(tmp_path / "x.txt")


def test_labels_without_classes_are_told(result):
    with pytest.raises(UsageError, match="does not say what its labels mean"):
        FrameResult(0, None, "key", result.labels).shares()
