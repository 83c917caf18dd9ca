"""Animations: frames of other sizes are scaled to the first, and that is told."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from accel_rt.errors import OutputError
from accel_rt.video.picture_file import encode_picture
from accel_rt.video.picture_writer import ANIMATED, PictureWriter
from tests.video.clips import picture


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", *ANIMATED])
def test_a_picture_has_its_colours_where_they_are(tmp_path, suffix):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:16, :16], frame[:16, -16:] = (0, 0, 255), (0, 255, 0)  # red, green; below it blue
    frame[-16:, :16] = (255, 0, 0)
    writer = PictureWriter(tmp_path / f"out{suffix}", Fraction(10))
    writer.write(frame, Fraction(0))
    assert writer.complete()
    writer.commit()
    with Image.open(tmp_path / f"out{suffix}") as image:
        found = np.asarray(image.convert("RGB")).astype(int)
    assert found.shape == (48, 64, 3)
    assert np.abs(found - frame[..., ::-1]).mean() < 6


@pytest.mark.parametrize(
    ("suffix", "largest"), [(".webp", 16383), (".gif", 65535), (".jpg", 65500)]
)
def test_a_size_that_a_file_cannot_have_is_refused_at_the_first_frame(tmp_path, suffix, largest):
    encode_picture(np.zeros((2, largest, 3), np.uint8), suffix)
    frame = np.zeros((2, largest + 1, 3), np.uint8)
    why = rf"a {suffix} has up to {largest} pixels a side, got {largest + 1}x2: name a .png or"
    with pytest.raises(OutputError, match=why):
        PictureWriter(tmp_path / f"out{suffix}", Fraction(10)).write(frame, Fraction(0))
    with pytest.raises(OutputError, match=why):
        encode_picture(frame, suffix)


@pytest.mark.parametrize("suffix", ANIMATED)
@pytest.mark.parametrize(("rate", "frames"), [(25, 12), (60, 50), (120, 50), (240, 10), (1000, 2)])
def test_an_animation_lasts_as_long_as_its_frames(tmp_path, suffix, rate, frames):
    path = tmp_path / f"out{suffix}"
    writer = PictureWriter(path, Fraction(rate))
    for number in range(frames):
        writer.write(picture(number), Fraction(number, rate))
    assert writer.complete()
    writer.commit()
    shown_ms = []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            shown_ms.append(image.info.get("duration") or 20)  # a lone WebP says none
    assert min(shown_ms) >= 20
    assert sum(shown_ms) == pytest.approx(max(1000 * frames / rate, 20), abs=10)
    if rate == 25:
        assert len(shown_ms) == frames


@pytest.mark.parametrize("suffix", ANIMATED)
def test_frames_of_other_sizes_are_scaled_to_the_first(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    writer = PictureWriter(path, Fraction(10))
    for number, size in enumerate(((64, 48), (128, 96), (96, 64))):
        writer.write(picture(number, *size), Fraction(number, 10))
    assert writer.complete()
    writer.commit()
    with Image.open(path) as image:
        assert (image.size, image.n_frames) == ((64, 48), 3)
    assert writer.notes == ["1 picture of another shape was stretched to fit"]
