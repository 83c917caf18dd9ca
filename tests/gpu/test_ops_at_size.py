"""Operators on the device at the sizes of 1024x2048 frames, where the small tests do not reach."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.normalise import MEAN_RGB, STD_RGB
from tests.ops.inputs import channels_last, displacement
from tests.ops.tolerances import assert_near

pytestmark = pytest.mark.cuda

HEIGHT, WIDTH = 64, 128
SIZE = 16 * HEIGHT, 16 * WIDTH
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def bytes_of(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def flow() -> Tensor:
    return displacement(1, 2, HEIGHT, WIDTH)


def features(channels: int, dtype: torch.dtype) -> Tensor:
    return channels_last(torch.randn(1, channels, HEIGHT, WIDTH).to(dtype))


def deform_inputs(dtype: torch.dtype) -> tuple:
    weight = torch.randn(512, 512, 3, 3) / 68  # results of unit scale
    offset = displacement(1, 72, HEIGHT, WIDTH)
    return features(512, dtype), offset, weight.to(dtype), None, 1, 2, 2


def score_inputs(dtype: torch.dtype) -> tuple:
    return features(1024, dtype), flow(), torch.randn(19, 1024) / 32, torch.randn(19)


def on_device(arguments: tuple) -> tuple:
    return tuple(a.cuda() if isinstance(a, Tensor) else a for a in arguments)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        (ops.flow_warp, lambda dtype: (features(1024, dtype), flow())),
        (ops.deform_conv2d, deform_inputs),
        (ops.warp_score, score_inputs),
    ],
    ids=["flow_warp", "deform_conv2d", "warp_score"],
)
def test_equals_the_cpu(operator: Callable, inputs: Callable, dtype: torch.dtype) -> None:
    """Against the CPU's kernel on the same values in float32."""
    arguments = inputs(dtype)
    wide = (a.float() if isinstance(a, Tensor) else a for a in arguments)
    actual = operator(*on_device(arguments))
    assert_near(actual, operator(*wide).double(), dtype)


def test_labels_and_pictures_equal_the_cpus() -> None:
    scores, palette = channels_last(torch.randn(1, 19, HEIGHT, WIDTH)), bytes_of(256, 3)
    labels, on_gpu = ops.upsample_argmax(scores, SIZE), ops.upsample_argmax(scores.cuda(), SIZE)
    assert (on_gpu.cpu() == labels).double().mean() > 0.99999  # ties
    frame = bytes_of(1, *SIZE, 3)
    arguments = (frame, labels, palette)
    drawn = ops.overlay(*on_device(arguments))
    assert torch.equal(drawn.cpu(), ops.overlay(*arguments))


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("processed", [SIZE, (512, 1024), (360, 720)])
def test_prepared_frames_equal_the_cpus(processed: tuple[int, int], scale: float) -> None:
    frame, padded = bytes_of(1, *SIZE, 3), tuple(side + -side % 32 for side in processed)
    prepare = partial(
        ops.preprocess, processed=processed, padded=padded, mean_rgb=MEAN_RGB, std_rgb=STD_RGB,
        scale=scale,
    )  # fmt: skip
    expected, actual = prepare(frame), prepare(frame.cuda()).cpu()
    level = 1 / (255 * min(STD_RGB))  # a tie may be rounded the other way
    assert (actual - expected).abs().max() <= 1.01 * level
    assert ((actual - expected).abs() > 1e-6).double().mean() < 1e-3


def test_work_goes_to_the_current_stream() -> None:
    """Launched on another stream while the current one is busy, results would come too early."""
    arguments = on_device(score_inputs(torch.float16))
    expected = ops.warp_score(*arguments)
    stream, busy = torch.cuda.Stream(), torch.randn(4096, 4096, device="cuda")
    cache = torch.zeros_like(arguments[0])
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(20):
            busy = busy @ busy / 64
        cache.copy_(arguments[0])
        found = ops.warp_score(cache, *arguments[1:])
    stream.synchronize()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_operators_can_be_captured(dtype: torch.dtype) -> None:
    """A graph replays them on new values in the same place."""
    cache, flows, *rest = on_device(score_inputs(dtype))
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()

    def work() -> tuple[Tensor, Tensor]:
        scores = ops.warp_score(cache, ops.compose_flow(flows, flows), *rest)
        return scores, ops.upsample_argmax(scores, SIZE)

    with torch.cuda.stream(stream):
        work()
        with torch.cuda.graph(graph, stream=stream):
            scores, labels = work()
        cache.copy_(torch.randn_like(cache))
        graph.replay()
        expected = work()
    torch.cuda.synchronize()
    assert torch.equal(scores, expected[0])
    assert torch.equal(labels, expected[1])
