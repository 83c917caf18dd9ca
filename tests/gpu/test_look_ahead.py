"""Look-ahead on the device: graphs against plain launches, and both against the CPU."""

import copy

import numpy as np
import pytest
import torch

from accel_rt.flow.device_dis import DeviceDIS
from accel_rt.flow.dis import DISFlow
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.look_ahead import LookAheadSegmenter
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.schedule import PRESETS, PresetName
from accel_rt.video.overlay import render_overlay
from tests.gpu.test_frame_loop import CLASSES, CPU, CUDA, SIZE, frames, network

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def model() -> Accel:
    torch.manual_seed(21)
    return Accel(network("bottleneck"), network("basic"), ScoreFusion(len(CLASSES))).eval()


def ahead(model: Accel, preset: PresetName, device: torch.device, dtype: torch.dtype, **options):
    return build_segmenter(
        copy.deepcopy(model), CLASSES, schedule=PRESETS[preset], size=SIZE, device=device,
        dtype=dtype, **options,
    )  # fmt: skip


def labels(segmenter: LookAheadSegmenter, stream: list[np.ndarray]) -> list[np.ndarray]:
    results = [result for frame in stream for result in segmenter.push(frame)]
    return [result.labels for result in results + segmenter.flush()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("preset", PRESETS)
def test_graphs_give_what_plain_launches_give(
    model: Accel, preset: PresetName, dtype: torch.dtype
) -> None:
    stream, found = frames(45), {}
    for graphs in (True, False):
        options = {"flow": DeviceDIS(CUDA), "cuda_graphs": graphs, "overlap": graphs}
        segmenter = ahead(model, preset, CUDA, dtype, **options)
        found[graphs] = labels(segmenter, stream)
        assert segmenter.describe()["cuda_graphs"] == ("yes" if graphs else "no: switched off")
    for graphed, plain in zip(found[True], found[False], strict=True):
        # cuDNN may choose another algorithm once it has timed them
        assert np.mean(graphed == plain) > (0.999 if dtype == torch.float32 else 0.98)


@pytest.mark.parametrize("preset", PRESETS)
def test_agrees_with_the_cpu(
    model: Accel, preset: PresetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the gate's thumbnails, which the CPU rounds to bytes."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    stream = frames(24)
    found, expected = (
        labels(ahead(model, preset, device, torch.float32, flow=DISFlow()), stream)
        for device in (CUDA, CPU)
    )
    for one, other in zip(found, expected, strict=True):
        assert np.mean(one == other) > 0.98


def test_nothing_waits_but_for_results(model: Accel) -> None:
    """Torch refuses calls that wait for the device; the wait for results is an event's."""
    segmenter = ahead(model, "balanced", CUDA, torch.float16, flow=DeviceDIS(CUDA))
    stream = frames(49)
    for frame in stream[:25]:  # until everything has been captured
        segmenter.push(frame)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for frame in stream[25:]:
            segmenter.push(frame)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_pictures_are_the_hosts(model: Accel) -> None:
    segmenter = ahead(model, "accurate", CUDA, torch.float16, flow=DeviceDIS(CUDA))
    overlay, stream = Overlay(CLASSES.palette_bgr(), 0.4, (1,)), frames(16)
    assert segmenter.draw(overlay)
    results = [result for frame in stream for result in segmenter.push(frame)]
    for frame, result in zip(stream, results + segmenter.flush(), strict=True):
        how = overlay.palette_bgr, overlay.alpha, overlay.keep
        np.testing.assert_array_equal(result.picture, render_overlay(frame, result.labels, *how))


def test_memory_stays_flat(model: Accel) -> None:
    segmenter = ahead(model, "balanced", CUDA, torch.float16, flow=DeviceDIS(CUDA))
    stream = frames(27)
    for _ in range(3):
        segmenter.reset()
        labels(segmenter, stream)
    before = torch.cuda.memory_allocated()
    for _ in range(4):
        segmenter.reset()
        labels(segmenter, stream)
    assert torch.cuda.memory_allocated() == before
