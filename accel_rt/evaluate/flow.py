"""Optical flow against the truth: end-point error, and how long labels last when warped."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from accel_rt.classes import IGNORE_LABEL
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.models.flownet import FlowNetS

_FULL_COLOUR_PX = 24  # flow of this length is drawn in full brightness


def endpoint_error(flow: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance in pixels, float32 ``[H, W]``, between two flows ``[H, W, 2]``."""
    return np.linalg.norm(flow - truth, axis=-1)


@torch.inference_mode()
def network_flow(
    network: FlowNetS, previous_bgr: np.ndarray, current_bgr: np.ndarray
) -> np.ndarray:
    """Backward flow float32 ``[H, W, 2]`` in pixels by a network, bilinear from its own grid.

    Frames are uint8 BGR ``[H, W, 3]``.
    """
    parameter = next(network.parameters())
    previous, current = (
        network.normalisation(torch.from_numpy(frame)[None].to(parameter.device)).to(
            parameter.dtype
        )
        for frame in (previous_bgr, current_bgr)
    )
    flow = network(previous, current).float()
    flow = F.interpolate(flow, scale_factor=network.stride, mode="bilinear", align_corners=False)
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


def compose(older: np.ndarray, newer: np.ndarray) -> np.ndarray:
    """Flow from frame k to frame i out of that from k to j and that from j to i, ``[H, W, 2]``."""
    y, x = np.mgrid[: newer.shape[0], : newer.shape[1]].astype(np.float32)
    at = x + newer[..., 0], y + newer[..., 1]
    return newer + cv2.remap(older, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def warped_label_miou(
    labels: Sequence[np.ndarray], flows: Sequence[np.ndarray], offsets: Sequence[int], classes: int
) -> list[float]:
    """mIoU in percent of the labels ``offset`` frames back, warped once by composed flow.

    ``labels`` are those of consecutive frames, uint8 ``[H, W]``; ``flows[i]`` is the backward
    flow from frame ``i`` to frame ``i + 1``. Pixels without a label, on either side, do not count.
    """
    matrices = {offset: ConfusionMatrix(classes) for offset in offsets}
    for target in range(1, len(labels)):
        flow = np.zeros_like(flows[0])
        for offset in range(1, min(target, max(offsets)) + 1):
            flow = compose(flows[target - offset], flow)
            if offset in matrices:
                found = warp_labels(labels[target - offset], flow)
                both = found != IGNORE_LABEL
                truth = np.where(both, labels[target], np.uint8(IGNORE_LABEL))
                matrices[offset].add(truth, np.where(both, found, np.uint8(0)))
    return [matrix.miou() for matrix in matrices.values()]


def flow_colours(flow: np.ndarray) -> np.ndarray:
    """A picture of flow, uint8 BGR: direction as hue, length as brightness."""
    length, angle = cv2.cartToPolar(
        np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1]), angleInDegrees=True
    )
    value = np.minimum(255, length * (255 / _FULL_COLOUR_PX))
    hsv = np.stack([angle / 2, np.full_like(angle, 255), value], -1).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
