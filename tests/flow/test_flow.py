"""Flow direction, units and the feature grid."""

import cv2
import numpy as np
import pytest
import torch

from accel_rt.classes import CAMVID
from accel_rt.errors import UsageError, WeightsError
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.flownets import FlowNetSFlow, load_flownet, save_flownet
from accel_rt.flow.grid import Grid, reduce_flow
from accel_rt.models.accel import ScoreFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.store import save_fusion

CPU = torch.device("cpu")


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def grid_of(height: int, width: int, stride: int = 16) -> Grid:
    return Grid((height, width), (-(-height // stride), -(-width // stride)), stride)


def test_reduction_averages_and_changes_units() -> None:
    """32 pixels a cell pair: 8 and 24 pixels of flow average to 16, which is one cell."""
    flow = np.zeros((16, 16, 2), np.float32)
    flow[:, :8, 0], flow[:, 8:, 0], flow[..., 1] = 8, 24, -4
    cells = reduce_flow(flow, grid_of(16, 16))
    assert cells.shape == (1, 2, 1, 1)
    assert cells.flatten().tolist() == pytest.approx([1.0, -0.25])


def test_reduction_of_flow_at_half_resolution() -> None:
    flow = np.full((24, 40, 2), 4, np.float32)  # of a 48x80 frame: 8 pixels there, half a cell
    cells = reduce_flow(flow, grid_of(48, 80))
    assert cells.shape == (1, 2, 3, 5)
    torch.testing.assert_close(cells, torch.full_like(cells, 0.5))


def test_padding_takes_the_edges_flow() -> None:
    flow = np.zeros((40, 48, 2), np.float32)
    flow[32:] = 16
    cells = reduce_flow(flow, grid_of(40, 48))
    torch.testing.assert_close(cells[0, :, 2], torch.ones(2, 3))


def test_dis_flow_points_to_where_the_picture_was() -> None:
    """The view moves 6 pixels right over the scene: content was 6 pixels further right."""
    scene = texture(300, 160)
    source = DISFlow("medium")
    views = (
        source.view(np.ascontiguousarray(scene[:, 20:260])),
        source.view(np.ascontiguousarray(scene[:, 26:266])),
    )
    flow = source.between(*views, grid_of(160, 240))
    middle = 16 * flow[0, :, 3:-3, 3:-3]
    assert float((middle[0] - 6).abs().max()) < 0.5
    assert float(middle[1].abs().max()) < 0.5


def test_dis_at_half_size_has_the_same_units() -> None:
    scene = texture(300, 160)
    source = DISFlow("medium", scale=0.5)
    views = (
        source.view(np.ascontiguousarray(scene[:, 20:260])),
        source.view(np.ascontiguousarray(scene[:, 26:266])),
    )
    flow = source.between(*views, grid_of(160, 240))
    assert float((16 * flow[0, 0, 3:-3, 3:-3] - 6).abs().max()) < 1


@pytest.mark.parametrize("size", [(16, 16), (31, 70), (16, 400)])
def test_dis_takes_small_frames(size: tuple[int, int]) -> None:
    source, frame = DISFlow(), texture(400, 400)[: size[0], : size[1]].copy()
    views = source.view(frame), source.view(frame)
    flow = source.between(*views, grid_of(*size))
    assert torch.isfinite(flow).all()
    assert float(flow.abs().max()) < 0.1


def test_unknown_preset() -> None:
    with pytest.raises(UsageError, match="unknown DIS preset 'slow'"):
        DISFlow("slow")  # type: ignore[arg-type]


class TestFlowNetS:
    @pytest.mark.parametrize("size", [(64, 64), (70, 100), (33, 17)])
    def test_flow_is_a_quarter_of_the_frame(self, size: tuple[int, int]) -> None:
        network = FlowNetS(width=0.25).eval()
        frames = torch.randn(2, 1, 3, *size)
        with torch.inference_mode():
            flow = network(frames[0], frames[1])
        assert flow.shape == (1, 2, -(-size[0] // 4), -(-size[1] // 4))

    @pytest.mark.parametrize("size", [(64, 96), (61, 77), (33, 90)])
    def test_flow_lies_where_its_pixels_are_on_any_size(self, size: tuple[int, int]) -> None:
        """The network's flow says where its cells are; the grid's cells find their own places."""

        class Places(FlowNetS):
            def forward(self, previous: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
                rows, columns = (4 * torch.arange(-(-side // 4)) + 2.0 for side in size)
                return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]

        cells = -(-size[0] // 16), -(-size[1] // 16)
        source = FlowNetSFlow(Places(0.125), torch.device("cpu"), torch.float32)
        frame = np.zeros((*size, 3), np.uint8)
        flow = source.between(source.view(frame), source.view(frame), Grid(size, cells, 16))
        whole = size[0] // 16, size[1] // 16
        places = 16 * flow[0, :, : whole[0], : whole[1]]
        rows, columns = (16 * torch.arange(n) + 8.0 for n in whole)
        expected = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        torch.testing.assert_close(places, expected, rtol=0, atol=1e-3)

    def test_full_width_has_the_papers_size(self) -> None:
        """FlowNetSimple has 38.7 million parameters."""
        parameters = sum(p.numel() for p in FlowNetS().parameters())
        assert parameters == pytest.approx(38.7e6, rel=0.01)

    def test_can_learn_a_shift(self) -> None:
        """A few steps on one pair bring the error down: direction and units are consistent."""
        torch.manual_seed(0)
        scene = torch.nn.functional.interpolate(torch.randn(1, 3, 16, 40), scale_factor=4)
        previous, current = scene[..., :64], scene[..., 4:68]
        target = torch.zeros(1, 2, 16, 16)
        target[:, 0] = 4.0
        network = FlowNetS(width=0.125)
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        errors = []
        for _ in range(25):
            error = (network(previous, current) - target).norm(dim=1).mean()
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            errors.append(float(error.detach()))
        assert errors[0] > 3
        assert errors[-1] < 0.7 * errors[0]

    def test_weights_come_back_and_serve_as_a_source(self, tmp_path) -> None:
        path = tmp_path / "flownets.safetensors"
        save_flownet(path, FlowNetS(width=0.25), "nothing")
        network = load_flownet(path)
        assert network.width == 0.25
        source = FlowNetSFlow(network, CPU, torch.float32)
        frame = texture(100, 68)
        view = source.view(frame)
        assert source.between(view, view, grid_of(68, 100)).shape == (1, 2, 5, 7)

    def test_other_weights_are_refused(self, tmp_path) -> None:
        path = tmp_path / "fusion.safetensors"
        save_fusion(path, ScoreFusion(len(CAMVID)), {})
        with pytest.raises(WeightsError, match="does not hold a FlowNetS"):
            load_flownet(path)
