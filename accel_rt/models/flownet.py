"""FlowNetS (Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.models.layers import zero_bias
from accel_rt.normalise import CAFFE_MEAN_RGB, IMAGENET, Normalisation

_ENCODER = (  # channels, kernel, stride
    (64, 7, 2),
    (128, 5, 2),
    (256, 5, 2),
    (256, 3, 1),
    (512, 3, 2),
    (512, 3, 1),
    (512, 3, 2),
    (512, 3, 1),
    (1024, 3, 2),
    (1024, 3, 1),
)
_SKIPS = (1, 3, 5, 7)  # encoder layers whose outputs the decoder joins: conv2, conv3_1, 4_1, 5_1


class FlowNetS(nn.Module):
    """Two stacked frames to backward flow at a quarter of their resolution.

    ``width`` scales every layer's channels (1 is the paper's network, 0.25 the slim one).
    """

    kind = "flownets"
    normalisation = IMAGENET
    stride = 4
    """Pixels of the frames per cell of the flow."""
    multiple = 64
    """Height and width must be multiples of this."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.fused_pyramid: nn.Module | None = None  # for inference, see accel_rt.models.fuse

        def scaled(channels: int) -> int:
            return max(8, int(channels * width) // 8 * 8)

        self.encoder = nn.ModuleList()
        channels = 6
        for out_channels, kernel, stride in _ENCODER:
            conv = nn.Conv2d(channels, scaled(out_channels), kernel, stride, kernel // 2)
            self.encoder.append(nn.Sequential(conv, nn.LeakyReLU(0.1, inplace=True)))
            channels = scaled(out_channels)
        self.upconvs, self.predictors, self.upflows = (nn.ModuleList() for _ in range(3))
        self.predictors.append(nn.Conv2d(channels, 2, 3, 1, 1))
        for level, out_channels in zip(reversed(_SKIPS), (512, 256, 128, 64), strict=True):
            upconv = nn.ConvTranspose2d(channels, scaled(out_channels), 4, 2, 1)
            self.upconvs.append(nn.Sequential(upconv, nn.LeakyReLU(0.1, inplace=True)))
            self.upflows.append(nn.ConvTranspose2d(2, 2, 4, 2, 1))
            channels = scaled(_ENCODER[level][0]) + scaled(out_channels) + 2
            self.predictors.append(nn.Conv2d(channels, 2, 3, 1, 1))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                zero_bias(module)
        for predictor in self.predictors:
            nn.init.normal_(predictor.get_parameter("weight"), std=1e-3)

    def pyramid(self, previous: Tensor, current: Tensor) -> list[Tensor]:
        """Flow at strides 64, 32, 16, 8, 4, coarse to fine, each ``[N, 2, h, w]``.

        Frames are normalised RGB ``[N, 3, H, W]``. The flow says where each position of
        ``current`` was in ``previous``, in pixels of the frames.
        """
        flows, finest = self._flows(torch.cat([current, previous], 1))
        flows.append(self.predictors[-1](finest))
        return [flow * 20 for flow in flows]  # predicted in twentieths, as in the original

    def _flows(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """All flows but the finest, as they are predicted, and what that is predicted from."""
        skips = []
        for index, layer in enumerate(self.encoder):
            x = layer(x)
            if index in _SKIPS:
                skips.append(x)
        flows = []
        levels = zip(self.predictors, self.upconvs, self.upflows, strict=False)
        for skip, (predictor, upconv, upflow) in zip(reversed(skips), levels, strict=True):
            flows.append(predictor(x))
            finer = (
                up[..., : skip.shape[-2], : skip.shape[-1]] for up in (upconv(x), upflow(flows[-1]))
            )
            x = torch.cat([skip, *finer], 1)
        return flows, x

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Backward flow ``[N, 2, H/stride, W/stride]`` in pixels of the frames; any frame size."""
        height, width = current.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        if any(pad):
            previous, current = (F.pad(f, pad, mode="replicate") for f in (previous, current))
        pyramid = self.pyramid if self.fused_pyramid is None else self.fused_pyramid
        flow = pyramid(previous, current)[-1]
        return flow[..., : -(-height // self.stride), : -(-width // self.stride)]

    def covers(self, height: int, width: int) -> tuple[int, int]:
        """What the flow of a frame of so many pixels spans of it, and beyond: whole cells."""
        return height + -height % self.stride, width + -width % self.stride

    def describe(self, trained_on: str) -> dict[str, Any]:
        """What a weight file says of the network."""
        return {
            "kind": "flownets",
            "network": self.kind,
            "width": self.width,
            "trained_on": trained_on,
        }


class MXNetFlowNetS(FlowNetS):
    """FlowNetS as the paper's authors used it: on halved frames, and for cells of 16 pixels."""

    kind = "flownets_mxnet"
    normalisation = Normalisation(CAFFE_MEAN_RGB, (1.0, 1.0, 1.0))
    stride = 16
    multiple = 1

    def pyramid(self, previous: Tensor, current: Tensor) -> list[Tensor]:
        """Flow at stride 16 alone; see :meth:`FlowNetS.pyramid`."""
        halved = F.avg_pool2d(torch.cat([current, previous], 1), 2, ceil_mode=True)
        _, finest = self._flows(halved)
        flow = self.predictors[-1](F.avg_pool2d(finest, 2, ceil_mode=True))
        return [flow * (2.5 * self.stride)]  # predicted in two fifths of a cell


FLOWNETS = {network.kind: network for network in (FlowNetS, MXNetFlowNetS)}
