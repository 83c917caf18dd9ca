"""Fused convolutions in the form that a processor runs fastest, with weights laid out once."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.models.inverted_residual import join_inverted_residuals
from accel_rt.models.layers import (
    ANYTHING,
    CLAMPS,
    DeformConv2d,
    FusedConv2d,
    bias_of,
    called,
    is_depthwise,
    is_pointwise,
    keep_inside,
)
from accel_rt.models.shortcut_biases import move_shortcut_biases


def prepare(graph: fx.GraphModule, device: torch.device, dtype: torch.dtype) -> None:
    """Replace the fused convolutions and max pools of ``graph``, in place, by prepared ones.

    Where a device or a type has none of them, the graph stays as it is.
    """
    prepared_one: Callable[[nn.Module], nn.Module | None]
    if device.type == "cuda":
        move_shortcut_biases(graph)
        prepared_one = partial(cuda_module, dtype=dtype)
    elif device.type == "cpu" and _has_prepared_convolutions(dtype):
        join_inverted_residuals(graph)
        prepared_one = prepared_module
    else:
        return
    for node in graph.graph.nodes:
        module = called(graph, node)
        if module is not None and (prepared := prepared_one(module)) is not None:
            parent, _, name = str(node.target).rpartition(".")
            setattr(graph.get_submodule(parent), name, prepared)
    _move_clamps(graph)


def _move_clamps(graph: fx.GraphModule) -> None:
    """Let depthwise convolutions apply the activation before them as they read.

    Only where nothing else reads the same: it was a pass over the result of the module before.
    """
    for node in graph.graph.nodes:
        reader = called(graph, node)
        if not isinstance(reader, PreparedDepthwiseConv2d) or node.args.count(node.args[0]) > 1:
            continue
        writer = called(graph, node.args[0])
        if isinstance(writer, (PreparedPointwiseConv2d, CudnnConv2d)) and (
            len(node.args[0].users) == 1 and writer.clamp != ANYTHING
        ):
            reader.input_clamp, writer.clamp = writer.clamp, ANYTHING


def cuda_module(module: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """``module`` for CUDA in ``dtype``, or None if there is no one kernel for it."""
    if not isinstance(module, FusedConv2d) or isinstance(module.conv, DeformConv2d):
        return None
    conv, activation = module.conv, module.activation
    if is_depthwise(conv) and type(activation) in CLAMPS and ops.extension_status().cuda_built:
        return PreparedDepthwiseConv2d(conv, CLAMPS[type(activation)])
    if _is_rectified(conv, activation) and dtype == torch.float16:
        return CudnnConv2d(conv, activation)  # in the type that was tried on a device
    if is_pointwise(conv) and type(activation) in CLAMPS and dtype != torch.float32:
        return PreparedPointwiseConv2d(conv, CLAMPS[type(activation)])
    return None


def _is_rectified(conv: nn.Conv2d, activation: nn.Module | None) -> bool:
    """Whether a ReLU follows ``conv``, or a ReLU6 for which there is nothing better."""
    bounded = type(activation) is nn.ReLU6 and not is_pointwise(conv)
    return conv.groups == 1 and (type(activation) is nn.ReLU or bounded)


def _clamp_(out: Tensor, clamp: tuple[float, float]) -> Tensor:
    return out if clamp == ANYTHING else out.clamp_(*clamp)


class PreparedPointwiseConv2d(nn.Module):
    """A 1x1 convolution on CUDA as a product of matrices, which adds the bias as it writes.

    cuDNN has one kernel for it only where a ReLU follows. Of float32, products are exact by
    default and convolutions are not: it stays a convolution. ``clamp`` is a pass of its own.
    """

    def __init__(self, conv: nn.Conv2d, clamp: tuple[float, float]) -> None:
        super().__init__()
        self._weight = conv.weight.detach()[:, :, 0, 0].t().contiguous()
        self._bias, self._adds_to_shortcut = bias_of(conv), conv.bias is None
        self.clamp = clamp

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, H, W]``; may write over ``shortcut``."""
        pixels = x.permute(0, 2, 3, 1)
        flat = pixels.reshape(-1, x.shape[1])
        if shortcut is not None and self._adds_to_shortcut:
            out = shortcut.permute(0, 2, 3, 1).reshape(len(flat), -1).addmm_(flat, self._weight)
        else:
            out = torch.addmm(self._bias, flat, self._weight)
        out = out.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)
        if shortcut is not None and not self._adds_to_shortcut:
            out += shortcut
        return _clamp_(out, self.clamp)


class PreparedDepthwiseConv2d(nn.Module):
    """A convolution of each channel by itself on CUDA, with its bias and activation, by our kernel.

    With PyTorch's own kernels the light pair took as long as ResNet-101: on an H100 6.1 ms at
    1024x2048 in float16, several times what its bytes take. ``input_clamp`` is the activation
    before.
    """

    def __init__(self, conv: nn.Conv2d, clamp: tuple[float, float]) -> None:
        super().__init__()
        weight = conv.weight.detach()
        self._weight = ops.depthwise_conv2d_pack(weight)
        self._bias = bias_of(conv)
        self._geometry = conv.stride[0], int(conv.padding[0]), conv.dilation[0]
        self._clamp, self.input_clamp = clamp, ANYTHING

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, H', W']``."""
        arguments = x, self._weight, self._bias, *self._geometry
        if shortcut is None:
            return ops.depthwise_conv2d(*arguments, self._clamp, self.input_clamp)
        out = ops.depthwise_conv2d(*arguments, input_clamp=self.input_clamp)
        return _clamp_(out.add_(shortcut), self._clamp)


class CudnnConv2d(nn.Module):
    """A convolution with its bias, a shortcut and a ReLU in one kernel of cuDNN's.

    PyTorch by itself runs a kernel for each; on an H100 the biases alone took a third of
    ResNet-101's time (1024x2048, float16), and its features 6.2 ms instead of 3.5. ``clamp`` is a
    pass of its own: what a ReLU6 is more than a ReLU.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self._weight = conv.weight.detach()
        self._bias = bias_of(conv)
        self._geometry: Any = conv.stride, conv.padding, conv.dilation, conv.groups
        self.clamp = (-math.inf, CLAMPS[type(activation)][1])

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, H', W']``."""
        if shortcut is None:
            out = torch.cudnn_convolution_relu(x, self._weight, self._bias, *self._geometry)
        else:
            out = torch.cudnn_convolution_add_relu(
                x, self._weight, shortcut, 1.0, self._bias, *self._geometry
            )
        return _clamp_(out, self.clamp)


def prepared_module(module: nn.Module) -> nn.Module | None:
    """``module`` for the CPU, or None if there is no faster form of it."""
    if isinstance(module, FusedConv2d):
        return _prepared_convolution(module.conv, module.activation)
    if isinstance(module, nn.MaxPool2d):
        geometry = module.kernel_size, module.stride, module.padding, module.dilation
        if geometry == (3, 2, 1, 1) and not (module.ceil_mode or module.return_indices):
            return PreparedMaxPool2d()
    return None


def _has_prepared_convolutions(dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN's prepared convolutions, which inductor's code calls, too."""
    if not torch.backends.mkldnn.is_available() or not (
        hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    ):
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32


def _prepared_convolution(conv: nn.Conv2d, activation: nn.Module | None) -> nn.Module | None:
    """The first of our operators that takes the convolution, or else oneDNN's."""
    ours = activation is None or type(activation) is nn.ReLU
    if isinstance(conv, DeformConv2d):
        packed = ops.deform_conv2d_pack(conv.weight, conv.in_channels, conv.offset_groups)
        if packed is None or not ours:
            return None
        return PreparedDeformConv2d(conv, packed, activation is not None)
    if ours and _suits_winograd(conv):
        packed = ops.winograd_conv2d_pack(conv.weight)
        if packed is not None:
            return PreparedWinogradConv2d(conv, packed, activation is not None)
    return PreparedConv2d(conv, activation)


def _suits_winograd(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is 3x3, dense and keeps the size."""
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.padding == conv.dilation
        and conv.dilation[0] == conv.dilation[1]
        and conv.groups == 1
    )


class PreparedConv2d(nn.Module):
    """A convolution that lays its weights out for oneDNN once, and the activation after it.

    An ordinary one lays its weights out anew at every call and leaves the activation to another
    pass over its output. The best layout depends on the input's shape: those for the two newest
    shapes are kept. ``activation`` is None, a ReLU, a ReLU6 or a LeakyReLU.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        self._geometry: Any = [*conv.padding], [*conv.stride], [*conv.dilation], conv.groups
        self._shape = conv.weight.shape
        self._weights = {torch.Size(): conv.weight.detach().to_mkldnn()}
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._activation = _onednn_activation(activation)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, H', W']``; may write over ``shortcut``."""
        weight = self._weight_for(x.shape)
        name, numbers = self._activation
        if shortcut is None:
            return torch.ops.mkldnn._convolution_pointwise(
                x, weight, self._bias, *self._geometry, name or "none", numbers, ""
            )
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            shortcut, x, weight, self._bias, *self._geometry, "add", None, name, numbers, ""
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


def _onednn_activation(activation: nn.Module | None) -> tuple[str | None, list[float]]:
    """oneDNN's name of an activation, and its numbers."""
    if isinstance(activation, nn.ReLU6):
        return "hardtanh", [0.0, 6.0]
    if isinstance(activation, nn.LeakyReLU):
        return "leaky_relu", [activation.negative_slope]
    return (None if activation is None else "relu"), []


class PreparedWinogradConv2d(nn.Module):
    """A 3x3 convolution by minimal filtering, with its weights ``packed`` by our operator."""

    def __init__(self, conv: nn.Conv2d, packed: Tensor, relu: bool) -> None:
        super().__init__()
        self._packed = packed
        self._bias = bias_of(conv)
        self._dilation = conv.dilation[0]
        self._relu = relu

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, H, W]``; may write over ``shortcut``."""
        return ops.winograd_conv2d(
            x, self._packed, self._bias, self._dilation, shortcut, self._relu
        )


class PreparedDeformConv2d(nn.Module):
    """A deformable convolution with its weights as ``packed`` by our operator, and ``offset``, the
    prepared convolution that predicts its offsets."""

    def __init__(self, conv: DeformConv2d, packed: Tensor, relu: bool) -> None:
        super().__init__()
        self.offset = _prepared_convolution(conv.offset, None) or conv.offset
        self._packed = packed
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._geometry, self._inside_only = conv.geometry, conv.inside_only
        self._relu = relu

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, out_channels, H', W']``; may write over ``shortcut``."""
        offset, mask = self.offset(x), None
        if self._inside_only:
            offset, mask = keep_inside(offset, x, self._geometry)
        return ops.deform_conv2d_packed(
            x,
            offset,
            self._packed,
            self._bias,
            *self._geometry,
            mask=mask,
            shortcut=shortcut,
            relu=self._relu,
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
