"""Flow on the feature grid: composed, and reduced to it."""

import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.flow import grid
from accel_rt.ops import compose_flow, eager, reduce_flow
from tests.ops.inputs import LAYOUTS, channels_last, displacement, with_infinities
from tests.ops.tolerances import assert_alike, assert_near

SHAPES = [(1, 1, 1), (2, 5, 7), (1, 23, 30)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_compose(executor, shape, layout):
    for dtype in executor.dtypes:
        older, newer = (
            LAYOUTS[layout](displacement(shape[0], 2, *shape[1:]).to(dtype)) for _ in range(2)
        )
        expected = newer.double() + eager.flow_warp(older.double(), newer.double())
        actual = executor.compose_flow(older, newer)
        assert actual.dtype == dtype
        assert_near(actual, expected, dtype)


def test_compose_by_hand(executor):
    """Backwards by the newer flow, and from there by the older."""
    older, newer = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)
    older[0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    newer[0, 0], newer[0, 1] = 0.5, -1
    composed = executor.compose_flow(older, newer).cpu()
    assert composed[0, 0].tolist() == [[2, 3, 4, 4.5]] * 3
    assert (composed[0, 1] == -1).all()


def test_compose_with_a_flow_of_zero_returns_the_other(executor):
    """Inf and NaN, too."""
    flow, zero = with_infinities(torch.randn(1, 2, 5, 6)), torch.zeros(1, 2, 5, 6)
    for composed in (executor.compose_flow(flow, zero), executor.compose_flow(zero, flow)):
        assert_alike(composed, flow, torch.float32)


def test_compose_empty(executor):
    assert executor.compose_flow(torch.zeros(0, 2, 3, 4), torch.zeros(0, 2, 3, 4)).numel() == 0


def test_compose_face():
    older, newer = (displacement(1, 2, 4, 6).double().requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(compose_flow, (older, newer), fast_mode=True)
    for arrange in (torch.Tensor.contiguous, channels_last):
        flows = (arrange(older.detach()), arrange(newer.detach()))
        opcheck(torch.ops.accel_rt.compose_flow.default, flows)
    with pytest.raises(UsageError, match="flows must be"):
        compose_flow(older[:, :1], newer)
    with pytest.raises(UsageError, match="newer must be like older"):
        compose_flow(older, newer.float())


def test_compose_operator_checks(executor):
    with pytest.raises(RuntimeError):
        executor.compose_flow(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 4, 3))


# flow's size, the frame's, cells, stride
GRIDS = [
    ((32, 48), (32, 48), (2, 3), 16),
    ((37, 50), (37, 50), (3, 4), 16),
    ((23, 31), (45, 61), (3, 4), 16),
    ((9, 12), (36, 48), (5, 6), 8),
    ((368, 480), (368, 480), (23, 30), 16),
    ((1, 1), (1, 1), (1, 1), 16),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("size", "frame", "cells", "stride"), GRIDS, ids=str)
def test_reduce(executor, size, frame, cells, stride, layout):
    for dtype in executor.dtypes:
        flow = LAYOUTS[layout](displacement(2, 2, *size).to(dtype))
        padded = [
            max(s, round(c * stride * s / f)) for s, c, f in zip(size, cells, frame, strict=True)
        ]
        arguments = (padded, cells, 0.25, 0.5)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        actual = executor.reduce_flow(flow, *arguments)
        assert actual.dtype == wide
        assert actual.is_contiguous(memory_format=torch.channels_last)
        assert_near(actual, eager.reduce_flow(flow.double(), *arguments), wide)


@pytest.mark.parametrize(("size", "frame", "cells", "stride"), GRIDS, ids=str)
def test_reduce_is_the_frame_loops(size, frame, cells, stride):
    flow = displacement(1, 2, *size)
    expected = grid.reduce_flow(
        flow[0].permute(1, 2, 0).contiguous().numpy(), grid.Grid(frame, cells, stride)
    )
    assert_near(reduce_flow(flow, frame, cells, stride), expected.double(), torch.float32)
    # in pixels of the frame instead of its own
    factor = torch.tensor([frame[1] / size[1], frame[0] / size[0]])[:, None, None]
    other = reduce_flow(flow * factor, frame, cells, stride, pixels_of=frame)
    assert_near(other, expected.double(), torch.float32)


def test_reduce_is_area_pooling(executor):
    flow = torch.randn(1, 2, 24, 32)
    expected = F.avg_pool2d(flow.double(), 8)
    assert_near(executor.reduce_flow(flow, (24, 32), (3, 4), 1.0, 1.0), expected, torch.float32)


def test_reduce_keeps_what_is_unknown_where_it_is(executor):
    for value in (torch.nan, torch.inf):
        flow = torch.randn(2, 2, 32, 48)
        flow[1, 0, 9, 20] = value
        reduced = executor.reduce_flow(flow, (32, 48), (4, 6), 1.0, 1.0).cpu()
        assert (~reduced.isfinite()).nonzero().tolist() == [[1, 0, 1, 2]]


def test_reduce_repeats_the_edge(executor):
    flow = torch.arange(6.0).reshape(1, 1, 2, 3).expand(1, 2, 2, 3)
    reduced = executor.reduce_flow(flow, (4, 6), (2, 2), 1.0, 10.0).cpu()
    assert reduced[0, 0].tolist() == [[2.5, 3.5], [4, 5]]
    assert reduced[0, 1].tolist() == [[25, 35], [40, 50]]


def test_reduce_face():
    opcheck(
        torch.ops.accel_rt.reduce_flow.default,
        (torch.randn(1, 2, 20, 30), [32, 32], [2, 2], 0.5, 0.25),
    )
    assert reduce_flow(torch.randn(0, 2, 32, 32), (32, 32), (2, 2), 16).shape == (0, 2, 2, 2)
    with pytest.raises(UsageError, match=r"flow must be .* got \(1, 3, 4, 4\)"):
        reduce_flow(torch.zeros(1, 3, 4, 4), (4, 4), (1, 1), 4)
    with pytest.raises(UsageError, match="must be positive"):
        reduce_flow(torch.zeros(1, 2, 4, 4), (4, 4), (0, 1), 4)
    with pytest.raises(UsageError, match=r"coarser than the grid of \(8, 8\)"):
        reduce_flow(torch.zeros(1, 2, 4, 4), (64, 64), (8, 8), 8)
