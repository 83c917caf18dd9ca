"""A branch of Accel: a feature network and its task network, split where the cache sits.

``encode`` turns a frame into the *state* (what a keyframe caches and flow warps); ``decode`` turns
a state into scores. ``decode(encode(frame))`` is DeepLab-x.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.models.layers import (
    DepthwiseConv2d,
    FeatureNetwork,
    Features,
    conv_bn_relu,
    resize_grid,
    zero_bias,
)
from accel_rt.normalise import IMAGENET


class TaskNetwork(nn.Module):
    """The paper's N_task without its upsampling: 1x1 projection, ReLU, 1x1 scoring.

    The state is the projection *before* the ReLU. Projection and bilinear warping are linear and
    the warp's weights sum to one, so warping the state equals warping the features (section 3.1:
    N_task(W(N_feat)) with the projection moved before the warp).
    """

    stride = 16

    def __init__(self, channels16: int, classes: int, state_channels: int = 1024) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels16, state_channels, 1)
        self.scoring = nn.Conv2d(state_channels, classes, 1)
        nn.init.kaiming_normal_(self.projection.weight, nonlinearity="relu")
        zero_bias(self.projection)
        nn.init.normal_(self.scoring.weight, std=0.01)
        zero_bias(self.scoring)

    def encode(self, features: Features) -> Tensor:
        """Features to the state ``[N, state_channels, H/16, W/16]``."""
        return self.projection(features[-1])

    def decode(self, state: Tensor) -> Tensor:
        """State to scores ``[N, classes, H/16, W/16]``."""
        return self.scoring(F.relu(state))

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        """``decode(warp(state, flow))``; one fused pass over the state unless training."""
        if torch.is_grad_enabled():
            return self.decode(ops.flow_warp(state, flow))
        assert self.scoring.bias is not None
        return ops.warp_score(state, flow, self.scoring.weight.flatten(1), self.scoring.bias)


class SkipTaskNetwork(nn.Module):
    """A light decoder: deep features joined with shallow ones at stride 8, then at stride 4.

    What is thin or small (poles, signs, pedestrians) shows at stride 4 only, where a few channels
    suffice to correct the scores of stride 8. Its state is its scores: one warped map per class,
    decoded by the identity. ``plain`` takes dense convolutions in place of depthwise ones.
    """

    stride = 4

    def __init__(
        self,
        channels: tuple[int, int, int],
        classes: int,
        width: int = 128,
        fine_width: int = 48,
        plain: bool = False,
    ) -> None:
        super().__init__()
        channels4, channels8, channels16 = channels
        self.deep = conv_bn_relu(nn.Conv2d(channels16, width, 1, bias=False))
        self.context = conv_bn_relu(_dense(width, 2) if plain else DepthwiseConv2d(width, 5))
        self.skip = nn.Sequential(nn.Conv2d(channels8, width, 1, bias=False), nn.BatchNorm2d(width))
        self.mix = conv_bn_relu(_dense(width)) if plain else _separable(width)
        self.scoring = nn.Conv2d(width, classes, 1)
        self.narrow = nn.Conv2d(width, fine_width, 1, bias=False)
        self.fine_skip = nn.Sequential(
            nn.Conv2d(channels4, fine_width, 1, bias=False), nn.BatchNorm2d(fine_width)
        )
        self.fine_mix = conv_bn_relu(_dense(fine_width)) if plain else _separable(fine_width)
        self.correction = nn.Conv2d(fine_width, classes, 1, bias=False)
        nn.init.normal_(self.scoring.weight, std=0.01)
        zero_bias(self.scoring)
        nn.init.zeros_(self.correction.weight)

    def encode(self, features: Features) -> Tensor:
        """Features to scores ``[N, classes, H/4, W/4]``."""
        stride4, stride8, stride16 = features
        deep = self.deep(stride16)
        deep = resize_grid(deep + self.context(deep), stride8.shape[-2:])
        mixed = self.mix(F.relu(deep + self.skip(stride8)))
        finer = stride4.shape[-2:]
        fine = resize_grid(self.narrow(mixed), finer) + self.fine_skip(stride4)
        correction = self.correction(self.fine_mix(F.relu(fine)))
        return resize_grid(self.scoring(mixed), finer) + correction

    def decode(self, state: Tensor) -> Tensor:
        """The state already is the scores."""
        return state

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        """Warped scores."""
        return ops.flow_warp(state, flow)


def _dense(width: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)


def _separable(width: int) -> nn.Sequential:
    return nn.Sequential(
        *conv_bn_relu(DepthwiseConv2d(width, 3)),
        *conv_bn_relu(nn.Conv2d(width, width, 1, bias=False)),
    )


class Network(nn.Module):
    """A feature network with its task network: DeepLab-x, and each branch of Accel.

    ``normalisation`` is how it wants its frames, ``fixed_size`` in which ``(height, width)``, if
    in one alone. A ``foreign`` one is someone else's: frames are not padded for it, and it may run
    anywhere.
    """

    fixed_size: tuple[int, int] | None = None
    foreign = False

    def __init__(self, feature: FeatureNetwork, task: TaskNetwork | SkipTaskNetwork) -> None:
        super().__init__()
        self.feature = feature
        self.task = task
        self.normalisation = IMAGENET

    @property
    def stride(self) -> int:
        """Pixels of the processed frame per cell of the state."""
        return self.task.stride

    @property
    def cell(self) -> int:
        """Pixels that an input's height and width must be multiples of."""
        return getattr(self.feature, "cell", FeatureNetwork.cell)

    @property
    def classes(self) -> int:
        """How many classes are scored."""
        return self.task.scoring.out_channels

    def encode(self, frame: Tensor) -> Tensor:
        """Normalised RGB ``[N, 3, H, W]`` (H and W multiples of 16) to the state."""
        return self.task.encode(self.feature(frame))

    def decode(self, state: Tensor) -> Tensor:
        """State to scores ``[N, classes, H/stride, W/stride]``."""
        return self.task.decode(state)

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        """Scores of the state warped by ``flow [N, 2, h, w]``, in cells of the state's grid."""
        return self.task.decode_warped(state, flow)

    def score(self, features: Features) -> Tensor:
        """The feature network's maps to scores ``[N, classes, H/stride, W/stride]``."""
        return self.decode(self.task.encode(features))

    def forward(self, frame: Tensor) -> Tensor:
        """Frame to scores: one pass of DeepLab-x without its upsampling."""
        return self.score(self.feature(frame))
