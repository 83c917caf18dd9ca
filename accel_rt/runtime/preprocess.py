"""From a frame to what the networks take."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.normalise import IMAGENET, Normalisation, pad_to
from accel_rt.runtime.geometry import Geometry

_CPU = torch.device("cpu")


def resize_frame(frame_bgr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at ``size`` ``(height, width)``, contiguous; area averaging where it shrinks."""
    if frame_bgr.shape[:2] == size:
        return np.ascontiguousarray(frame_bgr)  # torch takes no negative strides
    shrinks = size[0] <= frame_bgr.shape[0] and size[1] <= frame_bgr.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame_bgr, size[::-1], interpolation=method)


def network_input(
    frame: np.ndarray | Tensor,
    geometry: Geometry,
    normalisation: Normalisation = IMAGENET,
    scale: float = 1.0,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """A frame padded to ``geometry.padded``, reduced by ``scale``, and normalised.

    ``frame`` is uint8 BGR ``[H, W, 3]``: an array of ``geometry``'s processed size, or a tensor of
    its source size, which is resized where it lies. Returns RGB
    ``[1, 3, scale * padded height, scale * padded width]``. Padding comes before scaling, so that
    a cell covers the same pixels at every scale.
    """
    padded = geometry.padded
    if isinstance(frame, Tensor):
        return ops.preprocess(
            frame[None],
            geometry.processed,
            padded,
            mean_rgb=normalisation.mean_rgb,
            std_rgb=normalisation.std_rgb,
            scale=scale,
            dtype=dtype,
        )
    image = pad_to(frame, padded, normalisation.padding_bgr)
    if scale != 1:
        image = resize_frame(image, (round(padded[0] * scale), round(padded[1] * scale)))
    if device.type == "cpu" and dtype in _TABLE_DTYPES:
        return _look_up(image, normalisation, dtype)
    return normalisation(torch.from_numpy(image)[None].to(device)).to(dtype)


def thumbnail(
    frame: np.ndarray | Tensor, geometry: Geometry, stride: int, device: torch.device = _CPU
) -> Tensor:
    """A frame's mean colours in the cells of a grid, float32 BGR 0 to 255, ``[1, 3, h, w]``.

    ``frame`` is as for :func:`network_input`; the grid is ``geometry``'s of that stride.
    """
    if isinstance(frame, Tensor):
        small = ops.preprocess(
            frame[None],
            geometry.processed,
            geometry.padded,
            mean_rgb=IMAGENET.mean_rgb,  # is the border's colour, too
            std_rgb=(1.0, 1.0, 1.0),
        )
        for channel, mean in enumerate(IMAGENET.mean_rgb):
            small[:, channel] += mean
        return 255 * F.avg_pool2d(small.flip(1), stride, ceil_mode=True)
    grid = geometry.grid(stride)
    small_bgr = cv2.resize(
        pad_to(frame, grid.padded), grid.cells[::-1], interpolation=cv2.INTER_AREA
    )
    return torch.from_numpy(small_bgr).to(device, torch.float32).permute(2, 0, 1)[None]


# Of 256 values a channel each, all results fit into a table: eight times faster than arithmetic.
_TABLE_DTYPES = (torch.float32, torch.bfloat16)


def _look_up(frame_bgr: np.ndarray, normalisation: Normalisation, dtype: torch.dtype) -> Tensor:
    rgb = cv2.LUT(cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB), _table(normalisation, dtype))
    return torch.from_numpy(rgb).view(dtype)[None].permute(0, 3, 1, 2)


@cache
def _table(normalisation: Normalisation, dtype: torch.dtype) -> np.ndarray:
    """Normalised values of every byte, ``[1, 256, 3]`` in RGB; bfloat16 as its bits."""
    grey = torch.arange(256, dtype=torch.uint8)[None, None, :, None].expand(1, 1, 256, 3)
    values = normalisation(grey)[0].permute(1, 2, 0).to(dtype).contiguous()
    return (values.view(torch.uint16) if dtype == torch.bfloat16 else values).numpy()
