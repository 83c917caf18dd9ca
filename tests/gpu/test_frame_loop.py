"""The frame loop on the device: graphs against plain launches, and both against the CPU."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from accel_rt.classes import ClassSet
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.flownets import FlowNetSFlow
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.network import Network, TaskNetwork
from accel_rt.models.resnet import ResNet, ResNetSpec
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.segmenter import Segmenter
from accel_rt.video.overlay import render_overlay

pytestmark = pytest.mark.cuda

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CLASSES = ClassSet(("a", "b", "c"), ((0, 0, 0), (0, 0, 255), (255, 0, 0)))
SIZE = (192, 320)


def network(block: str) -> Network:
    feature = ResNet(ResNetSpec(block, (1, 1, 1, 1)))
    built = Network(feature, TaskNetwork(feature.channels[-1], len(CLASSES)))
    nn.init.normal_(built.task.scoring.weight, std=0.3)
    for name, parameter in built.named_parameters():
        if "offset.weight" in name:
            nn.init.normal_(parameter, std=0.02)
    return built.eval()


@pytest.fixture(scope="module")
def model() -> Accel:
    torch.manual_seed(21)
    return Accel(network("bottleneck"), network("basic"), ScoreFusion(len(CLASSES))).eval()


@pytest.fixture(scope="module")
def flownet() -> FlowNetS:
    torch.manual_seed(22)
    return FlowNetS(0.25).eval()


def frames(number: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    height, width = size
    wide = (
        rng.integers(0, 256, (-(-height // 8), width // 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )
    return [np.ascontiguousarray(wide[:height, 2 * i : 2 * i + width]) for i in range(number)]


def runner(model: Accel, device: torch.device, dtype: torch.dtype, **options) -> Segmenter:
    return build_segmenter(
        copy.deepcopy(model), CLASSES, policy=FixedInterval(3), size=options.pop("size", SIZE),
        device=device, dtype=dtype, **options,
    )  # fmt: skip


def labels(segmenter: Segmenter, stream: list[np.ndarray]) -> list[np.ndarray]:
    return [segmenter.step(frame).labels for frame in stream]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("flow", ["dis", "flownets"])
@pytest.mark.parametrize("incremental", [False, True])
def test_graphs_give_what_plain_launches_give(
    model: Accel, flownet: FlowNetS, dtype: torch.dtype, flow: str, incremental: bool
) -> None:
    def source() -> DISFlow | FlowNetSFlow:
        return DISFlow() if flow == "dis" else FlowNetSFlow(copy.deepcopy(flownet), CUDA, dtype)

    stream, found = frames(24), {}
    for graphs in (True, False):
        segmenter = runner(
            model, CUDA, dtype, flow=source(), incremental=incremental, cuda_graphs=graphs
        )
        found[graphs] = labels(segmenter, stream)
        assert segmenter.describe()["cuda_graphs"] == ("yes" if graphs else "no: switched off")
    for graphed, plain in zip(found[True], found[False], strict=True):
        # cuDNN may choose another algorithm once it has timed them
        assert np.mean(graphed == plain) > (0.999 if dtype == torch.float32 else 0.98)


def test_agrees_with_the_cpu(model: Accel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    stream = frames(24)
    expected = labels(runner(model, CPU, torch.float32, flow=DISFlow()), stream)
    found = labels(runner(model, CUDA, torch.float32, flow=DISFlow()), stream)
    for one, other in zip(found, expected, strict=True):
        assert np.mean(one == other) > 0.999


def test_other_sizes_are_captured_anew(model: Accel) -> None:
    segmenter = runner(model, CUDA, torch.float16, flow=DISFlow(), size=None, trained=SIZE)
    for size in (SIZE, (180, 330), SIZE):
        stream = frames(12, size)
        fresh = runner(
            model, CUDA, torch.float16, flow=DISFlow(), size=None, trained=SIZE, cuda_graphs=False
        )
        for one, other in zip(labels(segmenter, stream), labels(fresh, stream), strict=True):
            assert one.shape == size
            assert np.mean(one == other) > 0.98
    assert segmenter.describe()["cuda_graphs"] == "yes"


def test_nothing_waits_but_the_end_of_a_frame(model: Accel, flownet: FlowNetS) -> None:
    """Torch refuses calls that wait for the device; the loop's own wait is an event's."""
    flow = FlowNetSFlow(copy.deepcopy(flownet), CUDA, torch.float16)
    segmenter = runner(model, CUDA, torch.float16, flow=flow)
    stream = frames(24)
    labels(segmenter, stream[:12])  # until every stage has been captured
    torch.cuda.set_sync_debug_mode("error")
    try:
        labels(segmenter, stream[12:])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_pictures_are_the_hosts(model: Accel) -> None:
    segmenter = runner(model, CUDA, torch.float16, flow=DISFlow())
    overlay = Overlay(CLASSES.palette_bgr(), 0.4, (1,))
    assert segmenter.draw(overlay)
    for frame in frames(12):
        result = segmenter.step(frame)
        wanted = render_overlay(
            frame, result.labels, overlay.palette_bgr, overlay.alpha, overlay.keep
        )
        np.testing.assert_array_equal(result.picture, wanted)


def test_memory_stays_flat(model: Accel, flownet: FlowNetS) -> None:
    flow = FlowNetSFlow(copy.deepcopy(flownet), CUDA, torch.float16)
    segmenter = runner(model, CUDA, torch.float16, flow=flow)
    stream = frames(24)
    labels(segmenter, stream)
    before = torch.cuda.memory_allocated()
    for _ in range(5):
        labels(segmenter, stream)
    assert torch.cuda.memory_allocated() == before


def hook_that_waits(*_: object) -> None:
    torch.cuda.synchronize()


def test_what_cannot_be_captured_runs_plainly(model: Accel) -> None:
    watched: Callable = copy.deepcopy(model)
    watched.update.register_forward_hook(hook_that_waits)
    segmenter = runner(watched, CUDA, torch.float16, flow=DISFlow())
    stream = frames(24)
    with pytest.warns(RuntimeWarning, match="no CUDA graph of 'refresh'"):
        found = labels(segmenter, stream)
    assert segmenter.describe()["cuda_graphs"].startswith("no: ")
    plain = labels(runner(model, CUDA, torch.float16, flow=DISFlow(), cuda_graphs=False), stream)
    for one, other in zip(found, plain, strict=True):
        assert np.mean(one == other) > 0.98
