"""Flow on the feature grid."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A feature grid over a processed frame; all sizes are ``(height, width)``.

    ``frame`` is the frame's size in pixels without padding, ``cells`` the grid's size over the
    padded frame, ``stride`` the pixels of one cell.
    """

    frame: tuple[int, int]
    cells: tuple[int, int]
    stride: int

    @property
    def padded(self) -> tuple[int, int]:
        """The padded frame's size in pixels."""
        return self.cells[0] * self.stride, self.cells[1] * self.stride


def reduce_flow(flow: np.ndarray, grid: Grid) -> Tensor:
    """Dense flow of the whole frame to the grid by area averaging.

    ``flow`` is float32 ``[h, w, 2]`` at any resolution, in pixels of that resolution; the result
    is ``[1, 2, *grid.cells]`` in cells. Padding takes the flow of the nearest edge.
    """
    height, width = flow.shape[:2]
    scale_y, scale_x = height / grid.frame[0], width / grid.frame[1]
    padded_h, padded_w = round(grid.padded[0] * scale_y), round(grid.padded[1] * scale_x)
    if (padded_h, padded_w) != (height, width):
        border = (0, padded_h - height, 0, padded_w - width)
        flow = cv2.copyMakeBorder(flow, *border, cv2.BORDER_REPLICATE)
    cells = cv2.resize(flow, grid.cells[::-1], interpolation=cv2.INTER_AREA)
    cells *= (1 / (scale_x * grid.stride), 1 / (scale_y * grid.stride))
    return torch.from_numpy(cells).permute(2, 0, 1)[None]
