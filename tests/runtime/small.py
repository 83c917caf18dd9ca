"""Small networks, flows and frames, and segmenters of them on the CPU and a stand-in device."""

import numpy as np
import pytest
import torch
from torch import nn

from accel_rt.classes import ClassSet
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.flownets import FlowNetSFlow
from accel_rt.models.accel import Accel, FeatureFusion, ScoreFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.network import Network, SkipTaskNetwork, TaskNetwork
from accel_rt.normalise import IMAGENET
from accel_rt.runtime.cuda import CudaExecutor
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.schedule import Schedule
from accel_rt.runtime.segmenter import Segmenter
from tests.runtime.fake_device import FakeDevice

CPU = torch.device("cpu")
CLASSES = ClassSet(("a", "b", "c"), ((0, 0, 0), (0, 0, 255), (255, 0, 0)))
SIZE = (64, 96)


class Strided(nn.Module):
    """A small feature network with maps at strides 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.four, self.eight = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 8, 2, 2)
        self.sixteen = nn.Conv2d(8, 12, 2, 2)

    def forward(self, frame):
        four = self.four(frame)
        eight = self.eight(four.relu())
        return four, eight, self.sixteen(eight.relu())


def network(task: type) -> Network:
    if task is TaskNetwork:
        built = TaskNetwork(12, len(CLASSES), state_channels=16)
    else:
        built = SkipTaskNetwork((6, 8, 12), len(CLASSES), width=8, fine_width=4)
        nn.init.normal_(built.correction.weight, std=0.5)
    nn.init.normal_(built.scoring.weight, std=0.5)
    return Network(Strided(), built).eval()


def accel(task: type = TaskNetwork, update: type | None = TaskNetwork, fusion: type = ScoreFusion):
    reference = network(task)
    if update is None:
        return Accel(reference)
    other = network(update)
    both = ScoreFusion(len(CLASSES)) if fusion is ScoreFusion else fusion(reference, other)
    return Accel(reference, other, both).eval()


class Pair(nn.Module):
    """A flow network of one layer: some pixels everywhere, at a quarter of the resolution."""

    normalisation, stride, covers = IMAGENET, 4, FlowNetS.covers

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 2, 4, 4)
        nn.init.normal_(self.conv.weight, std=1.0)

    def forward(self, previous, current):
        return self.conv(torch.cat([current, previous], 1))


def flownets() -> FlowNetSFlow:
    return FlowNetSFlow(Pair(), CPU, torch.float32)


def frames(number: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """A smooth noise picture that moves by two pixels a frame."""
    rng = np.random.default_rng(3)
    height, width = size
    wide = rng.integers(0, 256, (height // 8, width // 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return [np.ascontiguousarray(wide[:, 2 * i : 2 * i + width]) for i in range(number)]


BRANCHES = pytest.mark.parametrize(
    "branches",
    [
        {"update": None},
        {},
        {"fusion": FeatureFusion},
        {"task": SkipTaskNetwork, "update": None},
        {"update": SkipTaskNetwork},
    ],
    ids=["dff", "score-fusion", "feature-fusion", "light-dff", "finer-update"],
)
"""Every kind of model."""
FLOWS = {"none": lambda: None, "dis": DISFlow, "flownets": flownets}


def plain(model: Accel, **options) -> Segmenter:
    return build_segmenter(model, CLASSES, policy=FixedInterval(3), trained=SIZE, **options)


def looped(model: Accel, device: FakeDevice, **options) -> Segmenter:
    """A segmenter with the CUDA loop, on CPU tensors and ``device``."""
    graphs, overlap = options.pop("graphs", True), options.pop("overlap", False)
    runner = plain(model, **options)
    flow, margins = options.get("flow"), options.get("margins", False)
    program = runner._executor.program
    runner._executor = CudaExecutor(
        program, flow, Schedule(), margins=margins, cuda=device, graphs=graphs
    )
    runner._overlap = overlap
    return runner


def pushed(runner: Segmenter, stream: list[np.ndarray]) -> list[FrameResult]:
    """The results of all frames, as a file's are taken."""
    return [result for frame in stream for result in runner.push(frame)] + runner.flush()
