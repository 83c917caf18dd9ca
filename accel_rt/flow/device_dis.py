"""Dense inverse search on the networks' device: no frame goes back to the host for its flow."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.flow.grid import Grid
from accel_rt.flow.motion import Motion
from accel_rt.normalise import IMAGENET, normalise
from accel_rt.ops.eager import PATCH, resized_flow

_FINEST = 2  # halvings of the frame at which flow is sought last, as in OpenCV's ultrafast preset
_FARTHEST = 4  # a part of the longer side: the largest motion that the coarsest level begins with
_GREY_OF_RGB = (0.299, 0.587, 0.114)


class DeviceDIS:
    """Flow by :func:`accel_rt.ops.patch_flow`; a :class:`~accel_rt.flow.source.FlowSource`.

    On Middlebury's pairs and in how long labels last it is as good as OpenCV's ultrafast preset,
    which :class:`~accel_rt.flow.dis.DISFlow` runs on the CPU (``python -m benchmarks.flow``).
    """

    name = latest = "dis"
    normalisation = IMAGENET

    def __init__(self, device: torch.device) -> None:
        self._device = device
        scale = [255 * grey * std for grey, std in zip(_GREY_OF_RGB, IMAGENET.std_rgb, strict=True)]
        mean = zip(_GREY_OF_RGB, IMAGENET.mean_rgb, strict=True)
        self._weight = torch.tensor(scale, device=device)[:, None]
        self._still = torch.zeros(1, 2, 1, 1, device=device)
        self._bias = torch.tensor([255 * sum(g * m for g, m in mean)], device=device)

    def view(self, frame: np.ndarray | Tensor, motion: Motion | None = None) -> Tensor:
        """A frame uint8 BGR ``[H, W, 3]``, or normalised already, in grey: float32 ``[1, h, w]``.

        It has the size of the finest level that is searched.
        """
        if isinstance(frame, np.ndarray):
            frame = normalise(torch.from_numpy(frame)[None].to(self._device))
        height, width = frame.shape[-2:]
        finest = min(_FINEST, _halvings(min(height, width) / PATCH))
        small = F.interpolate(frame, _level((height, width), finest), mode="area")
        pixels = small.float().permute(0, 2, 3, 1)
        grey = torch.addmm(self._bias, pixels.reshape(-1, 3), self._weight)
        return grey.view(pixels.shape[:3])

    @torch.inference_mode()
    def between(self, previous: Tensor, current: Tensor, grid: Grid) -> Tensor:
        """Backward flow ``[1, 2, *grid.cells]`` in cells between two views."""
        flow = self.finest(previous, current)
        if flow.shape[2] < grid.cells[0] or flow.shape[3] < grid.cells[1]:
            flow = resized_flow(flow, grid.frame)
        return ops.reduce_flow(flow, grid.frame, grid.cells, grid.stride)

    def dense(self, previous_bgr: np.ndarray, current_bgr: np.ndarray) -> np.ndarray:
        """Backward flow float32 ``[H, W, 2]`` in pixels between two frames of one size."""
        flow = self.finest(self.view(previous_bgr), self.view(current_bgr))
        height, width = current_bgr.shape[:2]
        return resized_flow(flow, (height, width))[0].permute(1, 2, 0).cpu().numpy()

    def finest(self, previous: Tensor, current: Tensor) -> Tensor:
        """Flow ``[1, 2, h, w]`` between two views, in their pixels."""
        height, width = current.shape[1:]
        farthest = math.log2(max(height, width) / (_FARTHEST * PATCH))
        levels = max(0, min(round(farthest), _halvings(min(height, width) / PATCH)))
        sizes = [_level((height, width), halvings) for halvings in range(levels + 1)]
        both = torch.stack([current, previous], 1)
        flow = self._still
        for size in reversed(sizes):
            level = both if size == (height, width) else F.interpolate(both, size, mode="area")
            flow = ops.patch_flow(level[:, 0], level[:, 1], flow)
        return flow


def _halvings(ratio: float) -> int:
    """How often a side can be halved that is ``ratio`` times the least one."""
    return max(0, math.floor(math.log2(ratio)))


def _level(size: tuple[int, int], halvings: int) -> tuple[int, int]:
    return -(-size[0] >> halvings), -(-size[1] >> halvings)
