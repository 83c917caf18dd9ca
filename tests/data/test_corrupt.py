"""Corruptions: each harms as it says, the more the stronger, and the same for the same seed."""

import numpy as np
import pytest
import torch

from accel_rt.data.corrupt import (
    CORRUPTIONS,
    Corrupt,
    draw_robust,
    filtered,
    filtered_on_device,
    parse_corruptions,
)
from accel_rt.errors import UsageError

FRAME = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8).repeat(5, 0).repeat(5, 1)
FRAME = FRAME[:, :59]  # an odd size


def _done(corrupt: Corrupt, frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return corrupt(torch.from_numpy(frame), rng).numpy()


def _changed(name: str, strength: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corrupt = CORRUPTIONS[name].draw(strength, rng)
    changed = _done(corrupt, FRAME, rng)
    assert (changed.dtype, changed.shape) == (np.uint8, FRAME.shape)
    return changed


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_is_worse_and_the_seed_repeats_it(name: str) -> None:
    kind = CORRUPTIONS[name]
    mild, severe = (
        np.mean([np.abs(_changed(name, s, i).astype(int) - FRAME).mean() for i in range(5)])
        for s in (kind.mild, kind.severe)
    )
    assert 0 < mild < severe
    np.testing.assert_array_equal(_changed(name, kind.severe), _changed(name, kind.severe))


def test_noise_has_its_standard_deviation() -> None:
    grey, white = np.full((200, 200, 3), 128, np.uint8), np.full((200, 200, 3), 200, np.uint8)
    for name, frame, sigma in (("noise", grey, 10), ("shot", white, 10 * (200 / 255) ** 0.5)):
        rng = np.random.default_rng(1)
        noisy = _done(CORRUPTIONS[name].draw(10, rng), frame, rng)
        assert noisy.std() == pytest.approx(sigma, rel=0.03)
        assert noisy.mean() == pytest.approx(frame.mean(), abs=0.2)


def test_blur_spreads_a_point_over_its_length_and_keeps_the_light() -> None:
    point = np.zeros((31, 31, 3), np.uint8)
    point[15, 15] = 255
    for length in (1, 7):
        rng = np.random.default_rng(2)
        spread = _done(CORRUPTIONS["blur"].draw(length, rng), point, rng)[..., 0]
        y, x = np.nonzero(spread)
        assert max(np.ptp(y), np.ptp(x)) + 1 <= length
        assert np.hypot(np.ptp(y), np.ptp(x)) + 1 == pytest.approx(length, abs=1.5)
        assert spread.sum() == pytest.approx(255, abs=5)


def test_frames_of_one_video_share_what_stays() -> None:
    """Fog is the same on each frame, noise is not."""
    for name, alike in (("fog", True), ("blur", True), ("noise", False)):
        corrupt = CORRUPTIONS[name].draw(5 if name != "fog" else 0.5, np.random.default_rng(3))
        first, second = (_done(corrupt, FRAME, np.random.default_rng(seed)) for seed in (4, 5))
        assert (first == second).all() == alike


def test_a_share_of_samples_is_harmed_more_as_the_run_goes_on() -> None:
    def harm(progress: float) -> list[float]:
        found = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            corrupt = draw_robust(0.5, progress, rng)
            if corrupt is not None:
                found.append(np.abs(_done(corrupt, FRAME, rng).astype(int) - FRAME).mean())
        return found

    early, late = harm(0), harm(1)
    assert len(early) == len(late)
    assert 20 < len(late) < 40
    assert np.mean(early) < 0.6 * np.mean(late)


def test_a_list_is_names_with_strengths() -> None:
    assert parse_corruptions("noise:10, jpeg:30") == (("noise", 10.0), ("jpeg", 30.0))
    with pytest.raises(UsageError, match=r"'snow:1' is no corruption: .* noise, video, jpeg"):
        parse_corruptions("noise:10,snow:1")
    for wrong in ("jpeg", "jpeg:x", "jpeg:0", "noise:300", "fog:nan"):
        with pytest.raises(UsageError, match=f"'{wrong}' must be .* with a strength of"):
            parse_corruptions(wrong)


def test_a_filter_gives_the_same_on_every_device() -> None:
    kernel = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    frame, kernel = torch.from_numpy(FRAME.copy()), kernel / kernel.sum()
    difference = filtered(frame, kernel).int() - filtered_on_device(frame, kernel).int()
    assert difference.abs().max() <= 1
