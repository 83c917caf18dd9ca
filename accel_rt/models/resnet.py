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

    ``caffe`` is how ResNets first were: bottlenecks have their stride in the first convolution, and
    the max pool has no padding, but takes what is left over at the lower right.
    ``plain_first`` keeps the first 3x3 convolution of basic blocks plain, without dilation.
    ``dilated_offsets`` and ``inside_only`` are :class:`~accel_rt.models.layers.DeformConv2d`'s.
    """

    block: Literal["basic", "bottleneck"]
    layers: tuple[int, int, int, int]
    strides: tuple[int, int, int, int] = (1, 2, 2, 1)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 2)
    deformable: tuple[bool, bool, bool, bool] = (False, False, False, True)
    offset_groups: int = 4
    caffe: bool = False
    plain_first: bool = False
    dilated_offsets: bool = True
    inside_only: bool = False

    def conv3x3(self, in_channels: int, out_channels: int, stride: int, stage: int) -> nn.Conv2d:
        """A 3x3 convolution of a stage, 0 to 3; it keeps the size up to its stride."""
        dilation = self.dilations[stage]
        if not self.deformable[stage]:
            return nn.Conv2d(in_channels, out_channels, 3, stride, dilation, dilation, bias=False)
        return DeformConv2d(
            in_channels,
            out_channels,
            3,
            stride,
            dilation,
            dilation,
            self.offset_groups,
            self.dilated_offsets,
            self.inside_only,
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self, spec: ResNetSpec, stage: int, in_channels: int, width: int, stride: int
    ) -> None:
        super().__init__()
        if spec.plain_first:
            self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        else:
            self.conv1 = spec.conv3x3(in_channels, width, stride, stage)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = spec.conv3x3(width, width, 1, stage)
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
    """1x1, 3x3 and 1x1 convolutions and a shortcut; torchvision has the stride on the 3x3."""

    expansion = 4

    def __init__(
        self, spec: ResNetSpec, stage: int, in_channels: int, width: int, stride: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride if spec.caffe else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = spec.conv3x3(width, width, 1 if spec.caffe else stride, stage)
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


def make_stage(spec: ResNetSpec, stage: int, in_channels: int) -> nn.Sequential:
    """The residual blocks of a stage, 0 to 3."""
    block, width = BLOCKS[spec.block], 64 * 2**stage
    first = block(spec, stage, in_channels, width, spec.strides[stage])
    channels = width * block.expansion
    others = (block(spec, stage, channels, width, 1) for _ in range(spec.layers[stage] - 1))
    return nn.Sequential(first, *others)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}


class ResNet(FeatureNetwork):
    """A ResNet without its classifier: frame to features at strides 4, 8 and 16."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        block = BLOCKS[spec.block]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 0 if spec.caffe else 1, ceil_mode=spec.caffe)
        inputs = 64, *(64 * 2**stage * block.expansion for stage in range(3))
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            make_stage(spec, stage, channels) for stage, channels in enumerate(inputs)
        )
        self.channels = inputs[1], inputs[2], 512 * block.expansion
        initialise(self)

    def forward(self, frame: Tensor) -> Features:
        """``[N, 3, H, W]`` normalised RGB to ``[N, C, H/s, W/s]`` for the strides s."""
        stride4 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(frame)))))
        stride8 = self.layer2(stride4)
        return stride4, stride8, self.layer4(self.layer3(stride8))
