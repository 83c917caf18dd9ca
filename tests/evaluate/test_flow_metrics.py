"""End-point error, warped labels and dense flow of a network."""

import numpy as np
import pytest
import torch

from accel_rt.evaluate.flow import (
    compose,
    endpoint_error,
    flow_colours,
    network_flow,
    warp_labels,
    warped_label_miou,
)
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


class TestWarpedLabels:
    """Stripes that move 2 pixels right a frame over a picture of two classes."""

    LABELS = tuple(
        np.repeat(((np.arange(40) - 2 * t) // 8 % 2)[None], 6, 0).astype(np.uint8) for t in range(6)
    )

    def flows(self, dx: float) -> list[np.ndarray]:
        flow = np.zeros((6, 40, 2), np.float32)
        flow[..., 0] = dx
        return [flow] * 5

    def test_true_flow_keeps_them_but_for_what_comes_in(self) -> None:
        near, far = warped_label_miou(self.LABELS, self.flows(-2), (1, 4), 2)
        assert near > 94
        assert 70 < far < near  # 8 of 40 columns came in

    def test_copying_loses_them(self) -> None:
        # Of 8 columns a stripe, 2 are wrong after a frame: IoU 3/5; after 4 frames all are.
        near, far = warped_label_miou(self.LABELS, self.flows(0), (1, 4), 2)
        assert near == pytest.approx(60, abs=2)
        assert far == 0

    def test_pixels_without_labels_do_not_count(self) -> None:
        labels = [np.where(frame == 0, np.uint8(255), frame) for frame in self.LABELS]
        assert warped_label_miou(labels, self.flows(0), (1,), 2) == [100]

    def test_composition_follows_the_point(self) -> None:
        """Back by the newer flow first, and from there by the older one."""
        older, newer = np.zeros((1, 9, 2), np.float32), np.zeros((1, 9, 2), np.float32)
        older[0, 3, 0], newer[0, 5, 0] = -1, -2
        assert compose(older, newer)[0, 5].tolist() == [-3, 0]
