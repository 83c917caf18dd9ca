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
from accel_rt.models.flownet import FLOWNETS, FlowNetS
from accel_rt.models.fuse import for_inference
from accel_rt.models.layers import resize_grid
from accel_rt.models.weights import describing, fit, load_tensors, save_tensors


def save_flownet(path: Path, network: FlowNetS, trained_on: str) -> None:
    """Write ``network`` as a weight file."""
    save_tensors(path, network.state_dict(), network.describe(trained_on))


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
        kind = member(description, "network", str, FlowNetS.kind)
        if kind not in FLOWNETS:
            raise ValueError(f"it is of a flow network '{kind}' that is not known here")
    network = FLOWNETS[kind](width)
    fit(network, tensors, path)
    return network.eval()


class FlowNetSFlow:
    """Flow by FlowNetS; a :class:`~accel_rt.flow.source.FlowSource`."""

    name = latest = "flownets"

    def __init__(self, network: FlowNetS, device: torch.device, dtype: torch.dtype) -> None:
        self.normalisation = network.normalisation
        self._network = for_inference(network, device, dtype)
        self._device, self._dtype = device, dtype

    def view(self, frame: np.ndarray | Tensor, motion: Motion | None = None) -> Tensor:
        """A frame uint8 BGR ``[H, W, 3]``, or normalised already, as the network's input."""
        if isinstance(frame, np.ndarray):
            frame = self.normalisation(torch.from_numpy(frame)[None].to(self._device))
        return frame.to(self._dtype)

    @torch.inference_mode()
    def between(self, previous: Tensor, current: Tensor, grid: Grid) -> Tensor:
        """Backward flow ``[1, 2, *grid.cells]`` in cells from views ``[1, 3, *grid.frame]``."""
        flow = self._network(previous, current)
        if grid.stride < self._network.stride:
            flow = resize_grid(flow, grid.cells)
        covered = self._network.covers(*grid.frame)
        return ops.reduce_flow(flow, covered, grid.cells, grid.stride, pixels_of=covered)
