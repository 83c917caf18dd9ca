"""Which models the paper's tables find among the installed weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from accel_rt.classes import CAMVID
from accel_rt.evaluate.paper import available_models
from accel_rt.models import store
from accel_rt.models.accel import FeatureFusion
from accel_rt.models.weights import save_network
from accel_rt.models.zoo import build_network
from accel_rt.runtime.settings import SegmenterSettings
from tests.models.test_weights import INFO


def test_where_to_fuse_is_compared_on_networks_with_the_papers_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table 4 takes both of its rows from the pair that feature fusion is trained for."""
    monkeypatch.setattr(store, "folders", lambda: [tmp_path])  # whatever else is installed
    network = build_network("resnet18", len(CAMVID))
    names = "resnet101", "resnet18", "resnet101-paper", "resnet18-paper"
    paths = [tmp_path / f"{name}.safetensors" for name in names]
    for path in paths[:2]:
        save_network(path, network, replace(INFO, network="resnet18", classes=CAMVID))
    found = available_models(SegmenterSettings(), CAMVID)
    assert "no trained feature fusion of resnet101 and" in found.missing["Accel-18, feature fusion"]
    assert "Accel-18, score fusion" not in found.models

    for path in paths[2:]:
        save_network(path, network, replace(INFO, network="resnet18", classes=CAMVID))
    described = {**store.pair(*paths[2:]), "trained_on": "nothing"}
    name = store.fusion_name(*names[2:], "feature")
    store.save_fusion(tmp_path / f"{name}.safetensors", FeatureFusion(network, network), described)
    found = available_models(SegmenterSettings(), CAMVID)
    assert "Accel-18, feature fusion" not in found.missing
    for kind in ("feature", "score"):
        settings = found.models[f"Accel-18, {kind} fusion"]
        assert (settings.reference, settings.update) == names[2:]
        assert settings.fusion == kind
    assert found.models["Accel-18"].reference == "resnet101"
