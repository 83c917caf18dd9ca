"""Networks as inference wants them: batch norms folded, convolutions prepared for the processor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from accel_rt import ops
from accel_rt.models.layers import DeformConv2d, DepthwiseConv2d, ModelT, to_fast_layout
from accel_rt.models.prepared import (
    Prepared,
    PreparedConv2d,
    PreparedDeformConv2d,
    PreparedMaxPool2d,
    PreparedWinogradConv2d,
)


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
        return _prepared_conv(module, activation)
    if isinstance(module, DeformConv2d) and _ends_in_relu(activation):
        packed = ops.deform_conv2d_pack(module.weight, module.in_channels, module.offset_groups)
        if packed is not None:
            offset = _prepared_conv(module.offset, None)
            return PreparedDeformConv2d(module, offset, packed, activation is not None)
    if isinstance(module, nn.MaxPool2d) and activation is None:
        geometry = module.kernel_size, module.stride, module.padding, module.dilation
        if geometry == (3, 2, 1, 1) and not (module.ceil_mode or module.return_indices):
            return PreparedMaxPool2d()
    return None


def _prepared_conv(conv: nn.Conv2d, activation: nn.Module | None) -> Prepared:
    keeps_size = conv.stride == (1, 1) and conv.padding == conv.dilation
    if (
        conv.kernel_size == (3, 3)
        and keeps_size
        and conv.dilation[0] == conv.dilation[1]
        and conv.groups == 1
        and _ends_in_relu(activation)
    ):
        packed = ops.winograd_conv2d_pack(conv.weight)
        if packed is not None:
            return PreparedWinogradConv2d(conv, packed, activation is not None)
    return PreparedConv2d(conv, activation)


def _ends_in_relu(activation: nn.Module | None) -> bool:
    """Whether our operators end in this activation, or none."""
    return activation is None or type(activation) is nn.ReLU


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
