import math

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.ops import eager, flow_warp, warp_score
from tests.ops.executors import HALVES
from tests.ops.inputs import LAYOUTS, channels_last, displacement, on_quarters, with_infinities
from tests.ops.tolerances import assert_alike, assert_infinities_reach, assert_near

# images, K, H, W, classes: around the kernels' blocks of pixels, depth and classes
SHAPES = [
    (1, 1, 1, 1, 1),
    (2, 37, 5, 7, 11),
    (1, 64, 6, 9, 19),
    (2, 200, 3, 11, 4),
    (1, 1024, 4, 9, 33),
    (1, 16, 8, 8, 70),
    (2, 160, 5, 9, 49),
    (3, 288, 3, 7, 20),
]


def inputs(images: int, depth: int, height: int, width: int, classes: int) -> tuple[Tensor, ...]:
    return (
        torch.randn(images, depth, height, width),
        displacement(images, 2, height, width),
        torch.randn(classes, depth) / math.sqrt(depth),
        torch.randn(classes),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_twin(executor, shape):
    for dtype in executor.dtypes:
        cache, flow, weight, bias = inputs(*shape)
        cache = channels_last(cache.to(dtype))
        expected = eager.warp_score(*(t.double() for t in (cache, flow, weight, bias)))
        actual = executor.warp_score(cache, flow, weight, bias)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert actual.dtype == wide
        # nothing is rounded to the cache's type on the way
        assert_near(actual, expected, wide)


def test_small_parts_of_floats_count(executor):
    """Products keep the accuracy of float32 where a type of fewer bits would lose it."""
    cache, flow, weight, bias = inputs(1, 64, 5, 9, 19)
    cache = channels_last(1 + cache / 1000)
    weight = weight - weight.mean(1, keepdim=True)  # so that the ones cancel
    arguments = (cache, flow, weight, bias.zero_())
    expected = eager.warp_score(*(t.double() for t in arguments))
    actual = executor.warp_score(*arguments).cpu()
    assert (actual - expected).abs().max() < 1e-6


@pytest.mark.parametrize("depth", [33, 64])
def test_weights_of_few_bits(executor, depth):
    cache, flow, weight, bias = inputs(1, depth, 5, 9, 19)
    for dtype in executor.dtypes:
        for few in HALVES:
            arguments = (channels_last(cache.to(dtype)), flow, weight.to(few), bias)
            expected = eager.warp_score(*(t.double() for t in arguments))
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            assert_near(executor.warp_score(*arguments), expected, wide)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(executor, layout):
    arguments = inputs(2, 24, 5, 7, 11)
    expected = eager.warp_score(*(t.double() for t in arguments))
    cache, flow = (LAYOUTS[layout](t) for t in arguments[:2])
    actual = executor.warp_score(cache, flow, arguments[2].t().contiguous().t(), arguments[3])
    assert_near(actual, expected, torch.float32)
    if layout == "channels_last":
        assert actual.is_contiguous(memory_format=torch.channels_last)


def test_memory_that_is_not_aligned(executor):
    """A caller's tensors may start on any element."""
    given = channels_last(torch.randn(1, 64, 5, 6)), displacement(1, 2, 5, 6)
    given += torch.randn(20, 64) / 8, torch.randn(20)
    expected = eager.warp_score(*(tensor.double() for tensor in given))
    for shifted, tensor in enumerate(given):
        memory = torch.empty(tensor.numel() + 1)[1:]
        moved = memory.as_strided(tensor.shape, tensor.stride()).copy_(tensor)
        found = executor.warp_score(*given[:shifted], moved, *given[shifted + 1 :])
        assert_near(found, expected, torch.float32)


def test_is_warp_relu_and_score():
    """Against its parts: the identity that lets the cache hold projected features."""
    cache, flow, weight, bias = inputs(1, 32, 6, 8, 5)
    features = flow_warp(cache, flow).relu()
    scores = torch.nn.functional.conv2d(features, weight[:, :, None, None], bias)
    assert_near(warp_score(cache, flow, weight, bias), scores.double(), torch.float32)


def test_projecting_commutes_with_warping():
    """W(proj(f)) = proj(W(f)): with the border repeated the weights of a sample sum to one."""
    features, projection = torch.randn(1, 40, 6, 8).double(), torch.randn(16, 40).double()
    shift, flow = torch.randn(16, 1, 1).double(), displacement(1, 2, 6, 8).double()

    def project(values: Tensor) -> Tensor:
        return torch.einsum("kc,nchw->nkhw", projection, values) + shift

    assert_near(
        flow_warp(project(features), flow), project(flow_warp(features, flow)), torch.float64
    )


def test_half_weights_and_no_gradient():
    cache, flow, weight, bias = inputs(1, 32, 4, 4, 3)
    arguments = (cache.bfloat16(), flow.bfloat16(), weight.bfloat16(), bias.bfloat16())
    expected = eager.warp_score(*(t.double() for t in arguments))
    actual = warp_score(arguments[0].requires_grad_(), *arguments[1:])
    assert not actual.requires_grad
    assert_near(actual, expected, torch.float32)


def test_nan_is_not_rectified_away(executor):
    cache, flow, weight, bias = inputs(1, 16, 3, 3, 2)
    cache[0, 5] = math.nan
    assert executor.warp_score(channels_last(cache), flow, weight, bias).isnan().all()


@pytest.mark.parametrize("depth", [33, 64])
def test_infinities_reach_what_is_sampled_from_them(executor, depth):
    for dtype in executor.dtypes:
        cache, _, weight, bias = inputs(2, depth, 6, 7, 11)
        cache = channels_last(with_infinities(cache, 1 / 500).to(dtype))
        flow = on_quarters(2, 2, 6, 7)
        weight[3] = 0
        expected = eager.warp_score(*(t.double() for t in (cache, flow, weight, bias)))
        with_amx = executor.name == "cpu-avx512" and depth % 32 == 0  # if the processor has it
        check = assert_infinities_reach if with_amx else assert_alike
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        check(executor.warp_score(cache, flow, weight, bias), expected, wide)


def test_empty_batch(executor):
    assert executor.warp_score(*inputs(0, 8, 3, 4, 5)).shape == (0, 5, 3, 4)


def test_opcheck():
    for arrange in (torch.Tensor.contiguous, channels_last):
        cache, flow, weight, bias = inputs(2, 8, 3, 4, 5)
        opcheck(torch.ops.accel_rt.warp_score.default, (arrange(cache), flow, weight, bias))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache": (8, 3, 4)}, r"cache must be \[N, K, H, W\], got \(8, 3, 4\)"),
        ({"flow": (2, 2, 4, 3)}, r"flow must be \(2, 2, 3, 4\).*got \(2, 2, 4, 3\)"),
        ({"weight": (5, 7)}, r"weight must be \[C, 8\].*got \(5, 7\)"),
        ({"bias": (4,)}, r"bias must be \(5,\), got \(4,\)"),
    ],
)
def test_errors(executor, change, message):
    shapes = {"cache": (2, 8, 3, 4), "flow": (2, 2, 3, 4), "weight": (5, 8), "bias": (5,), **change}
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(UsageError, match=message):
        warp_score(**tensors)
    with pytest.raises(RuntimeError, match="warp_score: "):
        executor.warp_score(*tensors.values())


def test_errors_of_types():
    cache, flow, weight, bias = inputs(1, 8, 3, 4, 5)
    with pytest.raises(UsageError, match=r"weight must be floating point .* torch\.int64"):
        warp_score(cache, flow, weight.long(), bias)
