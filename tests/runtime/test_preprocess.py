"""Network input: the table gives what the arithmetic gives, and cells stay where they are."""

import numpy as np
import pytest
import torch

from accel_rt.normalise import Normalisation, normalise
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.preprocess import network_input, resize_frame, thumbnail


def padded_to(frame: np.ndarray, padded: tuple[int, int]) -> Geometry:
    size = frame.shape[0], frame.shape[1]
    return Geometry(size, size, padded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_equals_normalisation(dtype: torch.dtype) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    tensor = network_input(frame, padded_to(frame, (32, 48)), dtype=dtype)
    assert tensor.dtype == dtype
    assert torch.equal(tensor, normalise(torch.from_numpy(frame)[None]).to(dtype))
    assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_padding_comes_before_scaling() -> None:
    frame = np.full((40, 48, 3), 255, np.uint8)
    tensor = network_input(frame, padded_to(frame, (64, 64)), scale=0.5)
    assert tensor.shape == (1, 3, 32, 32)
    assert float(tensor[..., :20, :24].min()) > 2
    assert float(tensor[..., 20:, :].abs().max()) < 0.02
    assert float(tensor[..., 24:].abs().max()) < 0.02


def test_shrinking_averages() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[::2] = 200
    assert np.all(resize_frame(frame, (2, 2)) == 100)
    assert resize_frame(frame, (4, 4)) is frame


def test_a_network_is_padded_with_its_own_mean() -> None:
    own = Normalisation((0.5, 0.25, 1.0), (0.5, 0.5, 0.5))
    frame = np.zeros((16, 16, 3), np.uint8)
    tensor = network_input(frame, padded_to(frame, (16, 32)), own)
    torch.testing.assert_close(tensor[0, :, 0, 0], torch.tensor([-1.0, -0.5, -2.0]))
    assert float(tensor[..., 16:].abs().max()) < 0.01


def test_a_thumbnail_is_the_same_wherever_the_frame_lies() -> None:
    """The gate's constants are learnt from those of the CPU, grey border included."""
    frame = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    geometry = padded_to(frame, (48, 64))
    host, device = (thumbnail(f, geometry, 4) for f in (frame, torch.from_numpy(frame)))
    torch.testing.assert_close(device, host, rtol=0, atol=0.51)  # OpenCV rounds to bytes
