import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.ops import winograd_conv2d, winograd_conv2d_pack
from tests.ops.inputs import LAYOUTS, channels_last
from tests.ops.tolerances import assert_near

# Channels, outputs, images, size and dilation
CASES = {
    "whole tiles": (32, 32, 2, (6, 8), 1),
    "odd sizes, part of a panel": (16, 72, 2, (7, 5), 1),
    "one pixel": (48, 31, 3, (1, 1), 1),
    "dilated": (32, 40, 2, (9, 12), 2),
    "dilated beyond the image": (16, 1, 1, (3, 4), 5),
    "one row": (16, 96, 1, (1, 9), 3),
    "many tiles, deep": (272, 64, 2, (23, 30), 1),
}


@pytest.fixture
def dtypes(executor) -> list[torch.dtype]:
    """Those that the executor has a kernel for."""
    if not executor.name.startswith("cpu"):
        pytest.skip("there is a kernel for the CPU only")
    wanted = []
    for dtype in (torch.float32, torch.bfloat16):
        with contextlib.suppress(RuntimeError):
            executor.winograd_conv2d_pack(torch.zeros(32, 32, 3, 3, dtype=dtype))
            wanted.append(dtype)
    assert torch.float32 in wanted
    return wanted


def tensors(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Input, weight, bias, shortcut and dilation that give results of unit scale."""
    channels, outputs, images, size, dilation = CASES[name]
    return (
        torch.randn(images, channels, *size).to(dtype),
        (torch.randn(outputs, channels, 3, 3) / math.sqrt(9 * channels)).to(dtype),
        torch.randn(outputs).to(dtype),
        torch.randn(images, outputs, *size).to(dtype),
        dilation,
    )


def twin(input: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    return F.conv2d(
        input.double(), weight.double(), bias.double(), padding=dilation, dilation=dilation
    )


@pytest.mark.parametrize("name", CASES)
def test_matches_the_convolution(executor, dtypes, name):
    for dtype in dtypes:
        input, weight, bias, shortcut, dilation = tensors(name, dtype)
        before = weight.clone()
        packed = executor.winograd_conv2d_pack(weight)
        assert torch.equal(weight, before)
        wanted = twin(input, weight, bias, dilation)
        for base, relu in (
            (None, False),
            (None, True),
            (shortcut, True),
            (channels_last(shortcut), False),
        ):
            actual = executor.winograd_conv2d(input, packed, bias, base, relu, dilation)
            total = wanted if base is None else wanted + base.double()
            assert actual.dtype == dtype
            assert_near(actual, total.relu() if relu else total, dtype)


def test_error_is_of_the_order_of_a_convolutions(executor, dtypes):
    """Relative root mean square against float64; an ordinary convolution's are 2e-7 and 3e-3."""
    for dtype in dtypes:
        input, weight, bias, _, _ = tensors("many tiles, deep", dtype)
        wanted = twin(input, weight, bias, 1)
        packed = executor.winograd_conv2d_pack(weight)
        actual = executor.winograd_conv2d(input, packed, bias, None, False, 1).double()
        error = (actual - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
        assert error < {torch.float32: 1e-6, torch.bfloat16: 6e-3}[dtype]


def test_nan_stays(executor, dtypes):
    for dtype in dtypes:
        input, weight, bias, _, _ = tensors("whole tiles", dtype)
        bias[1] = torch.nan
        input[1, :, 5, 7] = torch.nan
        packed = executor.winograd_conv2d_pack(weight)
        actual = executor.winograd_conv2d(input, packed, bias, None, True, 1)
        assert actual[:, 1].isnan().all()
        assert actual[1, :, 4:, 6:].isnan().all()
        others = torch.arange(32) != 1
        assert not actual[0][others].isnan().any()
        assert not actual[1][others][:, :4].isnan().any()  # tiles that do not see it


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(executor, dtypes, layout):
    arrange = LAYOUTS[layout]
    for dtype in dtypes:
        input, weight, bias, shortcut, _ = tensors("odd sizes, part of a panel", dtype)
        packed = executor.winograd_conv2d_pack(arrange(weight))
        actual = executor.winograd_conv2d(arrange(input), packed, bias, arrange(shortcut), True, 1)
        assert_near(actual, (twin(input, weight, bias, 1) + shortcut.double()).relu(), dtype)
        if layout == "channels_last":
            assert actual.is_contiguous(memory_format=torch.channels_last)


def test_empty_batch(executor, dtypes):
    packed = executor.winograd_conv2d_pack(torch.randn(32, 32, 3, 3))
    for size in ((0, 32, 5, 6), (2, 32, 0, 6)):
        actual = executor.winograd_conv2d(
            torch.zeros(size), packed, torch.zeros(32), None, False, 1
        )
        assert actual.shape == size


def test_through_the_python_face():
    input, weight, bias, shortcut, _ = tensors("odd sizes, part of a panel", torch.float32)
    input, weight = torch.cat([input, input], 1), torch.cat([weight, weight], 1)
    packed = winograd_conv2d_pack(weight)
    if packed is None:
        pytest.skip("an ordinary convolution is faster on this processor")
    actual = winograd_conv2d(input, packed, bias, 1, shortcut, relu=True)
    assert_near(actual, (twin(input, weight, bias, 1) + shortcut.double()).relu(), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype):
    input, weight, bias, shortcut, dilation = tensors("dilated", dtype)
    packed = winograd_conv2d_pack(weight)
    if packed is None:
        pytest.skip("an ordinary convolution is faster on this processor")
    operators = torch.ops.accel_rt
    opcheck(operators.winograd_conv2d_pack.default, (weight,))
    for image, base in ((input, shortcut), (channels_last(input), None)):
        opcheck(operators.winograd_conv2d.default, (image, packed, bias, base, True, dilation))


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(32, 24, 3, 3),  # part of a step of channels
        torch.zeros(32, 16, 3, 3),  # too few channels
        torch.zeros(33, 32, 3, 3),  # nearly half of a panel wasted
        torch.zeros(32, 32, 3, 3, dtype=torch.float16),
        torch.zeros(32, 32, 3, 3, dtype=torch.float64),
        torch.zeros(0, 32, 3, 3),
    ],
)
def test_what_does_not_pay_is_not_packed(weight):
    assert winograd_conv2d_pack(weight) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input": torch.zeros(1, 16, 5, 6)}, r"input must be \[N, 32, H, W\]"),
        ({"input": torch.zeros(1, 32, 5, 6).bfloat16()}, "of torch.float32"),
        ({"bias": torch.zeros(32)}, "bias must be"),
        ({"bias": torch.zeros(40).half()}, "bias must be"),
        ({"shortcut": torch.zeros(1, 40, 5, 5)}, "shortcut must be"),
        ({"dilation": 0}, "dilation must be at least 1"),
        ({"dilation": 1.5}, "dilation must be at least 1, got 1.5"),
        ({"dilation": 2**31}, "dilation must be at most 16777216, got 2147483648"),
        ({"dilation": 2**99}, "dilation must be at most"),
        ({"packed": torch.zeros(40, 32, 3, 3)}, "packed must come from winograd_conv2d_pack"),
        ({"packed": torch.zeros(40)}, "packed must come from winograd_conv2d_pack"),
        ({"packed": torch.zeros(64, 32, 4, 4)}, "packed must come from winograd_conv2d_pack"),
        ({"packed": None}, "packed must be a tensor, got NoneType"),
        ({"input": torch.zeros(1, 1, 1, 1).expand(1, 32, 2**25, 1)}, "at most 16777216 pixels"),
    ],
)
def test_errors_name_the_culprit(changed, message):
    packed = channels_last(torch.zeros(64, 32, 4, 4))
    good = {"input": torch.zeros(1, 32, 5, 6), "packed": packed, "bias": torch.zeros(40)}
    with pytest.raises(UsageError, match=message):
        winograd_conv2d(**(good | changed))


@pytest.mark.parametrize(
    "weight", [torch.zeros(32, 32, 3), torch.zeros(32, 32, 1, 1), torch.zeros(4, 32, 3, 3).int()]
)
def test_errors_of_packing(weight):
    with pytest.raises(UsageError, match=r"weight must be a floating point tensor"):
        winograd_conv2d_pack(weight)


def test_operator_checks_for_itself():
    packed = channels_last(torch.zeros(64, 32, 4, 4))
    good = [torch.zeros(1, 32, 5, 6), packed, torch.zeros(40), None, False, 1]
    for position, bad in (
        (0, torch.zeros(1, 16, 5, 6)),
        (2, torch.zeros(32)),
        (3, torch.zeros(1, 40, 5, 5)),
        (2, torch.zeros(40).bfloat16()),
        (3, torch.zeros(1, 40, 5, 6).bfloat16()),
        (5, 0),
    ):
        arguments = [bad if i == position else value for i, value in enumerate(good)]
        with pytest.raises(RuntimeError, match="winograd_conv2d: the arguments"):
            torch.ops.accel_rt.winograd_conv2d(*arguments)


@pytest.mark.parametrize(
    "packed",
    [
        channels_last(torch.zeros(64, 32, 3, 3)),
        channels_last(torch.zeros(40, 32, 4, 4)),
        torch.zeros(1).expand(64, 32, 4, 4),
        torch.zeros(64, 32, 4, 4),
        torch.zeros(64, 32, 4),
        channels_last(torch.zeros(64, 32, 4, 4)).bfloat16(),
    ],
)
def test_the_operator_refuses_what_nobody_packed(packed):
    with pytest.raises(RuntimeError, match="packed must come from winograd_conv2d_pack"):
        torch.ops.accel_rt.winograd_conv2d(
            torch.zeros(1, 32, 5, 6), packed, torch.zeros(40), None, False, 1
        )


@pytest.mark.parametrize("dilation", [12, 13, 2**16, 2**31, 2**32 + 1, 2**63 - 1])
def test_a_dilation_beyond_the_image_leaves_the_middle_taps(executor, dtypes, dilation):
    """However large: nothing is divided by what is left of it in 32 bits."""
    for dtype in dtypes:
        input, weight, bias, _, _ = tensors("dilated", dtype)
        packed = executor.winograd_conv2d_pack(weight)
        actual = executor.winograd_conv2d(input, packed, bias, None, False, dilation)
        middle = F.conv2d(input.double(), weight[:, :, 1:2, 1:2].double(), bias.double())
        assert_near(actual, middle, dtype)
