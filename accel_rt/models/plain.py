"""Feature networks of plain 3x3 convolutions, which CPUs run at their full rate.

Depthwise convolutions do little work for what they read and write; few dense ones of 3x3 do more of
it in less time. In training each has a 1x1 convolution and an identity beside it, which
:meth:`RepConv2d.folded` adds to it (Ding et al., RepVGG, CVPR 2021); most of them work on half of a
stage's channels, while the others pass by (Wang et al., CSPNet, CVPRW 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from accel_rt.models.layers import FeatureNetwork, Features, conv_bn_relu, initialise


@dataclass(frozen=True)
class PlainSpec:
    """``channels`` at strides 2, 4, 8 and 16; how many 3x3 convolutions follow at 8 and at 16."""

    channels: tuple[int, int, int, int]
    depths: tuple[int, int]


class RepConv2d(nn.Module):
    """A 3x3 convolution, a 1x1 one and, where the shape stays, an identity, each with its batch
    norm, summed: one 3x3 convolution once it is trained."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.norm0 = (
            nn.BatchNorm2d(out_channels) if stride == 1 and in_channels == out_channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, ceil(H / stride), ceil(W / stride)]``."""
        stride = self.conv3.stride[0]
        # Sliced: torch 2.13's backward of a strided 1x1 convolution of 3 channels_last channels
        # writes outside its memory on CPUs with AVX-512.
        out = self.norm3(self.conv3(x)) + self.norm1(self.conv1(x[..., ::stride, ::stride]))
        return out if self.norm0 is None else out + self.norm0(x)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """One convolution with a bias that computes what this does in ``eval`` mode."""
        conv = self.conv3
        parts = [_folded(conv.weight, self.norm3), _folded(self._centred(), self.norm1)]
        if self.norm0 is not None:
            identity = torch.zeros_like(conv.weight)
            identity[:, :, 1, 1] = torch.eye(len(identity))
            parts.append(_folded(identity, self.norm0))
        result = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride[0], 1)
        weights, biases = zip(*parts, strict=True)
        result.weight.copy_(torch.stack(weights).sum(0))
        assert result.bias is not None
        result.bias.copy_(torch.stack(biases).sum(0))
        return result

    def _centred(self) -> Tensor:
        """The 1x1 convolution's weight as one of 3x3."""
        return F.pad(self.conv1.weight, (1, 1, 1, 1))


def _folded(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the batch norm behind it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return fuse_conv_bn_weights(
        weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


class CrossStage(nn.Module):
    """``depth`` convolutions on half of the channels, added to all of them."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        half = channels // 2
        self.narrow = conv_bn_relu(nn.Conv2d(channels, half, 1, bias=False))
        self.blocks = nn.Sequential(*(_rep_relu(half, half) for _ in range(depth)))
        self.widen = nn.Sequential(
            nn.Conv2d(half, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels, H, W]`` to the same shape."""
        return F.relu(self.widen(self.blocks(self.narrow(x))) + x)


class PlainNetwork(FeatureNetwork):
    """Frame to features at strides 4, 8 and 16."""

    def __init__(self, spec: PlainSpec) -> None:
        super().__init__()
        channels2, channels4, channels8, channels16 = spec.channels
        self.channels = channels4, channels8, channels16
        self.stem = nn.Sequential(_rep_relu(3, channels2, 2), _rep_relu(channels2, channels4, 2))
        self.stage8 = _stage(channels4, channels8, spec.depths[0])
        self.stage16 = _stage(channels8, channels16, spec.depths[1])
        initialise(self)

    def forward(self, frame: Tensor) -> Features:
        """``[N, 3, H, W]`` normalised RGB to ``[N, C, H/s, W/s]`` for the strides s."""
        stride4 = self.stem(frame)
        stride8 = self.stage8(stride4)
        return stride4, stride8, self.stage16(stride8)


def _rep_relu(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(RepConv2d(in_channels, out_channels, stride), nn.ReLU(inplace=True))


def _stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(_rep_relu(in_channels, out_channels, 2), CrossStage(out_channels, depth))
