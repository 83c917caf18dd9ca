"""All networks of a model in one file: each part is found where a file of it would be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from accel_rt.classes import CAMVID
from accel_rt.errors import WeightsError
from accel_rt.flow.flownets import FlowNetSFlow, load_flownet, save_flownet
from accel_rt.flow.grid import Grid
from accel_rt.models import store
from accel_rt.models.accel import ScoreFusion
from accel_rt.models.flownet import FlowNetS, MXNetFlowNetS
from accel_rt.models.weights import (
    ModelInfo,
    Part,
    content_hash,
    load_network,
    save_model,
    save_network,
)
from accel_rt.models.zoo import build_network
from accel_rt.normalise import Normalisation
from accel_rt.runtime.load import load_flow, load_model
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.train.start import start_network

NAME = "efficientnet_lite0"
NORMALISATION = Normalisation(std_rgb=(1.0, 0.5, 0.25))
CPU = torch.device("cpu")


def write_model(path: Path) -> Path:
    """A model whose update network is the reference itself."""
    torch.manual_seed(1)
    info = ModelInfo(NAME, CAMVID, (360, 480), "nothing")
    network = replace(info, std_rgb=NORMALISATION.std_rgb).to_json()
    fusion, flow = ScoreFusion(11), FlowNetS(0.125)
    torch.nn.init.normal_(fusion.conv.weight)
    pair = {"kind": "fusion", "reference": NAME, "update": NAME, "trained_on": "nothing"}
    parts = {
        "reference": Part(build_network(NAME, 11).state_dict(), network),
        "update": Part({}, {**network, "tensors": "reference"}),
        "fusion": Part(fusion.state_dict(), pair),
        "flow": Part(flow.state_dict(), flow.describe("nothing")),
    }
    save_model(path, parts, "nothing", 32)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "whole.safetensors")


def test_every_part_is_found(model: Path) -> None:
    reference, update = store.find(str(model)), store.find(f"{model}#update")
    assert (reference.name, update.name) == (f"{model.name}#reference", f"{model.name}#update")
    assert content_hash(reference) == content_hash(update)
    assert store.class_names(reference) == CAMVID.names
    networks = [load_network(path)[0] for path in (reference, update)]
    frame = torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(networks[0](frame), networks[1](frame))
    assert load_flownet(store.find(str(model), "flownets")).width == 0.125
    fusion = store.find_fusion(reference, update)
    assert fusion is not None
    loaded = store.load_pair_fusion(fusion, *networks)
    assert isinstance(loaded, ScoreFusion)
    assert loaded.conv.weight.std() > 0.5


def test_a_segmenter_takes_all_of_it(model: Path) -> None:
    settings = SegmenterSettings(reference=str(model))
    loaded = load_model(settings)
    assert loaded.description["update"] == NAME
    assert loaded.description["fusion"] == "whole"
    assert "note" not in loaded.description
    assert isinstance(load_flow(settings, CPU, torch.float32, loaded.flow), FlowNetSFlow)


def test_another_update_and_flow_can_be_asked_for(model: Path) -> None:
    other = model.with_name("other.safetensors")
    save_network(other, build_network(NAME, 11), ModelInfo(NAME, CAMVID, (360, 480), "nothing"))
    settings = SegmenterSettings(reference=str(model), update=str(other), flow="dis")
    loaded = load_model(settings)
    assert loaded.description["fusion"] == "mean of both branches"
    assert not isinstance(load_flow(settings, CPU, torch.float32, loaded.flow), FlowNetSFlow)


def test_training_starts_from_a_part(model: Path) -> None:
    network = start_network(NAME, CAMVID, f"{model}#update", 0)
    trained, info = load_network(store.find(str(model)))
    assert network.normalisation == Normalisation(info.mean_rgb, info.std_rgb) == NORMALISATION
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor)


def test_installed_models_are_found_by_name(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.FOLDERS_VARIABLE, str(model.parent))
    assert store.find("whole").name == f"{model.name}#reference"
    assert store.find("whole#update").name == f"{model.name}#update"
    assert store.find("whole", "flownets").name == f"{model.name}#flow"
    (entry,) = (entry for entry in store.installed() if entry.name == "whole")
    assert entry.kind == "model"


def test_a_part_that_is_not_there(model: Path) -> None:
    with pytest.raises(WeightsError, match="no part 'x', but reference, update, fusion, flow"):
        load_network(store.find(f"{model}#x"))


@pytest.mark.parametrize("part", ["a/b", "", "reference"])
def test_a_damaged_description_is_told(model: Path, part: str) -> None:
    data = model.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    described = json.loads(header["__metadata__"]["accel_rt"])
    described["parts"][part] = {"kind": "network"}
    header["__metadata__"]["accel_rt"] = json.dumps(described)
    text = json.dumps(header).encode()
    path = model.with_name("damaged.safetensors")
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(WeightsError):
        store._checked_description(path)


def test_the_authors_flow_network_spans_whole_cells(tmp_path: Path) -> None:
    """Its flow comes back from a file, in cells of any grid."""
    torch.manual_seed(2)
    network = MXNetFlowNetS(0.125)
    torch.nn.init.normal_(network.predictors[-1].get_parameter("weight"))
    save_flownet(tmp_path / "flow.safetensors", network, "nothing")
    network, same = (load_flownet(tmp_path / "flow.safetensors") for _ in range(2))
    source = FlowNetSFlow(same, CPU, torch.float32)
    frames = torch.rand(2, 1, 3, 50, 66)
    with torch.inference_mode():
        expected = network(*frames)
        coarse = source.between(*frames, Grid((50, 66), (4, 5), 16))
        fine = source.between(*frames, Grid((50, 66), (16, 20), 4))
    torch.testing.assert_close(coarse, expected / 16, rtol=1e-4, atol=1e-4)
    assert fine.shape == (1, 2, 16, 20)
    torch.testing.assert_close(fine.mean((2, 3)), 4 * coarse.mean((2, 3)), rtol=0.05, atol=0.05)
