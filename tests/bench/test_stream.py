"""Streams of frames: their order, what is derived from their times, and the models themselves."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from accel_rt.bench import models as bench_models
from accel_rt.bench.baseline import PlainDeepLab
from accel_rt.bench.harness import Effort, Samples
from accel_rt.bench.models import BASELINE, MODELS, QUICK_MODELS, Model, Networks, random_network
from accel_rt.bench.stream import (
    FrameTime,
    ModelTimes,
    Stream,
    make_streams,
    measure,
    street_frames,
    there_and_back,
)
from tests.bench.made_up import ACCEL

CPU = torch.device("cpu")
LIGHT = Model("light", "efficientnet_lite0", "efficientnet_lite0", interval=2)


@pytest.fixture(scope="module")
def frames():
    return street_frames(2, (96, 64))


def test_neighbours_stay_neighbours():
    assert list(islice(there_and_back([0, 1, 2, 3]), 9)) == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert list(islice(there_and_back([5]), 3)) == [5, 5, 5]


def test_intervals_follow_from_the_kinds_of_frames():
    times = ACCEL
    assert [times.mean_ms(interval) for interval in (1, 2, 3, 10)] == [90, 60, 50, 36]
    assert times.measured_ms() == 50


def test_a_model_without_updates_is_as_fast_at_every_interval():
    times = ModelTimes(BASELINE, (FrameTime("key", 80.0),), Samples((80.0,)))
    assert [times.mean_ms(interval) for interval in (1, 5, 10)] == [80, 80, 80]
    assert times.other_share() is None
    assert times.step("update").ms == ()


def test_what_is_neither_network_nor_flow():
    times = ACCEL
    assert times.other_share() == pytest.approx(0.1)
    assert times.stage("update", "flow") == 3
    assert times.stage("update", "render") == 0
    assert times.with_memory(7.0).memory_mb == 7


def test_streams_take_turns_and_forget_their_first_interval():
    log = []

    def stream(name, interval):
        def step(frame):
            log.append(name)
            return FrameTime("key", float(len(log)))

        return Stream(Model(name, interval=interval), step, [np.zeros(0)])

    times = measure([stream("a", 2), stream("b", 1)], Effort(0, 2, 2))
    assert "".join(log) == "aab" * 3
    assert [frame.step for frame in times[0].frames] == [4, 5, 7, 8]
    assert [frame.step for frame in times[1].frames] == [6, 9]
    assert len(times[0].stream.ms) == 2


def test_every_model_is_named_once_and_the_baseline_is_there():
    for models in (MODELS, QUICK_MODELS):
        assert len({model.name for model in models}) == len(models)
        assert [model for model in models if model.plain] == [BASELINE]
    assert set(QUICK_MODELS) < set(MODELS)
    assert {model.update for model in MODELS} >= {f"resnet{n}" for n in (18, 34, 50, 101)}


def test_a_real_stream(frames):
    plain = Model("plain", "efficientnet_lite0", interval=1, plain=True)
    streams = list(make_streams([LIGHT, plain], frames, CPU, torch.float32))
    light, baseline = measure(streams, Effort(0, 1, 1))
    assert [frame.kind for frame in light.frames] == ["key", "update"]
    key, update = light.frames
    assert key.branch == 0
    assert 0 < update.branch < update.step
    assert set(update.stages) == {"flow", "network", "output"}
    assert [frame.kind for frame in baseline.frames] == ["key"]


def test_references_are_built_once(monkeypatch):
    built = []

    def build(name):
        built.append(name)
        return random_network(name)

    monkeypatch.setattr(bench_models, "random_network", build)
    networks = Networks(CPU, torch.float32)
    assert networks.build(LIGHT).update is not None
    assert networks.build(Model("dff", "efficientnet_lite0")).update is None
    assert built == ["efficientnet_lite0"] * 2  # the reference, and one update network


def test_random_networks_repeat_and_leave_the_generator_alone():
    before = torch.get_rng_state()
    first, second = (random_network("resnet18").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)
    offsets = first["feature.layer4.0.conv1.offset.bias"]
    assert (offsets != offsets.round()).all()


def test_the_baseline_segments_as_we_do():
    frame = np.random.default_rng(0).integers(0, 256, (360, 480, 3), np.uint8)
    ours = Networks(CPU, torch.float32).build(Model("ours", "resnet18", interval=1))
    labels = ours.segmenter.step(frame).labels
    baseline = PlainDeepLab(random_network("resnet18"), CPU).step(frame)
    assert (baseline.shape, baseline.dtype) == (frame.shape[:2], np.uint8)
    assert len(np.unique(labels)) > 1
    inner = (slice(8, -16), slice(8, -8))  # at the edge the deconvolution fades
    assert (labels[inner] == baseline[inner]).mean() > 0.99
