"""Networks that score single pixels of frames of any size, as the paper's authors' do."""

from __future__ import annotations

import copy
from functools import cache

import cv2
import numpy as np
import pytest
import torch

from accel_rt.classes import CAMVID
from accel_rt.flow.flownets import FlowNetSFlow
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.flownet import MXNetFlowNetS
from accel_rt.models.network import DeconvTaskNetwork
from accel_rt.models.zoo import build_network
from accel_rt.runtime.cuda import CudaExecutor
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.schedule import LIVE_PRESETS, PRESETS, Schedule
from accel_rt.runtime.segmenter import Segmenter
from tests.runtime.fake_device import FakeDevice

CPU = torch.device("cpu")
SIZES = [
    (50, 61),
    (64, 96),
]  # the first is in no whole cells, and flow has a row more than features


@cache
def networks() -> tuple[Accel, MXNetFlowNetS]:
    torch.manual_seed(3)
    reference, flow = build_network("resnet50_mxnet", 11).eval(), MXNetFlowNetS(0.125).eval()
    torch.nn.init.normal_(reference.task.scoring.weight)
    torch.nn.init.normal_(flow.predictors[-1].get_parameter("weight"), std=0.01)
    return Accel(reference, reference, ScoreFusion(11)).eval(), flow


def frames(size: tuple[int, int], count: int) -> list[np.ndarray]:
    large = np.random.default_rng(1).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    large = cv2.resize(large, (128, 96))
    return [large[n : n + size[0], 2 * n : 2 * n + size[1]].copy() for n in range(count)]


def segmenter(size: tuple[int, int], schedule: Schedule, **options):
    model, flow = copy.deepcopy(networks())
    source = FlowNetSFlow(flow, CPU, torch.float32)
    options = {"flow": source, "schedule": schedule, "size": size, **options}
    return build_segmenter(model, CAMVID, **options)


@pytest.mark.parametrize("size", SIZES)
def test_labels_are_the_greatest_scores_of_their_pixels(size: tuple[int, int]) -> None:
    reference = networks()[0].reference
    (frame,) = frames(size, 1)
    with torch.inference_mode():
        scores = reference(reference.normalisation(torch.from_numpy(frame)[None]))
    assert scores.shape == (1, 11, *size)
    labels = segmenter(size, Schedule(1)).step(frame).labels
    assert (labels == scores[0].argmax(0).numpy()).mean() > 0.999


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("schedule", [PRESETS["balanced"], LIVE_PRESETS["balanced"]])
def test_every_step_of_a_schedule_takes_them(size: tuple[int, int], schedule: Schedule) -> None:
    run, results = segmenter(size, schedule, incremental=True), []
    for frame in frames(size, 10):
        results += run.push(frame)
    results += run.flush()
    assert {result.kind for result in results} == {"key", "update", "carry"}
    assert all(result.labels.shape == size for result in results)


def test_sixteen_bits_give_nearly_the_same() -> None:
    precise = segmenter(SIZES[0], Schedule(3), incremental=True)
    coarse = segmenter(SIZES[0], Schedule(3), incremental=True, dtype=torch.bfloat16)
    same = [precise.step(f).labels == coarse.step(f).labels for f in frames(SIZES[0], 3)]
    assert np.mean(same) > 0.8


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_graphs_nodes_give_what_runs_step_by_step(
    size: tuple[int, int], incremental: bool
) -> None:
    """Where frame by frame would change the state's size, they compose flow instead."""
    composed = size == SIZES[0] or not incremental
    plain = segmenter(size, Schedule(3), incremental=not composed)
    model, flow = copy.deepcopy(networks())
    program = FrameProgram(model, CPU, torch.float32, incremental=incremental)
    source = FlowNetSFlow(flow, CPU, torch.float32)
    executor = CudaExecutor(program, source, Schedule(3), cuda=FakeDevice())
    graphs = Segmenter(CAMVID, FixedInterval(3), executor, size=size)
    for frame in frames(size, 5):
        same = plain.step(frame).labels == graphs.step(frame).labels
        assert same.mean() > 0.99


def test_outside_the_frame_the_state_is_nothing() -> None:
    state, flow = torch.ones(1, 2, 4, 6), torch.zeros(1, 2, 4, 6)
    flow[:, 0, :, -1] = 0.25
    flow[:, 1, 0] = -2
    warped = DeconvTaskNetwork.warp(state, flow)
    assert not warped[..., 0, :].any()
    torch.testing.assert_close(warped[..., 1:, -1], torch.full((1, 2, 3), 0.75))
    torch.testing.assert_close(warped[..., 1:, :-1], torch.ones(1, 2, 3, 5))


def test_corners_meet_where_state_and_flow_differ_in_size() -> None:
    ramp = torch.arange(8.0)[:, None].expand(1, 1, 8, 5)
    warped = DeconvTaskNetwork.warp(ramp, torch.zeros(1, 2, 9, 4))
    torch.testing.assert_close(warped[0, 0, :, 0], torch.arange(9.0) * 7 / 8)
    assert warped.shape == (1, 1, 9, 4)
