"""FlowNetS (Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.models.layers import zero_bias

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
        x = torch.cat([current, previous], 1)
        skips = []
        for index, layer in enumerate(self.encoder):
            x = layer(x)
            if index in _SKIPS:
                skips.append(x)
        flows = [self.predictors[0](x)]
        stages = zip(self.upconvs, self.upflows, self.predictors[1:], strict=True)
        for skip, (upconv, upflow, predictor) in zip(reversed(skips), stages, strict=True):
            x = torch.cat([skip, upconv(x), upflow(flows[-1])], 1)
            flows.append(predictor(x))
        return [flow * 20 for flow in flows]  # predicted in twentieths, as in the original

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Backward flow ``[N, 2, H/4, W/4]`` in pixels of the frames; any frame size."""
        height, width = current.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        if any(pad):
            previous, current = (F.pad(f, pad, mode="replicate") for f in (previous, current))
        pyramid = self.pyramid if self.fused_pyramid is None else self.fused_pyramid
        flow = pyramid(previous, current)[-1]
        return flow[..., : -(-height // 4), : -(-width // 4)]
