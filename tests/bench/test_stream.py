"""Streams of frames: their order, what is derived from their times, and the models themselves."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from accel_rt.bench import stream as bench_stream
from accel_rt.bench.baseline import PlainDeepLab
from accel_rt.bench.harness import Effort, Samples
from accel_rt.bench.models import BASELINE, MODELS, QUICK_MODELS, Model, with_weights
from accel_rt.bench.plot import bars
from accel_rt.bench.stream import (
    FrameTime,
    ModelTimes,
    Stream,
    make_streams,
    measure,
    street_frames,
    there_and_back,
)
from accel_rt.models import store
from accel_rt.models.foreign.open import load_placed
from accel_rt.models.weights import load_network
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import SegmenterSettings
from tests.bench.made_up import ACCEL

SETTINGS = SegmenterSettings(interval=2, device="cpu", precision="fp32", scene_cuts=False)
LIGHT = Model("light", SETTINGS)


@pytest.fixture(scope="module")
def frames():
    return street_frames(2, (64, 96))


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

        model = Model(name, replace(SETTINGS, interval=interval))
        return Stream(model, step, [np.zeros(0)])

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


def test_models_without_weights_are_left_out(tmp_path, monkeypatch):
    for entry in store.installed():
        if "lite" in entry.name:
            (tmp_path / entry.path.name).symlink_to(entry.path)
    monkeypatch.setattr(store, "folders", lambda: [tmp_path])
    told = []
    assert all("Lite" in model.name for model in with_weights(MODELS, told.append))
    assert "Accel-34 is left out: no weights of resnet101 are installed" in told


def test_every_model_is_one_that_can_be_loaded(monkeypatch):
    data_package = Path(__file__).parents[2] / "weights-paper" / "accel_rt_weights_paper"
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(data_package))
    assert with_weights(MODELS, print) == list(MODELS)
    for model in MODELS:
        settings = model.settings
        assert store.find(settings.reference).is_file()
        if settings.mode == "accel":
            pair = store.find(settings.reference), store.find(settings.update)
            assert store.find_fusion(*pair, settings.fusion) is not None, f"{pair} has no fusion"


def test_a_model_on_another_device_keeps_its_name():
    moved = LIGHT.on("cuda:1", "fp16")
    assert (moved.name, moved.interval) == ("light", 2)
    assert (moved.settings.device, moved.settings.precision) == ("cuda:1", "fp16")
    assert Model("plain", SETTINGS, plain=True).interval == 1


def test_a_real_stream(frames):
    plain = Model("plain", replace(SETTINGS, reference="efficientnet_lite0"), plain=True)
    light, baseline = measure(list(make_streams([LIGHT, plain], frames)), Effort(0, 1, 1))
    assert [frame.kind for frame in light.frames] == ["key", "update"]
    key, update = light.frames
    assert key.branch == 0
    assert 0 < update.branch < update.step
    assert set(update.stages) >= {"flow", "network", "output"}
    assert [frame.kind for frame in baseline.frames] == ["key"]


def test_a_network_on_a_backend_is_not_timed_by_itself(monkeypatch, frames):
    segmenter = load_segmenter(SETTINGS)
    monkeypatch.setattr(segmenter, "describe", lambda: {"backend": "openvino int8"})
    monkeypatch.setattr(bench_stream, "load_segmenter", lambda *_, **__: segmenter)
    (times,) = measure(list(make_streams([LIGHT], frames)), Effort(0, 1, 1))
    assert [frame.branch for frame in times.frames] == [None, None]
    assert times.other_share() is None
    (bar,) = bars([times])
    assert bar.parts["update network"] > bar.parts["other"]


def test_networks_that_models_share_are_loaded_once(monkeypatch, frames):
    loaded = []

    def load(path):
        loaded.append(path.stem)
        return load_placed(path)

    monkeypatch.setattr(bench_stream, "load_placed", load)
    dff = Model("dff", replace(SETTINGS, mode="dff"))
    list(make_streams([LIGHT, dff], frames))
    assert loaded == ["efficientnet_lite2", "efficientnet_lite0"]


@pytest.mark.parametrize("reference", ["efficientnet_lite2", "resnet18"])
def test_the_baseline_segments_as_we_do(reference):
    (frame,) = street_frames(1)
    settings = replace(SETTINGS, reference=reference, mode="deeplab")
    labels = load_segmenter(settings).step(frame).labels
    network, _ = load_network(store.find(reference))
    baseline = PlainDeepLab(network, torch.device("cpu")).step(frame)
    assert (baseline.shape, baseline.dtype) == (frame.shape[:2], np.uint8)
    assert len(np.unique(labels)) > 1
    assert (labels == baseline).mean() > 0.99
