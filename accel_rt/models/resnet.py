"""Deformable ResNet feature networks (He et al. 2016; Dai et al. 2017).

A network is described by a :class:`ResNetSpec`; parameter names are torchvision's, so ImageNet
checkpoints in that format load as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from accel_rt.models.layers import DeformConv2d, FeatureNetwork, Features, initialise


@dataclass(frozen=True)
class ResNetSpec:
    """What distinguishes one ResNet from another.

    ``strides``, ``dilations`` and ``deformable`` have one entry per stage conv2 to conv5. The
    defaults are the paper's: conv5's stride becomes dilation (output stride 16) and its 3x3
    convolutions are deformable in 4 groups.
    """

    block: Literal["basic", "bottleneck"]
    layers: tuple[int, int, int, int]
    strides: tuple[int, int, int, int] = (1, 2, 2, 1)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 2)
    deformable: tuple[bool, bool, bool, bool] = (False, False, False, True)
    offset_groups: int = 4


def _conv3x3(
    in_channels: int, out_channels: int, stride: int, dilation: int, offset_groups: int
) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size up to its stride; deformable if it has groups."""
    if offset_groups:
        return DeformConv2d(in_channels, out_channels, 3, stride, dilation, dilation, offset_groups)
    return nn.Conv2d(in_channels, out_channels, 3, stride, dilation, dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, dilation: int, offset_groups: int
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, width, stride, dilation, offset_groups)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilation, offset_groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(out))
        out += shortcut
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (stride on the 3x3, as in torchvision)."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, dilation: int, offset_groups: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, dilation, offset_groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn3(self.conv3(out))
        out += shortcut
        return self.relu(out)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class ResNet(FeatureNetwork):
    """A ResNet without its classifier: frame to features at strides 4, 8 and 16."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        block = BasicBlock if spec.block == "basic" else Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        stages: list[nn.Module] = []
        for stage in range(4):
            width = 64 * 2**stage
            groups = spec.offset_groups if spec.deformable[stage] else 0
            blocks: list[nn.Module] = []
            for i in range(spec.layers[stage]):
                stride = spec.strides[stage] if i == 0 else 1
                blocks.append(block(channels, width, stride, spec.dilations[stage], groups))
                channels = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = 64 * block.expansion, 128 * block.expansion, channels
        initialise(self)

    def forward(self, frame: Tensor) -> Features:
        """``[N, 3, H, W]`` normalised RGB to ``[N, C, H/s, W/s]`` for the strides s."""
        stride4 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(frame)))))
        stride8 = self.layer2(stride4)
        return stride4, stride8, self.layer4(self.layer3(stride8))
