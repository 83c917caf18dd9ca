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

    stride = score_stride = 16

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

    @staticmethod
    def warp(state: Tensor, flow: Tensor) -> Tensor:
        """The state where ``flow`` ``[N, 2, h, w]``, in its cells, says that it was."""
        return ops.flow_warp(state, flow)

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        """``decode(warp(state, flow))``; one fused pass over the state unless training."""
        if torch.is_grad_enabled():
            return self.decode(self.warp(state, flow))
        assert self.scoring.bias is not None
        return ops.warp_score(state, flow, self.scoring.weight.flatten(1), self.scoring.bias)


class Shift(nn.Module):
    """A bias by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` plus a number per channel."""
        return x + self.bias[:, None, None]


class DeconvTaskNetwork(TaskNetwork):
    """N_task as the paper's authors built it: scores of every pixel, by a deconvolution.

    The features are zero outside the frame when they are warped, so the state is their projection
    without its bias, which is added after the warp. A class has a kernel of its own for its scores.
    """

    score_stride = 1

    def __init__(self, channels16: int, classes: int, state_channels: int = 1024) -> None:
        super().__init__(channels16, classes, state_channels)
        self.projection = nn.Conv2d(channels16, state_channels, 1, bias=False)
        nn.init.kaiming_normal_(self.projection.weight, nonlinearity="relu")
        self.shift = Shift(state_channels)
        stride = self.stride
        self.upsampling = nn.ConvTranspose2d(
            classes, classes, 2 * stride, stride, groups=classes, bias=False
        )
        tent = 1 - ((torch.arange(2 * stride) + 0.5) / stride - 1).abs()
        with torch.no_grad():
            self.upsampling.weight.copy_((tent[:, None] * tent).expand_as(self.upsampling.weight))

    def decode(self, state: Tensor) -> Tensor:
        """State ``[N, C, h, w]`` to scores ``[N, classes, 16 h + 8, 16 w + 8]``.

        They begin with the frame's first pixel and may reach beyond its last.
        """
        scores = self.scoring(F.relu(self.shift(state)))
        margin = self.stride // 2
        return self.upsampling(scores)[..., margin:, margin:]

    @staticmethod
    def warp(state: Tensor, flow: Tensor) -> Tensor:
        """The state where ``flow`` ``[N, 2, h, w]`` says that it was, zero outside; of flow's size.

        At odd sizes the state may have another size than the flow: then their corners meet.
        """
        sides = zip(state.shape[2:], flow.shape[2:], strict=True)
        if all(side == flow_side for side, flow_side in sides):
            return ops.flow_warp(state, flow, "zeros")
        (height, width), (rows, columns) = state.shape[2:], flow.shape[2:]
        dy, dx = (height - 1) / max(1, rows - 1), (width - 1) / max(1, columns - 1)
        y = torch.arange(rows, device=flow.device)[:, None]
        x = torch.arange(columns, device=flow.device)
        flow = torch.stack([(x + flow[:, 0]) * dx - x, (y + flow[:, 1]) * dy - y], 1)
        taller, wider = max(height, rows), max(width, columns)
        state = F.pad(state, (0, wider - width, 0, taller - height))
        flow = F.pad(flow, (0, wider - columns, 0, taller - rows))
        return ops.flow_warp(state, flow, "zeros")[..., :rows, :columns]

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        """``decode(warp(state, flow))``."""
        return self.decode(self.warp(state, flow))


class ScoresState(nn.Module):
    """A task network whose state is its scores, on a grid of ``stride`` pixels."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = self.score_stride = stride

    def decode(self, state: Tensor) -> Tensor:
        """The state already is the scores."""
        return state

    @staticmethod
    def warp(state: Tensor, flow: Tensor) -> Tensor:
        """As :meth:`TaskNetwork.warp`."""
        return ops.flow_warp(state, flow)

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        """Warped scores."""
        return self.warp(state, flow)


class SkipTaskNetwork(ScoresState):
    """A light decoder: deep features joined with shallow ones at stride 8, then at stride 4.

    What is thin or small (poles, signs, pedestrians) shows at stride 4 only, where a few channels
    suffice to correct the scores of stride 8. Its state is its scores: one warped map per class,
    decoded by the identity. ``plain`` takes dense convolutions in place of depthwise ones.
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        classes: int,
        width: int = 128,
        fine_width: int = 48,
        plain: bool = False,
    ) -> None:
        super().__init__(4)
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
    def score_stride(self) -> int:
        """Pixels of the processed frame per cell of the scores."""
        return self.task.score_stride

    @property
    def cell(self) -> int:
        """Pixels that an input's height and width must be multiples of."""
        if self.score_stride == 1:
            return 1
        return getattr(self.feature, "cell", FeatureNetwork.cell)

    @property
    def classes(self) -> int:
        """How many classes are scored."""
        return self.task.scoring.out_channels

    def encode(self, frame: Tensor) -> Tensor:
        """Normalised RGB ``[N, 3, H, W]`` (H and W multiples of 16) to the state."""
        return self.task.encode(self.feature(frame))

    def decode(self, state: Tensor) -> Tensor:
        """State to scores ``[N, classes, H/score_stride, W/score_stride]``.

        Those of single pixels may reach beyond the frame, see :meth:`cut`.
        """
        return self.task.decode(state)

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        """Scores of the state warped by ``flow [N, 2, h, w]``, in cells of the state's grid."""
        return self.task.decode_warped(state, flow)

    def warp(self, state: Tensor, flow: Tensor) -> Tensor:
        """The state moved by ``flow [N, 2, h, w]``, in cells of its grid."""
        return self.task.warp(state, flow)

    def cut(self, scores: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        """Scores of a frame of ``size`` ``(height, width)`` without what reaches beyond it."""
        rows, columns = (-(-side // self.score_stride) for side in size)
        return scores[..., :rows, :columns]

    def score(self, features: Features) -> Tensor:
        """The feature network's maps to scores, as :meth:`decode` gives them."""
        return self.decode(self.task.encode(features))

    def forward(self, frame: Tensor) -> Tensor:
        """Frame to scores: one pass of DeepLab-x without its upsampling."""
        return self.cut(self.score(self.feature(frame)), frame.shape[-2:])
