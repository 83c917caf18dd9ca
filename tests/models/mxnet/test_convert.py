"""The authors' parameters in our networks: what they compute, and what is told of a wrong file."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from accel_rt.cli.main import run
from accel_rt.errors import WeightsError
from accel_rt.models.mxnet.convert import convert
from accel_rt.models.mxnet.model import model_parts
from accel_rt.models.weights import save_model
from accel_rt.runtime.geometry import plan
from accel_rt.runtime.load import load_flow, load_model
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.settings import SegmenterSettings
from tests.models.mxnet.literal import Literal

CPU = torch.device("cpu")
SIZES = {"18": (50, 66), "34": (50, 66), "50": (50, 66), "101": (48, 64)}  # 50 is in no whole cells


@cache
def frames(size: tuple[int, int]) -> list[np.ndarray]:
    """Three frames of something that moves."""
    random = np.random.default_rng(5)
    large = cv2.resize(random.integers(0, 256, (20, 24, 3)).astype(np.uint8), (120, 100))
    return [large[2 * n : 2 * n + size[0], 3 * n : 3 * n + size[1]].copy() for n in range(3)]


@cache
def literal(version: str) -> tuple[Literal, list[tuple[Tensor, Tensor | None, Tensor]]]:
    """The literal network, and features, flow and scores of each frame."""
    network = Literal(version)
    first, *others = frames(SIZES[version])
    features, scores = network.key(first)
    found: list[tuple[Tensor, Tensor | None, Tensor]] = [(features, None, scores)]
    for before, frame in zip([first, *others], others, strict=False):
        flow, features, scores = network.current(frame, before, features)
        found.append((features, flow, scores))
    return network, found


def model_file(parameters: Mapping[str, np.ndarray], folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_model(path, model_parts(convert(parameters), "nothing"), "nothing", 32)
    return path


def same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("version", SIZES)
def test_the_model_computes_what_the_authors_did(version: str, tmp_path: Path) -> None:
    """Every stage of three frames, in the program that runs frames, from a file."""
    network, expected = literal(version)
    converted = convert(network.parameters)
    assert converted.version.title == f"Accel-{version}"
    assert converted.unused == []
    size, pictures = SIZES[version], frames(SIZES[version])
    settings = SegmenterSettings(reference=str(model_file(network.parameters, tmp_path)))
    loaded = load_model(settings)
    flow = load_flow(settings, CPU, torch.float32, loaded.flow)
    assert loaded.incremental
    assert flow is not None
    program = FrameProgram(loaded.model, CPU, torch.float32, incremental=True)
    geometry = plan(size, size, size, 1.0, loaded.model.cell)
    with torch.inference_mode():
        state, scores = program.key(program.prepare(pictures[0], geometry))
        same(
            loaded.model.reference.feature(program.prepare(pictures[0], geometry))[-1],
            expected[0][0],
        )
        same(scores, expected[0][2])
        for number in (1, 2):
            views = (flow.view(pictures[n]) for n in (number - 1, number))
            moved = flow.between(*views, geometry.grid(program.stride))
            same(moved, expected[number][1])
            state = program.advance(state, moved)
            fresh = program.refresh(program.prepare(pictures[number], geometry, "update"))
            scores = program.merge(state, fresh)
            same(scores, expected[number][2])
            labels = program.output(scores, geometry).labels
            assert (labels != expected[number][2][0].argmax(0)).sum() == 0


@pytest.mark.slow
def test_what_does_not_fit_is_told_by_name() -> None:
    given, _ = literal("18")
    intact = given.parameters
    assert convert({**intact, "arg:rfcn_cls_bias": np.zeros(3)}).unused == ["arg:rfcn_cls_bias"]
    lacking = {name: a for name, a in intact.items() if "_stage2_unit1_bn1" not in name}
    lacking["arg:fc6_bias"] = np.zeros(7, np.float32)
    lacking["arg:score_bias"] = np.full(19, np.nan, np.float32)
    lacking["aux:bn2a_branch1_moving_var"] = np.full(256, -1, np.float32)
    with pytest.raises(WeightsError) as told:
        convert(lacking)
    for text in (
        "not all of Accel-18",
        "4 parameters are missing (18_stage2_unit1_bn1_gamma",
        "3 do not fit",
        "'bn2a_branch1_moving_var' holds variances below 0",
        "'fc6_bias' is (7,) and should be (1024,)",
        "'score_bias' holds values that are no finite numbers",
    ):
        assert text in str(told.value)


def write_params(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """As MXNet did it, in its second layout."""
    with path.open("wb") as file:
        file.write(struct.pack("<QQQ", 0x112, 0, len(arrays)))
        for array in arrays.values():
            shape = (array.ndim, *array.shape)
            file.write(struct.pack(f"<Iii{array.ndim}qiii", 0xF993FAC9, 0, *shape, 2, 1, 0))
            file.write(array.astype("<f4").tobytes())
        file.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            file.write(struct.pack("<Q", len(name)) + name.encode())
    return path


@pytest.mark.slow
def test_from_a_checkpoint_to_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line, with a base whose parameters come second."""
    network, expected = literal("18")
    intact, size, model = network.parameters, SIZES["18"], tmp_path / "accel.safetensors"
    main_file = {n: a for n, a in intact.items() if not n.startswith("arg:flow_conv1")}
    base = {n: a for n, a in intact.items() if n.startswith("arg:flow_conv1")}
    base |= {"arg:fc6_bias": np.ones(1024, np.float32), "arg:rfcn_cls_bias": np.ones(3)}
    files = (
        write_params(tmp_path / "a.params", main_file),
        write_params(tmp_path / "b.params", base),
    )
    assert run(["import", "mxnet", str(files[0]), "-o", str(model)]) == 1
    assert (
        "2 parameters are missing (flow_conv1_weight, flow_conv1_bias)" in capsys.readouterr().err
    )
    command = ["import", "mxnet", str(files[0]), "--base", str(files[1]), "-o", str(model)]
    assert run(command) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(model)
    assert "1 parameters have no use here: rfcn_cls_bias" in said.err
    (tmp_path / "in").mkdir()
    for number, frame in enumerate(frames(size)):
        cv2.imwrite(str(tmp_path / f"in/{number}.png"), frame)
    command = ["segment", str(tmp_path / "in"), "--no-video", "--masks", str(tmp_path / "masks")]
    command += ["--masks-format", "npz", "--weights", str(model), "--no-scene-cuts"]
    command += ["--interval", "5", "--size", f"{size[1]}x{size[0]}", "--precision", "fp32"]
    assert run([*command, "--device", "cpu"]) == 0, capsys.readouterr().err
    for number, (_, _, scores) in enumerate(expected):
        labels = np.load(tmp_path / f"masks/{number}.npz")["labels"]
        assert (labels != scores[0].argmax(0).numpy()).sum() == 0
