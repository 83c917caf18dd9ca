"""What the speed-ups are measured against: DeepLab on every frame in plain PyTorch."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from accel_rt.bench.peers import interpolate_argmax, torchvision_deform_conv2d
from accel_rt.models.layers import DeformConv2d, keep_inside
from accel_rt.models.network import Network
from accel_rt.ops import eager


def deformable_convolution() -> str:
    """Whose deformable convolution :class:`PlainDeepLab` runs here."""
    return "torchvision's" if torchvision_deform_conv2d() else "ours in plain PyTorch"


class PlainDeepLab:
    """A network as its modules stand: float32, NCHW, batch norms by themselves.

    Deformable convolutions are torchvision's if it is installed, else the plain PyTorch twin of
    ours; labels come from bilinear interpolation and argmax. ``network`` is taken over.
    """

    def __init__(self, network: Network, device: torch.device) -> None:
        for module in network.modules():
            for name, child in module.named_children():
                if isinstance(child, DeformConv2d):
                    setattr(module, name, _PlainDeformConv2d(child))
        self._network = network.eval().to(device)
        self._device = device
        normalisation = network.normalisation
        self._mean = torch.tensor(normalisation.mean_rgb, device=device)[:, None, None]
        self._std = torch.tensor(normalisation.std_rgb, device=device)[:, None, None]

    @torch.inference_mode()
    def step(self, frame_bgr: np.ndarray) -> np.ndarray:
        """uint8 BGR ``[H, W, 3]`` to uint8 labels ``[H, W]``."""
        height, width = frame_bgr.shape[:2]
        rgb = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
        frame = torch.from_numpy(rgb).to(self._device).permute(2, 0, 1).float() / 255
        frame = (frame - self._mean) / self._std
        cell = self._network.cell
        frame = nn.functional.pad(frame, (0, -width % cell, 0, -height % cell))
        scores = self._network(frame[None].contiguous())
        labels = interpolate_argmax(scores, (frame.shape[1], frame.shape[2]))
        return labels[0, :height, :width].to(torch.uint8).cpu().numpy()


class _PlainDeformConv2d(nn.Module):
    """The same layer on another implementation."""

    def __init__(self, layer: DeformConv2d) -> None:
        super().__init__()
        self.weight, self.bias, self.offset = layer.weight, layer.bias, layer.offset
        self._geometry, self._inside_only = layer.geometry, layer.inside_only
        self._torchvision = torchvision_deform_conv2d()

    def forward(self, x: Tensor) -> Tensor:
        offset, mask = self.offset(x), None
        if self._inside_only:
            offset, mask = keep_inside(offset, x, self._geometry)
        if self._torchvision is None:
            return eager.deform_conv2d(x, offset, self.weight, self.bias, mask, *self._geometry)
        return self._torchvision(x, offset, self.weight, self.bias, *self._geometry, mask=mask)
