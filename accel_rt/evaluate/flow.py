"""Optical flow against the truth: end-point error, and how long labels last when warped."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from accel_rt.data.normalise import normalise
from accel_rt.models.flownet import FlowNetS

_FULL_COLOUR_PX = 24  # flow of this length is drawn in full brightness


def endpoint_error(flow: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance in pixels, float32 ``[H, W]``, between two flows ``[H, W, 2]``."""
    return np.linalg.norm(flow - truth, axis=-1)


@torch.inference_mode()
def network_flow(
    network: FlowNetS, previous_bgr: np.ndarray, current_bgr: np.ndarray
) -> np.ndarray:
    """Backward flow float32 ``[H, W, 2]`` in pixels by a network, bilinear from its quarter size.

    Frames are uint8 BGR ``[H, W, 3]``.
    """
    parameter = next(network.parameters())
    previous, current = (
        normalise(torch.from_numpy(frame)[None].to(parameter.device)).to(parameter.dtype)
        for frame in (previous_bgr, current_bgr)
    )
    flow = network(previous, current).float()
    flow = F.interpolate(flow, scale_factor=4, mode="bilinear", align_corners=False)
    height, width = current_bgr.shape[:2]
    return flow[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()


def warp_labels(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Labels uint8 ``[H, W]`` of the frame before, moved to this one by its backward flow.

    The nearest pixel is taken, at the border where the flow points outside.
    """
    height, width = labels.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def flow_colours(flow: np.ndarray) -> np.ndarray:
    """A picture of flow, uint8 BGR: direction as hue, length as brightness."""
    length, angle = cv2.cartToPolar(
        np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1]), angleInDegrees=True
    )
    value = np.minimum(255, length * (255 / _FULL_COLOUR_PX))
    hsv = np.stack([angle / 2, np.full_like(angle, 255), value], -1).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
