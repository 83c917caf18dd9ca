"""Networks as inference wants them: batch norms folded, convolutions prepared for the processor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from accel_rt import ops
from accel_rt.models.layers import DeformConv2d, DepthwiseConv2d, ModelT, to_fast_layout


def for_inference(model: ModelT, device: torch.device, dtype: torch.dtype) -> ModelT:
    """``model`` in ``eval`` mode on ``device`` in ``dtype``, changed in place to run fast.

    Its parameters are no longer all there: keep a copy of a model that is to be trained on.
    """
    model = to_fast_layout(fold_batch_norm(model.eval()), device, dtype)
    if device.type == "cpu" and _can_prepare(dtype):
        prepare_modules(model)
    return model


def fold_batch_norm(model: ModelT) -> ModelT:
    """Fold every batch norm into the convolution before it, in place, and return ``model``.

    Modules name their pairs in ``BN_PAIRS = (("conv1", "bn1"), ...)``; a ``nn.Sequential`` is
    searched for neighbours. The model must be in ``eval`` mode: the running statistics become
    constants.
    """
    for module in list(model.modules()):
        for conv_name, bn_name in _pairs(module):
            conv, bn = getattr(module, conv_name), getattr(module, bn_name)
            if not isinstance(bn, nn.BatchNorm2d):
                continue
            assert bn.running_mean is not None
            assert bn.running_var is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight,
                conv.bias,
                bn.running_mean,
                bn.running_var,
                bn.eps,
                bn.weight,
                bn.bias,
            )
            setattr(module, bn_name, nn.Identity())
    return model


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    pairs = list(getattr(module, "BN_PAIRS", ()))
    if isinstance(module, nn.Sequential):
        names = list(module._modules)
        pairs += [
            (a, b)
            for a, b in itertools.pairwise(names)
            if isinstance(module._modules[a], nn.Conv2d)
        ]
    return [(a, b) for a, b in pairs if hasattr(module, a) and hasattr(module, b)]


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


class PreparedDeformConv2d(Prepared):
    """A deformable convolution with its weights as ``packed`` by our operator."""

    def __init__(self, conv: DeformConv2d, packed: Tensor, relu: bool) -> None:
        super().__init__()
        self.offset = PreparedConv2d(conv.offset)
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


def join(conv: nn.Module, norm: nn.Module, x: Tensor, shortcut: Tensor, relu: bool) -> Tensor:
    """The end of a residual block: ``norm(conv(x)) + shortcut``, rectified if ``relu`` says so.

    For inference the result may be written over ``shortcut``, which nobody else may want then.
    """
    if isinstance(conv, Prepared):
        return conv.onto(x, shortcut, relu)
    out = norm(conv(x))
    out += shortcut
    return F.relu(out, inplace=True) if relu else out


def prepare_modules(model: nn.Module) -> None:
    """Replace convolutions and max pools, in place, by prepared ones.

    Modules name the activation that follows some of their convolutions, and nothing else, in
    ``ACTIVATED = (("relu", ("conv1", "conv2")),)``; in a ``nn.Sequential`` it is the neighbour.
    Convolutions whose weights are read by others are named in ``UNPREPARED = ("scoring",)``.
    """
    for module in list(model.modules()):
        for name, followers in _activated(module):
            activation = getattr(module, name)
            prepared = {
                conv: _prepared(getattr(module, conv), activation)
                for conv in followers
                if hasattr(module, conv)
            }
            if None in prepared.values():
                continue
            for conv, replacement in prepared.items():
                setattr(module, conv, replacement)
            setattr(module, name, nn.Identity())
        for name, child in module.named_children():
            if name not in getattr(module, "UNPREPARED", ()):
                setattr(module, name, _prepared(child, None) or child)


def _can_prepare(dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN's prepared convolutions, which inductor's code calls, too."""
    if not torch.backends.mkldnn.is_available() or not (
        hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    ):
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32


def _prepared(module: nn.Module, activation: nn.Module | None) -> nn.Module | None:
    """``module`` and ``activation`` in one, if that can be."""
    if type(module) in (nn.Conv2d, DepthwiseConv2d):
        assert isinstance(module, nn.Conv2d)
        return PreparedConv2d(module, activation)
    if isinstance(module, DeformConv2d) and (activation is None or type(activation) is nn.ReLU):
        packed = ops.deform_conv2d_pack(module.weight, module.in_channels, module.offset_groups)
        if packed is not None:
            return PreparedDeformConv2d(module, packed, activation is not None)
    if isinstance(module, nn.MaxPool2d) and activation is None:
        geometry = module.kernel_size, module.stride, module.padding, module.dilation
        if geometry == (3, 2, 1, 1) and not (module.ceil_mode or module.return_indices):
            return PreparedMaxPool2d()
    return None


def _activated(module: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of activations with those of the convolutions before them."""
    yield from getattr(module, "ACTIVATED", ())
    if isinstance(module, nn.Sequential):
        names = list(module._modules)
        for conv, norm, activation in zip(names, names[1:], names[2:], strict=False):
            if isinstance(module._modules[norm], nn.Identity) and isinstance(
                module._modules[activation], nn.ReLU
            ):
                yield activation, (conv,)
