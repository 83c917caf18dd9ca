"""Layers for inference on the CPU, with weights laid out once for the processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.models.layers import DeformConv2d


class Prepared(nn.Module):
    """A convolution with its weights laid out for the processor, and the activation after it.

    ``forward`` takes ``[N, C, H, W]`` to ``[N, out_channels, H', W']``.
    """

    def onto(self, x: Tensor, shortcut: Tensor, relu: bool) -> Tensor:
        """The convolution of ``x``, without its own activation, added to ``shortcut`` and
        rectified if ``relu`` says so, in one pass, which may write over ``shortcut``."""
        raise NotImplementedError


class PreparedConv2d(Prepared):
    """A convolution that lays its weights out for oneDNN once, and the activation after it.

    An ordinary one lays its weights out anew at every call and leaves the activation to another
    pass over its output. The best layout depends on the input's shape: those for the two newest
    shapes are kept. ``activation`` is None, a ReLU or a ReLU6.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        self._geometry: Any = [*conv.padding], [*conv.stride], [*conv.dilation], conv.groups
        self._shape = conv.weight.shape
        self._weights = {torch.Size(): conv.weight.detach().to_mkldnn()}
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._activation: tuple[str, list[float]] = ("none", [])
        if isinstance(activation, nn.ReLU6):
            self._activation = ("hardtanh", [0.0, 6.0])
        elif isinstance(activation, nn.ReLU):
            self._activation = ("relu", [])

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight_for(x.shape), self._bias, *self._geometry, *self._activation, ""
        )

    def onto(self, x: Tensor, shortcut: Tensor, relu: bool) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            shortcut,
            x,
            self._weight_for(x.shape),
            self._bias,
            *self._geometry,
            "add",
            None,
            "relu" if relu else None,
            [],
            "",
        )

    def _weight_for(self, shape: torch.Size) -> Tensor:
        weight = self._weights.get(shape)
        return self._prepare(shape) if weight is None else weight

    def _prepare(self, shape: torch.Size) -> Tensor:
        newest = list(self._weights.items())[-1]
        weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            newest[1].to_dense().reshape(self._shape).to_mkldnn(),
            *self._geometry,
            shape,  # type: ignore[call-arg]  # torch's stubs lack the last
        )
        # Replaced at once: frames and keyframes may come from two threads.
        kept = {newest[0]: newest[1]} if newest[0] else {}
        self._weights = {**kept, shape: weight}
        return weight


class PreparedWinogradConv2d(Prepared):
    """A 3x3 convolution by minimal filtering, with its weights ``packed`` by our operator."""

    def __init__(self, conv: nn.Conv2d, packed: Tensor, relu: bool) -> None:
        super().__init__()
        self._packed = packed
        zeros = conv.weight.new_zeros(conv.out_channels)
        self._bias = zeros if conv.bias is None else conv.bias.detach()
        self._dilation = conv.dilation[0]
        self._relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.onto(x, None, self._relu)

    def onto(self, x: Tensor, shortcut: Tensor | None, relu: bool) -> Tensor:
        return ops.winograd_conv2d(x, self._packed, self._bias, self._dilation, shortcut, relu)


class PreparedDeformConv2d(Prepared):
    """A deformable convolution with its weights as ``packed`` by our operator, and ``offset``, the
    prepared convolution that predicts its offsets."""

    def __init__(self, conv: DeformConv2d, offset: Prepared, packed: Tensor, relu: bool) -> None:
        super().__init__()
        self.offset = offset
        self._packed = packed
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._geometry = conv.geometry
        self._relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.onto(x, None, self._relu)

    def onto(self, x: Tensor, shortcut: Tensor | None, relu: bool) -> Tensor:
        return ops.deform_conv2d_packed(
            x,
            self.offset(x),
            self._packed,
            self._bias,
            *self._geometry,
            shortcut=shortcut,
            relu=relu,
        )


class PreparedMaxPool2d(nn.Module):
    """The greatest of 3x3 neighbours at every other pixel of every other row, by columns and rows.

    Torch's own kernel for channels_last finds where they were as well and takes twice as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, ceil(H / 2), ceil(W / 2)]``."""
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            return F.max_pool2d(x, 3, 2, 1)
        rows = torch.maximum(x[..., 0::2, :], x[..., 1::2, :])
        below = rows[..., 1:, :]
        torch.maximum(below, x[..., 1:-1:2, :], out=below)
        out = torch.maximum(rows[..., 0::2], rows[..., 1::2])
        right = out[..., 1:]
        torch.maximum(right, rows[..., 1:-1:2], out=right)
        return out
