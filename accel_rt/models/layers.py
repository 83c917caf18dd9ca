"""Layers that the networks share, and how they are initialised and laid out."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from accel_rt import ops

ModelT = TypeVar("ModelT", bound=nn.Module)

Features = tuple[Tensor, Tensor, Tensor]
"""What a feature network returns: its maps at strides 4, 8 and 16."""


class FeatureNetwork(nn.Module):
    """Normalised RGB frames ``[N, 3, H, W]`` to :data:`Features`, ``channels`` wide.

    Height and width must be multiples of ``cell`` pixels. Those that are ``fusible`` are traced by
    :mod:`accel_rt.models.fuse`.
    """

    channels: tuple[int, int, int]
    cell = 16
    fusible = True


class DeformConv2d(nn.Conv2d):
    """Deformable convolution (v1) that predicts its own offsets.

    A drop-in for ``nn.Conv2d`` without bias: ``weight`` keeps its name, so ordinary
    checkpoints load; ``offset`` is a plain convolution of the same geometry whose zero
    initialisation makes the layer start as the ordinary convolution. ``offset_groups`` sets of
    offsets each serve an equal share of the input channels (4 in the paper). Without
    ``dilated_offsets`` the offsets' convolution keeps the size, but has no dilation; with
    ``inside_only`` a tap counts only inside the image, see :func:`keep_inside`.
    Source: Dai et al., "Deformable Convolutional Networks" (ICCV 2017), section 2.1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        offset_groups: int = 4,
        dilated_offsets: bool = True,
        inside_only: bool = False,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False
        )
        less = 0 if dilated_offsets else (dilation - 1) * (kernel_size // 2)
        self.offset = nn.Conv2d(
            in_channels,
            2 * offset_groups * kernel_size**2,
            kernel_size,
            stride,
            padding - less,
            dilation if dilated_offsets else 1,
        )
        nn.init.zeros_(self.offset.weight)
        zero_bias(self.offset)
        self.offset_groups, self.inside_only = offset_groups, inside_only
        self.geometry = (stride, stride), (padding, padding), (dilation, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, H', W']``."""
        offset, mask = self.offset(x), None
        if self.inside_only:
            offset, mask = keep_inside(offset, x, self.geometry)
        return ops.deform_conv2d(x, offset, self.weight, self.bias, *self.geometry, mask)


Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Stride, padding and dilation of a convolution, each ``(vertical, horizontal)``."""


def keep_inside(offset: Tensor, x: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Offsets of a 3x3 deformable convolution, and a mask, that sample ``x`` as MXNet does.

    A tap counts, in full, from the first to less than one past the last row and column, and not at
    all outside; elsewhere it fades over a pixel on both sides. ``offset`` is ``[N, G*9*2, h, w]``,
    the mask ``[N, G*9, h, w]``.
    """
    images, channels, *size = offset.shape
    wide = offset if offset.dtype == torch.float64 else offset.float()
    shifts = wide.reshape(images, channels // 18, 3, 3, 2, *size)
    kept, inside = [], []
    for axis in range(2):
        stride, padding, dilation = (pair[axis] for pair in geometry)
        cells = torch.arange(size[axis], device=x.device) * stride - padding
        taps = torch.arange(3, device=x.device) * dilation
        grid = (taps[:, None] + cells).reshape((3, 1, -1, 1) if axis == 0 else (1, 3, 1, -1))
        at = shifts[:, :, :, :, axis] + grid
        inside.append((at >= 0) & (at < x.shape[2 + axis]))
        kept.append(at.clamp(0, x.shape[2 + axis] - 1) - grid)
    mask = (inside[0] & inside[1]).to(wide.dtype).reshape(images, channels // 2, *size)
    return torch.stack(kept, 4).reshape(offset.shape), mask


class DepthwiseConv2d(nn.Conv2d):
    """Same-size (up to its stride) convolution of each channel by itself, without bias.

    Trains in float32 even under CPU autocast: oneDNN's bfloat16 depthwise backward is three times
    slower than its float32 one, while inference gains from bfloat16 as usual. With dilation the
    backward is five times slower still, so training on a CPU takes it apart.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> None:
        padding = kernel_size // 2 * dilation
        super().__init__(
            channels, channels, kernel_size, stride, padding, dilation, channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, H / stride, W / stride]``."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            if self.dilation[0] > 1 and self.stride[0] == 1:
                return self._by_phases(x.float())
            return super().forward(x.float())

    def _by_phases(self, x: Tensor) -> Tensor:
        """The same without dilation: pixels a dilation apart form images of their own."""
        height, width = x.shape[-2:]
        step = self.dilation[0]
        x = F.pad(x, (0, -width % step, 0, -height % step)).permute(0, 2, 3, 1)
        n, c, h, w = x.shape[0], x.shape[3], x.shape[1] // step, x.shape[2] // step
        phases = x.reshape(n, h, step, w, step, c).permute(2, 4, 0, 1, 3, 5)
        phases = phases.reshape(step * step * n, h, w, c).permute(0, 3, 1, 2)
        out = F.conv2d(phases, self.weight, None, 1, self.kernel_size[0] // 2, 1, c)
        out = out.permute(0, 2, 3, 1).reshape(step, step, n, h, w, c).permute(2, 3, 0, 4, 1, 5)
        out = out.reshape(n, h * step, w * step, c).permute(0, 3, 1, 2)[..., :height, :width]
        return out.contiguous(memory_format=torch.channels_last)


class FusedConv2d(nn.Module):
    """A convolution, a shortcut's addition and an activation as one step, on any device.

    ``activation`` is None, a ReLU, a ReLU6 or a LeakyReLU.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.activation = conv, activation

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, H', W']``, to which ``shortcut`` is added."""
        out = self.conv(x)
        if shortcut is not None:
            out += shortcut
        return out if self.activation is None else self.activation(out)


ANYTHING = (-math.inf, math.inf)
CLAMPS: dict[type, tuple[float, float]] = {
    type(None): ANYTHING,
    nn.ReLU: (0.0, math.inf),
    nn.ReLU6: (0.0, 6.0),
}
"""What activations keep results between."""


def called(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that ``node`` calls, if it calls one."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def bias_of(conv: nn.Conv2d) -> Tensor:
    """The bias of ``conv``, zeros if it has none."""
    zeros = conv.weight.new_zeros(conv.out_channels)
    return (zeros if conv.bias is None else conv.bias).detach()


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is a dense 1x1 convolution of every pixel."""
    geometry = conv.kernel_size, conv.stride, conv.padding
    return geometry == ((1, 1), (1, 1), (0, 0)) and conv.groups == 1


def is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is what :func:`accel_rt.ops.depthwise_conv2d` computes."""
    pairs = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and all(pair[0] == pair[1] for pair in pairs)
        and conv.kernel_size[0] in (3, 5)
        and conv.stride[0] in (1, 2)
        and conv.padding_mode == "zeros"
    )


def resize_grid(grid: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """A map ``[N, C, h, w]`` on another grid of the same extent, bilinearly."""
    if grid.shape[-2:] == size:
        return grid
    return F.interpolate(grid, size, mode="bilinear", align_corners=False)


def conv_bn_relu(conv: nn.Conv2d) -> nn.Sequential:
    """``conv`` followed by batch norm and ReLU."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True))


def to_fast_layout(
    model: ModelT, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> ModelT:
    """Move ``model`` to channels_last, the fast path of convolutions and of our operators."""
    return model.to(  # type: ignore[call-overload]  # torch's stubs lack this form
        device=device, dtype=dtype, memory_format=torch.channels_last
    )


def zero_bias(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Set a convolution's bias, if it has one, to zero."""
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def initialise(model: nn.Module) -> None:
    """He initialisation for every plain convolution, ones and zeros for batch norms."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            zero_bias(module)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            nn.init.zeros_(module.offset.weight)
