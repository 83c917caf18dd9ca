"""Shared predictions are those of the segmenter, frame for frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from accel_rt.evaluate.predict import SharedPredictor
from accel_rt.models import store
from accel_rt.models.accel import FeatureFusion
from accel_rt.models.weights import load_network, save_network
from accel_rt.models.zoo import build_network
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import SegmenterSettings
from accel_street import StreetDrive
from tests.models.test_weights import INFO

INTERVAL = 3
LIGHT = SegmenterSettings(interval=INTERVAL, size=(72, 96), precision="fp32", scene_cuts=False)
MODELS = {
    "deeplab": replace(LIGHT, mode="deeplab"),
    "copy": replace(LIGHT, mode="copy"),
    "dff": replace(LIGHT, mode="dff"),
    "accel": LIGHT,
    "accel half": replace(LIGHT, update_scale=0.5),
    "accel incremental": replace(LIGHT, warp="incremental"),
}


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> SegmenterSettings:
    """A pair with the paper's task network; those installed have another one."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    torch.manual_seed(0)
    network = build_network("resnet18", 11)
    nn.init.normal_(network.task.scoring.weight)
    save_network(path, network, replace(INFO, network="resnet18"))
    return replace(LIGHT, reference=str(path), update=str(path), fusion="mean")


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [frame.image_bgr for frame in StreetDrive(seed=4, size=(72, 96)).frames(6)]


def test_every_phase_of_every_model(frames: list[np.ndarray], paper: SegmenterSettings) -> None:
    models = {
        **MODELS,
        "paper": paper,
        "paper, dff incremental": replace(paper, mode="dff", warp="incremental"),
    }
    predictor = SharedPredictor(models, INTERVAL)
    shared = []
    for index, frame in enumerate(frames):
        predictor.observe(frame)
        offsets = range(min(INTERVAL, index + 1))
        shared.append({(name, d): predictor.labels(name, d) for name in models for d in offsets})
    for name, settings in models.items():
        phases = 1 if settings.mode == "deeplab" else INTERVAL
        segmenter = load_segmenter(settings)
        for phase in range(phases):
            segmenter.reset()
            for index in range(phase, len(frames)):
                labels = segmenter.step(frames[index]).labels
                offset = (index - phase) % phases
                assert (labels == shared[index][name, offset]).all(), (name, index, offset)


def test_both_fusions_of_the_same_networks(
    frames: list[np.ndarray], paper: SegmenterSettings
) -> None:
    path = Path(paper.reference)
    network = load_network(path)[0]
    torch.manual_seed(0)
    fusion = FeatureFusion(network, network)
    nn.init.normal_(fusion.update_half.weight, std=0.1)
    described = {**store.pair(path, path), "trained_on": "nothing"}
    store.save_fusion(path.with_name("feature-fusion.safetensors"), fusion, described)
    models = {"scores": paper, "features": replace(paper, fusion="feature")}
    predictor = SharedPredictor(models, INTERVAL)
    segmenters = {name: load_segmenter(settings) for name, settings in models.items()}
    for offset, frame in enumerate(frames[:INTERVAL]):
        predictor.observe(frame)
        labels = {name: predictor.labels(name, offset) for name in models}
        for name, segmenter in segmenters.items():
            assert (segmenter.step(frame).labels == labels[name]).all(), (name, offset)
        assert (labels["scores"] != labels["features"]).any() == (offset > 0)


def test_starts_over(frames: list[np.ndarray]) -> None:
    predictor = SharedPredictor({"dff": MODELS["dff"]}, INTERVAL)
    for frame in frames[:3]:
        predictor.observe(frame)
    first = predictor.labels("dff", 2)
    predictor.reset()
    for frame in frames[:3]:
        predictor.observe(frame)
    assert (predictor.labels("dff", 2) == first).all()
