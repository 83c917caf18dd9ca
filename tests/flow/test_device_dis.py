"""Dense inverse search on the networks' device: as good as OpenCV's, whatever the size."""

import cv2
import numpy as np
import pytest
import torch

from accel_rt.evaluate.flow import endpoint_error
from accel_rt.flow.device_dis import DeviceDIS
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.grid import Grid
from accel_rt.normalise import normalise
from accel_street import StreetDrive

CPU = torch.device("cpu")


def cells(source: DISFlow | DeviceDIS, frames: list[np.ndarray], grid: Grid) -> torch.Tensor:
    previous, current = (source.view(frame) for frame in frames)
    return source.between(previous, current, grid)


def test_as_good_as_opencvs_on_a_drive() -> None:
    frames = list(StreetDrive(seed=4_000_000).frames(2, start=30))
    images, truth = [frame.image_bgr for frame in frames], frames[1].flow
    errors = [
        endpoint_error(source.dense(*images), truth).mean()
        for source in (DISFlow(), DeviceDIS(CPU))
    ]
    still = endpoint_error(np.zeros_like(truth), truth).mean()
    assert errors[1] < 1.5 * errors[0] < still


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (48, 64), (362, 482)], ids=str)
@pytest.mark.parametrize("stride", [2, 4, 16])
def test_any_size_gives_flow_on_the_grid(size: tuple[int, int], stride: int) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2)]
    grid = Grid(size, (-(-size[0] // stride), -(-size[1] // stride)), stride)
    flow = cells(DeviceDIS(CPU), frames, grid)
    assert flow.shape == (1, 2, *grid.cells)
    assert flow.isfinite().all()


def test_a_normalised_frame_is_the_same_view() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    source = DeviceDIS(CPU)
    view = source.view(frame)
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32)
    expected = cv2.resize(grey, (24, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(view[0].numpy(), expected, atol=0.6)  # OpenCV rounds grey to bytes
    on_device = source.view(normalise(torch.from_numpy(frame)[None]))
    torch.testing.assert_close(on_device, view, rtol=0, atol=1e-3)
