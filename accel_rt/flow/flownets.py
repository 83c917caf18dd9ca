"""FlowNetS as a flow source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.errors import WeightsError
from accel_rt.flow.grid import Grid
from accel_rt.flow.motion import Motion
from accel_rt.jsonfile import member
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.fuse import for_inference
from accel_rt.models.weights import describing, fit, load_tensors, save_tensors
from accel_rt.normalise import normalise


def save_flownet(path: Path, network: FlowNetS, trained_on: str) -> None:
    """Write ``network`` as a weight file."""
    description = {"kind": "flownets", "width": network.width, "trained_on": trained_on}
    save_tensors(path, network.state_dict(), description)


def load_flownet(path: Path) -> FlowNetS:
    """Rebuild the FlowNetS stored at ``path``, in ``eval`` mode.

    Raises :class:`~accel_rt.errors.WeightsError` if the file is missing or holds something else.
    """
    tensors, description = load_tensors(path)
    if description["kind"] != "flownets":
        raise WeightsError(f"{path} does not hold a FlowNetS: name a flow network's weight file")
    with describing(path):
        width = member(description, "width", float)
        if not 0 < width <= 2:
            raise ValueError(f"its width must be above 0 and at most 2, got {width}")
    network = FlowNetS(width)
    fit(network, tensors, path)
    return network.eval()


class FlowNetSFlow:
    """Flow by FlowNetS; a :class:`~accel_rt.flow.source.FlowSource`."""

    name = "flownets"
    on_device = True

    def __init__(self, network: FlowNetS, device: torch.device, dtype: torch.dtype) -> None:
        self._network = for_inference(network, device, dtype)
        self._device, self._dtype = device, dtype

    def view(self, frame: np.ndarray | Tensor, motion: Motion | None = None) -> Tensor:
        """A frame uint8 BGR ``[H, W, 3]``, or normalised already, as the network's input."""
        if isinstance(frame, np.ndarray):
            frame = normalise(torch.from_numpy(frame)[None].to(self._device))
        return frame.to(self._dtype)

    @torch.inference_mode()
    def between(self, previous: Tensor, current: Tensor, grid: Grid) -> Tensor:
        """Backward flow ``[1, 2, *grid.cells]`` in cells from views ``[1, 3, *grid.frame]``."""
        flow = self._network(previous, current)
        return ops.reduce_flow(flow, grid.frame, grid.cells, grid.stride, pixels_of=grid.frame)
