"""Flow from the motion vectors of a video's own compression, a search where there are none."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.grid import Grid, reduce_flow
from accel_rt.flow.motion import BLOCK_PX, Motion

_LEAST_COVERED = 0.5  # of the picture; where most of it was coded anew, a search sees more


@dataclass(frozen=True)
class _View:
    grey: np.ndarray
    motion: Motion | None


class CodecFlow:
    """Flow by motion vectors; a :class:`~accel_rt.flow.source.FlowSource`.

    A frame whose vectors do not lead to the frame before it, or are too few, gets the flow of
    dense inverse search; :attr:`latest` says which it was.
    """

    normalisation = None

    def __init__(self) -> None:
        self._search = DISFlow()
        self.latest = self._search.latest

    @property
    def name(self) -> str:
        """Which flow runs, in words."""
        return f"codec where the video has usable vectors, else {self._search.name}"

    def view(self, frame: np.ndarray, motion: Motion | None = None) -> _View:
        """A frame uint8 BGR ``[H, W, 3]`` in grey, with its vectors."""
        return _View(self._search.view(frame), motion)

    def between(self, previous: _View, current: _View, grid: Grid) -> Tensor:
        """Backward flow ``[1, 2, *grid.cells]`` in cells between two views."""
        before, motion = previous.motion, current.motion
        if (
            before is not None
            and motion is not None
            and motion.since == before.picture
            and motion.size == before.size
            and min(map(_covered, motion.fields)) >= _LEAST_COVERED
        ):
            self.latest = "codec"
            return reduce_flow(vector_flow(motion), grid)
        self.latest = self._search.latest
        return self._search.between(previous.grey, current.grey, grid)


def vector_flow(motion: Motion) -> np.ndarray:
    """Flow float32 ``[h, w, 2]`` of the whole picture, a pixel for a block, in these pixels."""
    height, width = (max(1, round(side / BLOCK_PX)) for side in motion.size)
    in_blocks = np.array([width / motion.size[1], height / motion.size[0]], np.float32)
    flows = [fill_holes(field)[:height, :width] * in_blocks for field in motion.fields]
    if len(flows) == 1:
        return flows[0]
    composed, *newer = (torch.from_numpy(flow).permute(2, 0, 1)[None] for flow in flows)
    for flow in newer:
        composed = ops.compose_flow(composed, flow)
    return composed[0].permute(1, 2, 0).contiguous().numpy()


def fill_holes(field: np.ndarray) -> np.ndarray:
    """``field`` float32 ``[h, w, 2]`` with the mean of what surrounds a hole (NaN) in its place.

    The mean is taken over the smallest region of 2x2, 4x4, ... blocks that knows one, and made
    smooth. All zeros where nothing is known.
    """
    known = ~np.isnan(field[..., 0])
    if known.all():
        return field
    levels = [(np.nan_to_num(field), known.astype(np.float32))]
    while not levels[-1][1].all() and max(levels[-1][1].shape) > 1:
        total, weight = levels[-1]
        half = -(-weight.shape[1] // 2), -(-weight.shape[0] // 2)
        levels.append(tuple(cv2.resize(a, half, interpolation=cv2.INTER_AREA) for a in levels[-1]))
    filled: np.ndarray | None = None
    for total, weight in reversed(levels):
        mean = total / np.maximum(weight, 1e-6)[..., None]
        if filled is not None:
            coarse = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
            mean = np.where(weight[..., None] > 0, mean, coarse)
        filled = mean
    assert filled is not None
    return filled


def _covered(field: np.ndarray) -> float:
    return 1 - float(np.isnan(field[..., 0]).mean())
