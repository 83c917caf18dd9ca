"""The frame program in two pieces that other runtimes execute, whatever they have for flow.

    keyframe   picture -> scores, state
    update     state, flow[, picture] -> scores

A picture is ``[1, 3, H, W]``, normalised; state and scores are ``[1, C, h, w]`` on grids of their
own, and ``flow [1, 2, h, w]`` leads from the frame to the keyframe in cells of the state's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from accel_rt.errors import UsageError
from accel_rt.models import onnx
from accel_rt.models.accel import Accel
from accel_rt.models.exported import ExportedNetwork
from accel_rt.models.fuse import fuse_networks
from accel_rt.models.network import Network
from accel_rt.models.weights import ModelInfo
from accel_rt.runtime.program import FrameProgram, State

_EXAMPLE = 3, 5  # of the least sides


@dataclass(frozen=True, eq=False)
class Half:
    """A piece as a graph, the names of what it gives, and texts by key that go into its file."""

    program: ExportedProgram
    outputs: tuple[str, ...]
    metadata: dict[str, str]

    def to_onnx(self) -> bytes:
        """The piece as an ONNX file; raises as :func:`~accel_rt.models.onnx.to_onnx`."""
        return onnx.to_onnx(self.program, self.outputs, self.metadata)

    def to_torch(self) -> bytes:
        """The piece as ``torch.export.save`` writes it."""
        file = io.BytesIO()
        torch.export.save(self.program, file, extra_files=dict(self.metadata))
        return file.getvalue()


class _Keyframe(nn.Module):
    """:meth:`.FrameProgram.key` from tensors to tensors."""

    name, outputs = "keyframe", ("scores", "state")

    def __init__(self, steps: FrameProgram) -> None:
        super().__init__()
        self.model, self.steps = steps.model, steps

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        state, scores = self.steps.key(picture)
        assert state.features is not None
        return scores, state.features


class _Update(nn.Module):
    """:meth:`.FrameProgram.merge` from tensors to tensors; ``size`` of the keyframe's picture, None
    for the extent of the state."""

    name, outputs = "update", ("scores",)

    def __init__(self, steps: FrameProgram, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.model, self.steps, self.size = steps.model, steps, size

    def forward(
        self, state: Tensor, flow: Tensor, picture: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        stride = self.steps.stride
        size = self.size or (state.shape[2] * stride, state.shape[3] * stride)
        fresh = None if picture is None else self.steps.refresh(picture)
        return (self.steps.merge(State(state, flow, size=size), fresh),)


def halves(
    model: Accel,
    info: ModelInfo,
    update_scale: float = 1.0,
    size: tuple[int, int] | None = None,
    names: Sequence[str] = ("keyframe", "update"),
) -> dict[str, Half]:
    """The pieces of ``model``, which is taken over, by name; ``info`` is its reference's.

    Frames may have sides of any multiple of the networks' cells, unless ``size``
    ``(height, width)`` is given, which some networks need. Raises
    :class:`~accel_rt.errors.UsageError` for networks of others and a size that does not fit.
    """
    if model.foreign:
        raise UsageError("networks of others are written by the library that they are of")
    if ExportedNetwork in (type(model.reference), type(model.update)):
        raise UsageError("a network that was exported is no longer one to export: copy the file")
    steps = FrameProgram(
        fuse_networks(model.eval()), torch.device("cpu"), torch.float32, update_scale=update_scale
    )
    cell = round(model.cell / steps.update_scale)
    if size is None and model.cell == 1:
        raise UsageError("these networks are written for frames of one size: name it by --size")
    if size is not None and (size[0] % cell or size[1] % cell or not min(size)):
        raise UsageError(f"the sides must be multiples of {cell} pixels, got {size[1]}x{size[0]}")
    height, width = size or (cell * _EXAMPLE[0], cell * _EXAMPLE[1])

    def picture(scale: float = 1.0) -> tuple[Tensor, onnx.Sides]:
        sides = round(height * scale), round(width * scale)
        per = None if size else (round(cell * scale), round(cell * scale))
        return torch.zeros(1, 3, *sides), per

    def half(module: _Keyframe | _Update, network: Network, inputs: dict[str, Any]) -> Half:
        told = {
            "piece": module.name,
            **asdict(network.normalisation),
            "cell": cell,
            "score_stride": network.score_stride,
            "size": info.size,
            "fixed_size": size,
        }
        metadata = {
            onnx.DESCRIPTION_KEY: json.dumps(told),
            "classes": json.dumps(asdict(info.classes)),
        }
        return Half(onnx.trace(module, inputs), module.outputs, metadata)

    frame, pieces = picture(), {}
    if "keyframe" in names:
        pieces["keyframe"] = half(_Keyframe(steps), model.reference, {"picture": frame})
    if "update" in names:
        with torch.no_grad():
            state = steps.key(frame[0])[0].features
        assert state is not None
        per = None if size else (cell // steps.stride, cell // steps.stride)
        inputs = {"state": (state, per), "flow": (state.new_zeros(1, 2, *state.shape[2:]), per)}
        if model.update is not None:
            inputs["picture"] = picture(steps.update_scale)
        pieces["update"] = half(_Update(steps, size), model.update or model.reference, inputs)
    return pieces
