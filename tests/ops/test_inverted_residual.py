import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.ops import InvertedResidualWeights, inverted_residual, inverted_residual_pack
from tests.ops.inputs import LAYOUTS, channels_last, residual_block
from tests.ops.tolerances import assert_near

# Channels, middle, outputs, images, size, kernel, stride and dilation
CASES = {
    "whole panels": (32, 64, 32, 2, (6, 8), 3, 1, 1),
    "parts of panels, odd sizes": (5, 48, 40, 2, (7, 5), 5, 1, 1),
    "stride": (16, 96, 24, 1, (9, 12), 3, 2, 1),
    "stride of even sizes": (8, 16, 1, 3, (8, 6), 5, 2, 1),
    "dilated": (24, 144, 33, 1, (9, 12), 5, 1, 2),
    "dilated beyond the image": (3, 16, 8, 1, (3, 4), 3, 1, 7),
    "one pixel": (12, 32, 17, 3, (1, 1), 5, 1, 1),
    "one row": (12, 32, 7, 1, (1, 50), 3, 2, 1),
    "several tiles across": (8, 144, 24, 1, (30, 400), 3, 2, 1),
    "expanded once for all tiles": (8, 80, 24, 1, (150, 40), 5, 1, 4),
}
MOST = 1.5


@pytest.fixture(autouse=True)
def _only_where_packed():
    if inverted_residual_pack(*residual_block()) is None:
        pytest.skip("ordinary convolutions are faster on this processor")


@pytest.fixture
def vectors(executor):
    """An executor that has kernels."""
    if not executor.name.startswith("cpu"):
        pytest.skip("there is a kernel for the CPU only")
    return executor


def _case(name: str):
    channels, middle, outputs, images, size, kernel, stride, dilation = CASES[name]
    convolutions = residual_block(channels, middle, outputs, kernel)
    input = torch.randn(images, channels, *size)
    smaller = [(side + stride - 1) // stride for side in size]
    return input, convolutions, torch.randn(images, outputs, *smaller), (stride, dilation)


def twin(input: Tensor, convolutions, stride: int, dilation: int, most: float = MOST) -> Tensor:
    (wide, first), (taps, second), (narrow, third) = [
        (weight.double(), bias.double()) for weight, bias in convolutions
    ]
    out = F.conv2d(input.double(), wide, first).clamp(0, most)
    padding = taps.shape[2] // 2 * dilation
    out = F.conv2d(out, taps, second, stride, padding, dilation, len(second)).clamp(0, most)
    return F.conv2d(out, narrow, third)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_matches_the_threeresidual_block(vectors, name, threads):
    """However many tiles the threads make of it."""
    input, convolutions, shortcut, geometry = _case(name)
    weights = inverted_residual_pack(*convolutions)
    wanted = twin(input, convolutions, *geometry)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for base, relu in ((None, False), (None, True), (shortcut, True), (shortcut, False)):
            total = wanted if base is None else wanted + base.double()
            actual = vectors.inverted_residual(input, *weights, base, *geometry, MOST, relu)
            assert_near(actual, total.relu() if relu else total, torch.float32)
    finally:
        torch.set_num_threads(before)


def test_without_an_upper_bound(vectors):
    input, convolutions, _, geometry = _case("whole panels")
    weights = inverted_residual_pack(*convolutions)
    actual = vectors.inverted_residual(input, *weights, None, *geometry, math.inf, False)
    assert_near(actual, twin(input, convolutions, *geometry, math.inf), torch.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(vectors, layout):
    arrange = LAYOUTS[layout]
    input, convolutions, shortcut, geometry = _case("dilated")
    weights = inverted_residual_pack(*((arrange(w), bias) for w, bias in convolutions))
    images = arrange(input), arrange(shortcut)
    actual = vectors.inverted_residual(images[0], *weights, images[1], *geometry, MOST, True)
    wanted = (twin(input, convolutions, *geometry) + shortcut.double()).relu()
    assert_near(actual, wanted, torch.float32)
    if layout == "channels_last":
        assert actual.is_contiguous(memory_format=torch.channels_last)


def test_nan_reaches_only_what_sees_it(vectors):
    input, convolutions, _, _ = _case("whole panels")
    input[1, :, 5, 7] = torch.nan
    weights = inverted_residual_pack(*convolutions)
    actual = vectors.inverted_residual(input, *weights, None, 1, 1, MOST, True)
    assert actual[1, :, 4:, 6:].isnan().all()
    assert not actual[0].isnan().any()
    assert not actual[1, :, :4].isnan().any()


def test_empty_batch(vectors):
    weights = inverted_residual_pack(*residual_block())
    for size in ((0, 8, 5, 6), (2, 8, 0, 6)):
        actual = vectors.inverted_residual(torch.zeros(size), *weights, None, 1, 1, 6.0, False)
        assert actual.shape == size


def test_through_the_python_face():
    input, convolutions, shortcut, geometry = _case("stride")
    weights = inverted_residual_pack(*convolutions)
    input.requires_grad_()
    actual = inverted_residual(input, weights, *geometry, MOST, shortcut, relu=True)
    assert not actual.requires_grad
    wanted = (twin(input, convolutions, *geometry) + shortcut.double()).relu()
    assert_near(actual, wanted.detach(), torch.float32)


def test_what_is_packed_is_a_copy():
    convolutions = residual_block()
    weights = inverted_residual_pack(*convolutions)
    kept = [tensor.clone() for tensor in weights]
    for weight, bias in convolutions:
        weight.zero_()
        bias.zero_()
    for tensor, before in zip(weights, kept, strict=True):
        assert torch.equal(tensor, before)


def test_opcheck():
    input, convolutions, shortcut, geometry = _case("stride")
    weights = inverted_residual_pack(*convolutions)
    operator = torch.ops.accel_rt.inverted_residual.default
    for image, base in ((input, shortcut), (channels_last(input), None)):
        opcheck(operator, (image, *weights, base, *geometry, 6.0, True))


def test_what_is_not_served_is_not_packed():
    assert inverted_residual_pack(*residual_block(8, 24, 8, 3)) is None  # part of a step
    doubles = [(weight.double(), bias.double()) for weight, bias in residual_block()]
    assert inverted_residual_pack(*doubles) is None


@pytest.mark.parametrize(
    ("position", "pair"),
    [
        (0, (torch.zeros(16, 8, 3, 3), torch.zeros(16))),
        (0, (torch.zeros(32, 8, 1, 1), torch.zeros(32))),
        (0, (torch.zeros(16, 8, 1, 1), torch.zeros(8))),
        (1, (torch.zeros(16, 1, 7, 7), torch.zeros(16))),
        (1, (torch.zeros(16, 16, 3, 3), torch.zeros(16))),
        (2, (torch.zeros(8, 16, 1), torch.zeros(8))),
        (2, (torch.zeros(8, 16, 1, 1).double(), torch.zeros(8).double())),
        (2, (torch.zeros(8, 16, 1, 1, device="meta"), torch.zeros(8, device="meta"))),
    ],
)
def test_errors_of_packing(position, pair):
    convolutions = residual_block()
    convolutions[position] = pair
    with pytest.raises(UsageError, match=r"weights must be \[M, C, 1, 1\], .* got expand \("):
        inverted_residual_pack(*convolutions)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input": torch.zeros(1, 16, 5, 6)}, r"input must be \[N, 8, H, W\]"),
        ({"input": torch.zeros(1, 8, 5, 6).bfloat16()}, "of torch.float32"),
        ({"input": torch.zeros(1, 8, 5, 6, device="meta")}, "on the CPU"),
        ({"input": torch.zeros(1, 1, 1, 1).expand(1, 8, 2**25, 1)}, "at most 16777216 pixels"),
        ({"weights": None}, "weights must come from inverted_residual_pack"),
        ({"stride": 3}, "stride must be a whole number from 1 to 2, got 3"),
        ({"dilation": 0}, "dilation must be a whole number from 1 to 16777216, got 0"),
        ({"dilation": 1.5}, "dilation must be a whole number"),
        ({"most": -1.0}, "most must be at least 0"),
        ({"most": math.nan}, "most must be at least 0"),
        ({"shortcut": torch.zeros(1, 8, 5, 5)}, "shortcut must be"),
    ],
)
def test_errors_name_the_culprit(changed, message):
    weights = inverted_residual_pack(*residual_block())
    with pytest.raises(UsageError, match=message):
        inverted_residual(**({"input": torch.zeros(1, 8, 5, 6), "weights": weights} | changed))


def test_operator_checks_for_itself():
    weights = inverted_residual_pack(*residual_block())
    assert isinstance(weights, InvertedResidualWeights)
    good = [torch.zeros(1, 8, 5, 6), *weights, None, 1, 1, 6.0, False]
    flat = torch.zeros(1)
    for position, bad, message in (
        (0, torch.zeros(1, 16, 5, 6), "packed must come from"),
        (0, torch.zeros(1, 8, 5, 6).double(), "the arguments"),
        (1, flat.expand(weights.expand.shape), "packed must come from"),
        (1, torch.zeros(16, 8, 1, 1), "packed must come from"),
        (2, torch.zeros(32), "packed must come from"),
        (3, torch.zeros(1, 16, 3, 3), "packed must come from"),
        (4, torch.zeros(8), "the arguments"),
        (5, channels_last(torch.zeros(2, 32, 1, 16)), "packed must come from"),
        (6, torch.zeros(64), "packed must come from"),
        (7, torch.zeros(1, 8, 5, 5), "the arguments"),
        (8, 3, "the arguments"),
        (9, 0, "the arguments"),
        (10, -1.0, "the arguments"),
    ):
        arguments = [bad if i == position else value for i, value in enumerate(good)]
        with pytest.raises(RuntimeError, match=f"inverted_residual: {message}"):
            torch.ops.accel_rt.inverted_residual(*arguments)


@pytest.mark.parametrize("dilation", [12, 13, 2**16, 2**24])
def test_a_dilation_beyond_the_image_leaves_the_middle_taps(vectors, dilation):
    input, convolutions, _, _ = _case("dilated")
    weights = inverted_residual_pack(*convolutions)
    actual = vectors.inverted_residual(input, *weights, None, 1, dilation, MOST, False)
    taps, bias = convolutions[1]
    alone = [convolutions[0], (taps[:, :, 2:3, 2:3], bias), convolutions[2]]
    assert_near(actual, twin(input, alone, 1, 1), torch.float32)
