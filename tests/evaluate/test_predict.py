"""Shared predictions are those of the segmenter, frame for frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from accel_rt.evaluate import predict
from accel_rt.evaluate.predict import SharedPredictor
from accel_rt.models.accel import Accel, FeatureFusion
from accel_rt.models.weights import save_network
from accel_rt.models.zoo import build_network
from accel_rt.runtime.load import LoadedModel, load_model, load_segmenter
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


def test_feature_fusion(
    frames: list[np.ndarray], paper: SegmenterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such weights are installed, so the fusion is a random one."""
    torch.manual_seed(0)
    loaded = load_model(paper)
    fusion = FeatureFusion(loaded.model.reference, build_network("resnet18", 11))
    nn.init.normal_(fusion.update_half.weight, std=0.1)
    model = Accel(loaded.model.reference, loaded.model.update, fusion)
    fused = LoadedModel(model, loaded.info, loaded.description)
    monkeypatch.setattr(predict, "load_model", lambda *_: fused)
    predictor = SharedPredictor({"fused": paper}, INTERVAL)
    monkeypatch.setattr("accel_rt.runtime.load.load_model", lambda *_: fused)
    segmenter = load_segmenter(paper)
    for offset, frame in enumerate(frames[:INTERVAL]):
        predictor.observe(frame)
        assert (segmenter.step(frame).labels == predictor.labels("fused", offset)).all()


def test_starts_over(frames: list[np.ndarray]) -> None:
    predictor = SharedPredictor({"dff": MODELS["dff"]}, INTERVAL)
    for frame in frames[:3]:
        predictor.observe(frame)
    first = predictor.labels("dff", 2)
    predictor.reset()
    for frame in frames[:3]:
        predictor.observe(frame)
    assert (predictor.labels("dff", 2) == first).all()
