import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.ops import depthwise_conv2d, depthwise_conv2d_pack
from tests.ops.inputs import LAYOUTS, channels_last, with_infinities
from tests.ops.tolerances import assert_infinities_reach, assert_near

INFINITE = (-math.inf, math.inf)
# Channels, images, size, kernel, stride, padding, dilation
CASES = {
    "whole tiles": (64, 1, (16, 32), 3, 1, 1, 1),
    "odd sizes": (40, 2, (9, 13), 3, 1, 1, 1),
    "5x5": (16, 2, (11, 19), 5, 1, 2, 1),
    "every other pixel": (72, 1, (17, 23), 3, 2, 1, 1),
    "every other pixel, 5x5": (24, 2, (10, 14), 5, 2, 2, 1),
    "dilated": (96, 1, (13, 21), 3, 1, 2, 2),
    "dilated, 5x5": (32, 1, (18, 11), 5, 1, 4, 2),
    "dilated by three, every other": (8, 1, (15, 26), 3, 2, 3, 3),
    "dilated beyond the image": (16, 1, (3, 4), 3, 1, 9, 9),
    "without padding": (8, 1, (7, 12), 5, 1, 0, 1),
    "more padding than the kernel": (8, 1, (2, 3), 3, 1, 4, 1),
    "channels that fill no pack": (7, 2, (6, 9), 3, 1, 1, 1),
    "one channel": (1, 1, (8, 8), 5, 2, 2, 1),
    "one pixel": (8, 3, (1, 1), 3, 1, 1, 1),
}


def tensors(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, tuple[int, int, int]]:
    """Input, weight, bias and (stride, padding, dilation) that give results of unit scale."""
    channels, images, size, kernel, *geometry = CASES[name]
    return (
        torch.randn(images, channels, *size).to(dtype),
        (torch.randn(channels, 1, kernel, kernel) / kernel).to(dtype),
        torch.randn(channels).to(dtype),
        tuple(geometry),
    )


def twin(input: Tensor, weight: Tensor, bias: Tensor, geometry: tuple[int, int, int]) -> Tensor:
    return F.conv2d(input.double(), weight.double(), bias.double(), *geometry, input.shape[1])


def run(executor, input, weight, bias, geometry, clamp=INFINITE, input_clamp=INFINITE) -> Tensor:
    taps = weight[:, 0].permute(1, 2, 0).contiguous()
    return executor.depthwise_conv2d(input, taps, bias, *geometry, *input_clamp, *clamp)


@pytest.mark.parametrize("name", CASES)
def test_matches_the_convolution(executor, name):
    for dtype in executor.dtypes:
        input, weight, bias, geometry = tensors(name, dtype)
        found = run(executor, channels_last(input), weight, bias, geometry)
        assert found.dtype == dtype
        assert_near(found, twin(input, weight, bias, geometry), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(executor, layout):
    input, weight, bias, geometry = tensors("odd sizes", torch.float32)
    given = LAYOUTS[layout](input)
    found = run(executor, given, weight, bias, geometry)
    assert_near(found, twin(input, weight, bias, geometry), torch.float32)
    wanted = given.stride(1) == 1
    assert found.is_contiguous(memory_format=torch.channels_last) == wanted


def test_memory_that_is_not_aligned(executor):
    """A caller's tensors may start on any element."""
    input, weight, bias, geometry = tensors("whole tiles", torch.float32)
    taps = weight[:, 0].permute(1, 2, 0).contiguous()
    expected = twin(input.clamp(0, 6), weight, bias, geometry)
    for shifted in range(3):
        given = [channels_last(input), taps, bias]
        memory = torch.empty(given[shifted].numel() + 1)[1:]
        given[shifted] = memory.as_strided(given[shifted].shape, given[shifted].stride()).copy_(
            given[shifted]
        )
        found = executor.depthwise_conv2d(*given, *geometry, 0.0, 6.0, *INFINITE)
        assert_near(found, expected, torch.float32)


@pytest.mark.parametrize("clamp", [(0.0, math.inf), (0.0, 6.0), (-0.25, 0.5)])
def test_results_are_kept_between_two_values(executor, clamp):
    for dtype in executor.dtypes:
        input, weight, bias, geometry = tensors("odd sizes", dtype)
        found = run(executor, channels_last(input), 8 * weight, bias, geometry, clamp)
        expected = twin(input, 8 * weight, bias, geometry).clamp(*clamp)
        assert expected.unique().numel() < expected.numel()
        assert_near(found, expected, dtype)


@pytest.mark.parametrize("input_clamp", [(0.0, math.inf), (0.0, 6.0), (-0.5, 0.25)])
@pytest.mark.parametrize(
    "name", ["odd sizes", "every other pixel, 5x5", "dilated, 5x5", "channels that fill no pack"]
)
def test_what_is_read_is_kept_between_two_values(executor, name, input_clamp):
    for dtype in executor.dtypes:
        input, weight, bias, geometry = tensors(name, dtype)
        input *= 4
        found = run(executor, channels_last(input), weight, bias, geometry, INFINITE, input_clamp)
        assert_near(found, twin(input.clamp(*input_clamp), weight, bias, geometry), dtype)


def test_nan_is_not_clamped_away(executor):
    for dtype in executor.dtypes:
        input, weight, bias, geometry = tensors("5x5", dtype)
        input[0, :, 3, 4] = math.nan
        found = run(executor, channels_last(input), weight, bias, geometry, (0, 6), (0, 6))
        expected = twin(input, weight, bias, geometry)
        assert torch.equal(found.isnan().cpu(), expected.isnan())


def test_infinities_stay_where_they_are_read(executor):
    input, weight, bias, geometry = tensors("5x5", torch.float32)
    input = with_infinities(input, 1 / 60)
    found = run(executor, channels_last(input), weight, bias, geometry, (0.0, math.inf))
    expected = twin(input, weight, bias, geometry)
    assert torch.equal(found.isnan().cpu(), expected.isnan())
    assert_infinities_reach(
        torch.where(expected.isnan(), torch.nan, found.cpu()),
        torch.where(expected == -math.inf, 0, expected.clamp(min=0)),
        torch.float32,
    )


def test_no_images(executor):
    weight, bias = torch.randn(8, 1, 3, 3), torch.randn(8)
    assert run(executor, torch.zeros(0, 8, 5, 6), weight, bias, (2, 1, 1)).shape == (0, 8, 3, 3)


def test_face_and_opcheck():
    input, weight, bias, geometry = tensors("every other pixel, 5x5", torch.float32)
    found = depthwise_conv2d(input, weight.requires_grad_(), bias, *geometry, (0, 6), (-1, 1))
    assert not found.requires_grad
    expected = twin(input.clamp(-1, 1), weight, bias, geometry)
    assert_near(found, expected.clamp(0, 6), torch.float32)
    taps = weight.detach()[:, 0].permute(1, 2, 0).contiguous()
    for given in (input, channels_last(input)):
        opcheck(
            torch.ops.accel_rt.depthwise_conv2d.default,
            (given, taps, bias, *geometry, -1.0, 1.0, 0.0, 6.0),
        )


def test_packed_weights_are_the_same_without_a_copy():
    input, weight, bias, geometry = tensors("5x5", torch.float32)
    packed = depthwise_conv2d_pack(weight)
    assert torch.equal(packed, weight)
    assert packed[:, 0].permute(1, 2, 0).is_contiguous()
    expected = depthwise_conv2d(input, weight, bias, *geometry)
    assert torch.equal(depthwise_conv2d(input, packed, bias, *geometry), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": torch.zeros(8, 5, 6)}, r"input must be a floating point tensor \[N, C, H, W\]"),
        ({"weight": torch.zeros(8, 1, 7, 7)}, r"weight must be \(8, 1, 3, 3\) or \(8, 1, 5, 5\)"),
        ({"weight": torch.zeros(8, 8, 3, 3)}, r"got \(8, 8, 3, 3\)"),
        ({"bias": torch.zeros(7)}, r"bias must be \(8,\), got \(7,\)"),
        ({"bias": torch.zeros(8).half()}, "bias is torch.float16 on cpu, input torch.float32"),
        ({"stride": 3}, "stride must be a whole number from 1 to 2, got 3"),
        ({"padding": -1}, "padding must be a whole number from 0 to 16777216, got -1"),
        ({"dilation": 0.5}, "dilation must be a whole number from 1 to 16777216, got 0.5"),
        ({"dilation": 4}, r"reaches over 9 pixels, more than an input of \(5, 6\) with padding 1"),
        ({"clamp": (6, 0)}, r"the least and the greatest result, got \(6, 0\)"),
        ({"input_clamp": (1, 6)}, r"0 between them, got \(1, 6\)"),
    ],
)
def test_errors(change, message):
    arguments = {
        "input": torch.zeros(1, 8, 5, 6),
        "weight": torch.zeros(8, 1, 3, 3),
        "bias": torch.zeros(8),
        "padding": 1,
        **change,
    }
    with pytest.raises(UsageError, match=message):
        depthwise_conv2d(**arguments)


def test_operator_checks_what_it_reads(executor):
    if executor.name.startswith("cpu"):
        pytest.skip("the CPU's implementation is PyTorch, which checks itself")
    input, taps, bias = torch.zeros(1, 8, 5, 6), torch.zeros(3, 3, 8), torch.zeros(8)
    for arguments in [
        (input, torch.zeros(3, 3, 7), bias, 1, 1, 1),
        (input, torch.zeros(5, 3, 8), bias, 1, 1, 1),
        (input, taps.half(), bias, 1, 1, 1),
        (input, taps, torch.zeros(4), 1, 1, 1),
        (input, taps, bias, 3, 1, 1),
        (input, taps, bias, 1, 0, 4),
        (input, taps, bias, 1, 1, 1, 1.0, 6.0),
    ]:
        clamps = (*arguments[6:], *INFINITE, *INFINITE)[:4]
        with pytest.raises(RuntimeError, match="depthwise_conv2d: "):
            executor.depthwise_conv2d(*arguments[:6], *clamps)
