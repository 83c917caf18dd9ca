"""The outputs of the authors' own implementation, where they lie beside the checkout."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accel_rt.flow.flownets import load_flownet
from accel_rt.models import store
from accel_rt.runtime.geometry import plan
from accel_rt.runtime.load import load_model
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.settings import SegmenterSettings
from tests.models.mxnet.test_convert import model_file

FOLDER = next(
    (p / "shared/parity" for p in Path(__file__).parents if (p / "shared/parity").is_dir()), None
)
SIZE = (128, 256)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="no outputs of the authors' own implementation"),
]


def stored(name: str) -> dict[str, np.ndarray]:
    assert FOLDER is not None
    with np.load(FOLDER / "ref" / f"{name}_128x256.npz") as file:
        return dict(file)


def parameters(version: str) -> dict[str, np.ndarray]:
    assert FOLDER is not None
    spec = importlib.util.spec_from_file_location("recipe", FOLDER / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    recipe: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return recipe.weights(version)


class Run:
    """Three frames through an imported model; :attr:`found` by the names of the original."""

    def __init__(self, file: Path, frames: np.ndarray, version: str) -> None:
        self.found: dict[str, Tensor] = {}
        self._version = version
        model = load_model(SegmenterSettings(reference=str(file))).model
        self._flow = load_flownet(store.find(str(file), "flownets"))
        self._watch(model.reference, model.update, self._flow)
        program = FrameProgram(model, torch.device("cpu"), torch.float32, incremental=True)
        geometry = plan(SIZE, SIZE, SIZE, 1.0, model.cell)
        with torch.inference_mode():
            self._time = "t0"
            data = program.prepare(frames[0], geometry)
            features = model.reference.feature(data)[-1]
            state, scores = program.key(data)
            self._keep("data", data)
            self._keep("croped_score", scores)
            for number in (1, 2):
                self._time = f"t{number}"
                pair = (self._flow.normalisation(torch.from_numpy(frames[n : n + 1]))
                        for n in (number - 1, number))  # fmt: skip
                flow = self._flow(*pair) / 16
                self._keep("flow", flow)
                self._keep("flow_grid", sampling_grid(flow))
                features = model.reference.warp(features, flow)
                self._keep("warping_feat", features)
                state = program.advance(state, flow)
                if version != "101":
                    self._keep("croped_score", program.reference_scores(state))
                frame = program.prepare(frames[number], geometry, "update")
                self._keep(f"{version}_bn_data", frame)
                fresh = program.refresh(frame)
                self._keep(f"{'curr' if version == '50' else version}_croped_score", fresh)
                fused = program.merge(state, fresh)
                self._keep("croped_score" if version == "101" else "correction", fused)

    def _keep(self, name: str, value: Tensor) -> None:
        self.found[f"{self._time}.{name}"] = value

    def _watch(self, reference: Any, update: Any, flow: Any) -> None:
        def output(name: str) -> Callable:
            return lambda module, inputs, result: self._keep(name, result)

        def input(name: str) -> Callable:
            return lambda module, inputs: self._keep(name, inputs[0])

        feature, later = reference.feature, update.feature
        outputs: dict[str, nn.Module] = {
            "res2c_relu": feature.layer1,
            "res4b22_relu": feature.layer3,
            "res5c_relu": feature.layer4,
            "score": reference.task.scoring,
            "ReLU10": flow.encoder[-1],
        }
        for letter, block in zip("abc", feature.layer4, strict=True):
            outputs[f"res5{letter}_branch2b_offset"] = block.conv2.offset
        if self._version != "101":
            heads = "curr" if self._version == "50" else self._version
            outputs[f"{heads}_score"] = update.task.scoring
        if self._version == "18":
            outputs["stage3_out"] = later.layer3
            outputs["18_res5b_relu"] = later.layer4
            outputs["18_feat_upsampling"] = later.upsampling
            for letter, block in zip("ab", later.layer4, strict=True):
                outputs[f"18_res5{letter}_branch2b_offset"] = block.conv2.offset
        for name, module in outputs.items():
            module.register_forward_hook(output(name))
        inputs = {
            "resize_data": flow.encoder[0],
            "Concat2": flow.predictors[1],
            "resize_concat5": flow.predictors[-1],
        }
        for name, module in inputs.items():
            module.register_forward_pre_hook(input(name))


def sampling_grid(flow: Tensor) -> Tensor:
    """Where the warp reads, of the frame's width and height, -1 to 1."""
    height, width = flow.shape[2:]
    x = (torch.arange(width) + flow[:, 0]) / ((width - 1) / 2) - 1
    y = (torch.arange(height)[:, None] + flow[:, 1]) / ((height - 1) / 2) - 1
    return torch.stack([x, y], 1)


def compare(found: dict[str, Tensor], expected: dict[str, np.ndarray]) -> int:
    """Hold every tensor of ``expected`` against what was found; how many there were."""
    frames = expected.pop("frames_bgr", None)
    assert frames is None or frames.shape == (3, *SIZE, 3)
    for name, values in expected.items():
        whole, _, part = name.partition("[")
        ours = found[whole.removesuffix(".argmax")].numpy()
        if part:
            ours = eval(f"ours[{part}")  # a slice that the name says
        if whole.endswith(".argmax"):
            assert (ours.argmax(1) != values).sum() == 0, name
        else:
            assert np.abs(ours - values).max() <= 1e-4 * np.abs(values).max(), name
    return len(expected)


@pytest.mark.parametrize("version", ["18", "34", "50", "101"])
def test_an_imported_model_gives_the_originals_outputs(version: str, tmp_path: Path) -> None:
    common, small = stored("common"), stored("small")
    frames = common["frames_bgr"]
    file = model_file(parameters(version), tmp_path)
    found = Run(file, frames, version).found
    if version != "101":  # whose scores between keyframes have the names of the warped ones
        assert compare(found, common) == 27
    if version == "18":
        assert compare(found, stored("accel_18")) == 15
    own = f"accel_{version}."
    mine = {name.removeprefix(own): a for name, a in small.items() if name.startswith(own)}
    assert compare(found, mine) >= 6
