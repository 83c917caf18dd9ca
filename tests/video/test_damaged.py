"""Damaged files: what can be read is delivered, and the user is told."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from accel_rt.errors import InputError
from accel_rt.video.reader import open_source
from tests.video.clips import picture, picture_number, write_clip

FRAMES = 60


@pytest.fixture(scope="module")
def noisy_images():
    """Numbered pictures with noise, so that every frame takes up a fair share of the file."""
    noise = np.random.default_rng(0)
    return [
        np.clip(picture(n, 160, 120) + noise.normal(0, 12, (120, 160, 3)), 0, 255).astype(np.uint8)
        for n in range(FRAMES)
    ]


def read(path):
    with open_source(path) as source:
        frames = list(source)
    return source, frames


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


FASTSTART = {"movflags": "+faststart"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@pytest.mark.parametrize(("name", "mux"), [("a.mp4", FASTSTART), ("a.mkv", {})])
def test_cut_file_with_its_index(tmp_path, noisy_images, name, mux):
    path = cut(write_clip(tmp_path / name, images=noisy_images, mux=mux), 0.5)
    source, frames = read(path)
    assert FRAMES * 0.35 < len(frames) < FRAMES * 0.65
    assert [picture_number(frame.image_bgr) for frame in frames] == list(range(len(frames)))
    assert source.truncated
    assert source.notes[-1] == f"{name} ended early: {len(frames)} of {FRAMES} frames could be read"


@pytest.mark.parametrize(("name", "mux"), [("a.ts", {}), ("a.mp4", FRAGMENTS)])
def test_cut_file_without_a_known_length(tmp_path, noisy_images, name, mux):
    path = cut(write_clip(tmp_path / name, images=noisy_images, mux=mux), 0.5)
    _, frames = read(path)
    assert FRAMES * 0.35 < len(frames) < FRAMES * 0.65
    assert [picture_number(frame.image_bgr) for frame in frames] == list(range(len(frames)))


def test_an_avi_that_is_cut_off_is_told(tmp_path):
    """FFmpeg takes the length of what is there for that of the whole."""
    images = [picture(n) for n in range(FRAMES)]
    clock = Fraction(1, 25)
    path = tmp_path / "a.avi"
    write_clip(path, images=images, codec="mjpeg", pix_fmt="yuvj420p", time_base=clock)
    source, frames = read(cut(path, 0.9))
    assert FRAMES * 0.7 < len(frames) < FRAMES - 1
    assert source.info.duration_s == FRAMES / 25
    assert source.truncated
    told = f"a.avi ended early: {len(frames)} of {FRAMES} frames could be read"
    assert source.notes[-1] == told


def test_mp4_without_its_index(tmp_path, noisy_images):
    path = cut(write_clip(tmp_path / "a.mp4", images=noisy_images), 0.9)
    with pytest.raises(InputError, match=r"if its index \(moov\) is missing, export it"):
        open_source(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("clock", [25, 12800])
def test_whole_files_are_not_called_damaged(tmp_path, noisy_images, name, clock):
    """A clock finer than the frames gives an AVI many empty frames."""
    path = write_clip(
        tmp_path / name, images=noisy_images, time_base=Fraction(1, clock), audio_s=FRAMES / 25
    )
    source, frames = read(path)
    assert len(frames) == FRAMES
    assert (source.corrupt_frames, source.truncated, source.notes) == (0, False, [])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_corrupt_bytes_in_the_middle(tmp_path, noisy_images, name):
    path = write_clip(tmp_path / name, images=noisy_images)
    data = bytearray(path.read_bytes())
    for position in np.random.default_rng(1).integers(len(data) * 0.4, len(data) * 0.5, 40):
        data[position] ^= 0xFF
    path.write_bytes(data)
    source, frames = read(path)
    assert 0 < source.corrupt_frames < 20
    assert len(frames) >= FRAMES - 20
    assert picture_number(frames[-1].image_bgr) == FRAMES - 1
    assert [frame.index for frame in frames] == list(range(len(frames)))
    times = [frame.pts for frame in frames]
    assert times == sorted(set(times))
    assert not source.truncated
    assert any(f"{source.corrupt_frames} corrupt frames were skipped" in n for n in source.notes)


def break_pngs(path, first):
    """Zero the pictures from the ``first`` on in a clip of PNGs, which stand alone."""
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data.startswith(b"\x89PNG", at)]
    for at in starts[first:]:
        data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    return len(starts)


def test_giving_up_after_many_corrupt_frames_in_a_row(tmp_path):
    images = [picture(n) for n in range(130)]
    path = write_clip(tmp_path / "a.mov", images=images, codec="png", pix_fmt="rgb24")
    assert break_pngs(path, 10) == 130
    source, frames = read(path)
    assert len(frames) == 10
    assert source.corrupt_frames == 100
    assert source.truncated
    assert "a.mov was given up after 100 corrupt frames in a row" in source.notes


def test_nothing_that_can_be_decoded(tmp_path):
    path = write_clip(tmp_path / "a.mov", codec="png", pix_fmt="rgb24")
    break_pngs(path, 0)
    with pytest.raises(InputError, match=r"'a\.mov' holds no frame that can be read"):
        open_source(path)
