"""End-point error, warped labels and dense flow of a network."""

import numpy as np
import pytest
import torch

from accel_rt.evaluate.flow import endpoint_error, flow_colours, network_flow, warp_labels
from accel_rt.models.flownet import FlowNetS


def test_endpoint_error() -> None:
    flow, truth = np.zeros((2, 3, 2), np.float32), np.zeros((2, 3, 2), np.float32)
    flow[1, 2] = (3, 4)
    assert endpoint_error(flow, truth).tolist() == [[0, 0, 0], [0, 0, 5]]


def test_labels_come_from_where_the_flow_points() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    flow = np.zeros((3, 4, 2), np.float32)
    flow[..., 0], flow[..., 1] = 1, -1
    assert warp_labels(labels, flow).tolist() == [[1, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]]


@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_network_flow_covers_the_frame(size: tuple[int, int]) -> None:
    """A network whose last layer only has a bias says the same everywhere, in pixels."""
    network = FlowNetS(0.125).eval()
    last = network.predictors[-1]
    torch.nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    last.bias.data = torch.tensor([0.1, -0.2])  # type: ignore[union-attr]  # in twentieths
    frame = np.zeros((*size, 3), np.uint8)
    flow = network_flow(network, frame, frame)
    assert flow.shape == (*size, 2)
    np.testing.assert_allclose(flow[..., 0], 2, atol=1e-5)
    np.testing.assert_allclose(flow[..., 1], -4, atol=1e-5)


def test_colours_tell_directions_apart() -> None:
    flow = np.zeros((1, 3, 2), np.float32)
    flow[0, 1], flow[0, 2] = (20, 0), (-20, 0)
    still, right, left = flow_colours(flow)[0].astype(int)
    assert still.max() == 0
    assert abs(right - left).max() > 100
