import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.ops import deform_conv2d, deform_conv2d_pack, deform_conv2d_packed, eager
from tests.need import need
from tests.ops.inputs import LAYOUTS, channels_last, displacement, on_quarters, with_infinities
from tests.ops.tolerances import assert_alike, assert_infinities_reach, assert_near


@dataclass(frozen=True)
class Case:
    """One convolution's geometry."""

    channels: int = 8
    outputs: int = 6
    size: tuple[int, int] = (7, 9)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    offset_groups: int = 1
    images: int = 2
    masked: bool = True

    @property
    def geometry(self) -> tuple[list[int], list[int], list[int]]:
        return list(self.stride), list(self.padding), list(self.dilation)

    def out_size(self) -> list[int]:
        return [
            (self.size[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in range(2)
        ]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Input, offset, weight, bias and mask that give results of unit scale."""
        taps = self.kernel[0] * self.kernel[1]
        depth = self.channels // self.groups
        input = torch.randn(self.images, self.channels, *self.size)
        offset = displacement(self.images, 2 * self.offset_groups * taps, *self.out_size(), reach=2)
        weight = torch.randn(self.outputs, depth, *self.kernel) / math.sqrt(depth * taps)
        mask = torch.rand(self.images, self.offset_groups * taps, *self.out_size())
        return input, offset, weight, torch.randn(self.outputs), mask if self.masked else None


CASES = {
    "plain": Case(masked=False),
    "mask": Case(),
    "dilated with offset groups": Case(
        channels=32, dilation=(2, 2), padding=(2, 2), offset_groups=4, masked=False
    ),
    "asymmetric": Case(size=(11, 8), kernel=(3, 2), stride=(2, 1), padding=(0, 2), dilation=(2, 3)),
    "groups": Case(channels=12, groups=3, offset_groups=3),
    "groups across offset groups": Case(channels=12, groups=3, offset_groups=2),
    "depthwise": Case(channels=6, outputs=12, size=(4, 5), groups=6, offset_groups=6),
    "odd channels": Case(channels=37, outputs=5),
    "whole blocks": Case(channels=64, outputs=96, size=(5, 9), offset_groups=2),
    "more channels than lanes": Case(channels=136, outputs=4, size=(3, 4), masked=False),
    "one by one": Case(kernel=(1, 1), padding=(0, 0), images=1),
    "one pixel": Case(channels=3, outputs=1, size=(1, 1), images=1),
}


def twin(case: Case, *tensors: Tensor | None) -> Tensor:
    wide = [None if tensor is None else tensor.double() for tensor in tensors]
    return eager.deform_conv2d(*wide, case.stride, case.padding, case.dilation)


@pytest.mark.parametrize("name", CASES)
def test_forward(executor, name):
    case = CASES[name]
    for dtype in executor.dtypes:
        input, offset, weight, bias, mask = case.tensors()
        input, weight, bias = input.to(dtype), weight.to(dtype), bias.to(dtype)
        for added in (bias, None):
            actual = executor.deform_conv2d(input, offset, weight, added, mask, *case.geometry)
            assert actual.dtype == dtype
            assert_near(actual, twin(case, input, offset, weight, added, mask), dtype)


@pytest.mark.parametrize("name", CASES)
def test_backward(executor, name):
    case = CASES[name]
    for dtype in executor.dtypes:
        input, offset, weight, _, mask = case.tensors()
        input, weight = input.to(dtype), weight.to(dtype)
        if dtype == torch.float64:  # gradients come back in the type of what they are of
            offset, mask = offset.double(), None if mask is None else mask.double()
        leaves = [
            None if tensor is None else tensor.double().requires_grad_()
            for tensor in (input, offset, weight, mask)
        ]
        result = twin(case, leaves[0], leaves[1], leaves[2], None, leaves[3])
        # sums over pixels and outputs, brought to unit scale
        grad = (torch.randn(result.shape) / math.sqrt(result[:, 0].numel())).to(dtype)
        expected = torch.autograd.grad(
            result, [leaf for leaf in leaves if leaf is not None], grad.double()
        )
        actual = executor.deform_conv2d_backward(
            grad, input, offset, weight, mask, *case.geometry, True, True, True, mask is not None
        )
        for found, wanted in zip(actual, expected, strict=False):
            assert_near(found, wanted, dtype)
        if mask is None:
            assert actual[3].numel() == 0


def test_several_tiles(executor):
    """More output pixels than columns are gathered at once, against an image at a time."""
    channels, side = (32, 7) if executor.name == "cuda-emulated" else (512, 18)
    case = Case(channels, outputs=4, size=(side, side), images=3, offset_groups=2)
    input, offset, weight, bias, mask = case.tensors()
    grad = torch.randn(3, 4, side, side) / side

    def run(images: slice) -> tuple[Tensor, ...]:
        part = [t[images] for t in (input, offset, mask)]
        forward = executor.deform_conv2d(part[0], part[1], weight, bias, part[2], *case.geometry)
        backward = executor.deform_conv2d_backward(
            grad[images], part[0], part[1], weight, part[2], *case.geometry, *[True] * 4
        )
        return forward, *backward

    together = run(slice(None))
    apart = list(zip(*(run(slice(i, i + 1)) for i in range(3)), strict=True))
    for which in (0, 1, 2, 4):
        assert_near(together[which], torch.cat(apart[which]).cpu(), torch.float32)
    assert_near(together[3], torch.stack(apart[3]).sum(0).cpu(), torch.float32)


# Whole blocks of outputs are computed in ways of their own, with tile instructions and without:
# several tiles of pixels, and channels summed in parts, between which an offset group is divided
WHOLE_BLOCKS = {
    "tiles": Case(128, 64, (37, 23), stride=(2, 1), dilation=(1, 2), images=3, offset_groups=4),
    "parts": Case(288, 32, (6, 9), padding=(2, 1), kernel=(2, 3), offset_groups=3),
    "odd parts": Case(602, 32, (5, 7), kernel=(2, 3), offset_groups=2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", WHOLE_BLOCKS)
def test_whole_blocks(executor, name, dtype):
    if not executor.name.startswith("cpu"):
        pytest.skip("the same as other shapes here")
    case = WHOLE_BLOCKS[name]
    for masked in (False, True):
        input, offset, weight, bias, mask = case.tensors()
        input, weight, bias = input.to(dtype), weight.to(dtype), bias.to(dtype)
        input[0, :, 3, 4] = torch.nan
        offset[0] += 100  # outside, where not even NaN is read
        tensors = input, offset, weight, bias, mask if masked else None
        actual = executor.deform_conv2d(*tensors, *case.geometry)
        assert_near(actual, twin(case, *tensors), dtype)


@pytest.mark.parametrize("name", [*CASES, *WHOLE_BLOCKS])
def test_packed(executor, name):
    """Weights laid out before, and what follows in the same pass."""
    if not executor.name.startswith("cpu"):
        pytest.skip("there are packed weights on the CPU only")
    case = (CASES | WHOLE_BLOCKS)[name]
    for dtype in executor.dtypes:
        input, offset, weight, bias, mask = case.tensors()
        input, weight, bias = input.to(dtype), weight.to(dtype), bias.to(dtype)
        shortcut = torch.randn(case.images, case.outputs, *case.out_size()).to(dtype)
        before = weight.clone()
        packed = executor.deform_conv2d_pack(weight, case.channels, case.offset_groups)
        assert packed.shape == weight.shape
        for added, base, relu in (
            (bias, shortcut, True),
            (bias, None, True),
            (None, channels_last(shortcut), False),
            (None, None, False),
        ):
            actual = executor.deform_conv2d_packed(
                input, offset, packed, added, mask, base, relu, *case.geometry
            )
            wanted = twin(case, input, offset, weight, added, mask)
            wanted = wanted if base is None else wanted + base.double()
            assert actual.dtype == dtype
            assert_near(actual, wanted.relu() if relu else wanted, dtype)
        assert torch.equal(weight, before)


INFINITE_CASES = {
    "columns": Case(),
    "whole blocks": Case(channels=32, outputs=64, masked=False),
}


@pytest.mark.parametrize("name", INFINITE_CASES)
def test_infinities_reach_what_is_sampled_from_them(executor, name):
    case = INFINITE_CASES[name]
    for dtype in executor.dtypes:
        input, offset, weight, bias, mask = case.tensors()
        input = with_infinities(input, 1 / 500).to(dtype)
        tensors = input, on_quarters(*offset.shape), weight.to(dtype), bias.to(dtype), mask
        expected = twin(case, *tensors)
        assert expected.isfinite().any()
        in_terms = case.channels % 32 == 0 and executor.name in (
            "cpu-avx512",
            "cuda-emulated",
            "cuda",
        )
        check = assert_infinities_reach if in_terms else assert_alike
        check(executor.deform_conv2d(*tensors, *case.geometry), expected, dtype)


@pytest.mark.parametrize("outputs", [6, 32])
def test_packed_keeps_nan(executor, outputs):
    if not executor.name.startswith("cpu"):
        pytest.skip("there are packed weights on the CPU only")
    case = Case(channels=32, outputs=outputs)
    for dtype in executor.dtypes:
        input, offset, weight, bias, mask = case.tensors()
        bias[1] = torch.nan
        input, weight, bias = input.to(dtype), weight.to(dtype), bias.to(dtype)
        packed = executor.deform_conv2d_pack(weight, 32, 1)
        actual = executor.deform_conv2d_packed(
            input, offset, packed, bias, mask, None, True, *case.geometry
        )
        assert actual[:, 1].isnan().all()
        assert not actual[:, 2:].isnan().any()


def test_packed_empty_batch():
    case = Case(channels=32, outputs=32, images=0)
    input, offset, weight, bias, mask = case.tensors()
    packed = deform_conv2d_pack(weight, 32, 1)
    actual = deform_conv2d_packed(input, offset, packed, bias, *case.geometry, mask, relu=True)
    assert actual.shape == (0, 32, 7, 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("outputs", [6, 32])
def test_packed_opcheck(dtype, outputs):
    case = Case(channels=64, outputs=outputs, offset_groups=2)
    input, offset, weight, bias, mask = (t.to(dtype) for t in case.tensors())
    operators = torch.ops.accel_rt
    opcheck(operators.deform_conv2d_pack.default, (weight, case.channels, case.offset_groups))
    packed = deform_conv2d_pack(weight, case.channels, case.offset_groups)
    shortcut = torch.randn(case.images, outputs, *case.out_size(), dtype=dtype)
    for image, base in ((input, shortcut), (channels_last(input), None)):
        opcheck(
            operators.deform_conv2d_packed.default,
            (image, offset, packed, bias, mask, base, True, *case.geometry),
        )


@pytest.mark.parametrize("axis", [0, 1])
def test_just_inside_the_last_row_and_column(executor, axis):
    """A position that one more would round up past the edge reads and writes inside the image."""
    side = 16
    case = Case(32, 32, (side, side), kernel=(1, 1), padding=(0, 0), masked=False)
    for dtype in (torch.float32, torch.bfloat16):
        input, _, weight, _, _ = case.tensors()
        input, weight = channels_last(input.to(dtype)), weight.to(dtype)
        input[1] = torch.nan  # lies behind the first image
        edge = torch.nextafter(torch.tensor(float(side)), torch.tensor(0.0))
        place = torch.arange(float(side)).expand(side, side)
        offset = torch.zeros(2, 2, side, side)
        offset[:, axis] = edge - (place if axis == 1 else place.T)
        alone = [t[:1] for t in (input, offset)]
        actual = executor.deform_conv2d(input, offset, weight, None, None, *case.geometry)
        assert_near(actual[:1], twin(case, *alone, weight, None, None), dtype)

        grad = torch.zeros(2, 32, side, side, dtype=dtype)
        grad[0] = 1
        input[1] = 0
        found, *_ = executor.deform_conv2d_backward(
            grad, input, offset, weight, None, *case.geometry, True, True, True, False
        )
        assert found[0].any()
        assert not found[1].any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(executor, layout):
    case = Case(channels=16, offset_groups=2)
    arrange = LAYOUTS[layout]
    input, offset, weight, bias, mask = case.tensors()
    grad = torch.randn(2, 6, *case.out_size())
    dense = (input, offset, weight, mask)
    arranged = [arrange(tensor) for tensor in dense]
    forward, backward = executor.deform_conv2d, executor.deform_conv2d_backward
    actual = forward(*arranged[:3], bias, arranged[3], *case.geometry)
    assert_near(actual, twin(case, input, offset, weight, bias, mask), torch.float32)
    if layout == "channels_last":
        assert actual.is_contiguous(memory_format=torch.channels_last)
    needed = (True,) * 4
    expected = backward(grad, *dense, *case.geometry, *needed)
    for found, wanted in zip(
        backward(arrange(grad), *arranged, *case.geometry, *needed), expected, strict=True
    ):
        assert_near(found, wanted.cpu(), torch.float32)


def test_only_the_gradients_asked_for(executor):
    case = Case()
    input, offset, weight, _, mask = case.tensors()
    grad = torch.randn(2, 6, *case.out_size())

    def backward(*needed: bool) -> tuple[Tensor, ...]:
        return executor.deform_conv2d_backward(
            grad, input, offset, weight, mask, *case.geometry, *needed
        )

    everything = backward(True, True, True, True)
    for which in range(4):
        only = backward(*(i == which for i in range(4)))
        assert_near(only[which], everything[which].cpu(), torch.float32)
        assert all(only[i].numel() == 0 for i in range(4) if i != which)


def test_gradients_on_pixel_centres(executor):
    """As layers begin: all offsets are zero."""
    case = CASES["mask"]
    input, offset, weight, bias, mask = case.tensors()
    offset = on_quarters(*offset.shape, reach=2)
    wide = [t.double().requires_grad_() for t in (input, offset, weight, mask)]
    expected_output = twin(case, wide[0], wide[1], wide[2], bias, wide[3])
    grad = torch.randn(expected_output.shape)
    expected = torch.autograd.grad(expected_output, wide, grad.double())
    actual = executor.deform_conv2d_backward(
        grad, input, offset, weight, mask, *case.geometry, *[True] * 4
    )
    for ours, theirs in zip(actual, expected, strict=True):
        scale = theirs.abs().max()
        assert_near(ours.cpu() / scale, theirs / scale, torch.float32)


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000, 0x7F800001])
def test_masks_that_are_nan_give_nan(executor, bits):
    """Whichever bits of it are set: those of a CUDA device are not those of a processor."""
    nan = torch.tensor(bits - (bits >> 31 << 32), dtype=torch.int32).view(torch.float32)
    case = Case(channels=32, outputs=32)
    for dtype in executor.dtypes:
        input, offset, weight, _, mask = case.tensors()
        offset, mask = torch.zeros_like(offset), nan.expand_as(mask)
        found = executor.deform_conv2d(
            input.to(dtype), offset, weight.to(dtype), None, mask, *case.geometry
        )
        assert found.isnan().all()


def test_zero_offsets_make_a_plain_convolution(executor):
    case = Case(channels=12, groups=3, offset_groups=2, stride=(2, 1), padding=(2, 0))
    input, offset, weight, bias, _ = case.tensors()
    actual = executor.deform_conv2d(
        input, torch.zeros_like(offset), weight, bias, None, *case.geometry
    )
    expected = F.conv2d(
        input.double(), weight.double(), bias.double(), *case.geometry, groups=case.groups
    )
    assert_near(actual, expected, torch.float32)


def test_hand_values(executor):
    """Offsets are (y, x) for each tap, row by row; outside the image there is zero."""
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    weight = torch.tensor([[[[1.0, 100.0]]]])
    offset = torch.zeros(1, 4, 3, 3)

    def convolve() -> list[list[float]]:
        return executor.deform_conv2d(
            image, offset, weight, None, None, [1, 1], [0, 0], [1, 1]
        ).tolist()[0][0]

    assert convolve()[1] == [504, 605, 706]
    offset[:, 2, 1] = 1  # second tap, one row down
    assert convolve()[1] == [904, 1005, 1106]
    offset[:, 1, 1] = 0.5  # first tap, half a pixel to the right
    assert convolve()[1] == [904.5, 1005.5, 1106.5]
    offset[:, 2, 1] = 2  # second tap beyond the last row
    assert convolve()[1] == [4.5, 5.5, 6.5]
    offset[:, 2, 1] = -1.5  # second tap half beyond the first row
    assert convolve()[1] == [54.5, 105.5, 156.5]
    offset[:, 2, 1] = math.nan
    assert convolve()[1] == [4.5, 5.5, 6.5]


def test_empty_batch(executor):
    case = Case(images=0)
    input, offset, weight, bias, mask = case.tensors()
    actual = executor.deform_conv2d(input, offset, weight, bias, mask, *case.geometry)
    assert actual.shape == (0, 6, 7, 9)
    gradients = executor.deform_conv2d_backward(
        actual, input, offset, weight, mask, *case.geometry, True, True, True, True
    )
    assert gradients[0].shape == input.shape
    assert (gradients[2] == 0).all()


@pytest.mark.parametrize("name", CASES)
def test_matches_torchvision(name):
    ops = need("torchvision")
    case = CASES[name]
    arguments = [None if t is None else t.double().requires_grad_() for t in case.tensors()]
    input, offset, weight, bias, mask = arguments
    ours = deform_conv2d(input, offset, weight, bias, *case.geometry, mask=mask)
    theirs = ops.deform_conv2d(
        input, offset, weight, bias, case.stride, case.padding, case.dilation, mask
    )
    assert_near(ours, theirs, torch.float64)
    leaves = [argument for argument in arguments if argument is not None]
    grad = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad(ours, leaves, grad),
        torch.autograd.grad(theirs, leaves, grad),
        strict=True,
    ):
        assert_near(one, other, torch.float64)


@pytest.mark.parametrize("name", ["mask", "groups across offset groups", "asymmetric"])
def test_opcheck_and_gradcheck(name):
    case = CASES[name]
    arguments = [t.double().requires_grad_() for t in case.tensors()]
    opcheck(torch.ops.accel_rt.deform_conv2d.default, (*arguments, *case.geometry))
    detached = [channels_last(t.detach()) if t.dim() == 4 else t.detach() for t in arguments]
    opcheck(torch.ops.accel_rt.deform_conv2d.default, (*detached, *case.geometry))
    assert torch.autograd.gradcheck(
        lambda i, o, w, b, m: deform_conv2d(i, o, w, b, *case.geometry, mask=m),
        arguments,
        fast_mode=True,
    )


def test_autocast_casts_all_but_offset_and_mask():
    case = Case(channels=16)
    input, offset, weight, bias, mask = (t.requires_grad_() for t in case.tensors())
    with torch.autocast("cpu", torch.bfloat16):
        actual = deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)
    assert actual.dtype == torch.bfloat16
    assert_near(actual, twin(case, input, offset, weight, bias, mask), torch.bfloat16)
    actual.float().square().mean().backward()
    for tensor in (input, offset, weight, bias, mask):
        assert tensor.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": (8, 7, 9)}, "input must be .* 4 dimensions, got"),
        ({"weight": (6, 3, 3, 3)}, r"weight must be .* 8 channels, got \(6, 3, 3, 3\)"),
        ({"weight": (5, 4, 3, 3)}, "5 outputs must divide into its 2 groups"),
        ({"offset": (2, 20, 7, 9)}, r"offset must be \[2, offset_groups \* 18, 7, 9\].*20, 7, 9"),
        ({"offset": (2, 54, 7, 9)}, "offset_groups dividing 8 channels"),
        ({"offset": (2, 18, 6, 9)}, "offset must be"),
        ({"mask": (2, 18, 7, 9)}, r"mask must be \(2, 9, 7, 9\), got \(2, 18, 7, 9\)"),
        ({"bias": (5,)}, r"bias must be \(6,\), got \(5,\)"),
        ({"input": (2, 8, 0, 9)}, r"rows and columns, got \(2, 8, 0, 9\)"),
        ({"input": (2, 8, 7, 0)}, r"rows and columns, got \(2, 8, 7, 0\)"),
        ({"input": (2, 8, 1, 1), "weight": (6, 8, 4, 4)}, "smaller than the kernel"),
    ],
)
def test_errors(executor, change, message):
    shapes = {
        "input": (2, 8, 7, 9),
        "offset": (2, 18, 7, 9),
        "weight": (6, 8, 3, 3),
        "bias": (6,),
        "mask": (2, 9, 7, 9),
        **change,
    }
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(UsageError, match=message):
        deform_conv2d(**tensors, padding=1)
    # and the operator below is memory-safe by itself
    with pytest.raises(RuntimeError, match="deform_conv2d: "):
        executor.deform_conv2d(
            *(tensors[name] for name in ("input", "offset", "weight", "bias", "mask")),
            [1, 1],
            [1, 1],
            [1, 1],
        )


@pytest.mark.parametrize("size", [(0, 9), (7, 0)])
def test_images_without_pixels_are_refused(executor, size):
    """Padding makes them large enough for a kernel, and there is nothing that it could read."""
    case = Case(size=size, padding=(2, 2), masked=False)
    input, offset, weight, bias, mask = case.tensors()
    with pytest.raises(UsageError, match="rows and columns"):
        deform_conv2d(input, offset, weight, bias, *case.geometry)
    with pytest.raises(RuntimeError, match="deform_conv2d: "):
        executor.deform_conv2d(input, offset, weight, bias, mask, *case.geometry)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"stride": 0}, "stride must be .* at least 1, got 0"),
        ({"padding": (1, -1)}, r"padding must be .* at least 0, got \(1, -1\)"),
        ({"dilation": (1, 1, 1)}, "dilation must be one number or two"),
    ],
)
def test_errors_of_options(option, message):
    input, offset, weight, bias, mask = Case().tensors()
    with pytest.raises(UsageError, match=message):
        deform_conv2d(input, offset, weight, bias, mask=mask, **option)


def test_errors_of_packed_weights():
    case = Case()
    input, offset, weight, _, mask = case.tensors()
    with pytest.raises(UsageError, match="weight must be .* for an input of 9 channels"):
        deform_conv2d_pack(weight, 9, 1)
    with pytest.raises(UsageError, match="offset_groups must divide 8 channels, got 3"):
        deform_conv2d_pack(weight, 8, 3)
    with pytest.raises(UsageError, match=r"4 dimensions on the CPU, got \(6, 8, 3\)"):
        deform_conv2d_pack(weight[..., 0], 8, 1)
    packed = deform_conv2d_pack(weight, 8, 1)

    def convolve(**changed: Tensor) -> Tensor:
        tensors = {"input": input, "offset": offset, "packed": packed, "mask": mask, **changed}
        return deform_conv2d_packed(**tensors, padding=1)

    with pytest.raises(UsageError, match=r"shortcut must be \(2, 6, 7, 9\) of torch\.float32"):
        convolve(shortcut=torch.zeros(2, 6, 7, 8))
    with pytest.raises(UsageError, match="input's type"):
        convolve(packed=packed.bfloat16())
    with pytest.raises(UsageError, match="offset must be"):
        convolve(offset=offset[:, :-1])
    with pytest.raises(UsageError, match="packed must come from deform_conv2d_pack"):
        convolve(packed=packed.contiguous())
    # and the operators below are memory-safe by themselves
    operators, wrong_type = torch.ops.accel_rt, torch.zeros(2, 6, 7, 9).bfloat16()
    with pytest.raises(RuntimeError, match="deform_conv2d: the arguments"):
        operators.deform_conv2d_packed(
            input, offset, packed, None, mask, torch.zeros(2, 6, 7, 8), True, *case.geometry
        )
    with pytest.raises(RuntimeError, match="deform_conv2d: the arguments"):
        operators.deform_conv2d_packed(
            input, offset, packed, None, mask, wrong_type, True, *case.geometry
        )
    with pytest.raises(RuntimeError, match="deform_conv2d: the arguments"):
        operators.deform_conv2d_packed(
            input, offset, packed, wrong_type[0, :, 0, 0], mask, None, True, *case.geometry
        )
    for wrong in (packed.double(), packed.contiguous(), packed[:, :, :, :1], packed[0]):
        with pytest.raises(RuntimeError, match="packed must come from deform_conv2d_pack"):
            operators.deform_conv2d_packed(
                input, offset, wrong, None, mask, None, True, *case.geometry
            )
    with pytest.raises(RuntimeError, match="deform_conv2d: the arguments"):
        operators.deform_conv2d_pack(weight, 8, 0)


def test_errors_of_types():
    input, offset, weight, bias, mask = Case().tensors()
    with pytest.raises(UsageError, match=r"weight must have input's type torch\.bfloat16"):
        deform_conv2d(input.bfloat16(), offset, weight, bias, padding=1, mask=mask)
    with pytest.raises(UsageError, match=r"offset must be .* got .* of torch\.int64"):
        deform_conv2d(input, offset.long(), weight, bias, padding=1, mask=mask)
