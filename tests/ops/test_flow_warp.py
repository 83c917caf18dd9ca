import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.ops import _flow_warp as face
from accel_rt.ops import eager, flow_warp
from tests.ops.inputs import (
    LAYOUTS,
    channels_last,
    displacement,
    on_quarters,
    with_infinities,
)
from tests.ops.tolerances import assert_alike, assert_near

SHAPES = [(1, 1, 1, 1), (2, 3, 5, 7), (1, 37, 11, 13), (2, 64, 6, 9), (1, 300, 4, 3)]


def grid_sample(input: Tensor, flow: Tensor, padding: str) -> Tensor:
    height, width = input.shape[2:]
    x = torch.arange(width) + flow[:, 0]
    y = torch.arange(height)[:, None] + flow[:, 1]
    grid = torch.stack([x * 2 / (width - 1) - 1, y * 2 / (height - 1) - 1], 3)
    return F.grid_sample(input, grid, padding_mode=padding, align_corners=True)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_twin_is_grid_sample(padding):
    input = torch.randn(2, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    flow = displacement(2, 2, 8, 9).double().requires_grad_()
    twin = eager.flow_warp(input, flow, padding == "zeros")
    expected = grid_sample(input, flow, padding)
    assert_near(twin, expected, torch.float64)
    grad = torch.randn_like(twin)
    for ours, theirs in zip(
        torch.autograd.grad(twin, (input, flow), grad),
        torch.autograd.grad(expected, (input, flow), grad),
        strict=True,
    ):
        assert_near(ours, theirs, torch.float64)


def gradients(
    warp: Callable[[Tensor, Tensor], Tensor], input: Tensor, flow: Tensor, grad: Tensor
) -> tuple[Tensor, ...]:
    input, flow = (tensor.double().requires_grad_() for tensor in (input, flow))
    return torch.autograd.grad(warp(input, flow), (input, flow), grad.double())


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_gradients_on_pixel_centres(executor, padding):
    """There a tap weighs nothing and counts all the same: as for F.grid_sample."""
    zeros = padding == "zeros"
    input, grad = torch.randn(2, 2, 3, 5, 9)  # sides at which the grid's positions are exact
    flow = torch.randint(-3, 4, (2, 2, 5, 9)).float()
    expected = gradients(lambda i, f: grid_sample(i, f, padding), input, flow, grad)
    twin = gradients(lambda i, f: eager.flow_warp(i, f, zeros), input, flow, grad)
    kernels = executor.flow_warp_backward(grad, input, flow, zeros, True, True)
    for theirs, *ours in zip(expected, twin, kernels, strict=True):
        for one in ours:
            assert_near(one, theirs, torch.float32)


def test_gradients_of_samples_outside_are_zero(executor):
    """Whatever the image has where nothing is read."""
    for dtype in executor.dtypes:
        input = torch.full((1, 9, 4, 5), torch.nan).to(dtype)
        for x, y in ((100, 0), (0, 100), (100, 100), (-1e30, 0.5), (0.5, torch.nan)):
            flow = torch.tensor([float(x), float(y)])[:, None, None].expand(1, 2, 4, 5)
            found = executor.flow_warp_backward(
                torch.ones_like(input), input, flow, True, True, True
            )
            assert all((gradient == 0).all() for gradient in found)


@pytest.mark.parametrize("zeros", [False, True], ids=["border", "zeros"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward(executor, shape, layout, zeros):
    images, _, height, width = shape
    flow = LAYOUTS[layout](displacement(images, 2, height, width))
    for dtype in executor.dtypes:
        input = LAYOUTS[layout](torch.randn(shape).to(dtype))
        expected = eager.flow_warp(input.double(), flow.double(), zeros)
        actual = executor.flow_warp(input, flow, zeros)
        assert actual.dtype == dtype
        assert_near(actual, expected, dtype)
        if layout in ("contiguous", "strided") or shape[1] == 1:
            assert actual.is_contiguous()
        else:
            assert actual.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("zeros", [False, True], ids=["border", "zeros"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backward(executor, shape, layout, zeros):
    images, _, height, width = shape
    flow = displacement(images, 2, height, width)
    for dtype in executor.dtypes:
        input, grad = (LAYOUTS[layout](torch.randn(shape).to(dtype)) for _ in range(2))
        wide_input, wide_flow = input.double().requires_grad_(), flow.double().requires_grad_()
        warped = eager.flow_warp(wide_input, wide_flow, zeros)
        expected = torch.autograd.grad(warped, (wide_input, wide_flow), grad.double())
        actual = executor.flow_warp_backward(grad, input, flow, zeros, True, True)
        assert_near(actual[0], expected[0], dtype)
        # summed over channels, so compared at their scale
        scale = math.sqrt(shape[1])
        assert_near(actual[1] / scale, expected[1] / scale, torch.float32)


def test_only_the_gradients_asked_for(executor):
    input, flow = torch.randn(1, 4, 3, 3), displacement(1, 2, 3, 3)
    arguments = (torch.ones_like(input), input, flow, False)
    both = executor.flow_warp_backward(*arguments, True, True)
    only_input = executor.flow_warp_backward(*arguments, True, False)
    only_flow = executor.flow_warp_backward(*arguments, False, True)
    assert_near(only_input[0], both[0], torch.float32)
    assert_near(only_flow[1], both[1], torch.float32)
    assert only_input[1].numel() == only_flow[0].numel() == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_out(executor, layout):
    input = LAYOUTS[layout](torch.randn(2, 16, 5, 6))
    flow = displacement(2, 2, 5, 6)
    for out_layout in LAYOUTS.values():
        out = out_layout(torch.full((2, 16, 5, 6), math.nan)).to(executor.device)
        executor.flow_warp_out(input, flow, False, out)
        assert_near(out, executor.flow_warp(input, flow, False).cpu(), torch.float32)


@pytest.mark.parametrize("with_extension", [True, False])
def test_out_is_written_to_for_autograd(monkeypatch, with_extension):
    monkeypatch.setattr(face, "has_kernels", lambda input: with_extension)
    buffer, weight = torch.ones(1, 4, 5, 6), torch.ones(4, 1, 1, requires_grad=True)
    product = (weight * buffer).sum()
    with torch.no_grad():
        flow_warp(torch.randn(1, 4, 5, 6), torch.zeros(1, 2, 5, 6), out=buffer)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
    with torch.inference_mode():  # has no graphs
        out = torch.empty(1, 4, 5, 6)
        assert flow_warp(buffer, torch.zeros(1, 2, 5, 6), out=out) is out


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_hand_values(executor, layout):
    """Flow points to where a pixel comes from: x to the right, y down, in pixels."""
    image = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]).expand(1, 2, 2, 3)
    image = LAYOUTS[layout](image * torch.tensor([1.0, 10.0])[:, None, None])

    def warp(x: float, y: float, zeros: bool) -> list[list[float]]:
        flow = torch.tensor([float(x), float(y)])[:, None, None].expand(1, 2, 2, 3)
        warped = executor.flow_warp(image, flow, zeros).cpu()
        assert torch.equal(warped[0, 1], 10 * warped[0, 0])
        return warped[0, 0].tolist()

    assert warp(0, 0, False) == [[1, 2, 4], [8, 16, 32]]
    assert warp(1, 0, False) == [[2, 4, 4], [16, 32, 32]]
    assert warp(1, 0, True) == [[2, 4, 0], [16, 32, 0]]
    assert warp(0, 1, False) == [[8, 16, 32], [8, 16, 32]]
    assert warp(0, -1, True) == [[0, 0, 0], [1, 2, 4]]
    assert warp(0.5, 0, False) == [[1.5, 3, 4], [12, 24, 32]]
    assert warp(0.5, 0, True) == [[1.5, 3, 2], [12, 24, 16]]
    assert warp(-0.25, 0.5, True) == [[3.375, 7.875, 15.75], [3, 7, 14]]
    assert warp(0, -1e30, False) == [[1, 2, 4], [1, 2, 4]]
    assert warp(1e30, 0, True) == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_flow_of_zero_returns_the_input(executor, layout):
    """Inf and NaN, too, and nothing of them beside."""
    for dtype in executor.dtypes:
        input = LAYOUTS[layout](with_infinities(torch.randn(2, 37, 5, 6)).to(dtype))
        for zeros in (False, True):
            warped = executor.flow_warp(input, torch.zeros(2, 2, 5, 6), zeros).cpu()
            assert torch.equal(warped.isnan(), input.isnan())
            assert torch.equal(warped.nan_to_num(7), input.nan_to_num(7))


@pytest.mark.parametrize("zeros", [False, True], ids=["border", "zeros"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_infinities_reach_what_is_sampled_from_them(executor, layout, zeros):
    for dtype in executor.dtypes:
        input = LAYOUTS[layout](with_infinities(torch.randn(2, 37, 6, 7)).to(dtype))
        flow = on_quarters(2, 2, 6, 7)
        expected = eager.flow_warp(input.double(), flow.double(), zeros)
        assert_alike(executor.flow_warp(input, flow, zeros), expected, dtype)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_values_outside_do_not_leak(executor, layout):
    """What a sample gives no weight stays out of it, even Inf and NaN."""
    image = LAYOUTS[layout](torch.full((1, 8, 4, 4), math.inf))
    flow = torch.full((1, 2, 4, 4), 100.0)
    flow[:, :, 1] = math.nan
    assert (executor.flow_warp(image, flow, True).cpu() == 0).all()
    flow = torch.full((1, 2, 4, 4), math.nan)
    ones = LAYOUTS[layout](torch.ones(1, 8, 4, 4))
    assert (executor.flow_warp(ones, flow, False).cpu() == 1).all()


def test_nan_stays_nan(executor):
    for dtype in executor.dtypes:
        image = channels_last(torch.full((1, 16, 4, 4), math.nan).to(dtype))
        assert executor.flow_warp(image, displacement(1, 2, 4, 4), False).isnan().all()


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 0, 3, 3), (2, 4, 0, 3)], ids=str)
def test_empty(executor, shape):
    input, flow = torch.randn(shape), torch.randn(shape[0], 2, *shape[2:])
    assert executor.flow_warp(input, flow, False).shape == shape
    grad_input, grad_flow = executor.flow_warp_backward(input, input, flow, False, True, True)
    assert grad_input.shape == shape
    assert (grad_flow == 0).all()


def test_outputs_too_large_for_a_cache(executor):
    """They are written in another way; and in pieces they are small."""
    if not executor.name.startswith("cpu"):
        pytest.skip("the same as smaller ones here")
    flow = displacement(1, 2, 60, 71)
    for dtype, channels in ((torch.float32, 1001), (torch.bfloat16, 2005)):
        input = channels_last(torch.randn(1, channels, 60, 71).to(dtype))
        whole = executor.flow_warp(input, flow, True)
        half = channels // 2
        pieces = [executor.flow_warp(part, flow, True) for part in input.split(half, 1)]
        assert_near(whole, torch.cat(pieces, 1), dtype)


@pytest.mark.parametrize("zeros", [False, True], ids=["border", "zeros"])
def test_backward_of_large_images(executor, zeros):
    """They are split over threads, and summed up in bands of rows where sums are rounded."""
    if not executor.name.startswith("cpu"):
        pytest.skip("the same as smaller ones here")
    images, _, height, width = shape = 3, 601, 31, 90
    flow = displacement(images, 2, height, width, reach=12)
    flow[:, :, 3] = torch.nan
    for dtype in (torch.float32, torch.bfloat16):
        input, grad = (channels_last(torch.randn(shape).to(dtype)) for _ in range(2))
        wide = input.double().requires_grad_()
        warped = eager.flow_warp(wide, flow.double(), zeros)
        (expected,) = torch.autograd.grad(warped, wide, grad.double())
        actual, _ = executor.flow_warp_backward(grad, input, flow, zeros, True, False)
        assert_near(actual, expected, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_threads_agree(dtype):
    """Results do not depend on how pixels are split over threads."""
    input = channels_last(torch.randn(2, 600, 40, 50).to(dtype)).requires_grad_()
    flow = displacement(2, 2, 40, 50).requires_grad_()
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            warped = flow_warp(input, flow)
            found.append((warped, *torch.autograd.grad(warped.square().sum(), (input, flow))))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("zeros", [False, True])
def test_opcheck_and_gradcheck(zeros):
    input = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = displacement(2, 2, 4, 5).double().requires_grad_()
    opcheck(torch.ops.accel_rt.flow_warp.default, (input, flow, zeros))
    opcheck(torch.ops.accel_rt.flow_warp.default, (channels_last(input.detach()), flow, zeros))
    out = torch.empty_like(input)
    opcheck(torch.ops.accel_rt.flow_warp_out.default, (input.detach(), flow.detach(), zeros, out))
    padding = "zeros" if zeros else "border"
    assert torch.autograd.gradcheck(lambda i, f: flow_warp(i, f, padding), (input, flow))


def test_face_matches_twin_and_keeps_types():
    input = channels_last(torch.randn(1, 8, 5, 6)).bfloat16().requires_grad_()
    flow = displacement(1, 2, 5, 6).requires_grad_()
    warped = flow_warp(input, flow)
    warped.sum().backward()
    assert warped.dtype == input.grad.dtype == torch.bfloat16
    assert flow.grad.dtype == torch.float32
    expected = eager.flow_warp(input.detach().double(), flow.detach().double())
    assert_near(warped, expected, torch.bfloat16)


def test_export_sees_through():
    input, flow = torch.randn(1, 4, 5, 6), displacement(1, 2, 5, 6)
    exported = torch.export.export(_Warp(), (input, flow))
    assert_near(exported.module()(input, flow), flow_warp(input, flow), torch.float32)


class _Warp(torch.nn.Module):
    def forward(self, input: Tensor, flow: Tensor) -> Tensor:
        return flow_warp(input, flow, "zeros" if input.shape[0] > 4 else "border") * 1


@pytest.mark.parametrize(
    ("input", "flow", "padding", "message"),
    [
        ((4, 5, 6), (1, 2, 5, 6), "border", r"input must be .*\[N, C, H, W\], got \(4, 5, 6\)"),
        (
            (1, 4, 5, 6),
            (1, 2, 6, 5),
            "border",
            r"flow must be .*\(1, 2, 5, 6\).*got \(1, 2, 6, 5\)",
        ),
        ((2, 4, 5, 6), (1, 2, 5, 6), "border", r"flow must be .*\(2, 2, 5, 6\)"),
        (
            (1, 4, 5, 6),
            (1, 2, 5, 6),
            "reflect",
            "padding must be 'border' or 'zeros', got 'reflect'",
        ),
    ],
)
def test_errors(input, flow, padding, message):
    with pytest.raises(UsageError, match=message):
        flow_warp(torch.zeros(input), torch.zeros(flow), padding)


def test_errors_of_types_and_out():
    input, flow = torch.zeros(1, 4, 5, 6), torch.zeros(1, 2, 5, 6)
    with pytest.raises(UsageError, match=r"of torch\.int32"):
        flow_warp(input.int(), flow)
    with pytest.raises(UsageError, match=r"out must be like input.*float64"):
        flow_warp(input, flow, out=torch.empty(1, 4, 5, 6, dtype=torch.float64))
    with pytest.raises(UsageError, match="out cannot be given where gradients"):
        flow_warp(input.requires_grad_(), flow, out=torch.empty(1, 4, 5, 6))


@pytest.mark.parametrize("with_extension", [True, False])
def test_out_that_overlaps_is_refused(monkeypatch, with_extension):
    """Elements would be read after they were overwritten."""
    if not with_extension:
        monkeypatch.setattr(face, "has_kernels", lambda input: False)
    memory = torch.zeros(3, 4, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    input = memory[1:2]
    for out in (
        input,
        memory.flatten()[60:180].view(1, 4, 5, 6),
        torch.zeros(1, 1, 5, 6).expand(1, 4, 5, 6),
    ):
        with pytest.raises(UsageError, match="out must have memory of its own"):
            flow_warp(input, flow, out=out)
    with pytest.raises(UsageError, match="out must have memory of its own"):
        flow_warp(torch.zeros(1, 2, 5, 6), flow, out=flow)
    for beside in (memory[:1], memory[2:]):  # of one allocation, but apart
        assert flow_warp(input, flow, out=beside) is beside
    none = torch.zeros(0, 4, 5, 6)
    assert flow_warp(none, torch.zeros(0, 2, 5, 6), out=none) is none


def test_operator_checks_what_it_reads(executor):
    """The operator below the face is memory-safe by itself."""
    input = torch.zeros(1, 4, 5, 6)
    with pytest.raises(RuntimeError, match="flow_warp: the arguments"):
        executor.flow_warp(input, torch.zeros(1, 2, 5, 5), False)
    with pytest.raises(RuntimeError, match="flow_warp: the arguments"):
        executor.flow_warp(input[0], torch.zeros(1, 2, 5, 6), False)
    with pytest.raises(RuntimeError, match="flow_warp: the arguments"):
        executor.flow_warp_backward(input[:, :3], input, torch.zeros(1, 2, 5, 6), False, True, True)
    out = torch.zeros(1, 4, 5, 5, device=executor.device)
    with pytest.raises(RuntimeError, match="flow_warp: the arguments"):
        executor.flow_warp_out(input, torch.zeros(1, 2, 5, 6), False, out)
