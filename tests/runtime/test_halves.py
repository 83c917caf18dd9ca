"""The halves of a pair in other runtimes: the same scores and labels as the frame program's."""

import copy
import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accel_rt.errors import UsageError
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.exported import openvino_core
from accel_rt.models.foreign.network import ModuleNetwork
from accel_rt.runtime.halves import Half, halves
from accel_rt.runtime.program import FrameProgram
from tests.need import need
from tests.runtime.exported import INFO, deformable, plain

Runner = Callable[[Half, dict[str, Tensor]], list[Any]]


@functools.cache
def file(half: Half) -> bytes:
    return half.to_onnx()


def by_onnxruntime(half: Half, inputs: dict[str, Tensor]) -> list[Any]:
    session = need("onnxruntime").InferenceSession(file(half))
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})


def by_openvino(half: Half, inputs: dict[str, Tensor]) -> list[Any]:
    need("openvino")
    core = openvino_core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(file(half)), "CPU", options)
    found = compiled({name: tensor.numpy() for name, tensor in inputs.items()})
    return [found[output] for output in compiled.outputs]


def by_torch(half: Half, inputs: dict[str, Tensor]) -> list[Any]:
    loaded = torch.export.load(io.BytesIO(half.to_torch()))
    return [found.numpy() for found in loaded.module()(**inputs)]


RUNNERS = {"onnxruntime": by_onnxruntime, "openvino": by_openvino, "torch": by_torch}


class Pair:
    """A model, its pieces, and what the frame program makes of a keyframe and the next frame."""

    def __init__(self, model: Accel, scale: float, size: tuple[int, int] | None = None) -> None:
        program = copy.deepcopy(model)
        self.pieces = halves(model, INFO, scale, size)
        steps = FrameProgram(program, torch.device("cpu"), torch.float32, update_scale=scale)
        self.picture = torch.randn(1, 3, 160, 224)
        self.smaller = torch.randn(1, 3, round(160 * scale), round(224 * scale))
        with torch.inference_mode():
            state, self.key_scores = steps.key(self.picture)
            assert state.features is not None
            self.state = state.features
            self.flow = 2 * torch.randn(1, 2, *self.state.shape[2:])
            fresh = steps.refresh(self.smaller)
            self.scores = steps.merge(steps.advance(state, self.flow), fresh)


@pytest.fixture(scope="module", params=["light", "deformable"])
def pair(request: pytest.FixtureRequest) -> Pair:
    need("onnxscript")
    torch.manual_seed(0)
    fusion = ScoreFusion(11)
    nn.init.normal_(fusion.conv.weight)
    if request.param == "light":
        return Pair(Accel(plain(), plain(), fusion).eval(), 0.5)
    return Pair(Accel(deformable(), plain(), fusion).eval(), 1, (160, 224))


def agree(found: Any, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted.numpy()).max() < 1e-4 * wanted.abs().max()
    assert np.mean(found.argmax(1) == wanted.numpy().argmax(1)) >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
def test_halves_give_what_the_frame_program_gives(pair: Pair, runner: str) -> None:
    run = RUNNERS[runner]
    scores, state = run(pair.pieces["keyframe"], {"picture": pair.picture})
    agree(scores, pair.key_scores)
    agree(state, pair.state)
    moved = {"state": pair.state, "flow": pair.flow, "picture": pair.smaller}
    (scores,) = run(pair.pieces["update"], moved)
    agree(scores, pair.scores)


def test_without_an_update_network_the_state_is_moved() -> None:
    torch.manual_seed(0)
    network = plain()
    steps = FrameProgram(Accel(copy.deepcopy(network)), torch.device("cpu"), torch.float32)
    piece = halves(Accel(network), INFO, names=("update",))["update"]
    state, flow = torch.randn(1, 11, 24, 36), torch.randn(1, 2, 24, 36)
    (found,) = by_torch(piece, {"state": state, "flow": flow})
    agree(found, steps.model.reference.warp(state, flow))


def test_a_size_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 16 pixels, got 100x90"):
        halves(Accel(plain()), INFO, size=(90, 100))


def test_networks_of_others_are_refused() -> None:
    with pytest.raises(UsageError, match="the library that they are of"):
        halves(Accel(ModuleNetwork(plain(), 11)), INFO)
