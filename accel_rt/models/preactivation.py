"""Pre-activation ResNets (He et al., "Identity Mappings in Deep Residual Networks", 2016).

As the paper's authors had them at hand for MXNet: three stages of units that begin with batch norm
and ReLU and end with the bare sum, then a conv5 in the older order at stride 32, whose 512 channels
a deconvolution turns into 2048 at stride 16.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from accel_rt.models.layers import FeatureNetwork, Features, initialise
from accel_rt.models.resnet import ResNetSpec, make_stage

_EPS = 2e-5


@dataclass(frozen=True)
class PreActivationSpec:
    """How many units and blocks there are in conv2 to conv5."""

    layers: tuple[int, int, int, int]

    @property
    def conv5(self) -> ResNetSpec:
        """The description of the last stage."""
        return ResNetSpec(
            "basic", self.layers, strides=(1, 2, 2, 2), plain_first=True, inside_only=True
        )


class PreActivationUnit(nn.Module):
    """Twice batch norm, ReLU and a 3x3 convolution, and a shortcut; ``first`` projects it."""

    def __init__(self, in_channels: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels, _EPS)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, _EPS)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(in_channels, width, 1, stride, bias=False) if first else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out = self.conv2(self.relu(self.bn2(self.conv1(active))))
        out += shortcut
        return out


class PreActivationResNet(FeatureNetwork):
    """A pre-activation ResNet without its classifier: frame to features at strides 4, 8 and 16.

    A batch norm of the frame itself is left to its normalisation.
    """

    channels = (64, 128, 2048)
    cell = 32

    def __init__(self, spec: PreActivationSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, _EPS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(64, 64, spec.layers[0])
        self.layer2 = _stage(64, 128, spec.layers[1])
        self.layer3 = _stage(128, 256, spec.layers[2])
        self.layer4 = make_stage(spec.conv5, 3, 256)
        self.upsampling = nn.ConvTranspose2d(512, self.channels[-1], 4, 2, 1, bias=False)
        initialise(self)

    def forward(self, frame: Tensor) -> Features:
        """``[N, 3, H, W]`` normalised RGB to ``[N, C, H/s, W/s]`` for the strides s."""
        stride4 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(frame)))))
        stride8 = self.layer2(stride4)
        return stride4, stride8, self.upsampling(self.layer4(self.layer3(stride8)))


def _stage(in_channels: int, width: int, units: int) -> nn.Sequential:
    first = PreActivationUnit(in_channels, width, width // in_channels, first=True)
    others = (PreActivationUnit(width, width, 1, first=False) for _ in range(units - 1))
    return nn.Sequential(first, *others)
